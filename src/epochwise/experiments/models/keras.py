"""Models of the experiments in Keras: built for a shape, with weights from a seed that are the same on every backend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from epochwise.counting import count
from epochwise.engine.keras import supports
from epochwise.errors import EpochwiseError, ModelDoesNotFitError
from epochwise.experiments.models import Description, Facts
from epochwise.experiments.reach.keras import reach
from epochwise.subjects import keras as subjects
from epochwise.subjects.arrays import make_dataset
from epochwise.subjects.backends import PLAIN_PYTORCH
from epochwise.subjects.loading import load_subject
from epochwise.subjects.models import parse_model
from epochwise.trials.trial import Outcome

_BLUR = np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16
_ONE_BY_ONE = np.eye(9, dtype=np.float32)
_FULL = 2
_BATCH = 32
_CUT = 2.0  # standard deviations at which a truncated normal distribution ends
_SHRINKS = 0.87962566103423978  # what is left of its standard deviation


class _DrawnLater(keras.initializers.Initializer):
    """Leaves zeros, since :func:`draw_weights` comes: JAX would compile a program for each shape that it draws."""

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> NDArray[Any]:
        return np.zeros(shape, dtype or "float32")


class _Glorot(_DrawnLater, keras.initializers.GlorotUniform):
    pass


class _Uniform(_DrawnLater, keras.initializers.RandomUniform):
    pass


def build(model: Description, input_shape: tuple[int, ...], classes: int, *, seed: int, learning_rate: float = 0.01) -> Any:
    """A compiled Keras model for samples of this shape: plain SGD, cross-entropy of its classes, accuracy.

    Args:
        model: a description, see :mod:`epochwise.experiments.models`.
        input_shape: of a sample.
        classes: how many.
        seed: of the weights.
        learning_rate: of SGD.

    Raises:
        EpochwiseError: a user's model does not accept such samples, fails, or is none of Keras.
    """
    subjects.forget_names()
    if "layers" in model:
        made = _ours(model["layers"], input_shape, classes)
        loss: Any = "sparse_categorical_crossentropy"
        metrics: Any = ["accuracy"]
    else:
        made, loss, metrics = _users(model, input_shape, classes, seed)
    made.compile(optimizer=keras.optimizers.SGD(learning_rate), loss=loss, metrics=metrics)
    draw_weights(made, seed)
    return made


def draw_weights(model: Any, seed: int) -> None:
    """Give a built model the weights of a seed: each layer's own distribution, drawn by NumPy in the order of the weights.

    Weights whose initializer has nothing random stay as they are, and so do those with an initializer of the user's own,
    for which the backend's seed was set before.
    """
    generator = np.random.default_rng([seed, 0])
    for layer in model._flatten_layers(include_self=False):
        for variable in layer._trainable_variables:
            initializer = getattr(layer, f"{variable.name}_initializer", None)
            values = _drawn(initializer, tuple(variable.shape), generator)
            if values is not None:
                variable.assign(values)


def _drawn(initializer: Any, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float32] | None:
    """Values of an initializer of Keras; ``None`` for those that draw nothing, and for others than Keras's."""
    kinds = keras.initializers
    if isinstance(initializer, kinds.VarianceScaling):
        fan_in, fan_out = _fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[initializer.mode]
        variance = initializer.scale / max(1.0, fan)
        if initializer.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return generator.uniform(-limit, limit, shape).astype(np.float32)
        if initializer.distribution == "truncated_normal":
            return _truncated(0.0, math.sqrt(variance) / _SHRINKS, shape, generator)
        return generator.normal(0.0, math.sqrt(variance), shape).astype(np.float32)
    if isinstance(initializer, kinds.RandomUniform):
        return generator.uniform(initializer.minval, initializer.maxval, shape).astype(np.float32)
    if isinstance(initializer, kinds.TruncatedNormal):
        return _truncated(initializer.mean, initializer.stddev, shape, generator)
    if isinstance(initializer, kinds.RandomNormal):
        return generator.normal(initializer.mean, initializer.stddev, shape).astype(np.float32)
    return None


def _truncated(mean: float, deviation: float, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float32]:
    """Normal numbers, those beyond two standard deviations drawn again."""
    values = generator.standard_normal(shape)
    while (far := np.abs(values) > _CUT).any():
        values[far] = generator.standard_normal(int(far.sum()))
    return (mean + deviation * values).astype(np.float32)


def _fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """Inputs and outputs of a unit, as Keras counts them from a kernel's shape."""
    if len(shape) <= 1:
        return (shape[0], shape[0]) if shape else (1.0, 1.0)
    taps = math.prod(shape[:-2])
    return shape[-2] * taps, shape[-1] * taps


def _ours(layers: list[list[Any]], input_shape: tuple[int, ...], classes: int) -> Any:
    inputs = keras.Input(input_shape)
    outputs = inputs
    for layer in layers:
        for part in _parts(layer, tuple(outputs.shape[1:]), classes):
            outputs = part(outputs)
            if isinstance(part, keras.layers.DepthwiseConv2D):
                taps = _ONE_BY_ONE if layer[0] == "local" else _BLUR
                part.set_weights([np.repeat(taps.reshape(3, 3, 1, -1), part.kernel.shape[2], axis=2)])
    return keras.Model(inputs, outputs)


