"""What operations of a TensorFlow graph cost. Conventions are in :mod:`epochwise.counting.rules`.

Legend of shapes: ``B`` batch, ``K`` taps, ``n`` elements, ``r`` rows (of a softmax).

Left without a rule on purpose, and so reported as uncounted: matrix decompositions, collectives, foreign and custom calls, and
whole networks in one operation (``CudnnRNNV3``), whose cost their shapes do not show.
"""

from __future__ import annotations

import math
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

_TF = "tensorflow"


def _names(words: str) -> list[str]:
    return words.split()


# --- contractions ------------------------------------------------------------------------------------------------------


@rule(_TF, "MatMul", family="contraction")
def _matmul(at: Occurrence) -> Cost:
    """Elements of the output x the inner size, which is the second axis of the first factor, or its first if transposed."""
    inner = at.inputs[0].shape[0 if at.attribute("transpose_a") else 1]
    return Cost(macs=at.outputs[0].elements * inner)


@rule(_TF, "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", family="contraction")
def _batch_matmul(at: Occurrence) -> Cost:
    """Elements of the output x the inner size, which is the last axis of the first factor, or the one before if transposed."""
    inner = at.inputs[0].shape[-2 if at.attribute("adj_x") else -1]
    return Cost(macs=at.outputs[0].elements * inner)


@rule(_TF, "Einsum", family="contraction")
def _einsum(at: Occurrence) -> Cost:
    """Product of the sizes of all letters of the equation, ``...`` included, for two factors; a sum or a copy for one."""
    equation = str(at.attribute("equation", ""))
    given, _, made = equation.partition("->")
    sizes: dict[str, int] = {}
    for labels, value in zip(given.split(","), at.inputs, strict=True):
        sizes.update(_sizes(labels, value.shape))
    sizes.update(_sizes(made, at.outputs[0].shape))
    if len(at.inputs) == 1:
        return Cost(other_flops=at.inputs[0].elements - at.outputs[0].elements)
    return Cost(macs=math.prod(sizes.values()))


def _sizes(labels: str, shape: tuple[int, ...]) -> dict[str, int]:
    """Size of each letter; axes under an ellipsis are named from the last to the first, as they are broadcast."""
    head, dots, tail = labels.partition("...")
    between = len(shape) - len(head) - len(tail) if dots else 0
    names = [*head, *(f".{between - place}" for place in range(between)), *tail]
    return dict(zip(names, shape, strict=True))


def _positions(at: Occurrence, side: str, place: int) -> int:
    """Samples x positions of one of the operation's tensors, before a dilation divided them among a larger batch."""
    value = (at.inputs if side == "inputs" else at.outputs)[place]
    undivided = cast("tuple[int, ...]", at.attribute(f"undivided_{side}", ()))
    channels = value.shape[1 if str(at.attribute("data_format", "NHWC")).startswith("NC") else -1]
    return ((undivided[place] if undivided else 0) or value.elements) // max(1, channels)


def _convolution(given: int, kernel: Value, made: int) -> Cost:
    """See :func:`~epochwise.counting.rules.convolution_macs`; the kernel's elements are K x channels in x out / groups."""
    return Cost(macs=convolution_macs(1, given, made, kernel.elements, 1, 1))


@rule(_TF, "Conv2D", "Conv3D", "DepthwiseConv2dNative", family="contraction")
def _convolution_forward(at: Occurrence) -> Cost:
    """Input, kernel -> output; also the gradient of a transposed convolution's input."""
    return _convolution(_positions(at, "inputs", 0), at.inputs[1], _positions(at, "outputs", 0))


@rule(
    _TF,
    *("Conv2DBackpropInput", "Conv3DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput"),
    family="contraction",
    operands=(1, 2),
)
def _convolution_input(at: Occurrence) -> Cost:
    """Sizes, kernel, gradient of the output -> gradient of the input; also a transposed convolution."""
    return _convolution(_positions(at, "outputs", 0), at.inputs[1], _positions(at, "inputs", 2))


@rule(
    _TF,
    *("Conv2DBackpropFilter", "Conv3DBackpropFilter", "Conv3DBackpropFilterV2", "DepthwiseConv2dNativeBackpropFilter"),
    family="contraction",
    operands=(0, 2),
)
def _convolution_kernel(at: Occurrence) -> Cost:
    """Input, sizes, gradient of the output -> gradient of the kernel."""
    return _convolution(_positions(at, "inputs", 0), at.outputs[0], _positions(at, "inputs", 2))


