"""A PyTorch training step -> :class:`~epochwise.tracing.trace.Trace`, for Keras on the torch backend and for plain modules.

One whole step (forward, loss, backward, optimizer) runs under fake tensors, which have shapes and no numbers, while a dispatch
mode writes down every ATen call: what is recorded is what eager PyTorch executes, and nothing is computed.

Whose operation is it? In the forward pass, that of the innermost open layer call. In the backward pass autograd runs nodes, and
each node carries the sequence number that was current when the forward pass made it; the numbers at which layer calls began
and ended therefore tell which call a node, and so a backward operation, belongs to (AOTAutograd does the same).
"""

from __future__ import annotations

import bisect
import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
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
from torch.utils._python_dispatch import TorchDispatchMode

from epochwise.errors import EpochwiseError, ModelDoesNotFitError, ModelFailedError, NotAModelError, TracingError
from epochwise.tracing.recorder import LOSS, OPTIMIZER, LayerRecorder, TraceBuilder
from epochwise.tracing.trace import Phase, Trace, Value

DIALECT = "aten"
IDENTITIES = ("aten::detach", "aten::alias", "aten::lift", "aten::lift_fresh")
"""Calls whose result is the tensor that they were given."""

OVERWRITES = ("aten::copy_", "aten::_foreach_copy_")
"""Calls that write their first tensors without reading them."""

LARGEST_CONSTANT = 4
"""Variables that the step does not train and that have at most so many elements (learning rate, step counter, seed) keep their
numbers under fake tensors, because optimizers and random layers read them in Python."""

Loss = Callable[[Any, Any], Any]
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]


