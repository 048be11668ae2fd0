"""What must hold exactly in P6: it is seen when it holds, and when a single number is off."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from epochwise.experiments import canvas as on
from epochwise.experiments.protocols import p6, p6_checks
from tests.experiments import made_up

STUDY = made_up.study()
WIDE = on.large(STUDY)
DENSE, CONV = (arm for arm in p6.arms(STUDY) if arm.exact and arm.place == WIDE.corner)


@pytest.fixture(autouse=True)
def objects(monkeypatch):
    """Images to look at."""
    x = np.random.default_rng(3).random((80, 28, 28, 1)).astype(np.float32)
    monkeypatch.setattr(p6_checks, "images", lambda source: SimpleNamespace(x_test=x))


def kept(first, last):
    """A result with weights."""
    arrays = {f"first_{number}": weight.astype(np.float32) for number, weight in enumerate(first)}
    arrays |= {f"last_{number}": weight.astype(np.float32) for number, weight in enumerate(last)}
    trial = STUDY.trial(STUDY.models[0], seed=0, steps=1)
    return made_up.result(trial, {"test": {"steps": [100]}}, arrays)


def passed(arm, first, last):
    """By the first words of what is checked."""
    made = p6_checks.checks(STUDY, WIDE, [(arm, [kept(first, last)])])
    return [check.passed for check in made]


def test_weights_of_dark_pixels_must_not_have_moved_by_a_bit():
    """Rows inside the box may; one number outside of it that is off by its last bit is found."""
    generator = np.random.default_rng(0)
    first = generator.normal(0, 0.1, (42 * 42, 64)).astype(np.float32)
    rows = (np.arange(14)[:, None] * 42 + np.arange(14)).ravel()
    last = first.copy()
    last[rows] += 0.1
    assert passed(DENSE, [first], [last]) == [True]
    last[20 * 42 + 20, 5] = np.nextafter(last[20 * 42 + 20, 5], np.float32(1))
    assert passed(DENSE, [first], [last]) == [False]
    assert passed(DENSE, [first], [first]) == [False]  # nothing was trained at all


def head(generator):
    """Weights of a CNN before and after training at the corner, as they must come out."""
    first = [
        generator.normal(0, 0.3, (3, 3, 1, 16)),
        generator.normal(0, 0.1, 16),
        generator.normal(0, 0.2, (3, 3, 16, 8)),
        generator.normal(0, 0.1, 8),
        generator.normal(0, 0.05, (9, 9, 8, 10)),
        np.zeros(10),
    ]
    last = [weight + generator.normal(0, 0.05, weight.shape) for weight in first[:4]]
    update = np.broadcast_to(generator.normal(0, 0.1, (8, 10)), (9, 9, 8, 10)).copy()
    update[:4, :4] += generator.normal(0, 0.1, (4, 4, 8, 10))
    return first, last, update


def test_weights_of_background_cells_must_move_alike():
    """All but 16 of 81 cells get one update per channel and class; a cell with another one is found."""
    first, last, update = head(np.random.default_rng(1))

    def with_head(change):
        weights = [*last, (first[4] + change).reshape(648, 10), first[5]]
        return passed(CONV, [*first[:4], first[4].reshape(648, 10), first[5]], weights)

    assert with_head(update) == [True, True, True]
    update[6, 7, 3, 2] += 0.001
    assert with_head(update) == [False, True, True]
