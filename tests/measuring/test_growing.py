"""Steps that grow slower are found, told from chance, and given the cause that the measurements show."""

from __future__ import annotations

import numpy as np
import pytest

from epochwise.measuring.growing import Course, growth_of

STEADY = [0.01] * 40
SIZE = [1_000_000_000] * 40
LEAKING = [10**9 + place * 10**8 for place in range(40)]


def rising(by: float, noise: float = 0.0) -> list[float]:
    """Steps that take so much longer at the end, with noise."""
    generator = np.random.default_rng(0)
    return [0.01 * (1 + by * place / 39) * (1 + noise * generator.standard_normal()) for place in range(40)]


def test_steady_steps_do_not_grow() -> None:
    """Nor does noise look like growth."""
    assert growth_of(Course(STEADY, SIZE)) is None
    assert growth_of(Course(rising(0.0, noise=0.3), SIZE)) is None
    assert growth_of(Course(rising(0.05), SIZE)) is None


def test_the_size_of_the_growth() -> None:
    """From the first to the last quarter, with an interval that does not reach zero."""
    found = growth_of(Course(rising(1.0, noise=0.02), SIZE))
    assert found is not None
    assert found.share == pytest.approx(0.67, abs=0.1)
    assert 0 < found.low <= found.share <= found.high
    assert found.cause == "unknown"


def test_denormals_come_before_what_only_changed_meanwhile() -> None:
    """Weights that have become denormal explain it, unless steps are no shorter without them."""
    found = growth_of(Course(rising(1.0), LEAKING, found={"denormals": 0.2}, others=[rising(1.0)]))
    assert found is not None
    assert found.cause == "denormals"
    assert "20.0% of the weights" in found.evidence
    harmless = growth_of(Course(rising(1.0), SIZE, found={"denormals": 0.2}, denormals_cost=False))
    assert harmless is not None
    assert harmless.cause == "unknown"


def test_a_machine_that_slows_down_slows_both() -> None:
    """The model measured in turn shows it; one that stays as it was shows that it is not the machine."""
    slower = growth_of(Course(rising(0.8), SIZE, others=[rising(0.7)]))
    alone = growth_of(Course(rising(0.8), SIZE, others=[STEADY]))
    assert slower is not None
    assert alone is not None
    assert (slower.cause, alone.cause) == ("machine", "unknown")


def test_a_process_that_grows() -> None:
    """A list that keeps every loss with its graph makes the process grow."""
    found = growth_of(Course(rising(0.5), LEAKING))
    assert found is not None
    assert found.cause == "memory"
    assert "grew by 3,900 MB" in found.evidence


def test_work_that_is_always_the_same_tells_the_machine_from_the_training() -> None:
    """Where it takes longer too, the machine is slower; where it does not, each step does more."""
    throttled = growth_of(Course(rising(0.8), SIZE, paces=rising(0.7)))
    busier = growth_of(Course(rising(0.8), SIZE, paces=STEADY))
    assert throttled is not None
    assert busier is not None
    assert (throttled.cause, busier.cause) == ("machine", "training")
    assert "each step does more" in busier.evidence


def test_a_callback_that_grows_is_named() -> None:
    """It was timed, so it comes before everything else; what grows by less than half of the whole is not named."""
    steps = rising(1.0)
    all_of_it = [{"callback Keeper": step - 0.01, "input pipeline": 0.001} for step in steps]
    little = [{"callback Keeper": 0.3 * (step - 0.01)} for step in steps]
    found = growth_of(Course(steps, LEAKING, hosts=all_of_it))
    other = growth_of(Course(steps, SIZE, hosts=little))
    assert found is not None
    assert other is not None
    assert (found.cause, other.cause) == ("callback Keeper", "unknown")
    assert "7.69 ms longer in each step" in found.evidence  # 30 of 39 parts of 10 ms
