"""As many threads run a program as are quickest just now, and the numbers do not depend on it."""

from __future__ import annotations

import random

import pytest

from epochwise.engine.workers import Workers
from tests.engine.test_compiled import same_bits, small, trained

STRETCH = 0.075


def simulated(workers, seconds_of_step, until, noise=0.0):
    """Seconds spent by each number of threads while a step takes ``seconds_of_step(threads, now)``, in stretches."""
    random.seed(1)
    spent, now = {}, 0.0
    while now < until:
        left = max(1, round(STRETCH / seconds_of_step(workers.now, now)))
        while left:
            threads, steps = workers.next(left)
            assert 1 <= steps <= left
            seconds = steps * seconds_of_step(threads, now) * (1 + noise * random.random())
            workers.took(threads, steps, seconds)
            spent[threads] = spent.get(threads, 0.0) + seconds
            now, left = now + seconds, left - steps
    return spent


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("step", [2e-5, 1e-3, 0.05, 2.0])
def test_all_threads_where_they_help(step, noise):
    """Trials of fewer take a few hundredths of the time, however long a step is."""
    workers = Workers(2)
    spent = simulated(workers, lambda threads, now: step / threads**0.8, max(10.0, 600 * step), noise)
    assert workers.now == 2
    assert spent.get(1, 0.0) < 0.03 * sum(spent.values())


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_one_where_threads_wait_for_each_other(noise):
    """It is found out within the first hundredths of a second."""
    workers = Workers(8)
    spent = simulated(workers, lambda threads, now: 1.5e-5 * (1 + 2 * (threads > 1)), 2.0, noise)
    assert workers.now == 1
    assert spent[1] > 0.85 * sum(spent.values())


def test_some_of_many():
    """Half the threads are a choice as well."""
    workers = Workers(8)
    simulated(workers, lambda threads, now: 1e-4 * (1 / threads + 0.1 * threads), 3.0)
    assert workers.now in (2, 4)


def test_it_follows_the_machine():
    """Cores that are far apart for a while: soon after it begins and soon after it ends, the better number is chosen."""

    def seconds(threads, now):
        return (4e-5 if 5 < now < 10 else 1e-5) if threads == 2 else 1.5e-5

    workers = Workers(2)
    assert simulated(workers, seconds, 5.0).get(1, 0.0) < 0.2
    assert simulated(workers, lambda threads, now: seconds(threads, 7), 5.0)[1] > 3.5
    assert simulated(workers, seconds, 5.0)[2] > 3.5


def test_a_crew_of_one():
    """Has no choice, and its steps are not cut into pieces."""
    assert Workers(1).next(1000) == (1, 1000)


@pytest.mark.parametrize("threads", [2, 5])
def test_whoever_does_the_shares(threads, monkeypatch):
    """One thread, all, and some now and then: the same bits."""
    usual = trained(small(), threads)
    monkeypatch.setattr(Workers, "took", lambda *_: None)
    for choose in (lambda: 1, lambda: threads, lambda: random.randint(1, threads)):
        monkeypatch.setattr(Workers, "next", lambda self, steps, choose=choose: (choose(), min(steps, 2)))
        assert same_bits(trained(small(), threads), usual)
