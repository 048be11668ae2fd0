"""A PyTorch training step -> :class:`~epochwise.tracing.trace.Trace`, for Keras on the torch backend and for plain modules.

One whole step (forward, loss, backward, optimizer) runs under fake tensors, which have shapes and no numbers, while every ATen
call is written down (:mod:`epochwise.tracing.calls.torch`): what is recorded is what eager PyTorch executes, and nothing is
computed.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._subclasses import fake_tensor as fake_tensors
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensor,
    FakeTensorMode,
    UnsupportedFakeTensorException,
)
from torch.utils import _pytree
from torch.utils._mode_utils import no_dispatch

from epochwise.errors import EpochwiseError, ModelDoesNotFitError, ModelFailedError, NotAModelError, TracingError
from epochwise.tracing.calls.torch import AtenRecorder
from epochwise.tracing.recorder import LOSS, OPTIMIZER, LayerRecorder, TraceBuilder
from epochwise.tracing.trace import Trace, Value

DIALECT = "aten"
LARGEST_CONSTANT = 4
"""Variables that the step does not train and that have at most so many elements (learning rate, step counter, seed) keep their
numbers under fake tensors, because optimizers and random layers read them in Python."""

Loss = Callable[[Any, Any], Any]
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]


# --- a step, with nothing of the user's changed ------------------------------------------------------------------------


@contextlib.contextmanager
def _fake_step(builder: TraceBuilder, fake: FakeTensorMode) -> Iterator[AtenRecorder]:
    """Run what is inside under fake tensors, recorded; random generators are left as they were."""
    aten = AtenRecorder(builder)
    limit = fake_tensors.CONSTANT_NUMEL_LIMIT
    fake_tensors.CONSTANT_NUMEL_LIMIT = max(limit, LARGEST_CONSTANT)  # what is computed from constants is one too
    try:
        with torch.random.fork_rng(devices=[]), _numbers_as_arrays(aten), fake, aten, torch.enable_grad(), _kept_watched(aten):
            yield aten
            builder.storages = aten.storages.finished()
    finally:
        fake_tensors.CONSTANT_NUMEL_LIMIT = limit


@contextlib.contextmanager
def _kept_watched(aten: AtenRecorder) -> Iterator[None]:
    """Show the recorder what autograd keeps, except inside ``torch.func``, which refuses to run under hooks."""
    module = torch._C._autograd
    disable = module._saved_tensors_hooks_disable

    def put_aside(message: str, fail_if_non_empty: bool = False) -> None:
        disable(message, fail_if_non_empty)

    module._saved_tensors_hooks_disable = put_aside
    try:
        with torch.autograd.graph.saved_tensors_hooks(aten.keep, lambda tensor: tensor):
            yield
    finally:
        module._saved_tensors_hooks_disable = disable


@contextlib.contextmanager
def _numbers_as_arrays(aten: AtenRecorder) -> Iterator[None]:
    """Let ``numpy()`` work on fake tensors that hold one number, as ``item()`` does; PyTorch refuses it on every subclass."""

    def numpy(tensor: Any, **options: Any) -> Any:
        if tensor.numel() != 1:
            raise DataDependentOutputException(torch.ops.aten._local_scalar_dense.default)
        number = aten.read(tensor)
        with no_dispatch():
            return torch.full(tensor.shape, number, dtype=tensor.dtype).numpy(**options)

    FakeTensor.numpy = numpy
    try:
        yield
    finally:
        del FakeTensor.numpy


def _empty(specs: Any, like: Any) -> Any:
    """Tensors without content in the structure of the specs, where the parameters are; call it under fake tensors."""
    device = next((parameter.device for parameter in like.parameters()), torch.device("cpu"))

    def empty(spec: Any) -> Any:
        return torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device=device) if isinstance(spec, Value) else spec

    return _pytree.tree_map(empty, specs)


@contextlib.contextmanager
def _explained(subject: str, x_spec: Any, y_spec: Any) -> Iterator[None]:
    """Turn what a step raises into errors that say what to do."""
    try:
        yield
    except EpochwiseError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException, UnsupportedFakeTensorException) as error:
        raise TracingError(
            f"The training step of {subject} depends on the values of its data, not only on shapes: {error}",
            cause="a branch, a size or a call to NumPy that uses numbers out of a tensor",
            remedy="let shapes and branches depend on shapes and settings only, for instance with torch.where",
        ) from error
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ModelDoesNotFitError(
            f"{subject} does not accept a batch of {_described(x_spec)} with labels {_described(y_spec)}: {error}",
            cause="the shape or type of the data is not the one that the model or its loss was made for",
            remedy="give data that fits: epochwise.count(model, x=x, y=y)",
        ) from error
    except Exception as error:
        raise ModelFailedError(
            f"{subject} raised {type(error).__name__} in its training step: {error}", cause="an error in the model's own code"
        ) from error


def _described(specs: Any) -> str:
    leaves = _pytree.tree_leaves(specs)
    return ", ".join(f"{spec.dtype}{list(spec.shape)}" for spec in leaves if isinstance(spec, Value))


# --- Keras on the torch backend ------------------------------------------------------------------------------------------


def trace(model: Any, x_spec: Any, y_spec: Any, batch_size: int) -> Trace:
    """Trace one ``train_step`` of a compiled Keras model on the torch backend.

    Args:
        model: a compiled Keras model; its weights, gradients, metrics and optimizer are left as they are.
        x_spec: features of one batch, a structure of :class:`~epochwise.tracing.trace.Value` with shapes ``(B, ...)``.
        y_spec: labels of one batch, likewise.
        batch_size: samples in the batch, B.

    Raises:
        TracingError: the step depends on the values of its data, or the model is not compiled.
        ModelDoesNotFitError: the model does not accept such a batch.
    """
    from epochwise.tracing import keras as keras_step

    keras_step.prepare(model, x_spec, y_spec)
    recorder = LayerRecorder(top=id(model))
    builder = TraceBuilder("torch", DIALECT, batch_size, recorder)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with (
        _explained(f"model {model.name!r}", x_spec, y_spec),
        _errors_unwrapped(),
        keras_step.unchanged(model),
        _parameters_unchanged(model),
    ):
        _keep_constants(model, fake)
        model.train()
        with fake:
            x, y = _empty(x_spec, model), _empty(y_spec, model)
        with _fake_step(builder, fake) as aten:
            builder.inputs.extend(aten.numbers((x, y)))
            weights = {id(variable): aten.number(variable.value) for variable in model.weights}
            gradients: dict[int, int] = {}
            last_call: dict[int, int] = {}
            again: set[int] = set()

            class Hooks(keras_step.StepHooks):
                """Puts the tensors at the borders of calls on record."""

                def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
                    layer = recorder.layer_of(call)
                    if aten.in_backward:
                        again.add(call)
                        return aten.recomputation(last_call[layer])
                    last_call[layer] = call
                    return aten.scope(call)

                def tensors_in(self, call: int, tensors: list[Any]) -> list[Any]:
                    recorder.set_inputs(call, aten.numbers(tensors))
                    return tensors

                def tensors_out(self, call: int, tensors: list[Any]) -> list[Any]:
                    recorder.set_outputs(call, aten.numbers(tensors))
                    return tensors

                def gradients(self, variables: list[Any], given: list[Any]) -> list[Any]:
                    for variable, gradient in zip(variables, given, strict=False):
                        if gradient is not None:
                            gradients[id(variable)] = aten.number(gradient)
                    return given

            with keras_step.intercept(model, recorder, Hooks()):
                model.train_step((x, y))
            builder.optimizer_state.extend(aten.number(variable.value) for variable in model.optimizer.variables)
    builder.forget(again)
    owners = keras_step.owner_of_weights(model, recorder)
    trained = {id(variable) for variable in model.trainable_variables}
    for variable in model.weights:
        builder.parameter(
            variable.path,
            weights[id(variable)],
            trainable=id(variable) in trained,
            layer=owners.get(id(variable)),
            gradient=gradients.get(id(variable)),
        )
    return builder.finish()


@contextlib.contextmanager
def _errors_unwrapped() -> Iterator[None]:
    """Keep Keras from writing its own text over the messages of errors."""
    import keras

    filtered = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()
    try:
        yield
    finally:
        if filtered:
            keras.config.enable_traceback_filtering()


def _keep_constants(model: Any, fake: FakeTensorMode) -> None:
    """Give small untrained variables a fake value whose numbers are known; the caller puts the real ones back."""
    from keras.src.random.seed_generator import global_seed_generator  # there is no public name for it

    seeds = global_seed_generator().state  # of layers without their own
    for variable in [*model.variables, *model.metrics_variables, *model.optimizer.variables, seeds]:
        value = variable._value
        if not value.requires_grad and value.numel() <= LARGEST_CONSTANT and not isinstance(value, FakeTensor):
            constant = value.detach().clone()
            variable._value = fake.fake_tensor_converter.from_real_tensor(fake, constant, make_constant=True)


@contextlib.contextmanager
def _parameters_unchanged(module: Any) -> Iterator[None]:
    """Put contents, gradients and training modes of a real module back as they were."""
    parameters = [(parameter, parameter.data, parameter.grad, parameter.requires_grad) for parameter in module.parameters()]
    modes = [(inner, inner.training) for inner in module.modules()]
    try:
        for parameter, *_ in parameters:
            parameter.grad = None
        yield
    finally:
        for parameter, data, gradient, required in parameters:
            if parameter.data.data_ptr() != data.data_ptr():
                parameter.data = data
            parameter.grad = gradient
            parameter.requires_grad_(required)
        for inner, training in modes:
            inner.training = training


# --- plain modules -------------------------------------------------------------------------------------------------------


def default_loss(outputs: Any, labels: Any) -> Any:
    """Cross-entropy for class numbers, mean squared error for anything else."""
    if labels.is_floating_point():
        return torch.nn.functional.mse_loss(outputs, labels)
    return torch.nn.functional.cross_entropy(outputs, labels.long())


def default_optimizer(parameters: Any) -> torch.optim.Optimizer:
    """Plain SGD with the learning rate that Keras's SGD has."""
    return torch.optim.SGD(parameters, lr=0.01)


