"""What ATen's contractions cost: products, convolutions, attention, recurrent layers.

Legend of shapes: ``B`` batch, ``C`` channels in, ``O`` channels out, ``K`` taps, ``T`` time steps, ``I`` input features, ``H``
hidden features or heads, ``L`` queries, ``S`` keys, ``E`` features of a query or key, ``V`` features of a value, ``n``
elements, ``r`` rows of a softmax.
"""

from __future__ import annotations

import math

from epochwise.counting.rules import Cost, Occurrence, convolution_macs, matmul_macs, rule

ATEN = "aten"
BIAS = 2  # place of an optional bias behind input and weights
MATRIX = 2  # axes


def _names(words: str) -> list[str]:
    return [f"aten.{word}" for word in words.split()]


def softmax_flops(elements: int, rows: int) -> int:
    """Maximum and sum along each row; difference, exp and quotient of each element: 5n - 2r."""
    return 5 * elements - 2 * rows


def softmax_gradient_flops(elements: int, rows: int) -> int:
    """``y (g - sum(g y))``: 4n - r."""
    return 4 * elements - rows


@rule(ATEN, *_names("mm _int_mm"), family="contraction")
def _mm(at: Occurrence) -> Cost:
    """``(M, N) x (N, P)``: M N P."""
    left, right = at.inputs[0].shape, at.inputs[1].shape
    return Cost(macs=matmul_macs(1, left[0], left[1], right[1]))


@rule(ATEN, "aten.addmm", family="contraction", operands=(1, 2))
def _addmm(at: Occurrence) -> Cost:
    """As ``mm``, and one addition for each element of the output."""
    left, right = at.inputs[1].shape, at.inputs[2].shape
    return Cost(macs=matmul_macs(1, left[0], left[1], right[1]), other_flops=_added(at))


@rule(ATEN, "aten._addmm_activation", family="contraction", operands=(1, 2))
def _addmm_activation(at: Occurrence) -> Cost:
    """As ``addmm``, and a relu (1) or gelu (5) of each element of the output."""
    left, right = at.inputs[1].shape, at.inputs[2].shape
    activation = 5 if at.attribute("use_gelu") else 1
    return Cost(macs=matmul_macs(1, left[0], left[1], right[1]), other_flops=_added(at) + activation * at.output_elements)


@rule(ATEN, "aten.bmm", family="contraction")
def _bmm(at: Occurrence) -> Cost:
    """``(B, M, N) x (B, N, P)``: B M N P."""
    left, right = at.inputs[0].shape, at.inputs[1].shape
    return Cost(macs=matmul_macs(left[0], left[1], left[2], right[2]))


@rule(ATEN, "aten._grouped_mm", family="contraction")
def _grouped_mm(at: Occurrence) -> Cost:
    """``(M, N) x (N, P)``, of which an axis may be divided among groups: each of its places is in one, so M N P.

    Where both have an axis of groups in front, it is a batch of products.
    """
    left, right = at.inputs[0].shape, at.inputs[1].shape
    batch = left[0] if len(left) == len(right) > MATRIX else 1
    return Cost(macs=matmul_macs(batch, left[-2], left[-1], right[-1]))


@rule(ATEN, *_names("baddbmm baddbmm_ addbmm addbmm_"), family="contraction", operands=(1, 2))
def _baddbmm(at: Occurrence) -> Cost:
    """As ``bmm``, and one addition for each element of the output."""
    left, right = at.inputs[1].shape, at.inputs[2].shape
    return Cost(macs=matmul_macs(left[0], left[1], left[2], right[2]), other_flops=_added(at))


@rule(ATEN, *_names("mv dot vdot"), family="contraction")
def _mv(at: Occurrence) -> Cost:
    """Matrix or vector times vector: one for each element of the first."""
    return Cost(macs=at.inputs[0].elements)


@rule(ATEN, *_names("addmv addmv_"), family="contraction", operands=(1, 2))
def _addmv(at: Occurrence) -> Cost:
    """As ``mv``, and one addition for each element of the output."""
    return Cost(macs=at.inputs[1].elements, other_flops=_added(at))


@rule(ATEN, *_names("addr addr_"), family="contraction", operands=(1, 2))
def _addr(at: Occurrence) -> Cost:
    """Outer product, added: one for each element of the output."""
    return Cost(macs=at.outputs[0].elements)


