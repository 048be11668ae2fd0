"""From a measurement to its explanation: everything adds up, and the sentences name what was planted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochwise.explaining.compare import explain_ratio
from epochwise.explaining.explanation import Comparison
from epochwise.explaining.loads import distinct
from tests.explaining.samples import counts, machine, measured, pair


def explained(first: dict[str, object], second: dict[str, object], **second_counts: object) -> Comparison:
    one, two = measured("small", **first), measured("large", **second)  # type: ignore[arg-type]
    return explain_ratio(pair(one, two, counts("small"), counts("large", **second_counts)), machine())  # type: ignore[arg-type]


@given(
    st.floats(1e-3, 1e3),
    st.none() | st.floats(0.01, 1.0),
    st.floats(0, 0.5),
    st.dictionaries(st.sampled_from(["dense", "conv", None]), st.floats(0.1, 1.0), min_size=1),
)
def test_parts_and_causes_add_up_to_the_epoch(
    epoch: float, busy: float | None, turn_share: float, layers: dict[str | None, float]
) -> None:
    """With or without profile, turn or unplaced kernels: the parts sum to the wall time, and so do the causes."""
    total = sum(layers.values())
    shares = {name: share / total for name, share in layers.items()}
    result = explained({"epoch": epoch, "busy_share": busy, "turn": turn_share * epoch, "layers": shares}, {"epoch": 2.0})
    model = result.models[0]
    assert math.isclose(math.fsum(part.seconds for part in model.where), epoch, rel_tol=1e-9)
    assert math.isclose(math.fsum(cause.seconds for cause in model.causes), epoch, rel_tol=1e-9)
    assert math.isclose(
        math.prod(each.ratio for each in result.factors if each.ratio is not None), result.ratio.median, rel_tol=1e-9
    )


def test_unplaced_kernels_are_unattributed() -> None:
    """Busy time without a layer is called unattributed, with its seconds."""
    result = explained({"layers": {"dense": 0.75, None: 0.25}, "busy_share": 0.8}, {"epoch": 2.0})
    seconds = {part.name: part.seconds for part in result.models[0].where}
    assert seconds["unattributed"] == pytest.approx(0.2)
    assert seconds["dense"] == pytest.approx(0.6)
    assert seconds["dispatch and Python"] == pytest.approx(0.2)


def test_a_model_that_waits_is_said_to_wait() -> None:
    """Where the first model's steps are mostly overhead, the answer says that waiting hides the difference."""
    answer = explained({"epoch": 1.0, "busy_share": 0.1}, {"epoch": 1.8, "busy_share": 0.5}, macs=45_000).answer
    assert "Waiting: for 90 % of an epoch of small no kernel runs" in answer
    assert "hides part of the difference" in answer


def test_slow_kernels_are_named_with_their_layer() -> None:
    """Where a layer without MACs takes most of the busy time, the answer names it and says so."""
    slow = {"epoch": 8.0, "busy_share": 0.95, "layers": {"dense": 0.2, "pool": 0.8}}
    answer = explained({"epoch": 1.0, "busy_share": 0.95}, slow, other_layers=("pool",)).answer
    assert "the busiest layer of large is pool, 80 % of its busy time, though it does no multiply-accumulate at all" in answer
    assert "kernel path" in answer
    assert "Waiting:" not in answer


def test_more_arithmetic_alone_is_said_to_be_all() -> None:
    """Where time follows the arithmetic, no other cause is named."""
    answer = explained({"epoch": 1.0}, {"epoch": 4.0}, macs=20_000).answer
    assert "which makes 4.00 times the arithmetic" in answer
    assert "That is the whole of it" in answer
    assert "Kernels:" not in answer
    assert "Waiting:" not in answer


def test_memory_traffic_is_named_where_it_bounds() -> None:
    """A layer whose bytes take longer than its FLOPs raises the factor memory, and the answer says so."""
    # 5,000 MACs are 10 us at 1 GFLOP/s; 100,000 bytes are 100 us at 1 GB/s: a factor of 10.
    result = explained({"epoch": 1.0}, {"epoch": 10.0}, bytes_moved=100_000)
    assert {each.name: each.ratio for each in result.factors}["memory"] == pytest.approx(10.0)
    assert "Memory: at best, the layers of large need 10 times the time of their arithmetic" in result.answer


def test_without_a_profile_kernels_and_waiting_are_one() -> None:
    """Busy time that is unknown is not invented: both factors are null, and their product stands in their place."""
    result = explained({"busy_share": None}, {"epoch": 3.0})
    ratios = {each.name: each.ratio for each in result.factors}
    assert ratios["kernels"] is None
    assert ratios["waiting"] is None
    assert ratios["kernels x waiting"] == pytest.approx(3.0)
    assert result.models[0].busy_seconds is None
    assert "kernels and waiting together" in result.answer


def test_the_profilers_cost_is_in_no_time() -> None:
    """Doubling the profiler's overhead changes bounds, and nothing that is shown as time."""
    plain, heavy = (
        explained({"epoch": 1.0, "overhead": overhead}, {"epoch": 2.0, "overhead": overhead}) for overhead in (0.05, 0.8)
    )
    for one, two in zip(plain.models, heavy.models, strict=True):
        assert one.epoch_seconds == two.epoch_seconds
        assert one.busy_seconds.median == pytest.approx(two.busy_seconds.median)
        assert one.busy_seconds.high - one.busy_seconds.low < two.busy_seconds.high - two.busy_seconds.low


def test_equal_models_are_not_said_to_differ() -> None:
    """An interval that holds 1 is no difference."""
    assert "no difference between an epoch of large and one of small could be shown" in explained({}, {}).answer


def test_names_are_told_apart() -> None:
    """The same function twice, as with other arguments left out, gets numbers."""
    assert distinct(["a", "b", "a"]) == ["a (1)", "b", "a (2)"]


def test_a_ratio_needs_two_models() -> None:
    """One model cannot be compared."""
    one = measured()
    half = pair(one, one, counts(), counts())
    alone = half._replace(
        measurement=half.measurement.__class__(**{**_fields(half.measurement), "models": (one,), "ratio": None})
    )
    with pytest.raises(ValueError, match="two models"):
        explain_ratio(alone, machine())


def _fields(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}  # type: ignore[attr-defined]
