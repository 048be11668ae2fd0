"""Batch and layer normalization (Ioffe and Szegedy 2015, arXiv 1502.03167; Ba, Kiros and Hinton 2016, arXiv 1607.06450).

Legend: ``channels`` numbers (padded) in each of ``blocks`` blocks of a sample. Batch statistics are over all samples of a step,
so each thread works out mean and sum of squared deviations of its own, all wait, and each puts together those of all (Chan,
Golub and LeVeque 1979): ``mean = sum n_t mean_t / n``, ``deviations = sum (d_t + n_t (mean_t - mean)^2)``.
"""

from __future__ import annotations

from epochwise.engine.code import Code, Place, Places, kernel, kernel_of_all, kernel_of_many
from epochwise.engine.simd import Floats, Int, Vector


def _put(target: Floats, number: Vector, add: bool) -> None:
    target.store(target.load(number.lanes) + number if add else number)


@kernel_of_all
def moments(
    code: Code,
    x: Floats,
    moments: Floats,
    blocks: Int,
    channels: Int,
    *,
    place: Places,
    lanes: int,
) -> None:
    """Add the samples of the place to mean and sum of squared deviations of this thread's: ``moments[thread, 2, channels]``."""
    own = moments + place[Place.THREAD] * channels * 2
    before_all = _first_of(place, place[Place.THREAD])
    with code.loop(place.first, place.last) as sample:
        before = (sample - before_all) * blocks
        share = blocks.as_float() / (before + blocks).as_float()
        weight = (share * before.as_float()).spread(lanes)
        with code.loop(0, channels, lanes) as channel:
            mean, deviations = _moments_of(code, x + (sample * blocks * channels + channel), blocks, channels, lanes)
            at = own + channel
            difference = mean - at.load(lanes)
            fresh = share.spread(lanes) >= 1.0
            at.store(fresh.choose(mean, at.load(lanes) + difference * share.spread(lanes)))
            more = (at + channels).load(lanes) + deviations + difference * difference * weight
            (at + channels).store(fresh.choose(deviations, more))


def _moments_of(code: Code, x: Floats, blocks: Int, channels: Int, lanes: int) -> tuple[Vector, Vector]:
    """Mean and sum of squared deviations over the blocks of a sample."""
    total = code.variable(code.zero(lanes))
    with code.loop(0, blocks) as block:
        total.value = total.value + (x + block * channels).load(lanes)
    mean = total.value / blocks.as_float().spread(lanes)
    deviations = code.variable(code.zero(lanes))
    with code.loop(0, blocks) as block:
        difference = (x + block * channels).load(lanes) - mean
        deviations.value = deviations.value + difference * difference
    return mean, deviations.value


