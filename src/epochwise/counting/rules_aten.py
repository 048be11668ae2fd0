"""What ATen calls cost (PyTorch). Conventions are in :mod:`epochwise.counting.rules`.

Legend of shapes: ``B`` batch, ``C`` channels, ``K`` taps, ``n`` elements, ``r`` rows (of a softmax).

Every operation is meant with its in-place form (``add_``) and its forms for lists of tensors (``_foreach_add_``), where it has
them: an operation costs the same wherever it writes.
"""

from __future__ import annotations

import math

from epochwise.counting.rules import Cost, Occurrence, elementwise, free, lookups, movement, random_bits, reductions, rule
from epochwise.counting.rules_aten_contractions import softmax_flops, softmax_gradient_flops

ATEN = "aten"


def _names(words: str) -> list[str]:
    return [f"aten.{word}" for word in words.split()]


def _forms(words: str) -> list[str]:
    """Names with their in-place forms and their forms for lists."""
    return [f"aten.{form}" for word in words.split() for form in (word, f"{word}_", f"_foreach_{word}", f"_foreach_{word}_")]


# --- softmax, normalisation, losses ------------------------------------------------------------------------------------


def _rows(at: Occurrence, given: int = 0) -> int:
    """Rows that a softmax works along: elements over the size of the axis ``dim``."""
    shape = at.inputs[given].shape
    axis = at.attribute("dim", -1)
    assert isinstance(axis, int)
    return at.inputs[given].elements // max(1, shape[axis] if shape else 1)


@rule(ATEN, *_names("_softmax _safe_softmax"), family="other")
def _softmax(at: Occurrence) -> Cost:
    """5n - 2r, see :func:`softmax_flops`."""
    return Cost(other_flops=softmax_flops(at.inputs[0].elements, _rows(at)))


@rule(ATEN, "aten._log_softmax", family="other")
def _log_softmax(at: Occurrence) -> Cost:
    """``x - max - log(sum(exp(x - max)))``: maximum, difference, exp, sum, difference, and a log for each row: 5n - r."""
    return Cost(other_flops=5 * at.inputs[0].elements - _rows(at))


@rule(ATEN, "aten._softmax_backward_data", family="other")
def _softmax_backward(at: Occurrence) -> Cost:
    """4n - r, see :func:`softmax_gradient_flops`."""
    return Cost(other_flops=softmax_gradient_flops(at.inputs[0].elements, _rows(at)))


@rule(ATEN, "aten._log_softmax_backward_data", family="other")
def _log_softmax_backward(at: Occurrence) -> Cost:
    """``g - exp(y) sum(g)``: exp, sum, product, difference: 4n - r."""
    return Cost(other_flops=4 * at.inputs[0].elements - _rows(at))


@rule(
    ATEN,
    *_names("native_batch_norm _native_batch_norm_legit _batch_norm_with_update cudnn_batch_norm"),
    *_names("native_layer_norm native_group_norm"),
    family="other",
)
def _normalisation(at: Occurrence) -> Cost:
    """Mean (1), variance (difference, square, sum: 3), difference, quotient, scale, shift (4): 8n.

    4n with kept statistics. What is done once for each channel is left out: it is less by the number of elements that share it.
    """
    uses_kept = at.attribute("training", True) is False or at.attribute("train", True) is False
    return Cost(other_flops=(4 if uses_kept else 8) * at.inputs[0].elements)


elementwise(ATEN, _names("_native_batch_norm_legit_no_training"), flops=4)


@rule(
    ATEN,
    *_names("native_batch_norm_backward batch_norm_backward cudnn_batch_norm_backward"),
    *_names("native_layer_norm_backward native_group_norm_backward"),
    family="other",
)
def _normalisation_backward(at: Occurrence) -> Cost:
    """Normalised input again (2), sums for shift (1) and scale (2), gradient of the input (5): 10n."""
    return Cost(other_flops=10 * at.inputs[0].elements)


@rule(ATEN, "aten._fused_rms_norm", family="other")
def _rms_norm(at: Occurrence) -> Cost:
    """Square, sum, quotient, scale: 4n."""
    return Cost(other_flops=4 * at.inputs[0].elements)


