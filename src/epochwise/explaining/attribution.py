"""The epoch split into what can be told apart: kernels, the host's stays without a kernel, dispatch, and the turn.

The host's stays (input, callbacks, validation) were timed in undisturbed steps. The profile says for which share of each no
kernel ran: only that is waiting. What is left of the steps is split into kernels and dispatch as the profile has it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

from epochwise.measuring.measurement import DISPATCH, TURN, Interval, ModelMeasurement, Profile


class Attribution(NamedTuple):
    """Seconds of an epoch; ``waits``, ``turn``, ``busy`` and ``dispatch`` add up to it.

    Attributes:
        waits: by place of the host, during steps, without a kernel.
        turn: by place of the host, between two epochs; what is left under ``turn between epochs``.
        busy: time in which a kernel runs; low and high if the profiler's cost fell wholly inside, or wholly outside the
            kernels; ``None`` without a profile.
        rest: steps without the waits: kernels and dispatch.
        scale: from a profiled second of a kernel in a step to seconds of an epoch; 0 without a profile.
    """

    waits: dict[str, float]
    turn: dict[str, float]
    busy: Interval | None
    rest: float
    scale: float

    @property
    def dispatch(self) -> float | None:
        """Time of the steps in which no kernel runs and the host does none of the things that are told apart."""
        return None if self.busy is None else self.rest - self.busy.median


def turn_seconds(measured: ModelMeasurement) -> float:
    """Seconds of an epoch between its last step and the first of the next."""
    if measured.whole_epochs:
        in_turn = math.fsum(time.seconds for time in measured.host if time.in_turn)
        return min(in_turn, measured.epoch_seconds.median)  # medians of parts may add up to more than the whole
    return measured.turn_seconds or 0.0


def steps_seconds(measured: ModelMeasurement) -> float:
    """Seconds of an epoch spent in its steps."""
    return measured.epoch_seconds.median - turn_seconds(measured)


def attribution(measured: ModelMeasurement) -> Attribution:
    """Split the epoch of one model."""
    steps, turn = steps_seconds(measured), _turn(measured)
    profile = measured.profile
    timed: defaultdict[str, float] = defaultdict(float)
    for time in measured.host:
        if not time.in_turn and time.place != TURN:
            timed[time.place] += time.seconds * _idle_share(profile, time.place)
    waits = dict(timed)
    if profile is None or not profile.busy_seconds_per_step:
        return Attribution(_within(waits, steps), turn, None, max(0.0, steps - math.fsum(waits.values())), 0.0)
    told = {idle.place for idle in profile.idle if idle.place != DISPATCH}
    recorded = profile.wall_seconds_per_step - math.fsum(profile.idle_in(place) for place in told & waits.keys())
    undisturbed = max(0.0, steps - math.fsum(waits.values()))
    for place in told - waits.keys():  # seen by the profiler alone
        waits[place] = undisturbed * min(1.0, profile.idle_in(place) / recorded) if recorded > 0 else 0.0
    waits = _within(waits, steps)
    rest = max(0.0, steps - math.fsum(waits.values()))
    recorded_rest = profile.wall_seconds_per_step - math.fsum(profile.idle_in(place) for place in told)
    share, low, high = _busy_shares(profile, recorded_rest, rest / steps if steps else 1.0)
    busy = Interval(share * rest, low * rest, high * rest)
    return Attribution(waits, turn, busy, rest, busy.median / profile.busy_seconds_per_step)


def _busy_shares(profile: Profile, recorded: float, share_of_step: float) -> tuple[float, float, float]:
    """Busy share of what is left of a step; and the least and the most, wherever the profiler's cost fell."""
    busy = profile.busy_seconds_per_step
    share = min(1.0, busy / recorded) if recorded > 0 else 1.0
    undisturbed = profile.undisturbed_seconds_per_step * share_of_step
    if undisturbed <= 0:
        return share, share, share
    cost = max(0.0, recorded - undisturbed)
    low, high = max(0.0, busy - cost) / undisturbed, busy / undisturbed
    return share, min(1.0, low, share), min(1.0, max(high, share))


def _idle_share(profile: Profile | None, place: str) -> float:
    """Share of the host's time in a place in which no kernel ran; all of it where no profile tells."""
    if profile is None or not profile.stays.get(place):
        return 1.0
    return min(1.0, profile.idle_in(place) / profile.stays[place])


def _turn(measured: ModelMeasurement) -> dict[str, float]:
    """Seconds of the turn by place."""
    whole = turn_seconds(measured)
    found: defaultdict[str, float] = defaultdict(float)
    for time in measured.host:
        if time.in_turn:
            found[time.place] += time.seconds
    if not found:
        return {TURN: whole} if whole else {}
    return _within(dict(found), whole)


def _within(seconds: dict[str, float], whole: float) -> dict[str, float]:
    """The same, made smaller where medians of parts add up to more than the whole."""
    total = math.fsum(seconds.values())
    return {place: value * whole / total for place, value in seconds.items()} if total > whole else seconds