def _parts(layer: list[Any], shape: tuple[int, ...], classes: int) -> list[Any]:
    """The Keras layers of one of ours."""
    kind, kl, drawn = layer[0], keras.layers, _Glorot()
    if kind == "flatten":
        return [kl.Flatten()]
    if kind == "dense":
        return [kl.Dense(layer[1], activation="relu", kernel_initializer=drawn)]
    if kind == "classes":
        return [kl.Dense(classes, activation="softmax", kernel_initializer=drawn)]
    if kind == "pool":
        return [kl.MaxPooling2D(2)]
    if kind == "blur-pool":
        blur = kl.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, trainable=False, depthwise_initializer="zeros")
        return [kl.MaxPooling2D(2, strides=1), blur]
    if kind == "gap":
        return [kl.GlobalAveragePooling2D()]
    if kind == "gmp":
        return [kl.GlobalMaxPooling2D()]
    if kind == "local":
        return _local(layer[1], shape)
    if kind == "dense-map":
        made = (shape[0] - 2, shape[1] - 2, layer[1])
        return [kl.Flatten(), kl.Dense(math.prod(made), activation="relu", kernel_initializer=drawn), kl.Reshape(made)]
    if layer[2] == "full":
        return [kl.ZeroPadding2D(_FULL), kl.Conv2D(layer[1], 3, activation="relu", kernel_initializer=drawn)]
    return [kl.Conv2D(layer[1], 3, padding=layer[2], activation="relu", kernel_initializer=drawn)]


def _local(filters: int, shape: tuple[int, ...]) -> list[Any]:
    """A convolution of 3 x 3 without padding whose weights are not shared between places; with relu.

    Keras had such a layer until its version 3. Here each place's 9 C neighbours are gathered first (a depthwise convolution
    whose frozen kernels each pick one), and each place is then a group of its own in a convolution of 1 x 1: layers that the
    engine trains. Weights are drawn as those of the shared kernel are, so that sharing differs and the scale does not.
    """
    kl, (rows, columns, channels) = keras.layers, shape
    places, taps = (rows - 2) * (columns - 2), 9 * channels
    limit = math.sqrt(6 / (taps + 9 * filters))
    return [
        kl.DepthwiseConv2D(3, depth_multiplier=9, use_bias=False, trainable=False, depthwise_initializer="zeros"),
        kl.Reshape((1, 1, places * taps)),
        kl.Conv2D(
            places * filters,
            1,
            groups=places,
            activation="relu",
            kernel_initializer=_Uniform(-limit, limit),
        ),
        kl.Reshape((rows - 2, columns - 2, filters)),
    ]


def _users(model: Description, input_shape: tuple[int, ...], classes: int, seed: int) -> tuple[Any, Any, Any]:
    """A user's model, with the loss and metrics that fit its output, whatever it was compiled with."""
    samples = max(classes, 2)
    x, y = np.zeros((samples, *input_shape), np.float32), np.arange(samples) % classes
    data = make_dataset("samples", x, y)
    spec, backend = parse_model(str(model["text"])), keras.backend.backend()
    try:
        subject = load_subject(spec, data, backend=backend, batch_size=samples, seed=seed)
    except ModelDoesNotFitError:
        # Compiled for one-hot labels, perhaps: the loss is ours here, so that is no reason to refuse it.
        one_hot = make_dataset("samples", x, np.eye(classes, dtype=np.float32)[y])
        try:
            subject = load_subject(spec, one_hot, backend=backend, batch_size=samples, seed=seed)
        except ModelDoesNotFitError:
            subject = load_subject(spec, data, backend=backend, batch_size=samples, seed=seed)
    if subject.backend == PLAIN_PYTORCH:
        raise ModelDoesNotFitError(
            f"{model['name']} is a plain torch.nn.Module, and the experiments train Keras models.",
            cause="They need the same weights from a seed on every backend, which only the layers of a Keras model allow.",
            remedy="the same layers as a keras.Sequential",
        )
    loss, metrics = subjects.fitting_loss(subject.model, data, str(model["name"]))
    return subject.model, loss, metrics


def facts(arguments: Mapping[str, Any]) -> Outcome:
    """What a model costs for samples of a shape, or why it does not accept them. A trial.

    Args:
        arguments: ``model``, ``input_shape``, ``classes``, and ``between``, the smallest and the largest number in the images.

    Returns:
        Numbers ``{"facts": {...}, "reasons": [why the engine does not train it], "reach": {...}}`` (the last one of
        :class:`epochwise.experiments.reach.Reach`, or null), or ``refused`` with the error's three parts (the first one under
        this name, then ``cause`` and ``remedy``).
    """
    shape, classes = tuple(arguments["input_shape"]), int(arguments["classes"])
    try:
        model = build(arguments["model"], shape, classes, seed=0)
        samples = np.zeros((_BATCH, *shape), np.float32), np.zeros(_BATCH, np.int32)
        counts = count(model, _BATCH, *samples)  # a subclassed model has no shape of its own
    except EpochwiseError as problem:
        return Outcome(numbers={"refused": problem.what, "cause": problem.cause, "remedy": problem.remedy})
    support = supports(model)
    found = Facts(
        parameters=counts.parameters.trainable + counts.parameters.frozen,
        forward_macs=int(counts.per_sample.forward_macs),
        training_macs=int(counts.per_sample.training_macs),
        activations=int(counts.per_sample.activation_elements),
        by_engine=bool(support),
    )
    low, high = arguments["between"]
    reached = reach(model, shape, low, high)
    return Outcome(
        numbers={
            "facts": vars(found),
            "reasons": [str(reason) for reason in support.reasons],
            "reach": None if reached is None else vars(reached),
        }
    )
