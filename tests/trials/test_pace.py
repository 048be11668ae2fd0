"""How far a plan is, and how long it will take."""

from __future__ import annotations

import pytest

from epochwise.trials import Finished, Store, status
from epochwise.trials.pace import Pace
from tests.trials import toys


class Clock:
    """A clock that stands still unless it is told to go on."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("epochwise.trials.pace.time", clock)
    return clock


def test_nothing_is_known_before_anything_is_done():
    """No guess; and nothing to do takes no time."""
    assert Pace([toys.trial(seed=1)], {}, 2).seconds_left() is None
    assert Pace([], {}, 2).seconds_left() == 0.0
    assert Pace([toys.trial(seed=1)], {}, 2).sentence() == "0 of 1 trials"


def test_time_left_is_cost_left_by_the_rate_so_far(clock):
    """Each function has its own rate, one that is not known yet that of all together; the clock goes on meanwhile."""
    plan = [toys.trial(seed=0, cost=4), *(toys.trial(seed=seed, cost=3) for seed in range(1, 7)), toys.trial("burn", seed=1)]
    pace = Pace(plan, {plan[0].key: 8.0}, workers=2)  # 2 seconds for a unit
    assert pace.seconds_left() == pytest.approx((6 * 3 * 2 + 1 * 2) / 2)
    pace.finished(plan[1].key, 12.0)  # now 20 seconds for 7 units
    assert pace.seconds_left() == pytest.approx((5 * 3 + 1) * 20 / 7 / 2)
    pace.finished(plan[-1].key, 100.0)  # a function of its own
    assert pace.seconds_left() == pytest.approx(5 * 3 * 20 / 7 / 2)
    clock.now += 5
    assert pace.seconds_left() == pytest.approx(5 * 3 * 20 / 7 / 2 - 5)
    assert pace.sentence() == "3 of 8 trials, about 16 s left"
    assert (pace.done, pace.total) == (8, 23)


def test_the_longest_trial_is_not_shared_out(clock):
    """Ten workers do not make one trial shorter."""
    plan = [toys.trial(seed=0), toys.trial(seed=1, cost=60)]
    assert Pace(plan, {plan[0].key: 2.0}, workers=10).seconds_left() == pytest.approx(120)
    assert Pace(plan, {plan[0].key: 2.0}, workers=10).sentence() == "1 of 2 trials, about 2 min left"
    assert Pace(plan, {plan[0].key: 300.0}, workers=10).sentence() == "1 of 2 trials, about 5.0 h left"


def test_status_counts_the_plan_and_not_the_store(tmp_path):
    """Of other plans in the same store nothing is counted; a trial that is there twice counts once."""
    plan = [toys.trial(seed=seed) for seed in range(4)]
    with Store(tmp_path / "trials.sqlite") as store:
        for trial, seconds in ((plan[0], 3.0), (plan[1], 5.0), (toys.trial(seed=99), 1000.0)):
            store.put(trial, Finished(trial.key, b"\x80", b"\x80", b"\x80", "", seconds, "", "", "", ""))
        now = status([*plan, plan[0]], store, workers=2)
    assert (now.done, now.total, now.seconds) == (2, 4, 8.0)
    assert now.seconds_left == pytest.approx(4.0, abs=0.5)
