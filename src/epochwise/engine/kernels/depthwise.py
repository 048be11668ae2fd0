"""Depthwise convolutions with one filter for each channel; lanes are channels.

Legend as in ``gradients.py``; weights lie as ``(taps, channels)``.
"""

from __future__ import annotations

from epochwise.engine.code import Code, Place, Places, kernel
from epochwise.engine.simd import Floats, Int, Longs


@kernel
def depthwise(
    code: Code,
    x: Floats,
    weights: Floats,
    bias: Floats,
    y: Floats,
    starts: Longs,
    positions_in_all: Int,
    taps: Longs,
    taps_in_all: Int,
    channels: Int,
    x_sample: Int,
    *,
    place: Places,
    lanes: int,
    positions: int,
    relu: bool,
) -> None:
    """``y[position, c] = sum over taps of x[window + tap, c] * weights[tap, c] + bias[c]``."""
    with code.loop(place.first, place.last) as sample, code.loop(0, channels, lanes) as channel:
        source = x + (sample * x_sample + channel)
        target = y + (sample * positions_in_all * channels + channel)
        start = (bias + channel).load(lanes)
        with code.loop(0, positions_in_all, positions) as position:
            at = [(position + p).min(positions_in_all - 1) for p in range(positions)]
            windows = [source + (starts + p).load() for p in at]
            tile = [code.variable(start) for _ in at]
            with code.loop(0, taps_in_all) as tap:
                weight, offset = (weights + (tap * channels + channel)).load(lanes), (taps + tap).load()
                for total, window in zip(tile, windows, strict=True):
                    total.value = total.value + (window + offset).load(lanes) * weight
            for p, total in zip(at, tile, strict=True):
                result = total.value
                (target + p * channels).store((result < 0.0).choose(0.0, result) if relu else result)


@kernel
def depthwise_gradient(
    code: Code,
    x: Floats,
    dy: Floats,
    gradient: Floats,
    starts: Longs,
    positions_in_all: Int,
    taps: Longs,
    taps_in_all: Int,
    channels: Int,
    x_sample: Int,
    gradient_thread: Int,
    *,
    place: Places,
    lanes: int,
    tile: int,
) -> None:
    """Add ``x[window + tap, c] * dy[position, c]`` for all samples of the place and positions to ``gradient[tap, c]``."""
    own = gradient + place[Place.THREAD] * gradient_thread
    with code.loop(place.first, place.last) as sample, code.loop(0, channels, lanes) as channel:
        source = x + (sample * x_sample + channel)
        arriving_at = dy + (sample * positions_in_all * channels + channel)
        with code.loop(0, taps_in_all, tile) as tap:
            at = [own + ((tap + t) * channels + channel) for t in range(tile)]
            offsets = [(taps + (tap + t)).load() for t in range(tile)]
            sums = [code.variable(there.load(lanes)) for there in at]
            with code.loop(0, positions_in_all) as position:
                arriving = (arriving_at + position * channels).load(lanes)
                window = source + (starts + position).load()
                for total, offset in zip(sums, offsets, strict=True):
                    total.value = total.value + (window + offset).load(lanes) * arriving
            for there, total in zip(at, sums, strict=True):
                there.store(total.value)


@kernel
def depthwise_input_gradient(
    code: Code,
    dx: Floats,
    weights: Floats,
    dy: Floats,
    starts: Longs,
    positions_in_all: Int,
    taps: Longs,
    taps_in_all: Int,
    channels: Int,
    x_sample: Int,
    *,
    place: Places,
    lanes: int,
    tile: int,
) -> None:
    """Add to ``dx`` what each position gives to its window: ``dx[window + tap, c] += dy[position, c] * weights[tap, c]``."""
    with code.loop(place.first, place.last) as sample, code.loop(0, channels, lanes) as channel:
        target = dx + (sample * x_sample + channel)
        arriving_at = dy + (sample * positions_in_all * channels + channel)
        with code.loop(0, taps_in_all, tile) as tap:
            kernels = [(weights + ((tap + t) * channels + channel)).load(lanes) for t in range(tile)]
            offsets = [(taps + (tap + t)).load() for t in range(tile)]
            with code.loop(0, positions_in_all) as position:
                arriving = (arriving_at + position * channels).load(lanes)
                window = target + (starts + position).load()
                for weight, offset in zip(kernels, offsets, strict=True):
                    there = window + offset
                    there.store(there.load(lanes) + arriving * weight)
