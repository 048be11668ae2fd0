"""What a Keras 3 training step is made of, seen the same way on every backend.

:func:`intercept` wraps Keras's own entry points while a step is traced: each layer call, the loss, the metrics and the
optimizer. What that means for tensors is up to the framework's tracer, which passes its :class:`StepHooks`. The model's real
``train_step`` is traced, a custom one included. Everything is put back when the context ends, also after an error.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras.src.backend import compute_output_spec  # as fit builds a model; there is no public name for it
from keras.src.backend.common import global_state

from epochwise.errors import ModelDoesNotFitError, TracingError
from epochwise.tracing.recorder import LOSS, METRICS, OPTIMIZER, LayerRecorder
from epochwise.tracing.trace import Value

_GLOBAL_SEEDS = "global_seed_generator"


class StepHooks:
    """What a tracer does at the borders of calls; these defaults do nothing.

    A hook that returns tensors may return others in their place, in the same order, such as marked ones.
    """

    def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
        """Held open while the call runs, so that its operations can be told."""
        del call
        return contextlib.nullcontext()

    def is_tensor(self, candidate: object) -> bool:
        """Whether this is a tensor of the step being traced."""
        return bool(keras.ops.is_tensor(candidate))

    def tensors_in(self, call: int, tensors: list[Any]) -> list[Any]:
        """The tensors that go into a call, in the order of its arguments."""
        del call
        return tensors

    def tensors_out(self, call: int, tensors: list[Any]) -> list[Any]:
        """The tensors that come out of a call."""
        del call
        return tensors

    def gradients(self, variables: list[Any], gradients: list[Any]) -> list[Any]:
        """The gradients that the optimizer receives, one for each Keras variable; ``None`` where there is none."""
        del variables
        return gradients


@contextlib.contextmanager
def intercept(model: Any, recorder: LayerRecorder, hooks: StepHooks) -> Iterator[None]:
    """Record the calls of layers, loss, metrics and optimizer of one step while the context is open.

    Args:
        model: a compiled Keras model.
        recorder: gets every call; make it with ``top=id(model)``.
        hooks: the framework's part.
    """
    with contextlib.ExitStack() as patches:
        interception = _Interception(model, recorder, hooks)
        recorder.add_layer(id(model), model.name, type(model).__name__)
        patches.enter_context(_patched(keras.layers.Layer, "__call__", interception.around_layer))
        patches.enter_context(_patched(keras.layers.Layer, "stateless_call", interception.around_stateless_call))
        for owner, names, part in _entry_points(model):
            around = interception.around_optimizer if part == OPTIMIZER else functools.partial(interception.around_part, part)
            for name in names:
                patches.enter_context(_patched(owner, name, around))
        yield


def _entry_points(model: Any) -> list[tuple[type, tuple[str, ...], str]]:
    """Classes, the methods to wrap in each, and the part of the step that they belong to."""
    points: list[tuple[type, tuple[str, ...], str]] = [
        (type(model), ("_compute_loss", "compute_loss"), LOSS),
        (type(model), ("compute_metrics", "get_metrics_result"), METRICS),
        (keras.losses.Loss, ("__call__",), LOSS),
    ]
    tracker = getattr(model, "_loss_tracker", None)
    metrics = [*model.metrics, *([] if tracker is None else [tracker])]
    points += [(kind, ("update_state", "result"), METRICS) for kind in dict.fromkeys(type(metric) for metric in metrics)]
    owners = dict.fromkeys([keras.optimizers.Optimizer, *_own_kinds(model.optimizer)])
    return points + [(kind, ("stateless_apply", "apply_gradients", "apply"), OPTIMIZER) for kind in owners]


def _own_kinds(optimizer: Any) -> list[type]:
    """The optimizer's classes that have an entry point of their own."""
    names = ("stateless_apply", "apply_gradients", "apply")
    if optimizer is None:
        return []
    kinds = type(optimizer).__mro__
    base = kinds[: kinds.index(keras.optimizers.Optimizer)] if keras.optimizers.Optimizer in kinds else kinds[:1]
    return [kind for kind in base if any(name in vars(kind) for name in names)]


@contextlib.contextmanager
def _patched(owner: type, name: str, around: Callable[..., Any]) -> Iterator[None]:
    """Let ``owner.name`` go through ``around(original, self, *args, **kwargs)``; put back afterwards, whatever happens."""
    original = getattr(owner, name)
    own = name in vars(owner)
    kept = vars(owner).get(name)

    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(original, self, *args, **kwargs)

    type.__setattr__(owner, name, wrapper)
    try:
        yield
    finally:
        if own:
            type.__setattr__(owner, name, kept)
        else:
            type.__delattr__(owner, name)


