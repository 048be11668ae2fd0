"""Plain PyTorch modules: fitted to data, given a loss and an optimizer."""

from __future__ import annotations

import dataclasses
import random
import textwrap
from typing import Any

import numpy as np
import torch

from epochwise.errors import ModelDoesNotFitError, ModelFailedError, UsageError
from epochwise.subjects import user_code
from epochwise.subjects.arrays import Dataset
from epochwise.subjects.optimizers import kind_named

LEARNING_RATE = 0.01
"""Of the plain SGD that a module is trained with; the default of Keras's SGD."""

_TWO = 2
_PROBED = 2  # samples: enough for layers that need more than one, and no work to speak of
_OWN_MISTAKES = (NameError, AttributeError, ImportError, AssertionError, NotImplementedError, ZeroDivisionError)


def is_module(candidate: object) -> bool:
    """Whether it is a ``torch.nn.Module`` (Keras layers on PyTorch are, too)."""
    return isinstance(candidate, torch.nn.Module)


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def call(module: Any, x: Any) -> Any:
    """What a module gives for a batch: a dict holds arguments by name, a tuple or list arguments by place."""
    if isinstance(x, dict):
        return module(**x)
    return module(*x) if isinstance(x, (tuple, list)) else module(x)


def default_loss(outputs: Any, labels: Any) -> Any:
    """The loss of a batch where the caller names none.

    A module may give its own, as those of ``transformers`` do when labels are among their arguments: an output that is called
    ``loss``. Otherwise cross-entropy for class numbers (classes along the second axis, as PyTorch has them, or the last) and
    mean squared error for anything else, of the output, or of that called ``logits``. Several outputs with as many labels:
    the sum.

    Args:
        outputs: what the module gave: a tensor, a tuple, a dict, or an object with names.
        labels: a tensor or a structure of them; ``None`` if there are none.

    Raises:
        ModelDoesNotFitError: the outputs do not say what the loss is of.
    """
    own = _named(outputs, "loss")
    if isinstance(own, torch.Tensor):
        return own
    outputs = _logits(outputs)
    if isinstance(outputs, torch.Tensor) and isinstance(labels, torch.Tensor):
        return _loss_of_tensor(outputs, labels)
    if isinstance(outputs, dict) and isinstance(labels, dict) and set(labels) <= set(outputs):
        return sum(default_loss(outputs[name], labels[name]) for name in labels)
    if isinstance(outputs, (tuple, list)) and isinstance(labels, (tuple, list)) and len(outputs) == len(labels):
        return sum(default_loss(output, label) for output, label in zip(outputs, labels, strict=True))
    raise ModelDoesNotFitError(
        f"The module gives {_kind(outputs)}, and there is no loss for it with {_kind(labels)} for labels.",
        cause="several outputs, or outputs inside an object, and no loss that says which of them counts.",
        remedy="epochwise.count(module, x=x, y=y, loss=lambda outputs, y: ...)   (or labels in x, if the module takes them)",
    )


def _logits(outputs: Any) -> Any:
    """What an object of outputs, as those of ``transformers``, calls ``logits``; anything else as it is."""
    logits = None if isinstance(outputs, torch.Tensor) else _named(outputs, "logits")
    return logits if isinstance(logits, torch.Tensor) else outputs


def _of_logits(loss: Any) -> Any:
    """A loss of tensors, for modules that give an object with ``logits`` inside."""

    def of_logits(outputs: Any, labels: Any) -> Any:
        return loss(_logits(outputs), labels)

    return of_logits


def _named(outputs: Any, name: str) -> Any:
    return outputs.get(name) if isinstance(outputs, dict) else getattr(outputs, name, None)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"a {type(value).__name__} of {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, torch.Tensor):
        return "a tensor"
    return "nothing" if value is None else f"a {type(value).__name__}"


def _loss_of_tensor(outputs: Any, labels: Any) -> Any:
    if labels.is_floating_point():
        return torch.nn.functional.mse_loss(outputs, labels)
    if labels.shape != (*outputs.shape[:1], *outputs.shape[2:]) and labels.shape == outputs.shape[:-1]:
        outputs, labels = outputs.flatten(0, -2), labels.flatten()
    return torch.nn.functional.cross_entropy(outputs, labels.long())


def fit_to(model: Any, data: Dataset, *, name: str) -> tuple[Dataset, Any, Any]:
    """Check that a module takes the data, and choose its loss and optimizer.

    Two samples go through the module in evaluation mode; lazy layers get their shapes by that.

    Args:
        model: any module with one output: a tensor, or an object that calls it ``logits``.
        data: samples ``(N, ...)`` in the layout that the module takes, and labels.
        name: of the module, for messages.

    Returns:
        The data with labels as the loss takes them (int64 classes, float32 numbers), the loss (cross-entropy for classes, of a
        sample or of each of its tokens; mean squared error for numbers to predict), and SGD with :data:`LEARNING_RATE`.

    Raises:
        ModelDoesNotFitError: the module does not accept the samples, or its output does not fit the labels.
        ModelFailedError: its own code raised.
    """
    units, inside = _output_shape(model, data, name)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ModelDoesNotFitError(
            f"{name} has no trainable parameters; there is nothing to train.",
            cause="Layers kept in a plain Python list, or requires_grad_(False) on all of them.",
            remedy="self.layers = torch.nn.ModuleList([...])",
        )
    fitted, loss = _loss_for(units, data, name)
    return fitted, _of_logits(loss) if inside else loss, torch.optim.SGD(trainable, lr=LEARNING_RATE)


