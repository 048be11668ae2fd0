"""A PyTorch training step -> :class:`~epochwise.tracing.trace.Trace`, for Keras on the torch backend and for plain modules.

One whole step (forward, loss, backward, optimizer) runs under fake tensors, which have shapes and no numbers, while every ATen
call is written down (:mod:`epochwise.tracing.calls.torch`): what is recorded is what eager PyTorch executes, and nothing is
computed.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._subclasses import fake_tensor as fake_tensors
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torch.utils import _pytree
from torch.utils._mode_utils import no_dispatch

from epochwise.errors import ModelDoesNotFitError, NotAModelError, TracingError
from epochwise.subjects.torch import call, default_loss
from epochwise.tracing.calls.torch import AtenRecorder
from epochwise.tracing.copies.torch import fake_copy
from epochwise.tracing.failures.torch import explained
from epochwise.tracing.hooks import StepHooks
from epochwise.tracing.recorder import LARGER_BRANCH, LOSS, OPTIMIZER, LayerRecorder, TraceBuilder
from epochwise.tracing.trace import Trace, Value

DIALECT = "aten"
LARGEST_CONSTANT = 4
"""Variables that the step does not train and that have at most so many elements (learning rate, step counter, seed) keep their
numbers under fake tensors, because optimizers and random layers read them in Python."""

Loss = Callable[[Any, Any], Any]
MakeOptimizer = Callable[[Any], torch.optim.Optimizer]
Step = Callable[[Any, Any, Any, torch.optim.Optimizer], object]
"""A training step: of module, features, labels and optimizer."""


# --- a step, with nothing of the user's changed ------------------------------------------------------------------------


def _fake_mode() -> FakeTensorMode:
    """Fake tensors without PyTorch's own memory of calls, which forgets where a call gives the same tensor twice."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    fake.cache_enabled = False
    return fake


@contextlib.contextmanager
def _fake_step(builder: TraceBuilder, fake: FakeTensorMode, *, recording: bool = True) -> Iterator[AtenRecorder]:
    """Run what is inside under fake tensors, recorded; random generators are left as they were.

    Compiled functions run as they were written, and PyTorch does not log what it then raises. The garbage collector leaves
    alone what was there before, of which large libraries bring much; it runs, because tensors in cycles would stay otherwise.
    """
    aten = AtenRecorder(builder, recording=recording)
    limit = fake_tensors.CONSTANT_NUMEL_LIMIT
    fake_tensors.CONSTANT_NUMEL_LIMIT = max(limit, LARGEST_CONSTANT)  # what is computed from constants is one too
    collecting, freezing, log = gc.isenabled(), gc.get_freeze_count() == 0, logging.getLogger(fake_tensors.__name__)
    logging_disabled, log.disabled = log.disabled, True
    if freezing:
        gc.freeze()
    gc.enable()
    try:
        with (
            torch.random.fork_rng(devices=[]),
            _not_compiled(),
            _numbers_as_arrays(aten),
            fake,
            aten,
            torch.enable_grad(),
            _kept_watched(aten),
        ):
            yield aten
            builder.storages = aten.storages.finished()
    finally:
        fake_tensors.CONSTANT_NUMEL_LIMIT = limit
        log.disabled = logging_disabled
        if not collecting:
            gc.disable()
        if freezing:
            gc.unfreeze()


