"""The three paragraphs say what was measured, differ where backends differ, and claim no more than that."""

from __future__ import annotations

from msgspec.structs import replace

from epochwise.explaining.compare import explain_ratio
from epochwise.explaining.explanation import Comparison
from epochwise.explaining.question import answer_question
from tests.explaining.samples import counts, machine, measured, pair

MLP, CNN = counts("MLP", parameters=55_050, macs=50_000), counts("CNN", parameters=3_330, macs=270_000)


def on(backend: str, mlp: dict[str, object], cnn: dict[str, object]) -> Comparison:
    one, two = measured("MLP", **mlp), measured("CNN", **cnn)  # type: ignore[arg-type]
    return explain_ratio(pair(replace(one, backend=backend), replace(two, backend=backend), MLP, CNN), machine())


WAITS = on("tensorflow", {"epoch": 3.0, "busy_share": 0.2}, {"epoch": 6.0, "busy_share": 0.6, "layers": {"conv2d": 1.0}})
POOLS = on("jax", {"epoch": 0.5, "busy_share": 0.9}, {"epoch": 8.0, "busy_share": 0.95, "layers": {"max_pooling2d": 1.0}})


def test_the_first_paragraph_differs_where_the_causes_differ() -> None:
    """Waiting is named where the MLP waits, kernels and their layer where the kernels are slow."""
    text = answer_question([WAITS, POOLS]).why_slower
    assert "The CNN has 16.5 times fewer parameters" in text
    assert "5.40 times the multiply-accumulates" in text
    assert "2.00 times as long with Keras on TensorFlow and 16 times as long with Keras on JAX" in text
    tensorflow, jax = text.split("; with Keras on JAX")
    assert "no kernel runs for 80 % of the MLP's epoch and 40 % of the CNN's" in tensorflow
    assert "max_pooling2d" not in tensorflow
    assert "further from the roofline" in jax
    assert "100 % of its busy time in max_pooling2d" in jax


def test_a_gap_smaller_than_the_swing_is_no_difference() -> None:
    """Accuracies that move by two points from epoch to epoch cannot show a gap of one."""
    item = on("jax", {"epoch": 1.0, "accuracies": (0.80, 0.82, 0.81)}, {"epoch": 8.0, "accuracies": (0.81, 0.82, 0.83)})
    text = answer_question([item]).benefit
    assert "81.0 % for the MLP and 82.0 % for the CNN" in text
    assert "no clear difference" in text


def test_a_gap_beyond_the_swing_is_said() -> None:
    """Five points with evaluations half a point apart are a difference, and only at this training length."""
    item = on("jax", {"epoch": 1.0, "accuracies": (0.850, 0.855)}, {"epoch": 8.0, "accuracies": (0.800, 0.805)})
    assert "At this training length the CNN is behind" in answer_question([item]).benefit


def test_without_test_data_nothing_is_claimed_about_accuracy() -> None:
    """No evaluation, no verdict."""
    text = answer_question([WAITS]).benefit
    assert text.startswith("Not measured in this run")
    assert "ahead" not in text
    assert "behind" not in text


def test_parameters_are_bytes() -> None:
    """Four bytes each, for what is stored and sent."""
    text = answer_question([POOLS]).parameters
    assert "13.3 kB against 220 kB" in text
    assert "16 times the time" in text