class _Interception:
    """The wrappers around Keras's entry points."""

    def __init__(self, model: Any, recorder: LayerRecorder, hooks: StepHooks) -> None:
        self.model = model
        self.recorder = recorder
        self.hooks = hooks
        self._open_parts: list[str] = []
        self._open_layers: list[object] = []

    def around_layer(self, original: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        """A layer call, unless Keras is only working out shapes."""
        if self._not_recorded(layer, args, kwargs):
            return original(layer, *args, **kwargs)
        with self._layer_call(layer) as call:
            args, kwargs = self._exchange(self.hooks.tensors_in, call, (args, kwargs))
            return self._exchange(self.hooks.tensors_out, call, original(layer, *args, **kwargs))

    def around_stateless_call(self, original: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        """``stateless_call(weights, other variables, *inputs)`` gives ``(outputs, other variables, ...)``: a call too."""
        if self._not_recorded(layer, args, kwargs):
            return original(layer, *args, **kwargs)
        with self._layer_call(layer) as call:
            inputs, kwargs = self._exchange(self.hooks.tensors_in, call, (args[2:], kwargs))
            outputs, *others = original(layer, *args[:2], *inputs, **kwargs)
            return self._exchange(self.hooks.tensors_out, call, outputs), *others

    def _not_recorded(self, layer: object, args: Any, kwargs: Any) -> bool:
        """Where Keras only works out shapes, and where a layer's own entry point calls another one of its own."""
        symbolic = any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten((args, kwargs)))
        return symbolic or bool(self._open_layers and self._open_layers[-1] is layer)

    @contextlib.contextmanager
    def _layer_call(self, layer: Any) -> Iterator[int]:
        call = self.recorder.enter(id(layer), layer.name, type(layer).__name__)
        self._open_layers.append(layer)
        try:
            with self.hooks.scope(call):
                yield call
        finally:
            self._open_layers.pop()
            self.recorder.exit(call)

    def around_part(self, part: str, original: Callable[..., Any], owner: Any, *args: Any, **kwargs: Any) -> Any:
        """Loss or metrics; only the outermost entry counts, and none inside the optimizer."""
        if self._open_parts:
            return original(owner, *args, **kwargs)
        call = self.recorder.enter_part(part)
        self._open_parts.append(part)
        try:
            with self.hooks.scope(call):
                args, kwargs = self._exchange(self.hooks.tensors_in, call, (args, kwargs))
                outputs = original(owner, *args, **kwargs)
                return self._exchange(self.hooks.tensors_out, call, outputs)
        finally:
            self._open_parts.pop()
            self.recorder.exit(call)

    def around_optimizer(self, original: Callable[..., Any], optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """The optimizer; its outermost entry is where the gradients are known."""
        if OPTIMIZER in self._open_parts:
            return original(optimizer, *args, **kwargs)
        call = self.recorder.enter_part(OPTIMIZER)
        self._open_parts.append(OPTIMIZER)
        try:
            with self.hooks.scope(call):
                args, kwargs = self._with_gradients(original.__name__, optimizer, args, kwargs)
                return original(optimizer, *args, **kwargs)
        finally:
            self._open_parts.pop()
            self.recorder.exit(call)

    def _with_gradients(self, entry: str, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The same arguments, with the gradients that the hooks gave back."""
        known = list(getattr(optimizer, "_trainable_variables", None) or self.model.trainable_variables)
        if entry == "apply_gradients":
            pairs = list(args[0] if args else kwargs["grads_and_vars"])
            given = self.hooks.gradients([variable for _, variable in pairs], [gradient for gradient, _ in pairs])
            return (list(zip(given, [variable for _, variable in pairs], strict=True)),), {}
        place = 1 if entry == "stateless_apply" else 0
        gradients = list(args[place] if len(args) > place else kwargs["grads"])
        variables = known
        if entry == "apply":
            listed = args[1] if len(args) > 1 else kwargs.get("trainable_variables")
            variables = known if listed is None else list(listed)
        given = self.hooks.gradients(variables, gradients)
        if len(args) > place:
            return (*args[:place], given, *args[place + 1 :]), kwargs
        return args, {**kwargs, "grads": given}

    def _exchange(self, hook: Callable[[int, list[Any]], list[Any]], call: int, structure: Any) -> Any:
        """The structure with its tensors replaced by what the hook gives, masks kept."""
        leaves = keras.tree.flatten(structure)
        places = [place for place, leaf in enumerate(leaves) if self.hooks.is_tensor(leaf)]
        replaced = hook(call, [leaves[place] for place in places])
        if all(new is leaves[place] for place, new in zip(places, replaced, strict=True)):
            return structure
        for place, new in zip(places, replaced, strict=True):
            mask = getattr(leaves[place], "_keras_mask", None)
            if mask is not None and new is not leaves[place]:
                new._keras_mask = mask
            leaves[place] = new
        return keras.tree.pack_sequence_as(structure, leaves)


def active_backend() -> str:
    """Name of the backend that Keras runs on."""
    return str(keras.config.backend())


def owner_of_weights(model: Any, recorder: LayerRecorder) -> dict[int, int]:
    """Number of the layer that owns each weight, by ``id(weight)``; layers that the step did not call are added.

    A weight belongs to the layer that made it, not to those that contain that layer.
    """
    owners: dict[int, int] = {}

    def visit(layer: Any, parent: int | None) -> None:
        number = recorder.add_layer(id(layer), layer.name, type(layer).__name__, parent=parent)
        below = layer._flatten_layers(include_self=False, recursive=False)
        inner = {id(weight) for sublayer in below for weight in sublayer.weights}
        for weight in layer.weights:
            if id(weight) not in inner:
                owners.setdefault(id(weight), number)
        for sublayer in below:
            if sublayer.weights:
                visit(sublayer, number)

    visit(model, None)
    return owners


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
        dtype = keras.backend.standardize_dtype(array.dtype)
        return Value(
            (batch_size, *(int(size) for size in array.shape[1:])), keras.config.floatx() if dtype == "float64" else dtype
        )

    if x is not None:
        x_spec = keras.tree.map_structure(like, x)
    else:
        inputs = _input_tensors(model)
        x_spec = keras.tree.map_structure(lambda tensor: _sized(tensor, batch_size), inputs)
    if y is not None:
        return x_spec, keras.tree.map_structure(like, y)
    return x_spec, _label_specs(model, x_spec)


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
    if any(size is None for size in shape[1:]):
        raise ModelDoesNotFitError(
            f"The input {getattr(tensor, 'name', '')!r} has the shape {shape}, where only the first size may be open.",
            cause="the model accepts inputs of any size, and the cost depends on the size",
            remedy="give data: epochwise.count(model, x=x, y=y)",
        )
    return Value((batch_size, *(int(size) for size in shape[1:])), keras.backend.standardize_dtype(tensor.dtype))


def _label_specs(model: Any, x_spec: Any) -> Any:
    """What the compiled loss expects for the outputs of the model."""
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
    if getattr(model, "optimizer", None) is None or not getattr(model, "compiled", False):
        raise TracingError(
            f"Model {model.name!r} is not compiled, so it has no training step.",
            cause="compile() was not called, or was called without an optimizer",
            remedy='model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")',
        )
    synchronise = getattr(model, "jax_state_sync", None)
    if synchronise is not None and not getattr(model, "_jax_state_synced", True):
        synchronise()
    try:
        model._symbolic_build(data_batch=(_symbolic(x_spec), _symbolic(y_spec)))
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModelDoesNotFitError(
            f"Model {model.name!r} does not accept a batch of {_described(x_spec)} with labels {_described(y_spec)}: {error}",
            cause="the shape of the data is not the one that the model or its loss was made for",
            remedy="give data that fits: epochwise.count(model, x=x, y=y)",
        ) from error


def _described(specs: Any) -> str:
    return ", ".join(f"{spec.dtype}{list(spec.shape)}" for spec in keras.tree.flatten(specs) if spec is not None)


@contextlib.contextmanager
def unchanged(model: Any) -> Iterator[None]:
    """Put back every variable of the model, its metrics and its optimizer, and Keras's global random state, as they were."""
    optimizer = [] if model.optimizer is None else list(model.optimizer.variables)
    generator = global_state.get_global_attribute(_GLOBAL_SEEDS)
    seeds = [] if generator is None else [generator.state]
    variables: Sequence[Any] = [*model.variables, *model.metrics_variables, *optimizer, *seeds]
    kept = [(variable, getattr(variable, "_value", None)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in kept:
            if getattr(variable, "_value", None) is not value:
                variable._value = value
        if generator is None:
            global_state.set_global_attribute(_GLOBAL_SEEDS, None)