def trace_module(
    module: Any,
    x_spec: Any,
    y_spec: Any,
    batch_size: int,
    loss: Loss | None = None,
    optimizer: torch.optim.Optimizer | MakeOptimizer | None = None,
) -> Trace:
    """Trace one step of the usual training loop (forward, loss, ``backward()``, ``optimizer.step()``) of a plain module.

    The step is that of a fake copy: the module itself is not touched. The optimizer's first step, which makes its state, is
    taken before the recording begins.

    Args:
        module: a ``torch.nn.Module``.
        x_spec: features of one batch: a :class:`~epochwise.tracing.trace.Value` with shape ``(B, ...)``; a tuple or list of
            them for a module with several arguments, a dict for keyword arguments.
        y_spec: labels of one batch, a ``Value`` or a structure of them.
        batch_size: samples in the batch, B.
        loss: ``loss(outputs, labels)`` gives a scalar; by default :func:`default_loss`.
        optimizer: the module's own optimizer, or a function that makes one from parameters; by default SGD.

    Raises:
        NotAModelError: not a ``torch.nn.Module``.
        TracingError: the module cannot be copied, or its step depends on the values of its data.
        ModelDoesNotFitError: the module does not accept such a batch.
    """
    if not isinstance(module, torch.nn.Module):
        raise NotAModelError(f"{module!r} is a {type(module).__name__}, not a torch.nn.Module.")
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    kind = type(module).__name__
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in module.parameters()):
        raise ModelDoesNotFitError(
            f"Module {kind} has parameters whose shapes are not known yet.",
            cause="a lazy module, such as LazyLinear, that has not seen data",
            remedy="run a batch through it once: module(x[:1])",
        )
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    module, loss, optimizer = _fake_copy(module, loss or default_loss, optimizer or default_optimizer, fake)
    recorder = LayerRecorder(top=id(module))
    builder = TraceBuilder("pytorch", DIALECT, batch_size, recorder)
    with _explained(f"module {kind}", x_spec, y_spec):
        module.train()
        step = _first_optimizer_step(module, optimizer, fake)
        with fake:
            x, y = _empty(x_spec, module), _empty(y_spec, module)
        with _fake_step(builder, fake) as aten, _calls_recorded(module, aten):
            builder.inputs.extend(aten.numbers((x, y)))
            weights = {name: aten.number(parameter) for name, parameter in module.named_parameters()}
            outputs = _call(module, x)
            with _part(aten, LOSS) as call:
                recorder.set_inputs(call, aten.numbers((outputs, y)))
                cost = loss(outputs, y)
                recorder.set_outputs(call, aten.numbers(cost))
            cost.backward()
            gradients = {
                name: aten.number(parameter.grad) for name, parameter in module.named_parameters() if parameter.grad is not None
            }
            with _part(aten, OPTIMIZER):
                step.step()
            builder.optimizer_state.extend(aten.numbers(list(step.state.values())))
    for name, parameter in module.named_parameters():
        builder.parameter(
            name,
            weights[name],
            trainable=parameter.requires_grad,
            layer=_owner(module, name, recorder),
            gradient=gradients.get(name),
        )
    return builder.finish()