# --- softmax, normalisation, losses ------------------------------------------------------------------------------------


def _rows(at: Occurrence) -> int:
    return at.inputs[0].elements // max(1, at.inputs[0].shape[-1])


@rule(_TF, "Softmax", family="other")
def _softmax(at: Occurrence) -> Cost:
    """Maximum and sum along each row; difference, exp and quotient of each element: 5n - 2r."""
    return Cost(other_flops=5 * at.inputs[0].elements - 2 * _rows(at))


@rule(_TF, "LogSoftmax", family="other")
def _log_softmax(at: Occurrence) -> Cost:
    """Maximum, difference, exp, sum, difference, and a log for each row: 5n - r."""
    return Cost(other_flops=5 * at.inputs[0].elements - _rows(at))


@rule(_TF, "SparseSoftmaxCrossEntropyWithLogits", family="other")
def _sparse_cross_entropy(at: Occurrence) -> Cost:
    """Loss and its gradient: a log-softmax (5n - r), looked up and negated (r); exp, and 1 taken from one of a row (n + r)."""
    return Cost(other_flops=6 * at.inputs[0].elements + _rows(at))


@rule(_TF, "SoftmaxCrossEntropyWithLogits", family="other")
def _cross_entropy(at: Occurrence) -> Cost:
    """Loss and its gradient: a log-softmax (5n - r), times the labels and summed (2n - r); exp, minus the labels (2n)."""
    return Cost(other_flops=9 * at.inputs[0].elements - 2 * _rows(at))


@rule(_TF, "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", family="other")
def _batch_norm(at: Occurrence) -> Cost:
    """Mean (1), variance (difference, square, sum: 3), difference, quotient, scale, shift (4): 8n; 4n with kept statistics."""
    return Cost(other_flops=(8 if at.attribute("is_training", True) else 4) * at.inputs[0].elements)


@rule(_TF, "FusedBatchNormGrad", "FusedBatchNormGradV2", "FusedBatchNormGradV3", family="other")
def _batch_norm_gradient(at: Occurrence) -> Cost:
    """Normalised input again (2), sums for shift (1) and scale (2), gradient of the input (5): 10n."""
    return Cost(other_flops=10 * at.inputs[0].elements)


@rule(_TF, "L2Loss", family="reduction")
def _l2_loss(at: Occurrence) -> Cost:
    """Square and sum: 2n."""
    return Cost(other_flops=2 * at.inputs[0].elements)


# --- element-wise ------------------------------------------------------------------------------------------------------

elementwise(
    _TF,
    _names(
        """Add AddV2 Sub Mul Div RealDiv DivNoNan MulNoNan FloorDiv FloorMod TruncateDiv TruncateMod Mod Neg Exp Expm1 Log
        Log1p Sqrt Rsqrt Square Reciprocal Inv Pow Abs Sign Sin Cos Tan Asin Acos Atan Atan2 Sinh Cosh Tanh Asinh Acosh
        Atanh Erf Erfc Erfinv Lgamma Digamma Floor Ceil Round Rint Maximum Minimum Equal NotEqual Less LessEqual Greater
        GreaterEqual ApproximateEqual LogicalAnd LogicalOr LogicalNot BitwiseAnd BitwiseOr BitwiseXor Invert LeftShift
        RightShift PopulationCount Select SelectV2 IsNan IsInf IsFinite NextAfter Relu BiasAdd BiasAddV1 Cumsum Cumprod
        ComplexAbs Conj Angle AssignAddVariableOp AssignSubVariableOp Igamma Igammac Zeta Polygamma Betainc Ndtri Xdivy"""
    ),
)
elementwise(_TF, _names("Relu6 ClipByValue ReluGrad SquaredDifference Xlogy Xlog1py InvGrad ReciprocalGrad SqrtGrad"), flops=2)
elementwise(_TF, _names("TanhGrad SigmoidGrad LeakyRelu LeakyReluGrad Relu6Grad RsqrtGrad Softsign"), flops=3)
elementwise(_TF, _names("Sigmoid SoftsignGrad CumulativeLogsumexp"), flops=4)
elementwise(_TF, _names("Elu EluGrad Selu SeluGrad SoftplusGrad"), flops=5)
elementwise(_TF, ["Softplus"], flops=6)


