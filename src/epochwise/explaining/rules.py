"""The rules by which causes are found: each looks at the measurements and says what it sees, or nothing.

A rule takes its seconds from the accounts of the time identity; see :class:`~epochwise.explaining.accounts.Accounts`. Rules
that rest on a probe (something was taken away, and the step became shorter) come first, since nothing is surer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

from epochwise.explaining.accounts import Accounts, Finding, Taken
from epochwise.explaining.evidence import UPDATE, Case, transfers
from epochwise.explaining.explanation import Cause, PlaceSeconds
from epochwise.explaining.probing import DENORMALS_OUT, NOT_COMPILED, ONE_THREAD, fixed_share, gain
from epochwise.explaining.vocabulary import (
    CALLBACKS,
    COMPILATION,
    DENORMALS,
    HIGH,
    INPUT,
    KERNELS,
    LOWERING,
    MEDIUM,
    MEMORY,
    OVERHEAD,
    STEPS,
    SWEEP,
    THREADS,
    TRANSFER,
)
from epochwise.explaining.wording import listed, percent, seconds_text, times
from epochwise.measuring.measurement import VALIDATION
from epochwise.tracing.recorder import OPTIMIZER

CALLBACK = "callback "
USUAL_BATCH = 32
"""Of Keras and of epochwise; only smaller batches are said to make too many steps."""
MANY_KERNELS = 100
"""Kernels that one layer runs in a step: no layer needs as many, unless it loops over something."""
SHORT_KERNEL_SECONDS = 100e-6
_ONE_THREAD = {True: "torch.set_num_threads(1)", False: "the whole process on one core, taskset -c 0 python ..."}
"""What makes a step use one thread, on PyTorch and elsewhere: what was measured."""

Rule = Callable[[Case, Accounts], Finding | None]


def threads(case: Case, accounts: Accounts) -> Finding | None:
    """Steps are shorter with one thread."""
    probe = case.probe(ONE_THREAD)
    seconds = gain(probe, case)
    if probe is None or seconds is None:
        return None
    used = int(probe.found.get("threads", 0))
    many = f"{used} threads" if used else "all threads"
    return Finding(
        Cause(
            THREADS,
            seconds,
            f"a step takes {seconds_text(probe.seconds_per_step.median)} with one thread and"
            f" {seconds_text(probe.usual_seconds_per_step)} with {many}",
            HIGH,
            f"measured with one thread, {probe.steps} steps, beside as many usual ones",
            f"one thread: {_ONE_THREAD[case.measured.backend in ('torch', 'pytorch')]}",
            case.epoch - seconds,
        ),
        accounts.share_of(seconds, (OVERHEAD, KERNELS, MEMORY)),
        places=(),
    )


def denormals(case: Case, accounts: Accounts) -> Finding | None:
    """Steps are shorter when numbers too small to be normal are zero."""
    probe = case.probe(DENORMALS_OUT)
    seconds = gain(probe, case)
    if probe is None or seconds is None:
        return None
    share = probe.found.get("denormals", 0.0)
    return Finding(
        Cause(
            DENORMALS,
            seconds,
            f"{percent(share)} of the weights are denormal (below 1.2e-38); with zeros in their place a step takes"
            f" {seconds_text(probe.seconds_per_step.median)}, not {seconds_text(probe.usual_seconds_per_step)}",
            HIGH,
            f"measured with these weights set to zero, {probe.steps} steps, beside as many usual ones",
            "torch.set_flush_denormal(True) before training, or no weight decay without end",
            case.epoch - seconds,
        ),
        accounts.share_of(seconds, (KERNELS, OVERHEAD, MEMORY)),
    )


def not_worth_compiling(case: Case, accounts: Accounts) -> Finding | None:
    """Steps are shorter without the compiler."""
    probe = case.probe(NOT_COMPILED)
    seconds = gain(probe, case)
    if probe is None or seconds is None:
        return None
    return Finding(
        Cause(
            LOWERING,
            seconds,
            f"compiled by XLA a step takes {seconds_text(probe.usual_seconds_per_step)}, without it"
            f" {seconds_text(probe.seconds_per_step.median)}",
            HIGH,
            f"measured with jit_compile=False, {probe.steps} steps, beside as many compiled ones",
            "compile(..., jit_compile=False)",
            case.epoch - seconds,
        ),
        accounts.share_of(seconds, (KERNELS, OVERHEAD, MEMORY)),
    )


def number_of_steps(case: Case, accounts: Accounts) -> Finding | None:
    """A batch smaller than usual pays what a step costs whatever its size too often."""
    batch = case.measured.batch_size
    found = fixed_share(case)
    if batch >= USUAL_BATCH or found is None:
        return None
    probe, share = found
    spared = 1 - batch / USUAL_BATCH
    seconds = share * spared * (case.epoch - math.fsum(case.split.turn.values()))
    if seconds <= 0:
        return None
    return Finding(
        Cause(
            STEPS,
            seconds,
            f"{case.steps:,} steps of {batch} samples: of the {seconds_text(probe.usual_seconds_per_step)} of a step"
            f" {seconds_text(share * probe.usual_seconds_per_step)} do not depend on the batch"
            f" (with {probe.batch_size} samples it takes {seconds_text(probe.seconds_per_step.median)})",
            HIGH,
            f"a line through the step times of two batch sizes; counted is what batches of {USUAL_BATCH} would spare",
            f"a batch of {USUAL_BATCH} or more",
            case.epoch - seconds,
        ),
        accounts.share_of(seconds, (OVERHEAD, KERNELS, MEMORY)),
        places=(),
    )


def input_pipeline(case: Case, accounts: Accounts) -> Finding | None:
    """The loop waits for its next batch."""
    seconds = accounts.total(INPUT)
    if seconds <= 0:
        return None
    timed = any(time.place == INPUT and not time.in_turn for time in case.measured.host)
    how = "timed around the iterator in undisturbed steps, less what kernels ran meanwhile" if timed else "from the profile"
    return Finding(
        Cause(
            INPUT,
            seconds,
            f"the loop waits {seconds_text(seconds / case.steps)} for each of {case.steps:,} batches while no kernel runs",
            HIGH if timed else MEDIUM,
            how,
            "batches made ahead in other threads or processes (prefetch, workers), or data kept in memory",
            case.epoch - seconds,
        ),
        accounts.all_of(INPUT),
        places=(),
    )


def callbacks(case: Case, accounts: Accounts) -> Finding | None:
    """Callbacks and validation take time."""
    names = [name for name in accounts.totals() if name.startswith(CALLBACK) or name == VALIDATION]
    taken = tuple(take for name in names for take in accounts.all_of(name))
    seconds = math.fsum(take.seconds for take in taken)
    if seconds <= 0:
        return None
    by_name = sorted(((accounts.total(name), name) for name in names), reverse=True)
    worst = by_name[0][1]
    remedy = "validation_freq, or fewer validation samples" if worst == VALIDATION else f"less work in {worst}, or less often"
    return Finding(
        Cause(
            CALLBACKS,
            seconds,
            f"of each epoch {listed([f'{seconds_text(spent)} {name}' for spent, name in by_name])}",
            HIGH,
            "timed around each callback's methods and around evaluation, in undisturbed steps",
            remedy,
            case.epoch - seconds,
        ),
        taken,
        places=tuple(PlaceSeconds(name, None, spent) for spent, name in by_name),
    )


def device_transfer(case: Case, accounts: Accounts) -> Finding | None:
    """Copies between main memory and a device."""
    copies = [kernel for kernel in case.kernels if transfers(kernel)]
    seconds = math.fsum(case.kernel_seconds(kernel) for kernel in copies)
    if not seconds:
        return None
    return Finding(
        Cause(
            TRANSFER,
            seconds,
            f"{times(math.fsum(kernel.calls_per_step for kernel in copies))} copies between memory and device in a step",
            MEDIUM,
            "kernels of the profile that copy between main memory and the device",
            "data kept on the device, or pinned memory and non_blocking copies",
            case.epoch - seconds,
        ),
        accounts.share_of(seconds, ("unattributed", KERNELS)),
        places=(),
    )


def lowering(case: Case, accounts: Accounts) -> Finding | None:
    """One layer runs a great many short kernels: it loops over something, where one kernel could do."""
    calls: defaultdict[str, float] = defaultdict(float)
    seconds: defaultdict[str, float] = defaultdict(float)
    for kernel in case.kernels:
        if kernel.layer is not None and kernel.layer != OPTIMIZER:
            calls[kernel.layer] += kernel.calls_per_step
            seconds[kernel.layer] += kernel.seconds_per_step
    looped = [name for name in calls if calls[name] >= MANY_KERNELS and seconds[name] < calls[name] * SHORT_KERNEL_SECONDS]
    if not looped:
        return None
    takes = [take for name in looped for take in accounts.all_of(KERNELS, name) if take.seconds > 0]
    takes += [take for name in looped for take in accounts.all_of(OVERHEAD, name) if take.seconds > 0]
    nowhere = accounts.at(OVERHEAD, (None, None))
    share = math.fsum(calls[name] for name in looped) / math.fsum(kernel.calls_per_step for kernel in case.kernels)
    if nowhere > 0:
        takes.append(Taken(OVERHEAD, (None, None), nowhere * share))
    total = math.fsum(take.seconds for take in takes)
    worst = max(looped, key=lambda name: calls[name])
    places = defaultdict[str, float](float)
    for take in takes:
        places[take.place[0] or worst] += take.seconds
    return Finding(
        Cause(
            LOWERING,
            total,
            f"{worst} runs {calls[worst]:,.0f} kernels in a step, {seconds_text(seconds[worst] / calls[worst])} each"
            f" ({percent(share)} of all kernels of the step)",
            MEDIUM,
            f"a layer with {MANY_KERNELS} kernels or more in a step that are shorter than {seconds_text(SHORT_KERNEL_SECONDS)}",
            "options that the framework's fused kernel takes, or the loop's body as one operation over the whole sequence",
            case.epoch - total,
        ),
        tuple(takes),
        places=tuple(PlaceSeconds(name, None, spent) for name, spent in sorted(places.items(), key=lambda item: -item[1])),
    )


def optimizer_sweep(case: Case, accounts: Accounts) -> Finding | None:
    """Each step goes through all weights, and through the optimizer's state."""
    taken = tuple(
        take for cause in (MEMORY, KERNELS) for take in accounts.all_of(cause) if take.place[1] == UPDATE and take.seconds
    )
    seconds = math.fsum(take.seconds for take in taken)
    if seconds <= 0:
        return None
    counts = case.counts
    numbers = counts.parameters.trainable + counts.memory_bytes.optimizer // 4
    return Finding(
        Cause(
            SWEEP,
            seconds,
            f"kernels of the update run for {seconds_text(seconds / case.steps)} in each of {case.steps:,} steps, over"
            f" {counts.parameters.trainable:,} weights ({numbers:,} numbers with the optimizer's own)",
            MEDIUM,
            "kernels of the profile that belong to the optimizer",
            "larger batches (each sweep then serves more samples), an optimizer with less state, or sparse updates",
            case.epoch - seconds,
        ),
        taken,
        places=(PlaceSeconds(OPTIMIZER, UPDATE, seconds), *_tables(case)),
    )