class _AtenRecorder(TorchDispatchMode):
    """Writes down every ATen call of a step that runs under fake tensors."""

    def __init__(self, builder: TraceBuilder) -> None:
        super().__init__()
        self.builder = builder
        self.recorder = builder.recorder
        self._began: list[int] = []  # sequence numbers at which another layer call became the innermost one
        self._owner: list[int | None] = []  # that call
        self._recomputing: list[int] = []  # calls whose forward pass runs again in the backward pass (checkpointing)
        self._alive: dict[int, Any] = {}  # see _window
        self.first_reader: dict[int, int | None] = {}  # the call in which the forward pass first read a value

    # --- whose operation is it -------------------------------------------------------------------------------------

    @property
    def in_backward(self) -> bool:
        """Whether the autograd engine is running."""
        return bool(torch._C._current_graph_task_id() != -1)

    @contextlib.contextmanager
    def scope(self, call: int) -> Iterator[None]:
        """Held open while a layer call runs."""
        outer = self._owner[-1] if self._owner else None
        self._mark(call)
        try:
            yield
        finally:
            self._mark(outer)

    @contextlib.contextmanager
    def recomputation(self, call: int) -> Iterator[None]:
        """Held open while a call that the trace already has runs again in the backward pass."""
        self._recomputing.append(call)
        try:
            with self.scope(call):
                yield
        finally:
            self._recomputing.pop()

    def _mark(self, call: int | None) -> None:
        self._began.append(torch.autograd._get_sequence_nr())
        self._owner.append(call)

    def _owner_of_node(self, node: Any) -> int | None:
        place = bisect.bisect_right(self._began, node._sequence_nr()) - 1
        return self._owner[place] if place >= 0 else None

    def _whose(self) -> tuple[Phase, int | None]:
        if not self.in_backward:
            call = self.recorder.current
            updating = call is not None and self.recorder.is_part(call, OPTIMIZER)
            return ("update" if updating else "forward"), call
        if self._recomputing:
            return "backward", self._recomputing[-1]
        node = torch._C._current_autograd_node()
        if node is not None and "AccumulateGrad" in node.name():  # of a weight, not of an operation
            return "backward", self.first_reader.get(self.number(node.variable))
        return "backward", (None if node is None else self._owner_of_node(node))

    # --- tensors ---------------------------------------------------------------------------------------------------

    def number(self, tensor: Any) -> int:
        """The number of a tensor; tensors that are the same window on the same storage share one."""
        window = self._window(tensor)
        return self.builder.number(window, tuple(tensor.shape), _dtype(tensor))

    def _window(self, tensor: Any) -> tuple[object, ...]:
        """What part of what storage a tensor shows.

        The storage is kept alive, so that its identity is not given to another, and not the tensor: autograd takes a gradient
        as it is when nobody else holds it, and copies it otherwise.
        """
        if tensor.layout != torch.strided:
            self._alive[id(tensor)] = tensor
            return ("tensor", id(tensor))
        storage = tensor.untyped_storage()
        self._alive.setdefault(storage._cdata, storage)
        return (storage._cdata, tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)

    def numbers(self, structure: Any) -> list[int]:
        """The numbers of all tensors in a structure, in its order."""
        return [self.number(leaf) for leaf in _tensors(structure)]

    # --- operations ------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            return self._read(args[0])
        given = _by_name(func._schema, args, kwargs)
        inputs = self.numbers(list(given.values()))  # before the call, which may change a tensor's shape in place
        outputs = func(*args, **kwargs)
        if func.namespace not in ("prim", "profiler"):
            self._record(func._schema, given, inputs, outputs)
        return outputs

    def _record(self, schema: Any, given: dict[str, Any], inputs: list[int], outputs: Any) -> None:
        written = _tensors([given.get(argument.name) for argument in schema.arguments if _is_written(argument)])
        for tensor, target in zip(_tensors(outputs), written, strict=False):
            if tensor is not target:  # an in-place operation on a real tensor gives back its fake
                self.builder.alias(self._window(tensor), self.number(target))
        if schema.name in IDENTITIES:
            for tensor, number in zip(_tensors(outputs), inputs, strict=True):
                self.builder.alias(self._window(tensor), number)
            return
        results = self.numbers(outputs) or self.numbers(written)
        views = any(value.alias_info is not None and not value.alias_info.is_write for value in schema.returns)
        if not results or (views and len(results) == 1 and results[0] in inputs):
            return  # gives no tensor, or the very tensor that it was given
        phase, call = self._whose()
        if phase == "forward":
            for number in inputs:
                self.first_reader.setdefault(number, call)
        attributes = _attributes(given)
        if self._recomputing:
            attributes["recomputed"] = True
        if schema.name in OVERWRITES:
            inputs = inputs[len(results) :]
        name = schema.name.replace("::", ".")
        self.builder.operation(name, inputs, results, phase=phase, call=call, attributes=attributes)

    def _read(self, tensor: Any) -> Any:
        """The number in a tensor, which Python code asks for (``item()``, ``float()``, ``if tensor:``)."""
        if not isinstance(tensor, FakeTensor):
            with no_dispatch():
                return tensor.item()
        if tensor.constant is not None:
            with no_dispatch():
                return tensor.constant.item()
        phase, _ = self._whose()
        if not tensor.is_floating_point() and phase != "update":
            raise TracingError(
                f"The step reads a number of type {_dtype(tensor)} out of a tensor, so what it does depends on the data.",
                cause="an if, a loop bound or a size that comes from a tensor's value, such as `if (x > 0).any():`",
                remedy="let shapes and branches depend on shapes and settings only, for instance with torch.where",
            )
        self.builder.note(
            "The step reads numbers out of tensors in Python; 1 was taken for each, so a branch that depends on one may differ."
        )
        return True if tensor.dtype == torch.bool else 1.0 if tensor.is_floating_point() else 1


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _tensors(structure: Any) -> list[Any]:
    return [leaf for leaf in _pytree.tree_leaves(structure) if isinstance(leaf, torch.Tensor)]