def with_classes_of(model: Any, data: Dataset, *, name: str) -> Dataset:
    """The data with as many classes as a module tells apart: its outputs, or two for a single one.

    Raises:
        ModelDoesNotFitError, ModelFailedError: as :func:`fit_to`.
    """
    units, _ = _output_shape(model, data, name)
    classes = max(_TWO, units[0]) if units else _TWO
    return dataclasses.replace(data, y=np.arange(len(data.y)) % classes, classes=classes)


def optimizer_named(name: str, model: Any) -> torch.optim.Optimizer:
    """An optimizer of PyTorch's for the trainable parameters of a module, with PyTorch's own settings.

    Raises:
        UsageError: PyTorch has no such optimizer, or it does not take these parameters.
    """
    kinds = {
        kind: found
        for kind, found in vars(torch.optim).items()
        if isinstance(found, type) and issubclass(found, torch.optim.Optimizer) and found is not torch.optim.Optimizer
    }
    kind, arguments = kind_named(name, kinds, "PyTorch")
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        made: torch.optim.Optimizer = kind(trainable, **arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{kind.__name__} does not take these parameters: {error}", remedy="--optimizer adamw") from error
    return made


def _output_shape(model: Any, data: Dataset, name: str) -> tuple[tuple[int, ...], bool]:
    """Shape of the output for one sample, and whether it is inside of an object."""
    was_training = model.training
    parameter = next(model.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    samples = torch.from_numpy(np.ascontiguousarray(data.x[:_PROBED])).to(device)
    model.eval()
    try:
        with torch.no_grad():
            given = call(model, samples)
    except Exception as problem:
        raise _call_failed(model, data, name, problem) from problem
    finally:
        model.train(was_training)
    output = _logits(given)
    if not isinstance(output, torch.Tensor):
        raise ModelDoesNotFitError(
            f"{name} gives a {type(output).__name__}; one tensor of outputs is needed.",
            cause="The module returns several outputs, or an object of a library without one called logits.",
            remedy="return logits   (at the end of forward)",
        )
    if len(output) != len(samples):
        raise ModelDoesNotFitError(
            f"{name} gives {len(output)} outputs for {len(samples)} samples.",
            cause="A reshape that mixes the batch with other axes.",
            remedy="x = torch.flatten(x, 1)",
        )
    return tuple(output.shape[1:]), output is not given


def _call_failed(model: Any, data: Dataset, name: str, problem: Exception) -> ModelDoesNotFitError | ModelFailedError:
    if isinstance(problem, _OWN_MISTAKES):
        return user_code.failed(name, problem)
    said = textwrap.shorten(str(problem), width=400, placeholder=" ...")
    return ModelDoesNotFitError(
        f"The data have samples of shape {data.input_shape} ({data.x.dtype}); {name} {_takes(model)}. PyTorch said: {said}",
        cause="Sizes written into the module for other data; epochwise gives images as (channels, height, width).",
        remedy="def build(input_shape, output_shape): ...   (epochwise passes the shapes of the data)",
    )


def _takes(model: Any) -> str:
    """What the first layer with a size of its own expects."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            return f"begins with a layer for {module.in_features} features"
        if hasattr(module, "in_channels"):
            return f"begins with a layer for {module.in_channels} channels"
    return "does not accept them"


def _loss_for(output: tuple[int, ...], data: Dataset, name: str) -> tuple[Dataset, Any]:
    labels = data.y
    held = data.y_test
    if data.classes is None:
        if output not in (labels.shape[1:], (*labels.shape[1:], 1)):
            raise ModelDoesNotFitError(
                f"{name} gives an output of shape {output} per sample, and the numbers to predict have {labels.shape[1:]}.",
                cause="The last layer has another size than the labels; or float labels are meant as classes.",
                remedy="torch.nn.Linear(..., y.shape[1])   (or integer labels, for classes)",
            )
        return _with_labels(data, labels.reshape(len(labels), *output), held, output), torch.nn.MSELoss()
    if labels.dtype.kind == "f":  # one-hot: cross-entropy takes probabilities as well
        if output != labels.shape[1:]:
            raise _wrong_units(name, output, data.classes)
        return data, torch.nn.CrossEntropyLoss()
    if output in ((1,), ()) and data.classes <= _TWO:  # one logit
        floats = labels.astype(np.float32).reshape(len(labels), *output)
        return _with_labels(data, floats, held, output), torch.nn.BCEWithLogitsLoss()
    held = None if held is None else held.astype(np.int64)
    fitted = dataclasses.replace(data, y=labels.astype(np.int64), y_test=held)
    if output and output[0] >= data.classes and output[1:] == labels.shape[1:]:
        return fitted, torch.nn.CrossEntropyLoss()
    if len(output) > 1 and output[-1] >= data.classes and output[:-1] == labels.shape[1:]:
        return fitted, _loss_of_tensor  # a class for each token, and classes last
    raise _wrong_units(name, output, data.classes)


def _with_labels(data: Dataset, labels: Any, held: Any, output: tuple[int, ...]) -> Dataset:
    if held is not None:
        held = held.astype(np.float32).reshape(len(held), *output)
    return dataclasses.replace(data, y=labels, y_test=held)


def _wrong_units(name: str, output: tuple[int, ...], classes: int) -> ModelDoesNotFitError:
    return ModelDoesNotFitError(
        f"{name} gives an output of shape {output} per sample, and the labels have {classes} classes.",
        cause="The number of classes is written into the last layer, or the output was not flattened.",
        remedy=f"torch.nn.Linear(..., {classes})",
    )
