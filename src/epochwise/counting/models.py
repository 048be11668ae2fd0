"""From a model to its counts: the tracer that fits the model, and then the counting."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from epochwise.counting.assembling import count_trace
from epochwise.counting.counts import Counts
from epochwise.counting.flow import Flow
from epochwise.counting.memory import peak_of
from epochwise.errors import NotAModelError, UsageError
from epochwise.tracing.collector import resting
from epochwise.tracing.trace import Trace, Value


@resting()
def count(
    model: Any,
    batch_size: int = 32,
    x: Any = None,
    y: Any = None,
    name: str | None = None,
    *,
    loss: Any = None,
    optimizer: Any = None,
    step: Any = None,
) -> Counts:
    """What one training step of a model costs. Nothing is trained and no array of the step's size is made.

    Args:
        model: a compiled Keras model on any backend, or a ``torch.nn.Module``.
        batch_size: samples in a step.
        x: features, as for ``fit``, from which shapes and dtypes of a batch are taken; for a built Keras model not needed. For
            a ``torch.nn.Module``, a dict holds arguments by name and a tuple arguments by place, with tensors of any device
            (``meta`` too) in them; the first axis is the batch's where it is as long as that of the first tensor.
        y: labels; by default what the compiled loss expects (class numbers for a sparse loss, else what the model gives). Not
            needed for a ``torch.nn.Module`` that gives an output called ``loss``, as those of ``transformers`` do when
            ``labels`` are in x.
        name: the model's name in the record; by default its own.
        loss: of a ``torch.nn.Module``: ``loss(outputs, labels)``; by default cross-entropy for class numbers, else mean squared
            error. A Keras model has its own.
        optimizer: of a ``torch.nn.Module``: itself, or a function that makes one from parameters; by default plain SGD. A Keras
            model has its own.
        step: of a ``torch.nn.Module``: ``step(module, x, y, optimizer)``, the body of the training loop where it is not
            forward, loss, ``backward()``, ``optimizer.step()``: with accumulated or clipped gradients, say.

    Returns:
        Parameters, MACs, FLOPs, bytes and memory, in total and for each layer. Weights, metrics, optimizer and random state are
        left as they were; what ``fit`` would build on its first batch is built.

    Raises:
        UsageError: the batch size is not positive.
        NotAModelError: neither a Keras model nor a ``torch.nn.Module``.
        ModelDoesNotFitError: the model does not accept such data, or its input's shape is not known.
        TracingError: the training step could not be traced.
    """
    trace = trace_model(model, batch_size, x, y, loss=loss, optimizer=optimizer, step=step)
    return count_trace(trace, name or str(getattr(model, "name", "") or type(model).__name__))


@resting()
def trace_model(
    model: Any,
    batch_size: int = 32,
    x: Any = None,
    y: Any = None,
    *,
    loss: Any = None,
    optimizer: Any = None,
    step: Any = None,
) -> Trace:
    """The operations of one training step; arguments and errors as for :func:`count`."""
    if batch_size < 1:
        raise UsageError(f"A batch of {batch_size} samples is not possible.", remedy="batch_size=32")
    if _is_instance(model, "keras", "Model"):
        return _trace_keras(model, batch_size, x, y)
    if _is_instance(model, "torch.nn", "Module"):
        return _trace_module(model, batch_size, x, y, loss, optimizer, step)
    raise NotAModelError(
        f"{model!r} is a {type(model).__name__}: neither a Keras model nor a torch.nn.Module.",
        cause="the function that makes the model returned something else",
        remedy="epochwise.count(model) with model = keras.Sequential([...]) that is compiled, or a torch.nn.Module",
    )


def peak_bytes(
    model: Any, batch_size: int = 32, x: Any = None, y: Any = None, *, loss: Any = None, optimizer: Any = None
) -> int:
    """The most bytes alive at once in a training step, ``memory_bytes.peak``; arguments and errors as for :func:`count`."""
    return peak_of(Flow(trace_model(model, batch_size, x, y, loss=loss, optimizer=optimizer)))


def _is_instance(model: object, module: str, kind: str) -> bool:
    """Whether it is of a class of a framework; one that was never imported cannot have made it."""
    found = getattr(sys.modules.get(module), kind, None)
    return found is not None and isinstance(model, found)


def _trace_keras(model: Any, batch_size: int, x: Any, y: Any) -> Trace:
    from epochwise.tracing import keras as step

    x_spec, y_spec = step.batch_specs(model, batch_size, x, y)
    backend = step.active_backend()
    if backend == "jax":
        from epochwise.tracing import jax

        return jax.trace(model, x_spec, y_spec, batch_size)
    if backend == "torch":
        from epochwise.tracing import torch

        return torch.trace(model, x_spec, y_spec, batch_size)
    if backend == "tensorflow":
        from epochwise.tracing import tensorflow

        return tensorflow.trace(model, x_spec, y_spec, batch_size)
    raise UsageError(
        f"Training steps cannot be traced on Keras's backend {backend!r}.",
        cause="this backend cannot train",
        remedy="set KERAS_BACKEND to tensorflow, jax or torch",
    )


def _trace_module(module: Any, batch_size: int, x: Any, y: Any, loss: Any, optimizer: Any, step: Any) -> Trace:
    from epochwise.tracing import torch

    if x is None:
        raise UsageError(
            f"Module {type(module).__name__} does not say what goes into it, so features and labels are needed.",
            cause="a torch.nn.Module has no input shape",
            remedy="epochwise.count(module, x=x, y=y), or on the command line --input-shape 28,28,1 --classes 10",
        )
    samples = _samples(x)
    x_spec, y_spec = (_like(arrays, samples, batch_size) for arrays in (x, y))
    return torch.trace_module(module, x_spec, y_spec, batch_size, loss, optimizer, step)


def _samples(arrays: Any) -> int | None:
    """Length of the first axis of the first array in a structure, ``None`` if there is none."""
    if isinstance(arrays, Mapping):
        arrays = tuple(arrays.values())
    if isinstance(arrays, (list, tuple)):
        return next((found for part in arrays if (found := _samples(part)) is not None), None)
    shape = tuple(getattr(arrays, "shape", ()))
    return int(shape[0]) if shape else None


def _like(arrays: Any, samples: int | None, batch_size: int) -> Any:
    """Shapes and dtypes of a batch of arrays, in their structure of lists, tuples and dicts; what is no array stays."""
    if isinstance(arrays, Mapping):
        return {key: _like(part, samples, batch_size) for key, part in arrays.items()}
    if isinstance(arrays, (list, tuple)):
        return type(arrays)(_like(part, samples, batch_size) for part in arrays)
    if not hasattr(arrays, "shape") or not hasattr(arrays, "dtype"):
        return arrays
    shape = tuple(int(size) for size in arrays.shape)
    if shape and shape[0] == samples:
        shape = (batch_size, *shape[1:])
    return Value(shape, str(arrays.dtype).removeprefix("torch."))
