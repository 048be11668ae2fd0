"""Steps that grow slower are found, told from chance, and given the cause that the measurements show."""

from __future__ import annotations

import numpy as np
import pytest

from epochwise.measuring.growing import growth_of

STEADY = [0.01] * 40
SIZE = [1_000_000_000] * 40


def rising(by: float, noise: float = 0.0) -> list[float]:
    """Steps that take so much longer at the end, with noise."""
    generator = np.random.default_rng(0)
    return [0.01 * (1 + by * place / 39) * (1 + noise * generator.standard_normal()) for place in range(40)]


def test_steady_steps_do_not_grow() -> None:
    """Nor does noise look like growth."""
    assert growth_of(STEADY, SIZE, {}, []) is None
    assert growth_of(rising(0.0, noise=0.3), SIZE, {}, []) is None
    assert growth_of(rising(0.05), SIZE, {}, []) is None


def test_the_size_of_the_growth() -> None:
    """From the first to the last quarter, with an interval that does not reach zero."""
    found = growth_of(rising(1.0, noise=0.02), SIZE, {}, [])
    assert found is not None
    assert found.share == pytest.approx(0.67, abs=0.1)
    assert 0 < found.low <= found.share <= found.high
    assert found.cause == "unknown"


def test_denormals_come_first() -> None:
    """Weights that have become denormal explain it, whatever else is seen."""
    found = growth_of(rising(1.0), [10**9 + place * 10**8 for place in range(40)], {"denormals": 0.2}, [rising(1.0)])
    assert found is not None
    assert found.cause == "denormals"
    assert "20.0% of the weights" in found.evidence


def test_a_machine_that_slows_down_slows_both() -> None:
    """The model measured in turn shows it; one that stays as it was shows that it is not the machine."""
    slower = growth_of(rising(0.8), SIZE, {}, [rising(0.7)])
    alone = growth_of(rising(0.8), SIZE, {}, [STEADY])
    assert slower is not None
    assert alone is not None
    assert (slower.cause, alone.cause) == ("machine", "unknown")


def test_a_process_that_grows() -> None:
    """A list that keeps every loss with its graph makes the process grow."""
    found = growth_of(rising(0.5), [10**9 + place * 10**8 for place in range(40)], {}, [])
    assert found is not None
    assert found.cause == "memory"
    assert "grew by 3,900 MB" in found.evidence
