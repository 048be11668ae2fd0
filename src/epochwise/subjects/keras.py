"""Keras models: fitted to data, given a loss, loaded from files. Keras 3, on whichever backend it was imported with."""

from __future__ import annotations

import dataclasses
import random
import re
import textwrap
import types
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from epochwise.errors import ModelDoesNotFitError, ModelFailedError, NotAModelError, UnsafeModelError, UsageError
from epochwise.subjects import user_code
from epochwise.subjects.arrays import Array, Dataset, make_dataset
from epochwise.subjects.backends import Backend
from epochwise.subjects.optimizers import kind_named

PUBLIC: types.ModuleType = keras
"""The module that users know as ``keras``, and as ``tf.keras``."""

_TWO = 2
_PROBED = 8  # samples run through a model whose last layer does not say what its outputs are
_OWN_MISTAKES = (NameError, AttributeError, ImportError, AssertionError, NotImplementedError, ZeroDivisionError)


def backend() -> Backend:
    """The backend that this process's Keras runs on."""
    return keras.backend.backend()


def is_model(candidate: object) -> bool:
    """Whether it is a Keras model."""
    return isinstance(candidate, keras.Model)


def is_layer(candidate: object) -> bool:
    """Whether it is a Keras layer, which every Keras model is."""
    return isinstance(candidate, keras.layers.Layer)


def set_seed(seed: int) -> None:
    """Seed Python (where Keras's own seeds come from), NumPy and the backend."""
    if backend() == "tensorflow":
        keras.utils.set_random_seed(seed)
        return
    # On the other backends that function imports TensorFlow just to seed it: seconds, and 300 MB in the process measured.
    random.seed(seed)
    np.random.seed(seed)
    if backend() == "torch":
        from epochwise.subjects import torch

        torch.set_seed(seed)


def forget_names() -> None:
    """Let Keras number its automatic names from the beginning, as in a process of its own: ``conv2d``, ``conv2d_1``."""
    keras.backend.clear_session()


def load_file(path: str) -> Any:
    """Load a ``.keras`` file in Keras's safe mode, in which no code that the file holds is run.

    Raises:
        UnsafeModelError: it holds code (a ``Lambda`` layer).
        NotAModelError: it is no ``.keras`` file, or is truncated.
        ModelFailedError: Keras cannot make the model, for instance because a class of the user's is unknown.
    """
    try:
        with zipfile.ZipFile(Path(path).expanduser()) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"{broken} in it does not have its checksum")
    except (zipfile.BadZipFile, OSError) as problem:
        raise NotAModelError(
            f"{path} cannot be read as a .keras file: {problem}",
            cause="It was cut short while it was written or copied, or is of another format (.h5, SavedModel).",
            remedy='model.save("model.keras")',
        ) from problem
    try:
        model = keras.saving.load_model(Path(path).expanduser(), safe_mode=True)
    except Exception as problem:
        said = _first_lines(problem)
        if any(word in str(problem) for word in ("safe_mode", "unsafe", "lambda")):
            raise UnsafeModelError(
                f"{path} holds code, and was refused by Keras's safe mode: {said}",
                cause="A Lambda layer stores Python code in the file; loading it would run that code.",
                remedy="MODEL as file.py:function, with the layer written as a class in your own file",
            ) from problem
        raise ModelFailedError(
            f"Keras {keras.__version__} cannot load {path}: {type(problem).__name__}: {said}",
            cause="A layer, loss or metric of your own, which a .keras file names but does not hold.",
            remedy="MODEL as file.py:function, where the file defines it",
        ) from problem
    if not is_model(model):
        raise NotAModelError(
            f"{path} holds a {type(model).__name__}; a Keras model is needed.", remedy='model.save("model.keras")'
        )
    return model


def fit_to(model: Any, data: Dataset, *, name: str) -> Dataset:
    """Build the model for the data, and compile it unless it is compiled.

    Args:
        model: any Keras model; it is built and compiled in place.
        data: samples ``(N, ...)`` and labels.
        name: of the model, for messages.

    Returns:
        The data as the model takes them.

    Raises:
        ModelDoesNotFitError: the model does not accept the samples, or its outputs do not fit the labels.
        ModelFailedError: its own code raised.
    """
    output = _output_shape(model, data, name)
    if data.classes is not None:
        _check_units(model, output, data, name)
    if not model.compiled:
        loss, metrics = _loss_for(model, output, data, name)
        model.compile(optimizer=keras.optimizers.SGD(), loss=loss, metrics=metrics)
    return data