@rule(_TF, "AddN", "AccumulateNV2", family="elementwise")
def _add_n(at: Occurrence) -> Cost:
    """One addition less than there are terms, for each element."""
    return Cost(other_flops=(len(at.inputs) - 1) * at.output_elements)


@rule(_TF, "ResourceApplyGradientDescent", family="elementwise")
def _apply_gradient_descent(at: Occurrence) -> Cost:
    """``w - lr g``: 2 for each weight."""
    return Cost(other_flops=2 * at.output_elements)


@rule(_TF, "ResourceApplyMomentum", "ResourceApplyKerasMomentum", family="elementwise")
def _apply_momentum(at: Occurrence) -> Cost:
    """``m = momentum m - lr g; w = w + m``: 4 for each weight."""
    return Cost(other_flops=4 * at.output_elements)


@rule(_TF, "ResourceApplyAdam", "ResourceApplyAdamWithAmsgrad", family="elementwise")
def _apply_adam(at: Occurrence) -> Cost:
    """Two moments (3 + 4), denominator (root, sum: 2), step (product, quotient, difference: 3): 12 for each weight."""
    return Cost(other_flops=12 * at.output_elements)


# --- reductions and pooling --------------------------------------------------------------------------------------------

reductions(_TF, _names("Sum Max Min Prod All Any ArgMax ArgMin BiasAddGrad EuclideanNorm"))


@rule(_TF, "Mean", family="reduction")
def _mean(at: Occurrence) -> Cost:
    """Sum, and one quotient for each element of the output: elements read."""
    return Cost(other_flops=at.inputs[0].elements)


def _window(at: Occurrence) -> int:
    return math.prod(cast("tuple[int, ...]", at.attribute("ksize", (1,))))


@rule(_TF, "MaxPool", "MaxPoolV2", "MaxPool3D", "MaxPoolWithArgmax", family="pooling")
def _max_pool(at: Occurrence) -> Cost:
    """K - 1 comparisons for each element of the output."""
    return Cost(other_flops=(_window(at) - 1) * at.outputs[0].elements)


@rule(_TF, "MaxPoolGrad", "MaxPoolGradV2", "MaxPool3DGrad", family="pooling")
def _max_pool_gradient(at: Occurrence) -> Cost:
    """For each window, K - 1 comparisons find the place and 1 addition puts the gradient (the third input) there."""
    return Cost(other_flops=_window(at) * at.inputs[2].elements)


@rule(_TF, "MaxPoolGradWithArgmax", family="pooling")
def _max_pool_gradient_known(at: Occurrence) -> Cost:
    """Adds each element of the gradient (the second input) in one place."""
    return Cost(other_flops=at.inputs[1].elements)


@rule(_TF, "AvgPool", "AvgPool3D", family="pooling")
def _mean_pool(at: Occurrence) -> Cost:
    """K - 1 additions and a quotient for each element of the output."""
    return Cost(other_flops=_window(at) * at.outputs[0].elements)


@rule(_TF, "AvgPoolGrad", "AvgPool3DGrad", family="pooling")
def _mean_pool_gradient(at: Occurrence) -> Cost:
    """A quotient and K additions for each element of the gradient (the second input), less the first write."""
    return Cost(other_flops=_window(at) * at.inputs[1].elements)


elementwise(_TF, ["ResizeBilinear", "ResizeBilinearGrad"], flops=9)
elementwise(_TF, ["ResizeBicubic", "ResizeBicubicGrad", "ScaleAndTranslate", "ScaleAndTranslateGrad"], flops=35)
elementwise(_TF, ["RGBToHSV", "HSVToRGB"], flops=4)  # twelve comparisons, differences and quotients for the three of a pixel
movement(_TF, ["ResizeNearestNeighbor", "ImageProjectiveTransformV3"])

# --- lookup, scatter, movement, random bits ----------------------------------------------------------------------------

lookups(_TF, _names("Gather GatherV2 GatherNd ResourceGather ResourceGatherNd"))