@rule(ATEN, *_names("linear mkldnn_linear _mkl_linear"), family="contraction")
def _linear(at: Occurrence) -> Cost:
    """``(..., I) x (O, I)``: n I, where n = elements of the output; and the bias, if there is one."""
    elements = at.outputs[0].elements
    return Cost(macs=elements * at.inputs[1].shape[-1], other_flops=elements if len(at.inputs) > BIAS else 0)


@rule(ATEN, "aten._trilinear", family="contraction")
def _trilinear(at: Occurrence) -> Cost:
    """Product of three factors, summed: one MAC for each element of the whole product, and a product to make its first two."""
    shapes = []
    for place, value in enumerate(at.inputs[:3]):
        axes = at.attribute(f"expand{place + 1}", ())
        assert isinstance(axes, tuple)
        shape = list(value.shape)
        for axis in axes:
            shape.insert(axis, 1)
        shapes.append(shape)
    whole = math.prod(max(sizes) for sizes in zip(*shapes, strict=True))
    return Cost(macs=whole, other_flops=whole)


def _added(at: Occurrence) -> int:
    """Additions of what is added to a product: none with ``beta=0``."""
    return 0 if at.attribute("beta", 1) == 0 else at.outputs[0].elements


@rule(
    ATEN,
    *_names("convolution _convolution convolution_overrideable cudnn_convolution mkldnn_convolution"),
    family="contraction",
)
def _convolution(at: Occurrence) -> Cost:
    """See :func:`~epochwise.counting.rules.convolution_macs`; input (B, C, ...), kernel (O, C/groups, K...)."""
    given, kernel = at.inputs[0].shape, at.inputs[1].shape
    made = at.outputs[0].shape
    macs = _macs_of_convolution(given, kernel, made, at)
    return Cost(macs=macs, other_flops=at.outputs[0].elements if len(at.inputs) > BIAS else 0)


@rule(ATEN, *_names("convolution_backward convolution_backward_overrideable"), family="contraction", operands=(1, 2))
def _convolution_backward(at: Occurrence) -> Cost:
    """Each gradient that ``output_mask`` asks for costs as much as the convolution; the bias's is a sum."""
    made, given, kernel = at.inputs[0].shape, at.inputs[1].shape, at.inputs[2].shape
    macs = _macs_of_convolution(given, kernel, made, at)
    wants_input, wants_kernel, wants_bias = _mask(at, 3)
    bias_flops = at.inputs[0].elements - made[1] if wants_bias else 0
    return Cost(
        weight_gradient_macs=macs * wants_kernel, input_gradient_macs=macs * wants_input, other_flops=max(0, bias_flops)
    )


def _macs_of_convolution(given: tuple[int, ...], kernel: tuple[int, ...], made: tuple[int, ...], at: Occurrence) -> int:
    groups = at.attribute("groups", 1)
    assert isinstance(groups, int)
    space = len(kernel) - 2
    batch = given[0] if len(given) == len(kernel) else 1  # without a batch: (C, ...)
    return convolution_macs(
        batch,
        math.prod(given[-space:]),
        math.prod(made[-space:]),
        math.prod(kernel[2:]),
        given[-space - 1],
        made[-space - 1],
        groups,
    )


def _mask(at: Occurrence, length: int) -> tuple[bool, ...]:
    """Which of its gradients a backward operation computes."""
    mask = at.attribute("output_mask")
    return tuple(bool(wanted) for wanted in mask) if isinstance(mask, tuple) else (True,) * length


_FUSED_ATTENTION = (
    "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention "
    "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable"
)


@rule(ATEN, *_names(_FUSED_ATTENTION), family="contraction")
def _attention(at: Occurrence) -> Cost:
    """Query (B, H, L, E) with key (B, H, S, E), then weights with value (B, H, S, V): B H L S (E + V).

    With it a scale and a softmax of each of the B H L S scores. A causal mask is not deducted: the literature counts it full.
    """
    scores, features = _attention_sizes(at.inputs[0].shape, at.inputs[1].shape, at.inputs[2].shape)
    rows = math.prod(at.inputs[0].shape[:-1])
    return Cost(macs=scores * features, other_flops=scores + softmax_flops(scores, rows))