@rule(ATEN, "aten._fused_rms_norm_backward", family="other")
def _rms_norm_backward(at: Occurrence) -> Cost:
    """Normalised input again (1), sum for the scale (2), gradient of the input (5): 8n."""
    return Cost(other_flops=8 * at.inputs[0].elements)


@rule(ATEN, *_names("nll_loss_forward nll_loss2d_forward nll_loss_backward nll_loss2d_backward"), family="other")
def _negative_likelihood(at: Occurrence) -> Cost:
    """Looks up one number for each label, changes its sign and adds it: 2 for each label; as many for the gradient."""
    labels = next((value for value in at.inputs if value.dtype.startswith(("int", "uint"))), None)
    return Cost(other_flops=2 * (labels.elements if labels else 0))


@rule(ATEN, *_names("_weight_norm_interface _weight_norm_interface_backward"), family="other")
def _weight_norm(at: Occurrence) -> Cost:
    """Square, sum and scale of each weight: 3n; backward a product with the weight, its sum, two products, a difference: 5n."""
    forward = at.operation.name == "aten._weight_norm_interface"
    return Cost(other_flops=3 * at.inputs[0].elements if forward else 5 * at.inputs[1].elements)


_LOSSES = {
    "mse_loss": 2,
    "soft_margin_loss": 5,
    "smooth_l1_loss": 6,
    "huber_loss": 6,
    "multi_margin_loss": 3,
    "multilabel_margin_loss": 3,
    "multilabel_margin_loss_forward": 3,
    "binary_cross_entropy": 9,
    "binary_cross_entropy_with_logits": 8,
}


@rule(ATEN, *_names(" ".join(_LOSSES)), family="other")
def _loss(at: Occurrence) -> Cost:
    """For each element its loss, and one addition, if they are summed.

    Squared error 2; margin 3 (sum, difference, maximum); soft margin 5 (negate, product, exp, sum, log); Huber 6 (difference,
    size, comparison, both branches, selection); cross-entropy 9 (two logs, two bounds, two differences, two products, a sum);
    from logits 8 (difference, product, maximum, size, negate, exp, log1p, sum).
    """
    each = _LOSSES[at.operation.name.removeprefix("aten.")]
    summed = 1 if at.outputs[0].elements < at.inputs[0].elements else 0
    return Cost(other_flops=(each + summed) * at.inputs[0].elements)


elementwise(ATEN, _names("mse_loss_backward multi_margin_loss_backward multilabel_margin_loss_backward"), flops=3)
elementwise(
    ATEN, _names("soft_margin_loss_backward smooth_l1_loss_backward huber_loss_backward binary_cross_entropy_backward"), flops=6
)

# --- element-wise ------------------------------------------------------------------------------------------------------


@rule(ATEN, *_forms("add sub rsub"), *_names("subtract"), family="elementwise")
def _add(at: Occurrence) -> Cost:
    """One addition; with ``alpha`` also one product."""
    return Cost(other_flops=(1 if at.attribute("alpha", 1) == 1 else 2) * at.output_elements)


