"""What a Keras model was compiled with: loss, metrics and optimizer, as the active backend computes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from epochwise.engine.network import Activation, Loss, LossKind, Metric, MetricKind, Optimizer
from epochwise.engine.sketch import Sketch

_LOSSES: dict[Any, LossKind] = {
    keras.losses.SparseCategoricalCrossentropy: "sparse_categorical_crossentropy",
    keras.losses.CategoricalCrossentropy: "categorical_crossentropy",
    keras.losses.BinaryCrossentropy: "binary_crossentropy",
    keras.losses.MeanSquaredError: "mean_squared_error",
    keras.losses.sparse_categorical_crossentropy: "sparse_categorical_crossentropy",
    keras.losses.categorical_crossentropy: "categorical_crossentropy",
    keras.losses.binary_crossentropy: "binary_crossentropy",
    keras.losses.mean_squared_error: "mean_squared_error",
}
"""Classes and functions; a name is one of these to ``keras.losses.get``."""
_METRICS: dict[Any, MetricKind] = {
    keras.metrics.SparseCategoricalAccuracy: "sparse_categorical_accuracy",
    keras.metrics.CategoricalAccuracy: "categorical_accuracy",
    keras.metrics.BinaryAccuracy: "binary_accuracy",
    keras.metrics.MeanSquaredError: "mean_squared_error",
    keras.metrics.MeanAbsoluteError: "mean_absolute_error",
    keras.metrics.sparse_categorical_accuracy: "sparse_categorical_accuracy",
    keras.metrics.categorical_accuracy: "categorical_accuracy",
    keras.metrics.binary_accuracy: "binary_accuracy",
    keras.metrics.mean_squared_error: "mean_squared_error",
    keras.metrics.mean_absolute_error: "mean_absolute_error",
}
_BY_SHAPE = ("accuracy", "acc")
"""Metrics that Keras chooses by the shapes of labels and outputs."""
_LOSS_BY_SHAPE = ("crossentropy", "ce")
_MEANS = ("sum_over_batch_size", "mean")
_SPARSE = "sparse_categorical_crossentropy"
_CATEGORICAL = (_SPARSE, "categorical_crossentropy")
_ENDINGS = ("softmax", "sigmoid")
_OPTIMIZERS = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw"}


def read_loss(model: Any, output: int | None, sketch: Sketch) -> Loss:
    """The loss, with the tensor of logits where the backend finds them behind the output.

    Keras on TensorFlow takes the logits behind any last softmax or sigmoid (``_keras_logits``), whatever the loss was told of
    ``from_logits``. JAX and PyTorch take the probabilities as they are, and clip them to ``[1e-7, 1 - 1e-7]``.
    """
    found = _plain_loss(model, sketch)
    if found is None or output is None or found.kind == "mean_squared_error":
        return found or Loss("mean_squared_error")
    ending = sketch.maker(output)
    kind = ending.kind if isinstance(ending, Activation) and ending.kind in _ENDINGS else None
    if kind is not None and keras.backend.backend() == "tensorflow" and isinstance(ending, Activation):
        return dataclasses.replace(found, from_logits=False, logits=ending.inputs[0])
    if not found.from_logits and found.kind in _CATEGORICAL and kind != "softmax":
        sketch.refuse(
            "loss",
            f"{found.kind} of outputs that are no probabilities: the last layer has no softmax (with logits: from_logits=True)",
        )
    return found


def _plain_loss(model: Any, sketch: Sketch) -> Loss | None:
    given = model.loss
    if isinstance(given, list | tuple | dict):
        if len(given) != 1:
            sketch.refuse("loss", f"{len(given)} losses; covered is one")
            return None
        given = next(iter(given.values() if isinstance(given, dict) else given))
    if getattr(model._compile_loss, "_user_loss_weights", None) is not None:
        sketch.refuse("loss", "loss_weights")
    if given is None:
        sketch.refuse("loss", "none; covered are " + ", ".join(sorted(set(_LOSSES.values()))))
        return None
    if isinstance(given, str) and given.lower() in _LOSS_BY_SHAPE:
        sketch.refuse("loss", f"{given!r}, which Keras chooses by the shape of the labels; covered is its full name")
        return None
    try:
        loss = keras.losses.get(given)
    except ValueError:
        loss = given
    key = loss if callable(loss) and not isinstance(loss, keras.Loss) else type(loss)
    kind = next((kind for known, kind in _LOSSES.items() if known is key), None)
    if kind is None:
        name = getattr(key, "__name__", str(given))
        sketch.refuse("loss", f"{name}; covered are {', '.join(sorted(set(_LOSSES.values())))}")
        return None
    if not isinstance(loss, keras.Loss):
        return Loss(kind)
    return _checked_loss(kind, loss, sketch)


def _checked_loss(kind: LossKind, loss: Any, sketch: Sketch) -> Loss:
    settings = {**loss.get_config(), **getattr(loss, "_fn_kwargs", {})}
    sketch.need(loss.reduction in _MEANS, "loss", f"reduction {loss.reduction!r}; covered is sum_over_batch_size")
    sketch.need(settings.get("ignore_class") is None, "loss", "ignore_class")
    sketch.need(settings.get("axis", -1) == -1, "loss", f"axis {settings.get('axis')}; covered is -1")
    dtype = getattr(loss, "dtype", "float32")
    sketch.need(dtype == "float32", "loss", f"dtype {dtype}; covered is float32")
    smoothing = float(settings.get("label_smoothing") or 0.0)
    sketch.need(not (smoothing and kind == _SPARSE), "loss", "label_smoothing of whole numbers")
    return Loss(kind, from_logits=bool(settings.get("from_logits", False)), label_smoothing=smoothing)


def read_metrics(model: Any, loss: Loss, output_shape: Sequence[int], sketch: Sketch) -> tuple[Metric, ...]:
    """The metrics by their names in ``History``, those of ``weighted_metrics`` last."""
    compiled = model._compile_metrics
    if compiled is None:
        return ()
    metrics: list[Metric] = []
    seen: dict[str, int] = {}
    for given, weighted in ((compiled._user_metrics, False), (compiled._user_weighted_metrics, True)):
        for each in keras.tree.flatten(given or []):
            metric = _metric(each, loss, output_shape, weighted, sketch)
            if metric is not None:
                metrics.append(dataclasses.replace(metric, name=_unique(metric.name, weighted, seen)))
    return tuple(metrics)


def _unique(name: str, weighted: bool, seen: dict[str, int]) -> str:
    """Names that come twice, as ``CompileMetrics.result`` tells them apart."""
    if name in seen and weighted:
        name = f"weighted_{name}"
    if name not in seen:
        seen[name] = 1
        return name
    seen[name] += 1
    return f"{name}_{seen[name] - 1}"


def _metric(given: Any, loss: Loss, output_shape: Sequence[int], weighted: bool, sketch: Sketch) -> Metric | None:
    if isinstance(given, str) and given.lower() in _BY_SHAPE:
        kind: MetricKind
        if output_shape[-1] == 1:
            kind = "binary_accuracy"
        else:
            kind = "sparse_categorical_accuracy" if loss.kind == _SPARSE else "categorical_accuracy"
        metric = Metric(given, kind, weighted)
    else:
        try:
            found = keras.metrics.get(given)
        except ValueError:
            found = given
        key = type(found) if isinstance(found, keras.Metric) else found
        known = next((kind for candidate, kind in _METRICS.items() if candidate is key), None)
        name = given if isinstance(given, str) else getattr(found, "name", getattr(found, "__name__", str(given)))
        if known is None:
            sketch.refuse("metrics", f"{name}; covered are accuracy, {', '.join(sorted(set(_METRICS.values())))}")
            return None
        threshold = float(getattr(found, "threshold", 0.5) or 0.0)
        metric = Metric(name, known, weighted, threshold)
    sparse = metric.kind == "sparse_categorical_accuracy"
    if sparse != (loss.kind == _SPARSE):
        sketch.refuse("metrics", f"{metric.name} ({metric.kind}) with the loss {loss.kind}: they take different labels")
        return None
    return metric


def read_optimizer(model: Any, sketch: Sketch) -> Optimizer:
    """The optimizer without its learning rate, which is given step by step (``schedules``)."""
    optimizer = model.optimizer
    kind = type(optimizer)
    name = _OPTIMIZERS.get(kind.__name__)
    if name is None or not kind.__module__.startswith("keras."):
        sketch.refuse("optimizer", f"{kind.__name__}; covered are {', '.join(_OPTIMIZERS)}")
        return Optimizer("sgd")
    sketch.need(not getattr(optimizer, "amsgrad", False), "optimizer", "amsgrad=True")
    sketch.need(not optimizer.use_ema, "optimizer", "use_ema=True")
    sketch.need(not optimizer.gradient_accumulation_steps, "optimizer", "gradient_accumulation_steps")
    sketch.need(optimizer.loss_scale_factor is None, "optimizer", "loss_scale_factor")
    read = Optimizer(
        "sgd" if name == "sgd" else "adam" if name == "adam" else "adamw",
        weight_decay=None if optimizer.weight_decay is None else float(optimizer.weight_decay),
        clip_norm=_positive(optimizer.clipnorm),
        clip_value=_positive(optimizer.clipvalue),
        global_clip_norm=_positive(optimizer.global_clipnorm),
    )
    if name == "sgd":
        return dataclasses.replace(read, momentum=float(optimizer.momentum), nesterov=bool(optimizer.nesterov))
    return dataclasses.replace(
        read, beta_1=float(optimizer.beta_1), beta_2=float(optimizer.beta_2), epsilon=float(optimizer.epsilon)
    )


def _positive(value: Any) -> float | None:
    return float(value) if value else None


def decays(optimizer: Any, variable: Any) -> bool:
    """Whether weight decay acts on a variable (``exclude_from_weight_decay``)."""
    # Keras keeps its answers in a cache by identity, which other variables could inherit before it is built.
    return bool(optimizer._use_weight_decay(variable.value if keras.backend.backend() == "tensorflow" else variable))


def slots_of(optimizer: Any, kind: str, variable: Any) -> list[Any]:
    """The optimizer's variables for one weight, in the order of :class:`~epochwise.engine.network.State`."""
    place = optimizer._get_variable_index(variable)
    if kind == "sgd":
        return [optimizer.momentums[place]] if optimizer.momentum else []
    return [optimizer._momentums[place], optimizer._velocities[place]]