@rule(
    _TF,
    *("UnsortedSegmentSum", "SegmentSum", "SegmentSumV2", "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd"),
    *("SegmentMax", "SegmentMean", "ResizeNearestNeighborGrad", "MirrorPadGrad", "DenseBincount", "Bincount"),
    family="reduction",
)
def _segment_sum(at: Occurrence) -> Cost:
    """One operation for each element of the first input."""
    return Cost(other_flops=at.inputs[0].elements)


@rule(
    _TF, "ResourceScatterAdd", "ResourceScatterSub", "TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", family="other"
)
def _scatter_add(at: Occurrence) -> Cost:
    """One operation for each element of the updates, the last input."""
    return Cost(other_flops=at.inputs[-1].elements)


@rule(_TF, "ScatterNd", family="other")
def _scatter_nd(at: Occurrence) -> Cost:
    """Indices, updates, shape: adds each element of the updates."""
    return Cost(other_flops=at.inputs[1].elements)


@rule(_TF, "TopK", "TopKV2", family="other")
def _top_k(at: Occurrence) -> Cost:
    """Comparisons of a sort: n log2(size of the last axis)."""
    return Cost(other_flops=at.inputs[0].elements * math.ceil(math.log2(max(2, at.inputs[0].shape[-1]))))


@rule(_TF, "InTopKV2", "InTopK", family="other")
def _in_top_k(at: Occurrence) -> Cost:
    """Compares each prediction with that of the label: n."""
    return Cost(other_flops=at.inputs[0].elements)


@rule(_TF, "FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D", "RFFT", "RFFT2D", "IRFFT", "IRFFT2D", family="other")
def _fft(at: Occurrence) -> Cost:
    """``5 n log2 n`` for a complex transform of n points (Cooley-Tukey), half of it for a real one."""
    name = at.operation.name
    axes = 3 if "3D" in name else 2 if "2D" in name else 1
    largest = max(at.inputs[0], at.outputs[0], key=lambda value: value.elements)
    points = math.prod(largest.shape[-axes:])
    return Cost(other_flops=round(5 * largest.elements * math.log2(max(points, 1)) / (2 if "R" in name else 1)))


free(_TF, _names("Identity Reshape Squeeze ExpandDims Transpose BroadcastTo Bitcast Real Imag DeepCopy InvertPermutation"))
movement(
    _TF,
    _names(
        """Cast Concat ConcatV2 Pack Unpack Split SplitV Slice StridedSlice StridedSliceGrad TensorStridedSliceUpdate Pad
        PadV2 MirrorPad Tile Fill ZerosLike OnesLike Range LinSpace Reverse ReverseV2 ReverseSequence Roll OneHot Where
        Unique UniqueV2 MatrixBandPart MatrixDiag MatrixDiagV2 MatrixDiagV3 MatrixDiagPart MatrixDiagPartV3
        MatrixSetDiagV3 Diag DiagPart SpaceToBatchND BatchToSpaceND SpaceToDepth DepthToSpace ExtractImagePatches
        ExtractVolumePatches Complex TensorScatterUpdate ResourceScatterUpdate ScatterUpdate TensorListReserve
        TensorListFromTensor TensorListGetItem TensorListSetItem TensorListStack TensorListPushBack TensorListPopBack
        TensorListLength TensorListElementShape TensorListResize TensorListConcatV2 TensorListSplit TensorListGather
        TensorListScatterV2 EmptyTensorList DynamicStitch ParallelDynamicStitch DynamicPartition LowerBound UpperBound
        Bucketize DataFormatVecPermute AssignVariableOp CheckNumerics CheckNumericsV2 ConcatOffset ConjugateTranspose
        EmptyTensorMap Empty ListDiff Copy StringFormat PrintV2 ResourceStridedSliceAssign StopGradient
        OptionalFromValue OptionalGetValue OptionalNone OptionalHasValue BroadcastArgs"""
    ),
)
random_bits(
    _TF,
    _names(
        """RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal StatelessRandomUniform
        StatelessRandomUniformV2 StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformFullInt
        StatelessRandomUniformFullIntV2 StatelessRandomNormal StatelessRandomNormalV2 StatelessTruncatedNormal
        StatelessTruncatedNormalV2 StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomGetAlg
        RngReadAndSkip RngSkip StatelessMultinomial StatelessRandomBinomial StatelessRandomGammaV2
        StatelessRandomGammaV3 StatelessShuffle RandomShuffle Multinomial StatefulUniform StatefulStandardNormalV2"""
    ),
)
