"""What is done number by number: activations and their gradients, and tensors of one shape put together.

Tensors are plain rows of numbers here, ``size`` for each sample, a whole number of vectors. Padded channels hold zeros, and
must hold zeros afterwards; where a function does not keep zero (sigmoid), ``keep`` says which channels are real.
"""

from __future__ import annotations

from epochwise.engine.code import Code, Places, kernel
from epochwise.engine.kernels.functions import erf, exp, sigmoid, tanh
from epochwise.engine.simd import Floats, Int, Vector

_SQRT_HALF = 0.7071067811865476
_INVERSE_SQRT_TAU = 0.3989422804014327
_GELU_SLOPE, _GELU_CUBE = 0.7978845608028654, 0.044715


def activated(code: Code, kind: str, x: Vector, slope: Vector) -> Vector:
    """The activation of ``x``; NaN stays NaN."""
    match kind:
        case "relu":
            return (x < 0.0).choose(0.0, x)
        case "leaky_relu":
            return (x < 0.0).choose(x * slope, x)
        case "elu":
            return (x < 0.0).choose((exp(code, x) - 1.0) * slope, x)
        case "sigmoid":
            return sigmoid(code, x)
        case "tanh":
            return tanh(code, x)
        case "gelu":
            return x * 0.5 * (erf(code, x * _SQRT_HALF) + 1.0)
        case "gelu_tanh":
            return x * 0.5 * (tanh(code, (x * x * x * _GELU_CUBE + x) * _GELU_SLOPE) + 1.0)
    raise AssertionError(kind)


def slope_at(code: Code, kind: str, x: Vector, y: Vector, slope: Vector) -> Vector:
    """The derivative of the activation at ``x``, where it is ``y``."""
    ones = code.constant(1.0, x.lanes)
    match kind:
        case "relu":
            return (y > 0.0).choose(1.0, code.zero(x.lanes))
        case "leaky_relu":
            return (x > 0.0).choose(ones, slope)
        case "elu":
            return (x > 0.0).choose(ones, y + slope)
        case "sigmoid":
            return y * (1.0 - y)
        case "tanh":
            return 1.0 - y * y
        case "gelu":
            density = exp(code, x * x * -0.5) * _INVERSE_SQRT_TAU
            return (erf(code, x * _SQRT_HALF) + 1.0) * 0.5 + x * density
        case "gelu_tanh":
            inner = tanh(code, (x * x * x * _GELU_CUBE + x) * _GELU_SLOPE)
            return (inner + 1.0) * 0.5 + x * 0.5 * (1.0 - inner * inner) * (x * x * (3 * _GELU_CUBE) + 1.0) * _GELU_SLOPE
    raise AssertionError(kind)


KEEPS_ZERO = frozenset({"relu", "leaky_relu", "elu", "tanh", "gelu", "gelu_tanh"})


@kernel
def activation(
    code: Code,
    x: Floats,
    y: Floats,
    keep: Floats,
    size: Int,
    channels: Int,
    slope: Vector,
    *,
    place: Places,
    lanes: int,
    kind: str,
) -> None:
    """An activation, ``y = f(x)``, for each sample of the place.

    ``keep`` is 1 for each real channel and 0 for padding; it is read only for activations that do not keep zero.
    """
    at_slope = slope.spread(lanes)
    if kind in KEEPS_ZERO:
        with code.loop(place.first * size, place.last * size, lanes) as i:
            (y + i).store(activated(code, kind, (x + i).load(lanes), at_slope))
        return
    with code.loop(place.first * size, place.last * size, channels) as pixel, code.loop(0, channels, lanes) as channel:
        i = pixel + channel
        (y + i).store(activated(code, kind, (x + i).load(lanes), at_slope) * (keep + channel).load(lanes))


@kernel
def activation_gradient(
    code: Code,
    x: Floats,
    y: Floats,
    dy: Floats,
    dx: Floats,
    size: Int,
    slope: Vector,
    *,
    place: Places,
    lanes: int,
    kind: str,
    add: bool,
) -> None:
    """The gradient ``dx = dy * activation'(x)``, or added to it. Padding needs no care: ``dy`` is zero there."""
    at_slope = slope.spread(lanes)
    with code.loop(place.first * size, place.last * size, lanes) as i:
        arriving = (dy + i).load(lanes)
        factor = slope_at(code, kind, (x + i).load(lanes), (y + i).load(lanes), at_slope)
        _put(dx + i, arriving * factor, add)


def _put(target: Floats, number: Vector, add: bool) -> None:
    target.store(target.load(number.lanes) + number if add else number)


@kernel
def copy(code: Code, x: Floats, y: Floats, size: Int, factor: Vector, *, place: Places, lanes: int, add: bool) -> None:
    """``y = factor * x``, or added to it."""
    with code.loop(place.first * size, place.last * size, lanes) as i:
        _put(y + i, (x + i).load(lanes) * factor.spread(lanes), add)


@kernel
def rescale(
    code: Code,
    x: Floats,
    y: Floats,
    keep: Floats,
    size: Int,
    channels: Int,
    scale: Vector,
    offset: Vector,
    *,
    place: Places,
    lanes: int,
) -> None:
    """``y = x * scale + offset``; ``keep`` as in :func:`activation`."""
    with code.loop(place.first * size, place.last * size, channels) as pixel, code.loop(0, channels, lanes) as channel:
        number = (x + (pixel + channel)).load(lanes) * scale.spread(lanes) + offset.spread(lanes)
        (y + (pixel + channel)).store(number * (keep + channel).load(lanes))


@kernel
def combine(code: Code, a: Floats, b: Floats, y: Floats, size: Int, *, place: Places, lanes: int, kind: str) -> None:
    """``y`` = the two put together: add, subtract, multiply, or the greater (maximum)."""
    with code.loop(place.first * size, place.last * size, lanes) as i:
        one, other = (a + i).load(lanes), (b + i).load(lanes)
        match kind:
            case "subtract":
                result = one - other
            case "multiply":
                result = one * other
            case "maximum":
                result = other.above_or_nan(one).choose(other, one)
            case _:
                result = one + other
        (y + i).store(result)


@kernel
def multiply_add(code: Code, a: Floats, b: Floats, y: Floats, size: Int, *, place: Places, lanes: int, add: bool) -> None:
    """``y = a * b``, or added to it: the gradient of a product."""
    with code.loop(place.first * size, place.last * size, lanes) as i:
        _put(y + i, (a + i).load(lanes) * (b + i).load(lanes), add)


@kernel
def maximum_gradient(
    code: Code,
    x: Floats,
    y: Floats,
    taken: Floats,
    dy: Floats,
    dx: Floats,
    size: Int,
    *,
    place: Places,
    lanes: int,
    first: bool,
    add: bool,
) -> None:
    """The gradient of the greatest of several for one of them, ``x``; of equal ones the first has it.

    ``taken`` remembers from one of them to the next where the gradient went; the first of them clears it.
    """
    with code.loop(place.first * size, place.last * size, lanes) as i:
        hit = (x + i).load(lanes).equals((y + i).load(lanes))
        if not first:
            hit = hit & (taken + i).load(lanes).equals(0.0)
        before = code.zero(lanes) if first else (taken + i).load(lanes)
        (taken + i).store(hit.choose(1.0, before))
        _put(dx + i, hit.choose((dy + i).load(lanes), 0.0), add)


@kernel
def clear(code: Code, y: Floats, size: Int, *, place: Places, lanes: int) -> None:
    """Zeros for each sample of the place."""
    with code.loop(place.first * size, place.last * size, lanes) as i:
        (y + i).store(code.zero(lanes))