def _fake_copy(module: Any, loss: Any, optimizer: Any, fake: FakeTensorMode) -> tuple[Any, Any, Any]:
    """A copy of module, loss and optimizer whose tensors are fake and still shared among them as they were."""
    try:
        with FakeCopyMode(fake):
            copied: tuple[Any, Any, Any] = copy.deepcopy((module, loss, optimizer))
            return copied
    except Exception as error:
        raise TracingError(
            f"Module {type(module).__name__} cannot be copied: {error}",
            cause="an attribute that copy.deepcopy refuses, such as a tensor that is a result of a computation, or a lock",
            remedy="keep such attributes out of the module, or give the module a __deepcopy__",
        ) from error


def _first_optimizer_step(module: Any, optimizer: Any, fake: FakeTensorMode) -> torch.optim.Optimizer:
    """The optimizer with its state made, as it is from the second step of a run on; gradients are cleared again."""
    aside = TraceBuilder("pytorch", DIALECT, 1, LayerRecorder())  # what it records is thrown away
    with _fake_step(aside, fake) as aten, _part(aten, OPTIMIZER):
        made = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(module.parameters())
        made.state.clear()  # numbers that it keeps, such as a step counter, must be known, and are from here on
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        try:
            made.step()
        except (RuntimeError, TypeError) as error:
            raise TracingError(
                f"Optimizer {type(made).__name__} cannot take an ordinary step: {error}",
                cause="it needs a closure, or another kind of gradients",
                remedy="give another optimizer, such as torch.optim.SGD",
            ) from error
        for parameter in module.parameters():
            parameter.grad = None
    return made


