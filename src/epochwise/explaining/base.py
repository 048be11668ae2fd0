"""Evidence for the causes that the time identity itself gives."""

from __future__ import annotations

import math

from epochwise.explaining.evidence import Case, calls_python, only_moves
from epochwise.explaining.explanation import Cause, PlaceSeconds
from epochwise.explaining.places import UNATTRIBUTED
from epochwise.explaining.probing import BATCH
from epochwise.explaining.vocabulary import (
    ARITHMETIC,
    HIGH,
    KERNELS,
    KERNELS_OR_OVERHEAD,
    LOW,
    MEDIUM,
    MEMORY,
    OVERHEAD,
    TURN,
)
from epochwise.explaining.wording import percent, seconds_text, times

LEAST_SHARE = 0.05
FEWEST_TURNS = 3
"""To tell a usual turn from one that stalled."""


def describe(case: Case, name: str, seconds: float, places: tuple[PlaceSeconds, ...]) -> Cause:
    """A cause of the time identity: what was measured, how sure it is, and what would remove it."""
    if name == TURN:
        places = ()
    evidence, sure, rule, remedy = _TELL[name](case, seconds, places) if name in _TELL else ("", LOW, "", "")
    left = case.epoch - seconds if remedy and seconds > 0 else None
    if name == OVERHEAD and _pays(case):
        left = _with_larger_batch(case)
    return Cause(name, seconds, evidence, sure, rule, remedy, left, places)


_Told = tuple[str, str, str, str]
"""Evidence, how sure, rule, remedy."""


def _arithmetic(case: Case, seconds: float, places: tuple[PlaceSeconds, ...]) -> _Told:
    most = f"; {percent(places[0].seconds / seconds)} of it in {places[0].name} {places[0].phase}" if places and seconds else ""
    return (
        f"{case.counts.per_sample.training_macs:,} MACs a sample at a peak of {case.machine.peak / 1e9:,.0f} GFLOP/s{most}",
        MEDIUM,
        "2 FLOPs for each training MAC, at the peak that was measured on this machine",
        "",
    )


def _memory(case: Case, seconds: float, places: tuple[PlaceSeconds, ...]) -> _Told:
    del seconds
    moved = math.fsum(case.kernel_seconds(kernel) for kernel in case.kernels if only_moves(kernel))
    text = "layers whose bytes take longer than their FLOPs, at the bandwidth measured for their size"
    if moved >= LEAST_SHARE * case.epoch:
        where = f", most in {places[0].name}" if places else ""
        text += f"; and kernels that only copy or convert numbers run for {seconds_text(moved)}{where}"
    remedy = "no copies and casts between layers" if moved >= LEAST_SHARE * case.epoch else ""
    return text, MEDIUM, "bytes at the borders of layers over the measured bandwidth, and kernels by their names", remedy


def _kernels(case: Case, seconds: float, places: tuple[PlaceSeconds, ...]) -> _Told:
    del seconds
    busy = case.split.busy
    if busy is None:
        return "", LOW, "", ""
    roofline = math.fsum(least for *_, least in case.work())
    far = f", {times(busy.median / roofline)} times their roofline" if roofline else ""
    most = [f"{place.name} {place.phase} {seconds_text(place.seconds)}" for place in places[:3]]
    text = f"kernels run for {seconds_text(busy.median)}{far}"
    return (
        f"{text}; beyond it: {', '.join(most)}" if most else text,
        MEDIUM,
        "kernel times of the profile, scaled to undisturbed steps, less the roofline of each layer and phase",
        "kernels at the roofline, which another framework or layout of the data may be nearer to",
    )


def _overhead(case: Case, seconds: float, places: tuple[PlaceSeconds, ...]) -> _Told:
    each = seconds / case.steps
    python = sorted({kernel.layer or "" for kernel in case.kernels if calls_python(kernel)})
    where = f"; {percent(places[0].seconds / seconds)} of it in {places[0].name}" if places and seconds > 0 else ""
    called = f"; {', '.join(filter(None, python))} calls Python" if any(python) else ""
    probe = case.probe(BATCH)
    remedy = "fewer, larger steps, or a compiled step" if probe is None else "a compiled step; larger batches gain nothing here"
    if probe is not None and _pays(case):
        remedy = f"larger batches: the epoch that would be left was measured with {probe.batch_size} samples a step"
    if case.split.busy is None:
        return "", LOW, "", ""
    return (
        f"in {percent(seconds / case.epoch)} of the epoch no kernel runs and the loop does nothing else that was timed:"
        f" {seconds_text(each)} in each of {case.steps:,} steps{where}{called}",
        MEDIUM,
        "time of the profile in which no kernel runs, less input and callbacks",
        remedy,
    )


def _joint(case: Case, seconds: float, places: tuple[PlaceSeconds, ...]) -> _Told:
    del case, seconds, places
    return "no profile could be made that would tell them apart", LOW, "what is left of the steps", ""


def _turn(case: Case, seconds: float, places: tuple[PlaceSeconds, ...]) -> _Told:
    del seconds, places
    seen = len(case.measured.turns)
    few = not case.measured.whole_epochs and seen < FEWEST_TURNS
    return (
        "usual turn seen: from the last step of an epoch to the first of the next, without callbacks and validation"
        + (f"; only {seen} were seen, and turns sometimes stall" if few else ""),
        LOW if few else HIGH,
        "timed by itself",
        "",
    )


def _unattributed(case: Case, seconds: float, places: tuple[PlaceSeconds, ...]) -> _Told:
    del case, seconds, places
    return "kernels that the profile assigns to no layer", LOW, "kernels without the scope of a layer", ""


_TELL = {
    UNATTRIBUTED: _unattributed,
    ARITHMETIC: _arithmetic,
    MEMORY: _memory,
    KERNELS: _kernels,
    OVERHEAD: _overhead,
    KERNELS_OR_OVERHEAD: _joint,
    TURN: _turn,
}


def _pays(case: Case) -> bool:
    """Whether an epoch was shorter with larger batches."""
    epoch = _with_larger_batch(case)
    return epoch is not None and epoch < case.epoch


def _with_larger_batch(case: Case) -> float | None:
    probe = case.probe(BATCH)
    if probe is None:
        return None
    steps = math.ceil(case.measured.samples / probe.batch_size)
    return probe.seconds_per_step.median * steps + math.fsum(case.split.turn.values())