def _tables(case: Case) -> tuple[PlaceSeconds, ...]:
    """Layers whose weights are most of what is swept, without seconds of their own."""
    total = case.counts.parameters.total or 1
    return tuple(PlaceSeconds(row.name, UPDATE, 0.0) for row in case.counts.layers if row.parameters > total / 2)


RULES: tuple[Rule, ...] = (
    threads,
    denormals,
    not_worth_compiling,
    number_of_steps,
    input_pipeline,
    callbacks,
    device_transfer,
    lowering,
    optimizer_sweep,
)
"""In the order in which they take their seconds."""


def first_epoch(case: Case) -> tuple[Cause, ...]:
    """Why the first epoch takes longer than a later one, in seconds beyond it."""
    measured = case.measured
    step = (case.epoch - math.fsum(case.split.turn.values())) / case.steps
    start = measured.first_step_seconds - step
    if start <= 0:
        return ()
    compiling = Cause(
        COMPILATION,
        start,
        f"from the call of the training loop to the end of the first step {seconds_text(measured.first_step_seconds)} pass;"
        f" a later step takes {seconds_text(step)}",
        HIGH,
        "timed from the start of training to the end of the first step",
        "nothing in later epochs; a compilation cache where the framework has one",
        None,
    )
    return (compiling,)
