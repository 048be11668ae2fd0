"""Probes: a few steps with one thing changed, beside as many usual ones, to see what that thing costs.

They come after the undisturbed blocks and the profiles, and have a budget of their own.
"""

from __future__ import annotations

import math

import msgspec

from epochwise.measuring.measurement import BATCH, DENORMALS_OUT, NOT_COMPILED, ONE_THREAD, Probe
from epochwise.measuring.messages import Condition, Loaded
from epochwise.measuring.statistics import median_interval
from epochwise.measuring.track import Track

LARGER_BATCH, LEAST_BATCH = 256, 32
"""Samples of a larger batch; fewer where steps of so many would take too long."""
PROBE_SHARE = 0.05
"""Of the measuring budget, for each probe of each model."""
STRETCHES = 5
FEWEST_STEPS = 14
"""Of a probe with the thing changed: the first one, three to see how long one takes, and the stretches with their lead-ins."""
MOST_TIMES = 10
"""The seconds of a probe that its fewest steps may take: half of the measuring budget."""
LONGEST_SECONDS = 2.0
DENORMAL_SHARE_WORTH_A_PROBE = 1e-3


def conditions_for(loaded: Loaded, found: dict[str, float]) -> dict[str, Condition]:
    """What is worth trying with a model.

    Args:
        loaded: what the model said of itself.
        found: what was found in it after training, such as the share of denormal weights.
    """
    tried: dict[str, Condition] = {}
    if not loaded.can_restart:
        return tried
    if loaded.compiled and loaded.backend == "tensorflow":
        tried[NOT_COMPILED] = Condition(compiled=False)
    if found.get("denormals", 0.0) >= DENORMAL_SHARE_WORTH_A_PROBE:
        tried[DENORMALS_OUT] = Condition(denormals=False)
    if loaded.device == "cpu" and loaded.can_change_threads and found.get("threads", 0.0) > 1:
        tried[ONE_THREAD] = Condition(threads=1)
    if loaded.can_change_batch and loaded.batch_size < LARGER_BATCH <= loaded.samples:
        tried[BATCH] = Condition(batch_size=LARGER_BATCH)
    return tried


def probe(track: Track, name: str, condition: Condition, found: dict[str, float], seconds: float) -> Probe | None:
    """Try a model under a condition, between two stretches of usual steps; ``None``, with a note, where that would take long.

    Args:
        track: the model.
        name: of the probe.
        condition: what is changed meanwhile.
        found: kept with the probe.
        seconds: that it may take, without what must be compiled anew.
    """
    expected = _expected_seconds(track, condition)
    while expected > MOST_TIMES * seconds and (condition.batch_size or 0) // 2 >= max(LEAST_BATCH, 2 * track.loaded.batch_size):
        condition = msgspec.structs.replace(condition, batch_size=(condition.batch_size or 0) // 2)
        expected = _expected_seconds(track, condition)
    if expected > MOST_TIMES * seconds:
        track.notes.append(
            f"The trial '{name}' of {track.player.name} was left out: it would take about {expected:,.0f} s."
            f" --seconds {math.ceil(expected / MOST_TIMES / PROBE_SHARE)} leaves room for it."
        )
        return None
    before = _stretches(track, seconds / 4)
    track.change(condition)
    changed = _stretches(track, seconds / 2)
    track.change(Condition())
    usual = median_interval([*before, *_stretches(track, seconds / 4)])
    interval = median_interval(changed)
    steps = max(1, round(seconds / 2 / interval.median)) if interval.median else 0
    batch_size = condition.batch_size or track.loaded.batch_size
    return Probe(name, batch_size, steps, interval, usual.median, found, usual.low) if math.isfinite(usual.median) else None


def _expected_seconds(track: Track, condition: Condition) -> float:
    """What the fewest steps of a trial would take, if each took as many times longer as it has samples."""
    times = (condition.batch_size or track.loaded.batch_size) / track.loaded.batch_size
    return FEWEST_STEPS * track.step_seconds * times


def _stretches(track: Track, seconds: float) -> list[float]:
    """Step times of some stretches that take so long together."""
    steps = max(1, int(min(seconds, LONGEST_SECONDS) / STRETCHES / track.quick_step()))
    found = []
    for _ in range(STRETCHES):
        track.make_room(1 + steps)
        found.append(track.go(1, steps).seconds / steps)
    return found