def _call(module: Any, x: Any) -> Any:
    if isinstance(x, dict):
        return module(**x)
    return module(*x) if isinstance(x, (tuple, list)) else module(x)


@contextlib.contextmanager
def _part(aten: AtenRecorder, part: str) -> Iterator[int]:
    call = aten.recorder.enter_part(part)
    try:
        with aten.scope(call):
            yield call
    finally:
        aten.recorder.exit(call)


@contextlib.contextmanager
def _calls_recorded(module: Any, aten: AtenRecorder) -> Iterator[None]:
    """Record the calls of a module and all inside it, while the context is open."""
    recorder = aten.recorder
    names = {id(inner): name for name, inner in module.named_modules()}
    last_call: dict[int, int] = {}
    thread = threading.get_ident()
    original = torch.nn.Module.__call__

    @functools.wraps(original)
    def around(inner: Any, *args: Any, **kwargs: Any) -> Any:
        if id(inner) not in names or threading.get_ident() != thread:
            return original(inner, *args, **kwargs)
        if aten.in_backward and id(inner) in last_call:
            with aten.recomputation(last_call[id(inner)]):
                return original(inner, *args, **kwargs)
        name = names[id(inner)]
        kind = type(inner).__name__
        call = recorder.enter(id(inner), name or kind, kind, path=name or kind)
        last_call[id(inner)] = call
        try:
            with aten.scope(call):
                recorder.set_inputs(call, aten.numbers((args, kwargs)))
                outputs = original(inner, *args, **kwargs)
                recorder.set_outputs(call, aten.numbers(outputs))
                return outputs
        finally:
            recorder.exit(call)

    torch.nn.Module.__call__ = around
    try:
        yield
    finally:
        torch.nn.Module.__call__ = original


def _owner(module: Any, parameter: str, recorder: LayerRecorder) -> int | None:
    """Number of the layer that owns a parameter: its module, or the nearest one around it that the step called."""
    path = parameter
    while path:
        path = path.rpartition(".")[0]
        number = recorder.layer_number(id(module.get_submodule(path)))
        if number is not None:
            return number
    return None