def _first_of(place: Places, thread: Int) -> Int:
    """The first sample of a thread."""
    many, threads = place[Place.BATCH], place[Place.THREADS]
    return (thread * ((many + threads - 1) // threads)).min(many)


def _samples_of(place: Places, thread: Int) -> Int:
    """How many samples of the step a thread has."""
    return _first_of(place, thread + 1) - _first_of(place, thread)


@kernel_of_many
def batch_statistics(
    code: Code,
    moments: Floats,
    statistics: Floats,
    running_mean: Floats,
    running_variance: Floats,
    blocks: Int,
    channels: Int,
    momentum: Vector,
    epsilon: Vector,
    *,
    place: Places,
    lanes: int,
) -> None:
    """``statistics[thread, 2, channels]``: mean and 1 / sqrt(variance + epsilon) of the step, in a copy for each thread.

    The first thread moves the running statistics.
    """
    thread, threads = place[Place.THREAD], place[Place.THREADS]
    own = statistics + thread * channels * 2
    count = (place[Place.BATCH] * blocks).as_float()
    with code.loop(0, channels, lanes) as channel:
        total = code.variable(code.zero(lanes))
        with code.loop(0, threads) as other:
            weight = (_samples_of(place, other) * blocks).as_float().spread(lanes)
            theirs = (moments + (other * channels * 2 + channel)).load(lanes)
            total.value = total.value + (weight > 0.0).choose(theirs * weight, 0.0)
        mean = total.value / count.spread(lanes)
        deviations = code.variable(code.zero(lanes))
        with code.loop(0, threads) as other:
            weight = (_samples_of(place, other) * blocks).as_float().spread(lanes)
            at = moments + (other * channels * 2 + channel)
            difference = at.load(lanes) - mean
            theirs = (at + channels).load(lanes) + weight * difference * difference
            deviations.value = deviations.value + (weight > 0.0).choose(theirs, 0.0)
        variance = deviations.value / count.spread(lanes)
        (own + channel).store(mean)
        (own + (channels + channel)).store(1.0 / (variance + epsilon.spread(lanes)).sqrt())
        with code.when(thread.equals(0)):
            for running, number in ((running_mean, mean), (running_variance, variance)):
                stays = momentum.spread(lanes)
                (running + channel).store((running + channel).load(lanes) * stays + number * (1.0 - stays))


@kernel_of_many
def running_statistics(
    code: Code,
    statistics: Floats,
    running_mean: Floats,
    running_variance: Floats,
    channels: Int,
    epsilon: Vector,
    *,
    place: Places,
    lanes: int,
) -> None:
    """The same of the running statistics, which stay as they are."""
    own = statistics + place[Place.THREAD] * channels * 2
    with code.loop(0, channels, lanes) as channel:
        (own + channel).store((running_mean + channel).load(lanes))
        variance = (running_variance + channel).load(lanes)
        (own + (channels + channel)).store(1.0 / (variance + epsilon.spread(lanes)).sqrt())


@kernel
def normalize(
    code: Code,
    x: Floats,
    y: Floats,
    statistics: Floats,
    gamma: Floats,
    beta: Floats,
    blocks: Int,
    channels: Int,
    *,
    place: Places,
    lanes: int,
    relu: bool,
) -> None:
    """``y = gamma (x - mean) / sqrt(variance + epsilon) + beta``, and relu of it."""
    own = statistics + place[Place.THREAD] * channels * 2
    with code.loop(0, channels, lanes) as channel:
        mean, inverse = (own + channel).load(lanes), (own + (channels + channel)).load(lanes)
        scale, shift = (gamma + channel).load(lanes), (beta + channel).load(lanes)
        with code.loop(place.first * blocks, place.last * blocks) as block:
            at = block * channels + channel
            number = ((x + at).load(lanes) - mean) * inverse * scale + shift
            (y + at).store((number < 0.0).choose(0.0, number) if relu else number)


def _arriving(dy: Vector, normal: Vector, scale: Vector, shift: Vector, relu: bool) -> Vector:
    """The gradient before relu. Its result is worked out again, which is cheaper than to keep it and to read it."""
    return (normal * scale + shift > 0.0).choose(dy, 0.0) if relu else dy


@kernel_of_all
def normalization_sums(
    code: Code,
    x: Floats,
    dy: Floats,
    statistics: Floats,
    sums: Floats,
    gamma: Floats,
    beta: Floats,
    gamma_gradient: Floats,
    beta_gradient: Floats,
    blocks: Int,
    channels: Int,
    *,
    place: Places,
    lanes: int,
    relu: bool,
) -> None:
    """Add up ``dy`` and ``dy * normalized x`` over this thread's samples, for the gradients of beta, gamma and the input.

    With ``relu``, ``dy`` counts only where relu let something through.
    """
    thread = place[Place.THREAD]
    own, at_statistics = sums + thread * channels * 2, statistics + thread * channels * 2
    fresh = place.first.equals(_first_of(place, thread))
    with code.loop(0, channels, lanes) as channel:
        mean, inverse = (at_statistics + channel).load(lanes), (at_statistics + (channels + channel)).load(lanes)
        scale, shift = (gamma + channel).load(lanes), (beta + channel).load(lanes)
        plain, along = code.variable(code.zero(lanes)), code.variable(code.zero(lanes))
        with code.loop(place.first * blocks, place.last * blocks) as block:
            at = block * channels + channel
            normal = ((x + at).load(lanes) - mean) * inverse
            arriving = _arriving((dy + at).load(lanes), normal, scale, shift, relu)
            plain.value = plain.value + arriving
            along.value = along.value + arriving * normal
        for offset, gradient, total in ((0, beta_gradient, plain.value), (channels, gamma_gradient, along.value)):
            there = own + (channel + offset)
            before = fresh.as_mask(lanes).choose(0.0, there.load(lanes))
            there.store(before + total)
            _put(gradient + (thread * channels + channel), total, add=True)


@kernel
def normalization_gradient(
    code: Code,
    x: Floats,
    dy: Floats,
    dx: Floats,
    statistics: Floats,
    sums: Floats,
    gamma: Floats,
    beta: Floats,
    blocks: Int,
    channels: Int,
    *,
    place: Places,
    lanes: int,
    relu: bool,
    frozen: bool,
    add: bool,
) -> None:
    """``dx = gamma inverse (dy - mean of dy - normalized x * mean of dy normalized x)``; ``frozen``: without the means.

    With ``relu``, ``dy`` counts only where relu let something through.
    """
    thread, threads = place[Place.THREAD], place[Place.THREADS]
    own = statistics + thread * channels * 2
    count = (place[Place.BATCH] * blocks).as_float().spread(lanes)
    with code.loop(0, channels, lanes) as channel:
        mean, inverse = (own + channel).load(lanes), (own + (channels + channel)).load(lanes)
        scale, shift = (gamma + channel).load(lanes), (beta + channel).load(lanes)
        factor = scale * inverse
        means = []
        for which in (0, 1):
            total = code.variable(code.zero(lanes))
            with code.loop(0, threads) as other:
                has = (_samples_of(place, other)).as_float().spread(lanes)
                theirs = (sums + ((other * 2 + which) * channels + channel)).load(lanes)
                total.value = total.value + (has > 0.0).choose(theirs, 0.0)
            means.append(total.value / count)
        with code.loop(place.first * blocks, place.last * blocks) as block:
            at = block * channels + channel
            normal = ((x + at).load(lanes) - mean) * inverse
            arriving = _arriving((dy + at).load(lanes), normal, scale, shift, relu)
            if not frozen:
                arriving = arriving - means[0] - normal * means[1]
            _put(dx + at, arriving * factor, add)


@kernel
def layer_normalization(
    code: Code,
    x: Floats,
    y: Floats,
    statistics: Floats,
    gamma: Floats,
    beta: Floats,
    keep: Floats,
    rows: Int,
    row: Int,
    numbers: Vector,
    epsilon: Vector,
    *,
    place: Places,
    lanes: int,
) -> None:
    """As batch normalization, over each row of ``row`` floats, of which ``numbers`` are real (``keep`` is 1 there).

    ``statistics`` gets mean and 1 / sqrt(variance + epsilon) of each row.
    """
    with code.loop(place.first * rows, place.last * rows) as which:
        at = x + which * row
        total = code.variable(code.zero(lanes))
        with code.loop(0, row, lanes) as i:
            total.value = total.value + (at + i).load(lanes)
        mean = total.value.sum() / numbers
        spread = mean.spread(lanes)
        deviations = code.variable(code.zero(lanes))
        with code.loop(0, row, lanes) as i:
            difference = ((at + i).load(lanes) - spread) * (keep + i).load(lanes)
            deviations.value = deviations.value + difference * difference
        inverse = 1.0 / (deviations.value.sum() / numbers + epsilon).sqrt()
        (statistics + which * 2).store(mean)
        (statistics + (which * 2 + 1)).store(inverse)
        factor = inverse.spread(lanes)
        with code.loop(0, row, lanes) as i:
            normal = ((at + i).load(lanes) - spread) * factor
            (y + (which * row + i)).store(normal * (gamma + i).load(lanes) + (beta + i).load(lanes))


@kernel
def layer_normalization_gradient(
    code: Code,
    x: Floats,
    dy: Floats,
    dx: Floats,
    statistics: Floats,
    gamma: Floats,
    gamma_gradient: Floats,
    beta_gradient: Floats,
    keep: Floats,
    rows: Int,
    row: Int,
    numbers: Vector,
    *,
    place: Places,
    lanes: int,
    into_input: bool,
    add: bool,
) -> None:
    """Gradients of gamma and beta, in the thread's own copies, and of the input."""
    thread = place[Place.THREAD]
    own_gamma, own_beta = gamma_gradient + thread * row, beta_gradient + thread * row
    with code.loop(place.first * rows, place.last * rows) as which:
        at, arriving_at = x + which * row, dy + which * row
        mean, inverse = (statistics + which * 2).spread(lanes), (statistics + (which * 2 + 1)).spread(lanes)
        plain, along = code.variable(code.zero(lanes)), code.variable(code.zero(lanes))
        with code.loop(0, row, lanes) as i:
            arriving = (arriving_at + i).load(lanes)
            normal = ((at + i).load(lanes) - mean) * inverse * (keep + i).load(lanes)
            _put(own_beta + i, arriving, add=True)
            _put(own_gamma + i, arriving * normal, add=True)
            scaled = arriving * (gamma + i).load(lanes)
            plain.value = plain.value + scaled
            along.value = along.value + scaled * normal
        if into_input:
            first, second = ((total.value.sum() / numbers).spread(lanes) for total in (plain, along))
            with code.loop(0, row, lanes) as i:
                kept = (keep + i).load(lanes)
                normal = ((at + i).load(lanes) - mean) * inverse
                scaled = (arriving_at + i).load(lanes) * (gamma + i).load(lanes)
                _put(dx + (which * row + i), (scaled - first - normal * second) * inverse * kept, add)
