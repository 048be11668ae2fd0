"""A network as the engine sees it: tensors, operations, weights, loss and optimizer, without any framework.

Legend: a tensor's shape is that of one sample, channels last (``H W C``, or just ``C``); the batch is never part of it.
Operations stand in the order in which they run, and each makes one tensor. Weights are named by their place in
``Network.weights``, tensors by their place in ``Network.shapes``. Weight arrays have Keras's shapes.

What is *not* here: values. The weights' arrays and the optimizer's state are a :class:`State`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32: TypeAlias = NDArray[np.float32]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]
Sides: TypeAlias = tuple[Pair, Pair]
"""Rows or columns of zeros: ((above, below), (left, right))."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One array that a layer owns.

    Attributes:
        name: as Keras names it within its layer, such as ``kernel``.
        layer: the layer's name.
        shape: Keras's shape.
        trained: whether the optimizer changes it. Running statistics are not trained, nor is a frozen layer.
        l1, l2: factors of a penalty that is added to the loss (``l1 * sum |w| + l2 * sum w^2``).
        decays: whether the optimizer's weight decay acts on it.
    """

    name: str
    layer: str
    shape: Shape
    trained: bool = True
    l1: float = 0.0
    l2: float = 0.0
    decays: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What all operations have.

    Attributes:
        layer: name of the layer it belongs to, as the user named it.
        inputs: the tensors read.
        output: the tensor made.
    """

    layer: str
    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution(Operation):
    """``H W C -> H' W' K``. Kernel ``(rows, columns, C / groups, K)``.

    A 1-D convolution goes over tensors ``L C``, which are maps of one row; its kernel is ``(taps, C / groups, K)`` as in Keras.
    Pooling, padding and upsampling take such tensors in the same way.
    """

    kernel: int
    bias: int | None
    strides: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Sides = ((0, 0), (0, 0))
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthwiseConvolution(Operation):
    """``H W C -> H' W' C*M``. Kernel ``(rows, columns, C, M)``: each channel has its own ``M`` filters."""

    kernel: int
    bias: int | None
    strides: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Sides = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(Operation):
    """``... C -> ... K``: a product with a kernel ``(C, K)`` over the last axis."""

    kernel: int
    bias: int | None