elementwise(
    ATEN,
    _forms(
        """mul div neg exp log sqrt rsqrt sin cos tan tanh erf abs sign maximum minimum reciprocal floor ceil round trunc pow
        frac exp2 expm1 log1p log2 log10 erfc erfinv sinh cosh asin acos atan asinh acosh atanh lgamma digamma clamp_min
        clamp_max"""
    ),
)
elementwise(
    ATEN,
    _names(
        """eq eq_ ne ne_ lt lt_ le le_ gt gt_ ge ge_ logical_and logical_and_ logical_or logical_or_ logical_not logical_not_
        logical_xor bitwise_and bitwise_and_ bitwise_or bitwise_or_ bitwise_xor bitwise_xor_ bitwise_not bitwise_left_shift
        bitwise_right_shift __lshift__ __rshift__ where relu relu_ atan2 fmod fmod_ remainder remainder_ isnan isinf isposinf
        isneginf isfinite floor_divide floor_divide_ square square_ fmax fmin hypot nextafter copysign heaviside masked_fill
        masked_fill_ polar angle sgn sgn_ signbit nan_to_num nan_to_num_ relu6 threshold threshold_ conj_physical"""
    ),
)
elementwise(ATEN, [*_forms("clamp"), *_names("hardtanh hardtanh_ threshold_backward xlogy logaddexp masked_scale")], flops=2)
elementwise(
    ATEN,
    [
        *_forms("lerp addcmul addcdiv"),
        *_names("tanh_backward sigmoid_backward hardtanh_backward leaky_relu leaky_relu_ leaky_relu_backward _prelu_kernel"),
        *_names("hardsigmoid_backward softshrink hardshrink softshrink_backward hardshrink_backward"),
    ],
    flops=3,
)
elementwise(ATEN, [*_forms("sigmoid"), *_names("hardsigmoid hardsigmoid_ logit")], flops=4)
elementwise(
    ATEN,
    _names("silu silu_ celu celu_ hardswish hardswish_ elu elu_ elu_backward glu")
    + _names("rrelu_with_noise rrelu_with_noise_ rrelu_with_noise_backward"),
    flops=5,
)
elementwise(ATEN, _names("softplus softplus_backward hardswish_backward log_sigmoid_forward log_sigmoid_backward"), flops=6)
elementwise(ATEN, _names("mish mish_"), flops=7)
elementwise(ATEN, _names("silu_backward glu_backward"), flops=9)
elementwise(ATEN, _names("mish_backward"), flops=14)
elementwise(ATEN, _names("native_dropout_backward"), flops=2)


@rule(ATEN, *_names("gelu gelu_"), family="elementwise")
def _gelu(at: Occurrence) -> Cost:
    """``x/2 (1 + erf(x/sqrt 2))``: 5; by tanh, ``x/2 (1 + tanh(c (x + d x^3)))``: 9."""
    return Cost(other_flops=(9 if at.attribute("approximate") == "tanh" else 5) * at.output_elements)


@rule(ATEN, "aten.gelu_backward", family="elementwise")
def _gelu_backward(at: Occurrence) -> Cost:
    """``g (cdf + x pdf)``: cdf 4, pdf 4, two products and a sum: 11; by tanh, with the derivative of its argument: 19."""
    return Cost(other_flops=(19 if at.attribute("approximate") == "tanh" else 11) * at.output_elements)


@rule(ATEN, "aten.native_dropout", family="elementwise")
def _dropout(at: Occurrence) -> Cost:
    """Mask and scale: 2."""
    return Cost(other_flops=2 * at.outputs[0].elements)


@rule(ATEN, "aten._prelu_kernel_backward", family="elementwise")
def _prelu_backward(at: Occurrence) -> Cost:
    """Comparison, two products, two selections: 5."""
    return Cost(other_flops=5 * at.inputs[0].elements)


