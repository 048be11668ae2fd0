"""Notes on what disturbed a measurement from outside."""

from __future__ import annotations

import numpy as np

from epochwise.measuring.disturbances import disturbances

STEADY = [1e-4 * (1 + 0.02 * (number % 5)) for number in range(40)]
SHARED = [pace * (1.7 if number % 3 else 1.0) for number, pace in enumerate(STEADY)]


def test_a_quiet_machine_has_no_notes() -> None:
    """Nor has one of which nothing is known, or on which a single piece of work was slow."""
    assert disturbances(0.05, "", [STEADY]) == ()
    assert disturbances(0.05, "", []) == ()
    assert disturbances(None, "", [SHARED]) == ()
    assert disturbances(0.05, "", [[*STEADY, 1e-2]]) == ()


def test_a_processor_that_does_not_keep_its_speed_is_told_of() -> None:
    """By how much, usually and at worst; where a program is seen to be the cause, that program is named instead."""
    (note,) = disturbances(0.05, "", [SHARED])
    assert "1.7 times as long as at best" in note
    assert "no other program was busy" in note
    (note,) = disturbances(1.2, " (cc1plus)", [SHARED])
    assert "Other programs used 1.2 cores" in note
    assert "(cc1plus)" in note
    assert "did not keep its speed" not in note


def test_processes_of_different_speed_are_not_a_changing_processor() -> None:
    """Each process is compared with itself: one may run on a slower core, or beside threads of its own."""
    slower = [1.5 * pace for pace in STEADY]
    assert disturbances(0.0, "", [STEADY, slower]) == ()
    assert len(disturbances(0.0, "", [STEADY, list(np.multiply(1.5, SHARED))])) == 1