@rule(ATEN, *_names(" ".join(f"{name}_backward" for name in _FUSED_ATTENTION.split())), family="contraction")
def _attention_backward(at: Occurrence) -> Cost:
    """Gradients of both products: with all of them 2 B H L S (E + V); and the gradient of scale and softmax.

    The gradient of the weights (V) is there for query and key, whose own take E each; that of the values takes V. Fused kernels
    compute the scores once more on the way; that is a choice of theirs and not counted.
    """
    query, key, value = (at.inputs[place].shape for place in (1, 2, 3))
    scores = math.prod(query[:-1]) * key[-2]
    of_query, of_key, of_value = _wanted(at, 3)
    features = query[-1] * (of_query + of_key) + value[-1] * (of_value + (of_query or of_key))
    rows = math.prod(query[:-1])
    return Cost(input_gradient_macs=scores * features, other_flops=scores + softmax_gradient_flops(scores, rows))


def _wanted(at: Occurrence, length: int) -> tuple[bool, ...]:
    """Of which tensors of the forward operation a fused one is asked for the gradients; all, if nothing says it."""
    wanted = at.attribute("wanted")
    return tuple(map(bool, wanted[:length])) if isinstance(wanted, tuple) and len(wanted) >= length else (True,) * length


def _attention_sizes(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> tuple[int, int]:
    return math.prod(query[:-1]) * key[-2], query[-1] + value[-1]


@rule(ATEN, "aten.mkldnn_rnn_layer", family="contraction")
def _recurrent_layer(at: Occurrence) -> Cost:
    """One LSTM layer, input (T, B, I), kernels (4H, I) and (4H, H): T B 4H (I + H).

    With it, for each of the T B H states, four gates: two bias additions each (8), the sum of both products (4), three
    sigmoids (12), a tanh (1); and the new state: two products, a sum, a tanh, a product (5).
    """
    steps, batch = at.inputs[0].shape[:2]
    macs = steps * batch * (at.inputs[1].elements + at.inputs[2].elements)
    hidden = at.inputs[2].shape[1]
    return Cost(macs=macs, other_flops=30 * steps * batch * hidden)


@rule(ATEN, "aten.mkldnn_rnn_layer_backward", family="contraction", operands=(0, 1))
def _recurrent_layer_backward(at: Occurrence) -> Cost:
    """Gradients of kernels and input as the products of the forward pass, T B 4H I and T B 4H H; of the state one step fewer.

    The gradient of the state that the layer begins with is charged only if it is wanted. The gates' gradients take about as
    many operations as the gates.
    """
    steps, batch = at.inputs[0].shape[:2]
    of_input, of_kernel, of_recurrent, _, _, of_state, of_cell = _wanted(at, 7)
    kernel, recurrent = (batch * at.inputs[place].elements for place in (1, 2))
    return Cost(
        weight_gradient_macs=steps * (kernel * of_kernel + recurrent * of_recurrent),
        input_gradient_macs=steps * kernel * of_input + (steps - (not (of_state or of_cell))) * recurrent,
        other_flops=_recurrent_layer(at).other_flops,
    )


@rule(ATEN, "aten.affine_grid_generator", family="contraction")
def _affine_grid(at: Occurrence) -> Cost:
    """Each point of the grid, with a 1 behind it, times a matrix (B, D, D + 1): D + 1 for each element of the output."""
    return Cost(macs=at.outputs[0].elements * at.inputs[0].shape[-1])


@rule(ATEN, "aten._cudnn_rnn", family="contraction")
def _cudnn_rnn(at: Occurrence) -> Cost:
    """Any recurrent network, input (T, B, I) or (B, T, I): each kernel, a matrix, multiplies each of the T B inputs."""
    steps, batch = at.inputs[0].shape[:2]
    macs = steps * batch * sum(value.elements for value in at.inputs[1:] if len(value.shape) == MATRIX)
    return Cost(macs=macs, other_flops=30 * at.outputs[0].elements)


@rule(ATEN, "aten._cudnn_rnn_backward", family="contraction")
def _cudnn_rnn_backward(at: Occurrence) -> Cost:
    """Twice the products of the forward pass; the gates' gradients take about as many operations as the gates."""
    forward = _cudnn_rnn(at)
    return Cost(weight_gradient_macs=forward.macs, input_gradient_macs=forward.macs, other_flops=forward.other_flops)