def _by_name(schema: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by name, in the order of the schema, defaults included."""
    given: dict[str, Any] = {}
    for place, argument in enumerate(schema.arguments):
        if place < len(args):
            given[argument.name] = args[place]
        elif argument.name in kwargs:
            given[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            given[argument.name] = argument.default_value
    return given


def _attributes(given: dict[str, Any]) -> dict[str, object]:
    """The arguments that are not tensors, as plain Python values; for optional tensors, whether they are there."""
    attributes: dict[str, object] = {}
    for name, value in given.items():
        if isinstance(value, torch.Tensor):
            continue
        if value is None or isinstance(value, (bool, int, float, str)):
            attributes[name] = value
        elif isinstance(value, (list, tuple)) and all(isinstance(item, (bool, int, float)) for item in value):
            attributes[name] = tuple(value)
        elif isinstance(value, torch.dtype):
            attributes[name] = str(value).removeprefix("torch.")
    return attributes


# --- a step, with nothing of the user's changed ------------------------------------------------------------------------


@contextlib.contextmanager
def _fake_step(builder: TraceBuilder, fake: FakeTensorMode) -> Iterator[_AtenRecorder]:
    """Run what is inside under fake tensors, recorded; random generators are left as they were."""
    aten = _AtenRecorder(builder)
    with torch.random.fork_rng(devices=[]), _numbers_of_constants(), fake, aten, torch.enable_grad():
        yield aten


@contextlib.contextmanager
def _numbers_of_constants() -> Iterator[None]:
    """Let ``numpy()`` work on fake tensors whose numbers are known; PyTorch refuses it on every subclass."""

    def numpy(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        if tensor.constant is None:
            raise DataDependentOutputException(torch.ops.aten._local_scalar_dense.default)
        with no_dispatch():
            return tensor.constant.detach().numpy(*args, **kwargs)

    FakeTensor.numpy = numpy
    try:
        yield
    finally:
        del FakeTensor.numpy


def _empty(specs: Any) -> Any:
    """Tensors without content in the structure of the specs; call it under fake tensors."""
    return _pytree.tree_map(
        lambda spec: torch.empty(spec.shape, dtype=getattr(torch, spec.dtype)) if isinstance(spec, Value) else spec, specs
    )


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
    with _explained(f"model {model.name!r}", x_spec, y_spec), keras_step.unchanged(model), _parameters_unchanged(model):
        _keep_constants(model, fake)
        model.train()
        with fake:
            x, y = _empty(x_spec), _empty(y_spec)
        with _fake_step(builder, fake) as aten:
            builder.inputs.extend(aten.numbers((x, y)))
            weights = {id(variable): aten.number(variable.value) for variable in model.weights}
            gradients: dict[int, int] = {}

            class Hooks(keras_step.StepHooks):
                """Puts the tensors at the borders of calls on record."""

                def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
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


def _keep_constants(model: Any, fake: FakeTensorMode) -> None:
    """Give small untrained variables a fake value whose numbers are known; the caller puts the real ones back."""
    for variable in [*model.variables, *model.metrics_variables, *model.optimizer.variables]:
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
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    module, loss, optimizer = _fake_copy(module, loss or default_loss, optimizer or default_optimizer, fake)
    recorder = LayerRecorder(top=id(module))
    builder = TraceBuilder("pytorch", DIALECT, batch_size, recorder)
    with _explained(f"module {kind}", x_spec, y_spec):
        module.train()
        with fake:
            x, y = _empty(x_spec), _empty(y_spec)
            step = _first_optimizer_step(module, x, optimizer)
        with _fake_step(builder, fake) as aten, _calls_recorded(module, aten):
            builder.inputs.extend(aten.numbers((x, y)))
            weights = {name: aten.number(parameter) for name, parameter in module.named_parameters()}
            outputs = _call(module, x)
            with _part(aten, LOSS):
                cost = loss(outputs, y)
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


def _first_optimizer_step(module: Any, x: Any, optimizer: Any) -> Any:
    """The optimizer with its state made, as it is from the second step of a run on; gradients are cleared again."""
    if any(isinstance(parameter, torch.nn.parameter.UninitializedParameter) for parameter in module.parameters()):
        with torch.no_grad():
            _call(module, x)
    made = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(module.parameters())
    made.state.clear()  # numbers that an optimizer keeps (its step counter) must be known, and are from here on
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    made.step()
    made.zero_grad(set_to_none=True)
    for parameter in module.parameters():
        parameter.grad = None
    return made


def _call(module: Any, x: Any) -> Any:
    if isinstance(x, dict):
        return module(**x)
    return module(*x) if isinstance(x, (tuple, list)) else module(x)


@contextlib.contextmanager
def _part(aten: _AtenRecorder, part: str) -> Iterator[None]:
    call = aten.recorder.enter_part(part)
    try:
        with aten.scope(call):
            yield
    finally:
        aten.recorder.exit(call)


@contextlib.contextmanager
def _calls_recorded(module: Any, aten: _AtenRecorder) -> Iterator[None]:
    """Record the calls of a module and all inside it, while the context is open."""
    recorder = aten.recorder
    names = {id(inner): name for name, inner in module.named_modules()}
    last_call: dict[int, int] = {}
    original = torch.nn.Module.__call__

    @functools.wraps(original)
    def around(inner: Any, *args: Any, **kwargs: Any) -> Any:
        if id(inner) not in names:
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