ActivationKind: TypeAlias = Literal["relu", "sigmoid", "tanh", "softmax", "gelu", "gelu_tanh", "leaky_relu", "elu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation(Operation):
    """Element by element, except softmax, which is over the last axis.

    Attributes:
        kind: ``gelu`` is the exact one, ``gelu_tanh`` its approximation.
        slope: of ``leaky_relu`` and ``elu`` below zero.
    """

    kind: ActivationKind
    slope: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(Operation):
    """The largest of each window; of equal ones the first, row by row. Padding never wins."""

    size: Pair
    strides: Pair
    padding: Sides = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(Operation):
    """The mean of each window, over what lies in the map (padding is not counted). Global pooling has the map's size."""

    size: Pair
    strides: Pair
    padding: Sides = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout(Operation):
    """Zero with probability ``rate``, else divided by ``1 - rate``. Only in training."""

    rate: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNormalization(Operation):
    """Over all axes but the last. ``mean`` and ``variance`` are weights that training moves (not trained by the optimizer).

    Attributes:
        gamma, beta: weights, or ``None`` where the layer has none.
        mean, variance: the running statistics.
        momentum: new running = momentum * running + (1 - momentum) * batch (variance: biased).
        epsilon: added to the variance.
        frozen: uses the running statistics in training too, and leaves them.
    """

    gamma: int | None
    beta: int | None
    mean: int
    variance: int
    momentum: float
    epsilon: float
    frozen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNormalization(Operation):
    """Over the last axis of each sample, or over all axes of it (``whole``)."""

    gamma: int | None
    beta: int | None
    epsilon: float
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Combine(Operation):
    """Tensors of one shape, put together element by element."""

    kind: Literal["add", "subtract", "multiply", "maximum", "average"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Concatenate(Operation):
    """Along one axis of the sample, counted from 0."""

    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(Operation):
    """Zeros around ``H W C``."""

    padding: Sides


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Operation):
    """The same numbers in another shape (also Flatten)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSample(Operation):
    """Each pixel ``size`` times (nearest)."""

    size: Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale(Operation):
    """``x * scale + offset``."""

    scale: float
    offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding(Operation):
    """Whole numbers -> rows of a table ``(rows, C)``."""

    table: int


LossKind: TypeAlias = Literal[
    "sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy", "mean_squared_error"
]


@dataclass(frozen=True, slots=True)
class Loss:
    """The mean over the batch of each sample's loss.

    Attributes:
        kind: as Keras calls it.
        from_logits: whether the output tensor holds logits. Where a softmax or sigmoid comes last and the backend recovers
            the logits behind it (TensorFlow), the reader of the model leaves that activation out of the loss's way: ``logits``.
        logits: the tensor of logits behind the output's softmax or sigmoid, which the loss uses instead of the output; or
            ``None`` where the loss uses the output itself, clipped to ``[1e-7, 1 - 1e-7]``.
        label_smoothing: as in Keras.
    """

    kind: LossKind
    from_logits: bool = False
    logits: int | None = None
    label_smoothing: float = 0.0


MetricKind: TypeAlias = Literal[
    "sparse_categorical_accuracy", "categorical_accuracy", "binary_accuracy", "mean_squared_error", "mean_absolute_error"
]


@dataclass(frozen=True, slots=True)
class Metric:
    """A mean over samples.

    Attributes:
        name: as it stands in ``History``.
        kind: what is averaged.
        weighted: whether sample weights act on it (Keras's ``weighted_metrics``).
        threshold: of ``binary_accuracy``: an output above it means 1 (0 for logits).
    """

    name: str
    kind: MetricKind
    weighted: bool = False
    threshold: float = 0.5


@dataclass(frozen=True, slots=True)
class Optimizer:
    """How weights are updated; the learning rate of each step is given apart.

    Attributes:
        kind: ``adamw`` is Adam with decay; any kind may have decay.
        momentum, nesterov: of SGD.
        beta_1, beta_2, epsilon: of Adam and AdamW.
        weight_decay: each step first takes ``w * weight_decay * learning rate`` off, or ``None``.
        clip_norm: the longest that each weight's gradient may be, or ``None``.
        clip_value: the largest that each element of a gradient may be, or ``None``.
        global_clip_norm: the longest that all gradients together may be, or ``None``.
    """

    kind: Literal["sgd", "adam", "adamw"]
    momentum: float = 0.0
    nesterov: bool = False
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    global_clip_norm: float | None = None

    @property
    def slots(self) -> int:
        """How many arrays of a weight's shape it keeps for each trained weight."""
        if self.kind == "sgd":
            return 1 if self.momentum else 0
        return 2


@dataclass(frozen=True, slots=True)
class Network:
    """What is trained.

    Attributes:
        name: of the model.
        shapes: of each tensor, for one sample.
        input: the tensor that holds the sample.
        output: the tensor that is the model's answer.
        weights: all weights, in Keras's order.
        operations: in the order in which they run.
        loss: what is made small.
        metrics: what is reported beside the loss.
        optimizer: how.
    """

    name: str
    shapes: tuple[Shape, ...]
    input: int
    output: int
    weights: tuple[Weight, ...]
    operations: tuple[Operation, ...]
    loss: Loss
    metrics: tuple[Metric, ...]
    optimizer: Optimizer


@dataclass(slots=True)
class State:
    """What training changes.

    Attributes:
        weights: one array for each of ``Network.weights``, in Keras's shape, contiguous.
        slots: for each weight, the optimizer's arrays of its shape (none for weights that are not trained). SGD: the
            momentum. Adam: the first and second moment.
        iterations: optimizer steps done so far.
    """

    weights: list[Float32]
    slots: list[list[Float32]]
    iterations: int = 0


@dataclass(slots=True)
class Sums:
    """What some steps or an evaluation add up, from which means are made.

    Attributes:
        samples: how many were seen.
        weight: sum of the sample weights (the number of samples where there are none).
        loss: sum over batches of (loss of the batch, with penalties) * (its samples), as Keras's loss tracker weighs it.
        metrics: for each of ``Network.metrics`` the sum over samples of value * weight.
    """

    samples: int = 0
    weight: float = 0.0
    loss: float = 0.0
    metrics: list[float] = field(default_factory=list)

    def add(self, other: Sums) -> None:
        """Add what further steps gave."""
        self.samples += other.samples
        self.weight += other.weight
        self.loss += other.loss
        self.metrics = [a + b for a, b in zip(self.metrics or [0.0] * len(other.metrics), other.metrics, strict=True)]