@rule(ATEN, *_names("_thnn_fused_lstm_cell _thnn_fused_lstm_cell_backward_impl"), family="elementwise")
def _lstm_cell(at: Occurrence) -> Cost:
    """The gates and the new state without the products, see ``mkldnn_rnn_layer``: 30 for each state."""
    return Cost(other_flops=30 * at.inputs[0].elements // 4)


@rule(ATEN, *_names("_thnn_fused_gru_cell _thnn_fused_gru_cell_backward"), family="elementwise")
def _gru_cell(at: Occurrence) -> Cost:
    """Two biases of three gates (6), sums (3), two sigmoids (8), tanh and product (2), the new state (4): 23 a state."""
    return Cost(other_flops=23 * at.inputs[0].elements // 3)


# --- reductions and pooling --------------------------------------------------------------------------------------------

reductions(ATEN, _names("sum nansum amax amin max min prod any all argmax argmin count_nonzero aminmax"))
elementwise(ATEN, _names("cumsum cumsum_ cumprod cummax cummin"))
elementwise(ATEN, _names("logcumsumexp"), flops=3)  # exp, add, log


@rule(ATEN, "aten.mean", family="reduction")
def _mean(at: Occurrence) -> Cost:
    """Sum, and one quotient for each element of the output: elements read."""
    return Cost(other_flops=at.inputs[0].elements)


@rule(ATEN, *_names("linalg_vector_norm norm _foreach_norm"), family="reduction")
def _norm(at: Occurrence) -> Cost:
    """Square and sum of each element, one root: 2 for each element read."""
    return Cost(other_flops=2 * sum(value.elements for value in at.inputs))


@rule(ATEN, *_names("var std var_mean std_mean logsumexp"), family="reduction")
def _variance(at: Occurrence) -> Cost:
    """Mean, difference, square, sum; or maximum, difference, exp, sum: 4 for each element read."""
    return Cost(other_flops=4 * at.inputs[0].elements)


@rule(ATEN, *_names("sort topk argsort median kthvalue mode"), family="other")
def _sort(at: Occurrence) -> Cost:
    """Comparisons of a sort: n log2(size of the axis)."""
    shape, axis = at.inputs[0].shape, at.attribute("dim", -1)
    assert isinstance(axis, int)
    size = shape[axis] if shape else 1
    return Cost(other_flops=at.inputs[0].elements * math.ceil(math.log2(max(2, size))))


_MAX_POOLS = (
    "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices max_pool1d max_pool2d max_pool3d "
    "mkldnn_max_pool2d fractional_max_pool2d fractional_max_pool3d"
)


@rule(ATEN, *_names(_MAX_POOLS), family="pooling")
def _max_pool(at: Occurrence) -> Cost:
    """K - 1 comparisons for each element of the output."""
    return Cost(other_flops=(_taps(at) - 1) * at.outputs[0].elements)


@rule(
    ATEN,
    *_names("max_pool2d_with_indices_backward max_pool3d_with_indices_backward mkldnn_max_pool2d_backward"),
    *_names("adaptive_max_pool2d_backward adaptive_max_pool3d_backward"),
    *_names("fractional_max_pool2d_backward fractional_max_pool3d_backward"),
    family="pooling",
)
def _max_pool_backward(at: Occurrence) -> Cost:
    """Adds each element of the output's gradient in one place."""
    return Cost(other_flops=at.inputs[0].elements)


@rule(ATEN, *_names("avg_pool1d avg_pool2d avg_pool3d"), family="pooling")
def _mean_pool(at: Occurrence) -> Cost:
    """K - 1 additions and a quotient for each element of the output."""
    return Cost(other_flops=_taps(at) * at.outputs[0].elements)


@rule(ATEN, *_names("avg_pool2d_backward avg_pool3d_backward"), family="pooling")
def _mean_pool_backward(at: Occurrence) -> Cost:
    """A quotient and K additions for each element of the output's gradient, less the first write."""
    return Cost(other_flops=_taps(at) * at.inputs[0].elements)


@rule(
    ATEN,
    *_names("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d"),
    family="pooling",
)
def _adaptive_pool(at: Occurrence) -> Cost:
    """Folds each element of the input in once (windows that do not overlap)."""
    return Cost(other_flops=at.inputs[0].elements)


elementwise(ATEN, _names("_adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward"))


def _taps(at: Occurrence) -> int:
    """Elements of a pooling window; ``kernel_size`` may give one size for all axes."""
    sizes = at.attribute("kernel_size", (1,))
    assert isinstance(sizes, tuple)
    axes = next((count for count in (1, 2, 3) if f"pool{count}d" in at.operation.name), 1)
    return int(math.prod(sizes)) if len(sizes) == axes else int(sizes[0]) ** axes


elementwise(ATEN, _names("hann_window hamming_window"), flops=4)  # a - b * cos(c * n)
elementwise(ATEN, _names("upsample_linear1d upsample_linear1d_backward _upsample_linear1d"), flops=3)
elementwise(ATEN, _names("upsample_bilinear2d _upsample_bilinear2d_aa grid_sampler_2d"), flops=9)
elementwise(ATEN, _names("upsample_bilinear2d_backward _upsample_bilinear2d_aa_backward"), flops=9)
elementwise(ATEN, _names("upsample_trilinear3d upsample_trilinear3d_backward"), flops=21)
elementwise(ATEN, _names("upsample_bicubic2d _upsample_bicubic2d_aa"), flops=35)
elementwise(ATEN, _names("upsample_bicubic2d_backward _upsample_bicubic2d_aa_backward"), flops=35)
movement(
    ATEN,
    _names("upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d")
    + _names("_upsample_nearest_exact3d max_unpool2d max_unpool3d"),
)


@rule(ATEN, "aten.grid_sampler_2d_backward", family="other")
def _grid_sampler_backward(at: Occurrence) -> Cost:
    """For each element of the output's gradient 8 for the input's, and 14 for the grid's.

    A product and a sum for each of four neighbours; for each of two coordinates of its point two differences, two products, a
    sum, and a product and a sum with the gradient. With the nearest neighbour alone, one sum.
    """
    mask = at.attribute("output_mask", (True, True))
    assert isinstance(mask, tuple)
    nearest = at.attribute("interpolation_mode") == 1
    each = 1 if nearest else 8 * bool(mask[0]) + 14 * bool(mask[1])
    return Cost(other_flops=each * at.inputs[0].elements)


@rule(ATEN, "aten._cdist_forward", family="other")
def _distances(at: Occurrence) -> Cost:
    """Difference, power and sum for each pair of rows and each of their M features: 3M."""
    return Cost(other_flops=3 * at.outputs[0].elements * at.inputs[0].shape[-1])


@rule(ATEN, "aten._cdist_backward", family="other")
def _distances_backward(at: Occurrence) -> Cost:
    """Difference, quotient, product with the gradient and sum for each pair of rows and each of their M features: 4M."""
    return Cost(other_flops=4 * at.inputs[0].elements * at.inputs[1].shape[-1])


@rule(
    ATEN,
    *_names("upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward im2col col2im"),
    *_names("_upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward _upsample_nearest_exact3d_backward"),
    family="other",
)
def _added_up(at: Occurrence) -> Cost:
    """Adds each element that it reads."""
    return Cost(other_flops=at.inputs[0].elements)


# --- lookup, scatter, movement, views, random bits ---------------------------------------------------------------------

lookups(ATEN, _names("embedding index index_select gather take take_along_dim _unsafe_index _unsafe_masked_index"))


@rule(ATEN, *_names("embedding_dense_backward _embedding_bag_dense_backward _embedding_bag_backward"), family="other")
def _embedding_backward(at: Occurrence) -> Cost:
    """Adds each element of the output's gradient to a row of the table's."""
    return Cost(other_flops=at.inputs[0].elements)


@rule(ATEN, "aten.embedding_renorm_", family="other")
def _embedding_renorm(at: Occurrence) -> Cost:
    """Norm (2) and scale (1) of each row that is looked up."""
    return Cost(other_flops=3 * at.inputs[1].elements * at.inputs[0].shape[-1])


@rule(ATEN, *_names("_embedding_bag _embedding_bag_forward_only"), family="other")
def _embedding_bag(at: Occurrence) -> Cost:
    """Adds the rows of each bag: one addition for each element that it looks up."""
    return Cost(other_flops=at.inputs[1].elements * at.inputs[0].shape[-1])


@rule(ATEN, *_names("scatter_add scatter_add_ index_add index_add_ scatter_reduce scatter_reduce_"), family="other")
def _scatter_add(at: Occurrence) -> Cost:
    """Adds each element of the source, the last input."""
    return Cost(other_flops=at.inputs[-1].elements)


@rule(
    ATEN, *_names("index_put index_put_ _index_put_impl_ _unsafe_index_put _unsafe_masked_index_put_accumulate"), family="other"
)
def _index_put(at: Occurrence) -> Cost:
    """Writes the last input; adds it with ``accumulate``."""
    return Cost(other_flops=at.inputs[-1].elements if at.attribute("accumulate", False) else 0)


# A clone keeps the numbers and changes at most their order in memory; an expanded tensor holds nothing of its own.
free(
    ATEN,
    _names(
        """view _unsafe_view reshape _reshape_alias t t_ transpose transpose_ permute squeeze squeeze_ unsqueeze unsqueeze_
        expand view_as_real view_as_complex _conj _neg_view alias detach detach_ view_copy contiguous clone resolve_conj
        resolve_neg lift_fresh_copy"""
    ),
)
movement(
    ATEN,
    _names(
        """select slice split split_with_sizes unbind chunk narrow as_strided diagonal unfold unsafe_split unsafe_chunk
        unsafe_split_with_sizes real imag copy copy_ _to_copy cat stack fill fill_ zero zero_ zeros ones full zeros_like
        ones_like full_like new_zeros new_ones new_full scalar_tensor arange linspace eye repeat tile flip roll rot90
        constant_pad_nd tril triu tril_ triu_ select_backward slice_backward slice_scatter select_scatter
        diagonal_backward diagonal_scatter unfold_backward pixel_shuffle pixel_unshuffle channel_shuffle
        native_channel_shuffle scatter scatter_ reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
        replication_pad2d replication_pad3d masked_select nonzero masked_scatter repeat_interleave complex tril_indices
        triu_indices _foreach_copy _foreach_copy_ _foreach_zero_ _foreach_clone index_fill index_fill_ index_copy
        index_copy_ set_ resize_ empty empty_like empty_strided new_empty new_empty_strided empty_permuted record_stream
        _assert_async to_sparse _coalesce _sparse_coo_tensor_with_dims_and_tensors _sparse_coo_tensor_with_dims _indices
        _values _sparse_mask sparse_mask bincount histc searchsorted bucketize unfold_copy"""
    ),
)


@rule(
    ATEN,
    *_names("reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward"),
    *_names("replication_pad2d_backward replication_pad3d_backward"),
    family="other",
)
def _pad_backward(at: Occurrence) -> Cost:
    """Adds each element of the output's gradient in one place."""
    return Cost(other_flops=at.inputs[0].elements)


@rule(ATEN, *_names("_fft_r2c _fft_c2r _fft_c2c"), family="other")
def _fft(at: Occurrence) -> Cost:
    """``5 n log2 n`` for a complex transform of n points (Cooley-Tukey), half of it for a real one."""
    axes = at.attribute("dim", (-1,))
    assert isinstance(axes, tuple)
    largest = max(at.inputs[0], at.outputs[0], key=lambda value: value.elements)
    points = math.prod(largest.shape[axis] for axis in axes)
    real = 1 if at.operation.name == "aten._fft_c2c" else 2
    return Cost(other_flops=round(5 * largest.elements * math.log2(max(points, 1)) / real))


random_bits(
    ATEN,
    _names(
        """bernoulli bernoulli_ normal normal_ uniform uniform_ random random_ rand rand_like randn randn_like randint
        randint_like randperm exponential_ multinomial _sample_dirichlet _standard_gamma poisson binomial"""
    ),
)

# --- fused optimizers --------------------------------------------------------------------------------------------------


@rule(ATEN, "aten._amp_foreach_non_finite_check_and_unscale_", family="elementwise")
def _unscale(at: Occurrence) -> Cost:
    """Comparison and product of each gradient; the last two inputs are whether any is infinite, and the scale."""
    return Cost(other_flops=2 * sum(value.elements for value in at.inputs[:-2]))


elementwise(ATEN, _names("_amp_update_scale_"))


@rule(ATEN, "aten._fused_sgd_", family="elementwise")
def _fused_sgd(at: Occurrence) -> Cost:
    """``w - lr g``: 2 for each weight; momentum 3 more (product, product, sum), weight decay 2."""
    momentum = bool(at.attribute("momentum", 0))
    lists = 3 if momentum else 2  # weights and gradients, with momentum its buffers
    each = 2 + 3 * momentum + (2 if at.attribute("weight_decay", 0) else 0)
    return Cost(other_flops=each * at.output_elements // lists)


@rule(ATEN, *_names("_fused_adam_ _fused_adamw_"), family="elementwise")
def _fused_adam(at: Occurrence) -> Cost:
    """Two moments (3 + 4), denominator (root, quotient, sum: 3), step (3): 13 for each weight; weight decay 2, amsgrad 1."""
    amsgrad = bool(at.attribute("amsgrad", False))
    each = 13 + (2 if at.attribute("weight_decay", 0) else 0) + amsgrad
    return Cost(other_flops=each * at.output_elements // (5 if amsgrad else 4))