def _not_compiled() -> contextlib.AbstractContextManager[object]:
    """Lets compiled functions run as they were written; there is none where the compiler was never imported."""
    stance: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if "torch._dynamo" in sys.modules:
        stance = torch.compiler.set_stance("force_eager")
    return stance


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
    fake = _fake_mode()
    with (
        explained(f"model {model.name!r}", x_spec, y_spec, keras_step.layer_of),
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

            class Hooks(StepHooks):
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

            with keras_step.intercept(model, recorder, Hooks()), _larger_branches(aten, again):
                results = model.train_step((x, y))
            builder.optimizer_state.extend(aten.number(variable.value) for variable in model.optimizer.variables)
            kept = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
            wanted = aten.numbers((results, [variable.value for variable in kept]))
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
    # Eager PyTorch also runs what nothing needs (Keras calls a recurrent cell once more, to see what it gives); the compilers
    # of the other backends leave that out, and so does the count.
    return builder.finish(wanted, aten.stored())


@contextlib.contextmanager
def _larger_branches(aten: AtenRecorder, aside: set[int]) -> Iterator[None]:
    """Let ``keras.ops.cond`` take the branch that handles the most data, as it is counted on the other backends.

    Calls of layers that are made to find out which that is are put into ``aside``.
    """
    from keras.src.backend import core  # of PyTorch; there is no public name for it

    from epochwise.tracing.calls.keras import patched

    def around(original: Callable[..., Any], outcome: Any, *branches: Callable[[], Any]) -> Any:
        if not isinstance(outcome, torch.Tensor):
            return original(outcome, *branches)
        first = aten.recorder.call_count
        sizes = [aten.data_of(branch) for branch in branches]
        aside.update(range(first, aten.recorder.call_count))
        if len(set(sizes)) > 1:
            aten.builder.note(LARGER_BRANCH)
        return branches[sizes.index(max(sizes))]()

    with patched(core, "cond", around):
        yield


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
    step: Step | None = None,
) -> Trace:
    """Trace one training step of a plain module: forward, loss, ``backward()``, ``optimizer.step()``, or a step of its own.

    The step is that of a fake copy: the module itself is not touched. The optimizer's first step, which makes its state, is
    taken before the recording begins.

    Args:
        module: a ``torch.nn.Module``; also compiled, and also on the ``meta`` device or with fake tensors.
        x_spec: features of one batch: a :class:`~epochwise.tracing.trace.Value` with shape ``(B, ...)``; a tuple or list of
            them for a module with several arguments, a dict for keyword arguments.
        y_spec: labels of one batch, a ``Value`` or a structure of them; ``None`` for a module that gives its own loss.
        batch_size: samples in the batch, B.
        loss: ``loss(outputs, labels)`` gives a scalar; by default :func:`~epochwise.subjects.torch.default_loss`.
        optimizer: the module's own optimizer, or a function that makes one from parameters; by default SGD.
        step: ``step(module, x, y, optimizer)``, the body of the training loop, where it is not the usual one.

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
    fake = _fake_mode()
    module, loss, optimizer = fake_copy(module, loss or default_loss, optimizer or default_optimizer, fake)
    recorder = LayerRecorder(top=id(module))
    builder = TraceBuilder("pytorch", DIALECT, batch_size, recorder)
    calls = _Calls(module, recorder)
    with explained(f"module {kind}", x_spec, y_spec, calls.failed_in):
        module.train()
        made = _first_optimizer_step(module, optimizer, fake)
        with fake:
            x, y = _empty(x_spec, module), _empty(y_spec, module)
        with _fake_step(builder, fake) as aten, calls.recorded(aten):
            builder.inputs.extend(aten.numbers((x, y)))
            weights = {name: aten.number(parameter) for name, parameter in module.named_parameters()}
            gradients: dict[str, int] = {}
            with _updates_recorded(made, aten, lambda: gradients.update(_gradients(module, aten))):
                if step is None:
                    _usual_step(module, x, y, made, loss, aten)
                else:
                    step(module, x, y, made)
            if not any(recorder.is_part(number, OPTIMIZER) for number in range(recorder.call_count)):
                builder.note("The optimizer takes no step, so there is no update: nothing is trained, or the step decides so.")
            builder.optimizer_state.extend(aten.numbers(list(made.state.values())))
            gradients = gradients or _gradients(module, aten)
    for name, parameter in module.named_parameters():
        builder.parameter(
            name,
            weights[name],
            trainable=parameter.requires_grad,
            layer=_owner(module, name, recorder),
            gradient=gradients.get(name),
        )
    return builder.finish()


def _usual_step(module: Any, x: Any, y: Any, optimizer: torch.optim.Optimizer, loss: Loss, aten: AtenRecorder) -> None:
    outputs = call(module, x)
    with _part(aten, LOSS) as part:
        aten.recorder.set_inputs(part, aten.numbers((outputs, y)))
        cost = loss(outputs, y)
        aten.recorder.set_outputs(part, aten.numbers(cost))
    if cost.requires_grad:
        cost.backward()
        optimizer.step()


def _gradients(module: Any, aten: AtenRecorder) -> dict[str, int]:
    return {name: aten.number(parameter.grad) for name, parameter in module.named_parameters() if parameter.grad is not None}


@contextlib.contextmanager
def _updates_recorded(optimizer: Any, aten: AtenRecorder, before: Callable[[], object]) -> Iterator[None]:
    """Put each ``step()`` of the optimizer on record as the update; ``before`` is called before each."""
    parts = contextlib.ExitStack()

    def begin(*_: object) -> None:
        before()
        parts.enter_context(_part(aten, OPTIMIZER))

    def end(*_: object) -> None:
        parts.close()

    hooks = [optimizer.register_step_pre_hook(begin), optimizer.register_step_post_hook(end)]
    try:
        with parts:
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _first_optimizer_step(module: Any, optimizer: Any, fake: FakeTensorMode) -> torch.optim.Optimizer:
    """The optimizer with its state made, as it is from the second step of a run on; gradients are cleared again."""
    aside = TraceBuilder("pytorch", DIALECT, 1, LayerRecorder())
    with _fake_step(aside, fake, recording=False) as aten, _part(aten, OPTIMIZER):
        # An optimizer refuses to have nothing to do; a tensor of nobody's, without a gradient, is never touched.
        parameters = list(module.parameters()) or [torch.nn.Parameter(torch.zeros(1), requires_grad=False)]
        made = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(parameters)
        made.state.clear()  # numbers that it keeps, such as a step counter, must be known, and are from here on
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        try:
            made.step()
        except (RuntimeError, TypeError) as error:
            raise _refused(made, error) from error
        for parameter in module.parameters():
            parameter.grad = None
    return made


def _refused(optimizer: Any, error: Exception) -> TracingError:
    """What to say of an optimizer that does not take an ordinary step."""
    cause, remedy = "it needs another kind of step or of gradients", "count with another optimizer, such as torch.optim.SGD"
    if "closure" in str(error):
        cause = "its step evaluates the model again and again, as often as its line search asks for, which depends on the data"
        remedy = "count one evaluation, with optimizer=torch.optim.SGD, and multiply by how many there are"
    elif "dense gradients" in str(error):
        cause = "it takes sparse gradients alone, which torch.nn.Embedding(sparse=True) gives, and here gradients are dense"
        remedy = "count with optimizer=torch.optim.Adam, whose update also touches the rows that a batch does not use"
    return TracingError(
        f"Optimizer {type(optimizer).__name__} cannot take an ordinary step: {error}", cause=cause, remedy=remedy
    )


@contextlib.contextmanager
def _part(aten: AtenRecorder, part: str) -> Iterator[int]:
    call = aten.recorder.enter_part(part)
    try:
        with aten.scope(call):
            yield call
    finally:
        aten.recorder.exit(call)


class _Calls:
    """Records the calls of a module and all inside it.

    Args:
        module: the whole module.
        recorder: takes the calls.
    """

    def __init__(self, module: Any, recorder: LayerRecorder) -> None:
        # What torch.compile wraps has the name of its wrapper, which is no layer of the user's.
        self._names = {
            id(inner): name.replace("._orig_mod", "").removeprefix("_orig_mod.")
            for name, inner in module.named_modules()
            if "_orig_mod" not in inner._modules
        }
        self._recorder = recorder
        self._failure: tuple[BaseException, str] | None = None

    def failed_in(self, error: BaseException) -> str | None:
        """The innermost layer whose call raised this error, ``None`` if none did."""
        return self._failure[1] if self._failure is not None and self._failure[0] is error else None

    @contextlib.contextmanager
    def recorded(self, aten: AtenRecorder) -> Iterator[None]:
        """Held open while calls are recorded."""
        names, recorder = self._names, self._recorder
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
            except Exception as error:
                if self._failure is None or self._failure[0] is not error:
                    self._failure = error, f"{name or kind} ({kind})" if name else kind
                raise
            finally:
                recorder.exit(call)

        torch.nn.Module.__call__ = around
        try:
            yield
        finally:
            torch.nn.Module.__call__ = original


def _owner(module: Any, parameter: str, recorder: LayerRecorder) -> int:
    """Number of the layer that owns a parameter; a module that the step did not call is added below the nearest that it did."""
    path = parameter.rpartition(".")[0]
    owner, around = module.get_submodule(path), path
    while (parent := recorder.layer_number(id(module.get_submodule(around)))) is None and around:
        around = around.rpartition(".")[0]
    kind = type(owner).__name__
    return recorder.add_layer(id(owner), path or kind, kind, parent=parent, path=path or kind)
