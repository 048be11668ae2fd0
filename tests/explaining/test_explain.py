"""One model alone: parts with what they achieve, what the epoch could be, and sentences that name what was planted."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import epochwise
from epochwise.counting.counts import Uncounted
from epochwise.explaining.explain import explain_measured
from epochwise.explaining.explanation import Explanation
from tests.explaining.samples import alone, counts, machine, measured

PEAK, BANDWIDTH = 1e9, 1e8


def explained(model: dict[str, object], **of_counts: object) -> Explanation:
    return explain_measured(
        alone(measured("model", **model), counts("model", **of_counts)),  # type: ignore[arg-type]
        machine(PEAK, BANDWIDTH),
    )


@given(st.floats(1e-3, 1e3), st.none() | st.floats(0.01, 1.0), st.floats(0, 0.5))
def test_parts_and_causes_add_up_to_the_epoch(epoch: float, busy: float | None, turn_share: float) -> None:
    """As in a comparison."""
    model = explained({"epoch": epoch, "busy_share": busy, "turn": turn_share * epoch}).model
    assert math.isclose(math.fsum(part.seconds for part in model.where), epoch, rel_tol=1e-9)
    assert math.isclose(math.fsum(cause.seconds for cause in model.causes), epoch, rel_tol=1e-9)


def test_what_a_layer_achieves() -> None:
    """5,000 MACs and 4,000 bytes in each of 100 steps, in half of a second: 2 MFLOP/s, 0.8 MB/s, and 40 us at best."""
    model = explained({"epoch": 1.0, "busy_share": 0.5}, macs=5_000, bytes_moved=4_000).model
    dense = next(part for part in model.where if part.name == "dense")
    assert dense.seconds == pytest.approx(0.5)
    assert dense.flops_per_second == pytest.approx(2 * 5_000 * 100 / 0.5)
    assert dense.bytes_per_second == pytest.approx(4_000 * 100 / 0.5)
    assert dense.roofline_seconds == pytest.approx(100 * max(2 * 5_000 / PEAK, 4_000 / BANDWIDTH))
    assert dense.times_roofline == pytest.approx(0.5 / 0.004)
    waiting = next(part for part in model.where if part.name == "dispatch and Python")
    assert waiting.roofline_seconds is waiting.flops_per_second is waiting.bytes_per_second is waiting.times_roofline is None


def test_the_rooflines_of_the_parts_are_that_of_the_model() -> None:
    """Every layer and phase that has work is a part here, so their sum is the model's roofline."""
    model = explained({"busy_share": 0.5}, macs=7_000, bytes_moved=900).model
    assert math.fsum(part.roofline_seconds or 0.0 for part in model.where) == pytest.approx(model.roofline_seconds)


@given(st.floats(0.05, 1.0), st.floats(0.0, 0.3), st.floats(-0.02, 1.0))
def test_predictions_lie_within_their_ranges(busy: float, turn: float, overhead: float) -> None:
    """And none is longer than the epoch where kernels are slower than the roofline."""
    result = explained({"epoch": 1.0, "busy_share": busy, "turn": turn, "overhead": overhead}, macs=10)
    assert len(result.what_ifs) == 2
    for item in result.what_ifs:
        found = item.epoch_seconds
        assert found.low <= found.median + 1e-12
        assert found.median <= found.high + 1e-12
        assert found.median <= 1.0 + 1e-9


def test_what_no_waiting_would_leave() -> None:
    """Kernels and the turn, to the digit; and the roofline in place of the kernels."""
    result = explained({"epoch": 1.0, "busy_share": 0.25, "turn": 0.2, "overhead": 0.0}, macs=50_000)
    found = {item.name: item.epoch_seconds.median for item in result.what_ifs}
    assert found["no waiting"] == pytest.approx(0.25 * 0.8 + 0.2)
    assert found["kernels at the roofline"] == pytest.approx(1.0 - 0.25 * 0.8 + 100 * 2 * 50_000 / PEAK)


def test_a_planted_wait_is_named() -> None:
    """A model that waits is said to wait, and what it would gain."""
    answer = explained({"epoch": 1.0, "busy_share": 0.1}).answer
    assert "Where it goes: 90 % per-step overhead (900 ms)" in answer
    assert "It could be 100 ms with no waiting" in answer


def test_a_planted_slow_layer_is_named() -> None:
    """The layer that loses most against its best comes first, whatever work it has."""
    shares = {"dense": 0.3, "pool": 0.7}
    answer = explained({"busy_share": 1.0, "layers": shares, "overhead": 0.0}, other_layers=("pool",)).answer
    assert "Most is lost in pool forward (700 ms) and dense forward (300 ms" in answer
    assert "per-step overhead" not in answer


def test_no_prediction_without_a_profile() -> None:
    """What cannot be told apart is not predicted."""
    result = explained({"busy_share": None})
    assert result.what_ifs == ()
    assert "kernel path or per-step overhead" in result.answer
    assert "It could be" not in result.answer


def test_what_is_not_counted_is_noted() -> None:
    """An operation without a rule is in the notes."""
    one = alone(measured("model"), msgspec.structs.replace(counts("model"), uncounted=(Uncounted("fft", 1, None),)))
    assert any("operations without a rule" in note and "fft" in note for note in explain_measured(one, machine()).notes)


def test_kernels_at_their_best_have_nothing_to_gain() -> None:
    """Where kernels are no slower than the roofline (a compiler fused what was counted apart), it is no prediction."""
    result = explained({"epoch": 1.0, "busy_share": 0.5, "overhead": 0.0}, macs=4_000_000)
    assert result.model.roofline_seconds == pytest.approx(0.8)
    assert [item.name for item in result.what_ifs] == ["no waiting"]


@pytest.mark.torch
def test_a_live_model_is_explained_and_left_as_it_was() -> None:
    """From Python, weights and all; the parts add up on real times as well."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, y = np.random.default_rng(0).random((512, 8, 8), dtype=np.float32), np.arange(512) % 4
    result = epochwise.explain(model, x, y, seconds=1.0, name="small")
    assert isinstance(result, Explanation)
    assert result.model.name == "small"
    assert math.isclose(math.fsum(part.seconds for part in result.model.where), result.model.epoch_seconds.median)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
