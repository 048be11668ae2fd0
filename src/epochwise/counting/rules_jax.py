"""What the primitives of a jaxpr cost. No JAX is needed to read this: operations carry shapes and plain attributes.

Sizes in the formulas: ``B`` batch, ``X`` and ``O`` positions that go into and come out of a layer, ``K`` the kernel.
Left without a rule on purpose, and so reported as uncounted: matrix decompositions, collectives, callbacks, foreign calls
and Pallas kernels, whose cost a jaxpr does not show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from epochwise.counting.rules import (
    Cost,
    Occurrence,
    convolution_macs,
    elementwise,
    free,
    lookups,
    movement,
    random_bits,
    reductions,
    rule,
)
from epochwise.tracing.trace import Value

_JAX = "jax"


def _names(text: str) -> list[str]:
    return text.split()


elementwise(
    _JAX,
    _names(
        """abs add add_any and atan2 cbrt ceil clz complex conj cos cosh acos acosh asin asinh atan atanh div eq eq_to exp exp2
        expm1 floor ge gt imag integer_pow is_finite le le_to log log1p lt lt_to max min mul mulhi ne neg nextafter not or
        population_count pow real rem round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin
        sinh sqrt square sub tan tanh xor erf erf_inv erfc lgamma digamma polygamma zeta igamma igammac igamma_grad_a
        bessel_i0e bessel_i1e regularized_incomplete_beta cumsum cumprod cummax cummin"""
    ),
)
elementwise(_JAX, ["clamp"], flops=2)  # max, min
elementwise(_JAX, ["cumlogsumexp"], flops=3)  # exp, add, log
elementwise(_JAX, ["logistic"], flops=4)  # negate, exp, add, divide

reductions(_JAX, _names("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor reduce argmax argmin"))

# A broadcast writes nothing of its own: it is fused into what reads it (a view in other frameworks). A step of a scan reads its
# part of a whole in place.
free(
    _JAX,
    _names(
        """broadcast_in_dim reshape squeeze expand_dims transpose stop_gradient copy copy_p optimization_barrier
        layout_constraint sharding_constraint reshard device_put pvary tie shard_alike bitcast_convert_type to_edtype
        from_edtype random_wrap random_unwrap random_clone xla_metadata_value loop.carry scan.slice"""
    ),
)
movement(
    _JAX,
    _names(
        """convert_element_type concatenate pad rev slice dynamic_slice dynamic_update_slice scatter split stack unstack tile
        reduce_precision iota empty empty2 zeros_like create_token after_all scan.stack dce_sink"""
    ),
)
lookups(_JAX, ["gather"])
random_bits(
    _JAX,
    _names(
        """random_bits random_seed random_split random_fold_in threefry2x32 rng_bit_generator rng_uniform random_gamma
        random_gamma_grad"""
    ),
)


@rule(_JAX, "dot_general", family="contraction")
def dot_general(at: Occurrence) -> Cost:
    """Each element of the output sums over the contracted axes: output elements x contracted sizes.

    Source: ``jax.lax.dot_general``, ``dimension_numbers = ((lhs_contracting, rhs_contracting), (lhs_batch, rhs_batch))``.
    Where an image is resized, the other factor holds the weights of the interpolation. The other frameworks interpolate
    element by element, so that this is other work on all: a product and a sum for each MAC.
    """
    (contracted, _), _ = cast("tuple[tuple[Sequence[int], object], object]", at.attribute("dimension_numbers"))
    macs = at.outputs[0].elements * math.prod(at.inputs[0].shape[axis] for axis in contracted)
    return Cost(other_flops=2 * macs) if at.attribute("resizing") else Cost(macs=macs)


@rule(_JAX, "ragged_dot_general", family="contraction")
def ragged_dot_general(at: Occurrence) -> Cost:
    """Each row of the left factor meets one group's matrix: rows x inner x columns, whatever the groups' sizes.

    In mode "ragged rows" the output has the rows; with a ragged contraction (the weights' gradient) each row is summed into
    one group's matrix, so the group axis of the output does not multiply.
    """
    numbers = cast("Mapping[str, object]", at.attribute("ragged_dot_dimension_numbers", {}))
    plain = cast("Sequence[Sequence[Sequence[int]]]", numbers.get("dot_dimension_numbers", (((1,), (0,)), ((), ()))))
    ragged = cast("Sequence[int]", numbers.get("lhs_ragged_dimensions", (0,)))
    inner = math.prod(at.inputs[0].shape[axis] for axis in plain[0][0])
    groups = at.inputs[2].elements if set(ragged) & set(plain[0][0]) else 1
    return Cost(macs=at.outputs[0].elements * inner // groups)


@rule(_JAX, "conv_general_dilated", family="contraction")
def conv_general_dilated(at: Occurrence) -> Cost:
    """``B x min(X, O) x K elements``, K's elements being taps x channels in x channels out / groups.

    Which operand is which depends on the role (``jax._src.lax.convolution``, transpose rules):

    * forward: lhs = X, rhs = K, out = O; a transposed convolution is one whose lhs is dilated, X < O.
    * input gradient: lhs = gradient of O (dilated by the stride), rhs = K, out = gradient of X.
    * weight gradient: lhs = X, rhs = gradient of O, out = gradient of K, with batch and channels swapped in all three, so
      that the samples are lhs's "channels"; groups turn into ``batch_group_count``.
    """
    numbers = cast("Mapping[str, Sequence[int]]", at.attribute("dimension_numbers"))
    left, right, out = at.inputs[0], at.inputs[1], at.outputs[0]
    if at.role == "weight_gradient":
        samples = left.shape[numbers["lhs_spec"][1]] // cast("int", at.attribute("feature_group_count", 1))
        pair, kernel = (_positions(left, numbers["lhs_spec"]), _positions(right, numbers["rhs_spec"])), out
    else:
        samples = left.shape[numbers["lhs_spec"][0]] // cast("int", at.attribute("batch_group_count", 1))
        pair, kernel = (_positions(left, numbers["lhs_spec"]), _positions(out, numbers["out_spec"])), right
    # taps, channels and groups of the kernel as JAX keeps it are its elements
    return Cost(macs=convolution_macs(samples, *pair, kernel.elements, 1, 1))


def _positions(value: Value, spec: Sequence[int]) -> int:
    """Product of the spatial sizes: all axes of ``spec`` behind the first two (batch and channels)."""
    return math.prod(value.shape[axis] for axis in spec[2:])


def _window(at: Occurrence) -> int:
    return math.prod(cast("Sequence[int]", at.attribute("window_dimensions", ())))


@rule(_JAX, "reduce_window_max", "reduce_window_min", "reduce_window_sum", "reduce_window", family="pooling")
def reduce_window(at: Occurrence) -> Cost:
    """Each output folds a window of n elements: n - 1 operations."""
    return Cost(other_flops=at.outputs[0].elements * (_window(at) - 1))


@rule(_JAX, "select_and_scatter_add", "select_and_scatter", family="pooling")
def select_and_scatter_add(at: Occurrence) -> Cost:
    """Gradient of a max-pooling: for each window of n, n - 1 comparisons find the place and 1 addition puts the value there."""
    return Cost(other_flops=at.inputs[0].elements * _window(at))


@rule(_JAX, "select_and_gather_add", family="pooling")
def select_and_gather_add(at: Occurrence) -> Cost:
    """Forward derivative of a max-pooling: n - 1 comparisons and 1 copy for each window of n."""
    return Cost(other_flops=at.outputs[0].elements * (_window(at) - 1))


@rule(_JAX, "scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max", family="reduction")
def scatter_add(at: Occurrence) -> Cost:
    """One operation for each element of the updates (operand, indices, updates)."""
    return Cost(other_flops=at.inputs[2].elements)


@rule(_JAX, "sort", family="other")
def sort(at: Occurrence) -> Cost:
    """Comparison sort: n x ceil(log2 n) comparisons for each row of n."""
    axis = cast("int", at.attribute("dimension", -1))
    size = at.inputs[0].shape[axis] if at.inputs[0].shape else 1
    return Cost(other_flops=at.inputs[0].elements * math.ceil(math.log2(max(size, 1))))


@rule(_JAX, "top_k", "approx_top_k", family="other")
def top_k(at: Occurrence) -> Cost:
    """A heap of k: each element is compared ceil(log2(k + 1)) times."""
    return Cost(other_flops=at.inputs[0].elements * math.ceil(math.log2(cast("int", at.attribute("k", 1)) + 1)))


@rule(_JAX, "fft", family="other")
def fft(at: Occurrence) -> Cost:
    """``5 n log2 n`` FLOPs for a complex transform of n points (Cooley-Tukey), half of it for a real one (RFFT, IRFFT)."""
    points = math.prod(cast("Sequence[int]", at.attribute("fft_lengths", (1,))))
    largest = max(at.inputs[0].elements, at.outputs[0].elements)
    half = 2 if "R" in str(at.attribute("fft_type")) else 1
    return Cost(other_flops=round(5 * largest * math.log2(max(points, 1)) / half))
