"""The batch that a Keras model's training step takes, and building the model for it; nothing is computed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend import compute_output_spec  # as fit builds a model; there is no public name for it

from epochwise.errors import EpochwiseError, ModelDoesNotFitError, ModelFailedError, TracingError
from epochwise.tracing.calls.keras import layer_of, layers_named, origins
from epochwise.tracing.failures.lines import line_of
from epochwise.tracing.trace import Value

_VALUES_ASKED = {
    "ConcretizationTypeError",
    "NonConcreteBooleanIndexError",
    "OperatorNotAllowedInGraphError",
    "TracerArrayConversionError",
    "TracerBoolConversionError",
    "TracerIntegerConversionError",
}
_EXAMPLE = 64
"""A size for examples in messages."""


def batch_specs(model: Any, batch_size: int, x: Any = None, y: Any = None) -> tuple[Any, Any]:
    """Shapes and dtypes of one batch of features and labels, in the structure that the model takes; leaves are ``Value``.

    Args:
        model: a Keras model, compiled; built unless ``x`` is given.
        batch_size: samples.
        x: arrays like the features (any number of samples, at least one), or ``None`` to take the model's input.
        y: arrays like the labels, or ``None`` to take what the loss expects: ``int32`` class numbers ``(B,)`` for a sparse
            categorical loss, otherwise what the model gives.

    Raises:
        ModelDoesNotFitError: the shape of the features is known neither from the model nor from ``x``.
    """

    def like(array: Any) -> Value:
        if not getattr(array, "shape", ()):
            raise ModelDoesNotFitError(
                f"Shapes of a batch cannot be taken from a {type(array).__name__}.",
                cause="the data is neither an array nor a list or dict of arrays",
                remedy="give arrays: epochwise.count(model, x=numpy.asarray(x), y=numpy.asarray(y))",
            )
        dtype = keras.backend.standardize_dtype(array.dtype)
        shape = (batch_size, *(int(size) for size in array.shape[1:]))
        return Value(shape, keras.config.floatx() if dtype == "float64" else dtype)  # as fit converts it

    if x is not None:
        x_spec = keras.tree.map_structure(like, x)
    else:
        inputs = _input_tensors(model)
        x_spec = keras.tree.map_structure(lambda tensor: _sized(tensor, batch_size), inputs)
    if y is not None:
        return x_spec, keras.tree.map_structure(like, y)
    return x_spec, _label_specs(model, x_spec, _known_outputs(model) if x is None else None)


def _input_tensors(model: Any) -> Any:
    try:
        inputs = model.inputs if getattr(model, "inputs", None) else model.input
    except (AttributeError, ValueError):
        inputs = None
    structure = getattr(model, "_inputs_struct", None)
    if structure is None and getattr(model, "_functional", None) is not None:
        structure = getattr(model._functional, "_inputs_struct", None)
    if structure is not None:
        return structure
    if not inputs:
        raise ModelDoesNotFitError(
            f"The shape of the input of model {model.name!r} is not known.",
            cause="the model is subclassed, or a Sequential without an Input, and was not yet called",
            remedy="give data: epochwise.count(model, x=x, y=y), or on the command line --input-shape 28,28,1",
        )
    return inputs[0] if len(inputs) == 1 else list(inputs)


def _sized(tensor: Any, batch_size: int) -> Value:
    shape = tuple(tensor.shape)
    still_open = [axis for axis, size in enumerate(shape) if axis > 0 and size is None]
    if still_open:
        axes = f"axis {still_open[0]} is" if len(still_open) == 1 else f"axes {' and '.join(map(str, still_open))} are"
        example = ",".join(str(_EXAMPLE if size is None else size) for size in shape[1:])
        raise ModelDoesNotFitError(
            f"The input {getattr(tensor, 'name', '')!r} has the shape {shape}: {axes} open, and the cost depends on the size.",
            cause="the model accepts inputs of any size; only the first axis, of samples, may be open here",
            remedy=f"--input-shape {example} on the command line, with sizes of yours; or epochwise.count(model, x=x, y=y)",
        )
    return Value((batch_size, *(int(size) for size in shape[1:])), keras.backend.standardize_dtype(tensor.dtype))


def _known_outputs(model: Any) -> Any:
    """The symbolic outputs of a model made of symbolic tensors, ``None`` unless only the samples are open in all."""
    functional = getattr(model, "_functional", None) or model  # a Sequential keeps its graph in a model of its own
    outputs = getattr(functional, "_outputs_struct", None)
    known = outputs is not None and all(None not in tensor.shape[1:] for tensor in keras.tree.flatten(outputs))
    return outputs if known else None


def _label_specs(model: Any, x_spec: Any, outputs: Any) -> Any:
    """What the compiled loss expects for the outputs of the model, which are worked out if they are not given."""
    _require_compiled(model)
    if outputs is None:
        with _explained(model, x_spec, None):
            outputs = compute_output_spec(model, _symbolic(x_spec), training=False)
    loss = model.loss
    batch = keras.tree.flatten(x_spec)[0].shape[0]

    def spec(output: Any, for_loss: Any) -> Value | None:
        if for_loss is None:
            return None
        name = for_loss if isinstance(for_loss, str) else getattr(for_loss, "name", None) or getattr(for_loss, "__name__", "")
        shape = tuple(int(size) if size is not None else batch for size in output.shape)
        if "sparse" in str(name).lower():
            return Value(shape[:-1], "int32")
        return Value(shape, keras.config.floatx())

    if isinstance(outputs, dict):
        by_name = loss if isinstance(loss, dict) else dict.fromkeys(outputs, loss)
        return {name: spec(output, by_name.get(name)) for name, output in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        if isinstance(loss, dict):
            losses = [loss.get(name) for name in getattr(model, "output_names", [])]
        else:
            losses = list(loss) if isinstance(loss, (list, tuple)) else [loss] * len(outputs)
        return [spec(output, for_loss) for output, for_loss in zip(outputs, losses, strict=True)]
    return spec(outputs, loss)


def _symbolic(specs: Any) -> Any:
    return keras.tree.map_structure(lambda spec: keras.KerasTensor(spec.shape, spec.dtype), specs)


def prepare(model: Any, x_spec: Any, y_spec: Any) -> None:
    """Build what ``fit`` would build on its first batch: layers, loss, metrics and the optimizer's variables.

    Raises:
        TracingError: the model is not compiled.
        ModelDoesNotFitError: the model does not accept such a batch.
    """
    _require_compiled(model)
    synchronise = getattr(model, "jax_state_sync", None)
    if synchronise is not None and not getattr(model, "_jax_state_synced", True):
        synchronise()
    with _explained(model, x_spec, y_spec):
        model._symbolic_build(data_batch=(_symbolic(x_spec), _symbolic(y_spec)))


def _require_compiled(model: Any) -> None:
    if getattr(model, "optimizer", None) is None or not getattr(model, "compiled", False):
        raise TracingError(
            f"Model {model.name!r} is not compiled, so it has no training step.",
            cause="compile() was not called, or was called without an optimizer",
            remedy='model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")',
        )


@contextlib.contextmanager
def _explained(model: Any, x_spec: Any, y_spec: Any) -> Iterator[None]:
    """Say what the model was given when Keras refuses it; what JAX traces meanwhile it does not use later."""
    try:
        with _kept_apart(), layers_named(model):
            yield
    except EpochwiseError:
        raise
    except Exception as error:
        on_values = next((before for before in origins(error) if _depends_on_values(before)), None)
        if on_values is not None:
            said = first_line(on_values)
            raise TracingError(
                f"The training step of model {model.name!r} depends on the values of its data, not only on shapes: {said}"
                + _in_layer(error)
                + in_line(on_values),
                cause="a branch, a size or a call to NumPy that uses numbers out of a tensor, such as `if keras.ops.any(x):`",
                remedy="let shapes and branches depend on shapes and settings alone, as keras.ops.where does",
            ) from error
        first = next((before for before in origins(error) if hasattr(before, "__notes__")), error)  # Keras may wrap it
        if not isinstance(first, (ValueError, TypeError, RuntimeError)):
            raise ModelFailedError(
                f"Model {model.name!r} raised {type(first).__name__} on {_described(x_spec)}: {short_message(first)}"
                + in_line(first),
                cause="an error in the code of a layer or of the model",
                remedy="check that the model trains: model.fit(x[:32], y[:32])",
            ) from error
        labels = "" if y_spec is None else f" with labels {_described(y_spec)}"
        raise ModelDoesNotFitError(
            f"Model {model.name!r} does not accept a batch of {_described(x_spec)}{labels}: {short_message(first)}"
            + in_line(first),
            cause="the shape of the data is not the one that the model or its loss was made for",
            remedy="give data that fits: epochwise.count(model, x=x, y=y)",
        ) from error


def _depends_on_values(error: BaseException) -> bool:
    """Whether it is what JAX, TensorFlow or PyTorch raise when Python asks a tensor without numbers for its numbers."""
    return type(error).__name__ in _VALUES_ASKED or "a symbolic tf.Tensor" in str(error)


def _kept_apart() -> contextlib.AbstractContextManager[object]:
    if keras.config.backend() != "jax":
        return contextlib.nullcontext()
    from epochwise.tracing.batches.jax import kept_apart

    return kept_apart("building")


def short_message(error: BaseException) -> str:
    """What an error says, without the colours, headings and lists of arguments of Keras, and the layer that raised it."""
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # Python quotes a key
    text = re.sub(r"\x1b\[[0-9;]*m", "", said).strip()
    text = re.sub(r"^Exception encountered when calling [^\n]*\n+", "", text)
    text = re.split(r"\n\s*\n?Arguments received by|\n-{10,}", text)[0]
    return (text.strip() or type(error).__name__) + _in_layer(error)


def step_message(error: BaseException) -> str:
    """What an error says that a step raised while it was traced, by type, layer and line.

    JAX's own errors go on, behind their first line, with where its tracing began, which is not in the user's program.
    """
    said = first_line(error) + _in_layer(error) if _depends_on_values(error) else short_message(error)
    return f"{type(error).__name__}: {said}{in_line(error)}"


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return short_message(error).splitlines()[0]


def in_line(error: BaseException) -> str:
    """The line of the user's program that an error came from, as a line of a message; empty if there is none."""
    line = line_of(error)
    return f"\nLine: {line}" if line else ""


def _in_layer(error: BaseException) -> str:
    layer = layer_of(error)
    return f"\nLayer: {layer}" if layer else ""


def _described(specs: Any) -> str:
    return ", ".join(f"{spec.dtype}{list(spec.shape)}" for spec in keras.tree.flatten(specs) if spec is not None)