def fitting_loss(model: Any, data: Dataset, name: str) -> tuple[Any, list[Any]]:
    """The loss and metrics that fit a model's output and the labels, whatever it was compiled with.

    Raises:
        ModelDoesNotFitError: there are none; or the model does not accept the samples.
    """
    return _loss_for(model, _output_shape(model, data, name), data, name)


def set_optimizer(model: Any, name: str) -> None:
    """Give a compiled model another optimizer, with Keras's own settings; its loss and metrics stay.

    Raises:
        UsageError: Keras has no such optimizer, or it needs arguments.
    """
    kinds = {
        kind: found
        for kind, found in vars(keras.optimizers).items()
        if isinstance(found, type) and issubclass(found, keras.optimizers.Optimizer) and found is not keras.optimizers.Optimizer
    }
    kind, arguments = kind_named(name, kinds, "Keras")
    try:
        optimizer = kind(**arguments)
    except TypeError as error:
        raise UsageError(f"{kind.__name__} cannot be made by its name alone: {error}", remedy="--optimizer adamw") from error
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):  # mixed precision, as compile() does it
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.optimizer = optimizer
    model.train_function = None


def zeros_for(model: Any, batch_size: int) -> Dataset | None:
    """Zeros of the shapes that the model itself has; ``None`` unless it has one input and one output of known sizes."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1:
        return None
    sample, output = _input_shape(model) or (None,), tuple(outputs[0].shape)[1:] or (None,)
    sizes, units = [size for size in sample if size is not None], [size for size in output if size is not None]
    if len(sizes) < len(sample) or len(units) < len(output):
        return None
    data = make_dataset("zeros", np.zeros((batch_size, *sizes), np.float32), np.zeros((batch_size, *units[:-1]), np.int32))
    return dataclasses.replace(data, classes=max(2, units[-1]))


def _output_shape(model: Any, data: Dataset, name: str) -> tuple[int | None, ...]:
    """Shape of the output, with the batch; builds the model on the way. Nothing is computed where the model allows that."""
    symbol = keras.KerasTensor((None, *data.input_shape), dtype=str(data.x.dtype))
    try:
        outputs = model(symbol)
    except Exception as symbolic:
        try:  # a model that needs numbers (a shape that depends on values, a library that is not Keras)
            outputs = model(data.x[:1])
        except Exception as problem:
            raise _call_failed(model, data, name, problem) from symbolic
    if isinstance(outputs, list | tuple) and len(outputs) == 1:
        outputs = outputs[0]
    if isinstance(outputs, list | tuple | dict) or not hasattr(outputs, "shape"):
        many = f"{len(outputs)} outputs" if isinstance(outputs, list | tuple | dict) else f"a {type(outputs).__name__}"
        raise ModelDoesNotFitError(
            f"{name} has {many}; the data have one array of labels.",
            cause="Models with several outputs need labels and a loss for each, which epochwise does not support.",
            remedy="a model with the one output that is trained",
        )
    return None, *(None if size is None else int(size) for size in tuple(outputs.shape)[1:])


def _call_failed(model: Any, data: Dataset, name: str, problem: Exception) -> ModelFailedError | ModelDoesNotFitError:
    if isinstance(problem, _OWN_MISTAKES):
        return user_code.failed(name, problem)
    wanted = _input_shape(model)
    takes = f"takes {wanted}" if wanted else "does not accept them"
    return ModelDoesNotFitError(
        f"The data have samples of shape {data.input_shape} ({data.x.dtype}); {name} {takes}. "
        f"Keras said: {_first_lines(problem)}",
        cause="An input shape written into the model, or samples without their channel axis.",
        remedy="def build(input_shape, output_shape): ...   (epochwise passes the shapes of the data)",
    )


def _input_shape(model: Any) -> tuple[int | None, ...] | None:
    try:
        shape = model.input_shape
    except (AttributeError, ValueError, RuntimeError):
        return None
    return tuple(shape[1:]) if isinstance(shape, tuple) else None


def _check_units(model: Any, output: tuple[int | None, ...], data: Dataset, name: str) -> None:
    """Refuse outputs that cannot tell the classes apart, and a compiled loss that wants labels of the other kind."""
    units = output[-1]
    classes = data.classes or 0
    one_hot = data.y.dtype.kind == "f"
    if one_hot and units != classes:
        raise _wrong_units(
            f"{name} gives {units} numbers per sample, and the labels are one-hot of {classes} classes.", classes
        )
    # One unit tells two classes apart; a compiled loss that is no cross-entropy may do what it likes with its outputs.
    enough = 1 if classes <= _TWO else classes
    if units is not None and units < enough and (not model.compiled or _loss_name(model).endswith("crossentropy")):
        numbers = f"{units} numbers" if units > 1 else "1 number"
        raise _wrong_units(f"{name} gives {numbers} per sample, and the labels have {classes} classes.", classes)
    loss = _loss_name(model) if model.compiled else ""
    if (loss == "categoricalcrossentropy" and not one_hot) or (loss == "sparsecategoricalcrossentropy" and one_hot):
        kinds = ("one-hot labels", "numbers of classes") if not one_hot else ("numbers of classes", "one-hot labels")
        works = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
        raise ModelDoesNotFitError(
            f"{name} is compiled with a loss for {kinds[0]}, and the labels are {kinds[1]} of shape {data.y.shape}.",
            cause="categorical_crossentropy and sparse_categorical_crossentropy confused.",
            remedy=f'model.compile(..., loss="{works}")   (or leave the model uncompiled: epochwise takes the one that fits)',
        )


def _wrong_units(what: str, classes: int) -> ModelDoesNotFitError:
    return ModelDoesNotFitError(
        what,
        cause="The number of classes is written into the last layer, and the data have more.",
        remedy=f'keras.layers.Dense({classes}, activation="softmax")',
    )


def _loss_name(model: Any) -> str:
    """Name of the compiled loss, lower case without underscores; empty for none, or for several."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, list | tuple | dict) or loss is None:
        return ""
    text = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return text.lower().replace("_", "")


