"""Ctrl-C is held back while steps run, and never lost; stretches of steps grow to a twentieth of a second or so."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from epochwise.engine.interrupts import Interrupts, StoppedError, Stopping
from epochwise.engine.pace import SECONDS, Pace


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def stretch(interrupts, done=None, error=None):
    """A stretch of steps during which Ctrl-C is pressed."""
    with interrupts.held():
        interrupt()
        if error is not None:
            raise error
        if done is not None:
            done.append("all of it")


def test_what_is_held_is_finished_first():
    """The interrupt takes effect at the end of the stretch, once."""
    done = []
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            stretch(interrupts, done)
        with interrupts.held():
            done.append("the next")
    assert done == ["all of it", "the next"]


def test_elsewhere_it_takes_effect_at_once_and_the_handler_comes_back():
    """Between stretches nothing is different from without."""

    def between_stretches():
        with Interrupts():
            interrupt()
            pytest.fail("not interrupted")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        between_stretches()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_in_a_stretch_is_not_hidden():
    """What was raised is raised; an interrupt that came before it is not delivered in its place."""
    with Interrupts() as interrupts, pytest.raises(ValueError, match="mine"):
        stretch(interrupts, error=ValueError("mine"))


def test_in_another_thread_nothing_is_touched():
    """Only the main thread may set handlers."""
    found = []

    def work():
        with Interrupts() as interrupts, interrupts.held():
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


def test_a_thread_that_is_told_to_stop_finishes_its_stretch():
    """It stops at the end of it, and once: what is then cleaned up in another stretch is not cut short."""
    told, done = threading.Event(), []
    stopping = Stopping(told)
    stopping.check()

    def told_within():
        with stopping.held():
            told.set()
            done.append("all of it")

    with pytest.raises(StoppedError):
        told_within()
    with stopping.held():
        done.append("cleaned up")
    assert done == ["all of it", "cleaned up"]


@pytest.mark.parametrize("seconds", [1e-6, 2e-4, 0.01, 3.0])
def test_stretches_come_to_last_as_long_as_wanted(seconds):
    """From one step on, by what was seen; a step longer than that is a stretch of its own."""
    pace = Pace()
    assert pace.steps == 1
    for _ in range(12):
        pace.saw(pace.steps, pace.steps * seconds)
    assert abs(pace.steps - max(1, SECONDS / seconds)) <= 1


def test_a_slow_first_step_does_not_slow_what_follows():
    """The first call may compile."""
    pace = Pace()
    pace.saw(1, 5.0)
    for _ in range(8):
        pace.saw(pace.steps, pace.steps * 1e-3)
    assert pace.steps == 75
