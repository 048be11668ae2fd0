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
from keras.src.backend.common import global_state  # where Keras keeps the seeds of layers without their own

from epochwise.tracing.batches.keras import batch_specs, prepare, step_message
from epochwise.tracing.calls.keras import layer_of, name_layer, patched
from epochwise.tracing.hooks import StepHooks
from epochwise.tracing.recorder import LOSS, METRICS, OPTIMIZER, LayerRecorder

__all__ = [
    "active_backend",
    "batch_specs",
    "intercept",
    "layer_of",
    "owner_of_weights",
    "prepare",
    "step_message",
    "unchanged",
]

_GLOBAL_SEEDS = "global_seed_generator"


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
        patches.enter_context(patched(keras.layers.Layer, "__call__", interception.around_layer))
        patches.enter_context(patched(keras.layers.Layer, "stateless_call", interception.around_stateless_call))
        for owner, names, part in _entry_points(model):
            around = interception.around_optimizer if part == OPTIMIZER else functools.partial(interception.around_part, part)
            for name in names:
                patches.enter_context(patched(owner, name, around))
        yield


def _entry_points(model: Any) -> list[tuple[type, tuple[str, ...], str]]:
    """Classes, the methods to wrap in each, and the part of the step that they belong to."""
    points: list[tuple[type, tuple[str, ...], str]] = [
        # penalties on weights are added up inside the model's call on JAX, inside the loss elsewhere
        (type(model), ("_compute_loss", "compute_loss", "_get_regularization_losses"), LOSS),
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
        """Where Keras only works out shapes, where an entry point calls another of its own, and a recurrent layer's cell."""
        symbolic = any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten((args, kwargs)))
        around = self._open_layers[-1] if self._open_layers else None
        return symbolic or around is layer or is_part_of(layer, around)

    @contextlib.contextmanager
    def _layer_call(self, layer: Any) -> Iterator[int]:
        call = self.recorder.enter(id(layer), layer.name, type(layer).__name__)
        self._open_layers.append(layer)
        try:
            with self.hooks.scope(call):
                yield call
        except Exception as error:
            if layer is not self.model:
                name_layer(error, self.recorder.layers()[self.recorder.layer_of(call)].path)
            raise
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
        places = [place for place, leaf in enumerate(leaves) if keras.ops.is_tensor(leaf)]
        replaced = hook(call, [leaves[place] for place in places])
        if all(new is leaves[place] for place, new in zip(places, replaced, strict=True)):
            return structure
        for place, new in zip(places, replaced, strict=True):
            mask = getattr(leaves[place], "_keras_mask", None)
            if mask is not None and new is not leaves[place]:
                new._keras_mask = mask
            leaves[place] = new
        return keras.tree.pack_sequence_as(structure, leaves)


def is_part_of(layer: object, around: object) -> bool:
    """Whether a layer has no row of its own inside another: the cell of a recurrent layer.

    Some backends compute all time steps at once and never call the cell, so its work and its weights are the layer's.
    """
    return isinstance(around, keras.layers.RNN) and getattr(around, "cell", None) is layer


def active_backend() -> str:
    """Name of the backend that Keras runs on."""
    return str(keras.config.backend())


def owner_of_weights(model: Any, recorder: LayerRecorder) -> dict[int, int]:
    """Number of the layer that owns each weight, by ``id(weight)``; layers that the step did not call are added.

    A weight belongs to the layer that made it, not to those that contain that layer; a cell's to its recurrent layer.
    """
    owners: dict[int, int] = {}

    def visit(layer: Any, parent: int | None, around: Any = None) -> None:
        if parent is not None and is_part_of(layer, around):
            number = parent
        else:
            number = recorder.add_layer(id(layer), layer.name, type(layer).__name__, parent=parent)
        below = layer._flatten_layers(include_self=False, recursive=False)
        inner = {id(weight) for sublayer in below for weight in sublayer.weights}
        for weight in layer.weights:
            if id(weight) not in inner:
                owners.setdefault(id(weight), number)
        for sublayer in below:
            if sublayer.weights:
                visit(sublayer, number, layer)

    visit(model, None)
    return owners


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