def _loss_for(model: Any, output: tuple[int | None, ...], data: Dataset, name: str) -> tuple[Any, list[Any]]:
    """The loss and metrics that fit the model's output and the labels."""
    if data.classes is None:
        if not any(_matches(output[1:], shape) for shape in (data.y.shape[1:], (*data.y.shape[1:], 1))):
            raise ModelDoesNotFitError(
                f"{name} gives an output of shape {output[1:]} per sample, and the numbers to predict have {data.y.shape[1:]}.",
                cause="The last layer has another number of units than the labels; or float labels are meant as classes.",
                remedy="keras.layers.Dense(y.shape[1])   (or integer labels, for classes)",
            )
        return keras.losses.MeanSquaredError(), []
    activation = _last_activation(model, data)
    one_hot = data.y.dtype.kind == "f"
    if output[-1] == 1:
        if activation == "sigmoid":
            return keras.losses.BinaryCrossentropy(), ["accuracy"]
        return keras.losses.BinaryCrossentropy(from_logits=True), [keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)]
    logits = activation == "linear"
    if one_hot:
        if activation == "sigmoid":
            return keras.losses.BinaryCrossentropy(), ["accuracy"]
        return keras.losses.CategoricalCrossentropy(from_logits=logits), ["accuracy"]
    if len(output) != data.y.ndim + 1:
        raise ModelDoesNotFitError(
            f"{name} gives an output of shape {output[1:]} per sample, and the labels have {data.y.shape[1:]}.",
            cause="A Flatten or a pooling layer is missing before the last layer.",
            remedy="keras.layers.Flatten() before the last Dense",
        )
    return keras.losses.SparseCategoricalCrossentropy(from_logits=logits), ["accuracy"]


def _matches(output: tuple[int | None, ...], labels: tuple[int, ...]) -> bool:
    return len(output) == len(labels) and all(size in (None, wanted) for size, wanted in zip(output, labels, strict=True))


def _last_activation(model: Any, data: Dataset) -> str:
    """``softmax``, ``sigmoid`` or ``linear`` (anything else): from the last layer, or from what the outputs look like."""
    layer = None
    outputs = getattr(model, "outputs", None)
    if outputs:
        layer = outputs[0]._keras_history.operation  # the layer that made it; documented for functional models
    if isinstance(layer, keras.Model):
        return _last_activation(layer, data) if getattr(layer, "outputs", None) else _probed(model, data)
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    activation = getattr(layer, "activation", None)
    if activation is not None:
        known = getattr(activation, "__name__", "")
        return known if known in ("softmax", "sigmoid") else "linear"
    return _probed(model, data)


def _probed(model: Any, data: Dataset) -> str:
    outputs: Array = keras.ops.convert_to_numpy(model(data.x[:_PROBED], training=False)).astype(np.float64)
    if not ((outputs >= 0) & (outputs <= 1)).all():
        return "linear"
    return "softmax" if outputs.shape[-1] > 1 and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3) else "sigmoid"


def _first_lines(problem: BaseException, most: int = 400) -> str:
    """What Keras said, in one line: without colours, and without the list of arguments that it appends."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(problem)).partition("Arguments received by")[0]
    return textwrap.shorten(plain, width=most, placeholder=" ...")
