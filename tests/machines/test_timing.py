"""Timing: threads run at the same time, repeats stop when they agree, errors and Ctrl-C leave nothing hanging."""

from __future__ import annotations

import threading
import time

import pytest

from epochwise.machines import timing
from epochwise.machines.timing import Crew, Rates, calibrate, rates


def test_tasks_of_a_crew_overlap():
    """Two tasks that wait for each other both end."""
    meeting = threading.Barrier(2)
    with Crew(2) as crew:
        assert crew.seconds([lambda: meeting.wait(10)] * 2) < 10


def test_seconds_are_from_first_start_to_last_end():
    """The slowest decides."""
    with Crew(2) as crew:
        taken = crew.seconds([lambda: None, lambda: time.sleep(0.05)])
    assert 0.05 <= taken < 5


def test_what_a_task_raises_is_raised():
    """And the crew can be left."""
    with pytest.raises(ZeroDivisionError), Crew(2) as crew:
        crew.seconds([lambda: None, lambda: 1 / 0])


def test_leaving_a_crew_frees_threads_that_still_wait():
    """As after Ctrl-C between two submissions."""
    with Crew(2) as crew:
        waiting = crew._pool.submit(crew._start.wait)
    with pytest.raises(threading.BrokenBarrierError):
        waiting.result(timeout=10)


def test_calibrate_finds_the_number_that_takes_the_target_time():
    """A kernel of 1 microsecond is looped 8000 times."""
    times = calibrate(lambda number: number * 1e-6)
    assert times * 1e-6 == pytest.approx(timing.TARGET_SECONDS, rel=0.01)


def test_calibrate_leaves_a_long_kernel_at_one():
    """And calls it once only."""
    calls = []
    assert calibrate(lambda number: calls.append(number) or 3.0) == 1
    assert calls == [1]


def test_repeats_end_when_they_agree():
    """Five equal repeats are enough."""
    assert rates(lambda: 0.5, work=2.0) == Rates((4.0,) * timing.REPEATS)


def test_repeats_go_on_while_they_disagree_but_not_for_ever():
    """A disturbed machine gets ``MOST_REPEATS``."""
    seconds = iter([1.0, 2.0] * 100)
    found = rates(lambda: next(seconds), work=1.0)
    assert len(found.each) == timing.MOST_REPEATS
    assert found.best == 1.0


def test_spread_is_interquartile_range_over_median():
    """Of 1 to 5: quartiles 2 and 4, median 3."""
    assert Rates((1.0, 2.0, 3.0, 4.0, 5.0)).spread == pytest.approx(2 / 3)
