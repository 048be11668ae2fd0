"""PyTorch: the ordinary eager training loop, waiting for the device, and kernel times from ``torch.profiler``.

Which recorded events are kernels? An operation of ATen counts with its own time, without that of the operations it calls, when
it has a kernel for a device. Operations that only call others (``CompositeImplicitAutograd``, and ``CompositeExplicitAutograd``
where they do call others), views and uninitialised allocations do no work; what runs inside the ``DataLoader`` is input, not
the step. On an accelerator its own kernels count.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

import torch

from epochwise.measuring.clock import SPAN
from epochwise.measuring.compiled.torch import FUSED, REGION, CompiledKernels, compiled_kernels, looking_on, without_wrapper
from epochwise.measuring.gate import ChangeCondition, Gate, StopTraining
from epochwise.measuring.intervals import HostSpan, KernelEvent, typical_step
from epochwise.measuring.measurement import DISPATCH, INPUT
from epochwise.measuring.messages import Condition, ProfiledSteps
from epochwise.measuring.places import Places, scope_name
from epochwise.measuring.xplane import SCOPE, Place, Shares, pieces
from epochwise.subjects.arrays import Dataset
from epochwise.tracing.hooks import StepHooks
from epochwise.tracing.recorder import LOSS, OPTIMIZER, LayerRecorder

Loss = Callable[[Any, Any], Any]

ATEN = "aten::"
ALLOCATIONS = ("aten::empty", "aten::new_empty", "aten::resize_", "aten::set_")
KERNELS = (ATEN, "mkldnn::", "mkl::", "inductor::")
INPUT_LOOP = "enumerate(DataLoader)"
COMPUTE_THEMSELVES = ("aten::mkldnn_convolution", "aten::convolution_backward", "aten::_nnpack_spatial_convolution")
"""Registered as made of other operations, though they hand their work to a library themselves."""
BACKWARD = "autograd::engine::evaluate_function"
ADDING_UP = "torch::autograd::AccumulateGrad"
UPDATE = "Optimizer.step"
NANOSECONDS_PER_MICROSECOND = 1e3
HOOKS_SEEN = ".*when there are global hooks on modules"
"""What PyTorch warns of where a compiled module is called while ours are open; they are meant to see both."""


CAN_CHANGE_THREADS = True
"""Whether the framework lets the number of its threads be changed while it runs."""


class ScopeHooks(StepHooks):
    """Opens a scope in the profile for each layer call."""

    def scope(self, call: int) -> contextlib.AbstractContextManager[object]:
        """A range in PyTorch's profile."""
        scope: contextlib.AbstractContextManager[object] = torch.profiler.record_function(scope_name(call))
        return scope


_LEFT_RUNNING: dict[int, Any] = {}
"""Profilers of training loops that were left in the midst, by thread."""


class TorchRuntime:
    """What the gate needs of PyTorch, for Keras on PyTorch and for plain modules.

    Args:
        model: being trained; the device that holds its weights is waited for.
        layers: opens a scope for each layer call while it is entered; entered only while the profiler runs.
        places: reads those scopes.
    """

    tool = "torch.profiler"

    def __init__(self, model: Any, layers: Callable[[], contextlib.AbstractContextManager[object]], places: Places) -> None:
        self._model = model
        self._device = _device_of(model)
        self._layers = layers
        self._places = places
        self._compiled = compiled_kernels(model)
        self._scopes = contextlib.ExitStack()
        self._profile: Any = None
        self._thread = 0

    def synchronize(self) -> None:
        """Wait until accelerators have finished; on the CPU there is nothing to wait for."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)

    def start_profiler(self) -> None:
        """Record operations and, where there is an accelerator, its kernels.

        Raises:
            RuntimeError: the user's own profiler is running; PyTorch would let ours begin, and the user's lose all it has.
        """
        if (left := _LEFT_RUNNING.pop(threading.get_ident(), None)) is not None:
            left.stop()
        if torch.autograd._profiler_enabled():
            raise RuntimeError("PyTorch's profiler is running already")
        self._scopes.enter_context(self._layers())
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profile = torch.profiler.profile(activities=activities, acc_events=True)
        self._profile.start()
        self._thread = threading.get_ident()

    def cancel_profiler(self) -> None:
        """End recording if it is under way, and forget it.

        Only the thread that began it can end it; another leaves that to the next recording in that thread.
        """
        profile, self._profile = self._profile, None
        if profile is None:
            return
        self._scopes.close()
        if self._thread == threading.get_ident():
            profile.stop()
        else:
            _LEFT_RUNNING[self._thread] = profile

    def annotate(self, name: str) -> contextlib.AbstractContextManager[object]:
        """A range of the host in the profile."""
        scope: contextlib.AbstractContextManager[object] = torch.profiler.record_function(name)
        return scope

    def inspect(self) -> dict[str, float]:
        """The share of denormal weights, and the threads in use."""
        weights = [parameter.detach() for parameter in self._model.parameters() if parameter.is_floating_point()]
        small = sum(int(((each != 0) & (each.abs() < torch.finfo(each.dtype).tiny)).sum()) for each in weights)
        total = sum(each.numel() for each in weights)
        return {"denormals": small / max(1, total), "threads": float(torch.get_num_threads())}

    def stop_profiler(self, steps: int) -> ProfiledSteps:
        """End recording and read it."""
        self._profile.stop()
        self._scopes.close()
        kernels, spans = _read_events(self._profile.events(), self._places, self._compiled)
        self._profile = None
        step = typical_step(kernels, spans, steps)
        return ProfiledSteps(self.tool, step.kernels, step.idle, step.stays, step.wall, self._compiled.notes())


def keras_runtime(
    model: Any, recorder: LayerRecorder, places: Places, batch: Callable[[], Any]
) -> tuple[TorchRuntime, contextlib.AbstractContextManager[object]]:
    """The runtime for a Keras model, and what must be open while it trains: nothing, scopes come with the profiler."""
    del batch
    intercept = import_module("epochwise.tracing.keras").intercept  # a program without Keras need not wait for it
    return TorchRuntime(model, lambda: intercept(model, recorder, ScopeHooks()), places), contextlib.nullcontext()


def loop_runtime(model: Any, recorder: LayerRecorder, places: Places) -> TorchRuntime:
    """The runtime for a loop of the user's own; without a model layers are not told apart."""
    if model is None:
        return TorchRuntime(torch.nn.Module(), contextlib.nullcontext, places)
    return TorchRuntime(
        model, lambda: module_layers(model, ScopedLoss(lambda outputs, labels: None, recorder), recorder), places
    )


class ScopedLoss:
    """A loss that opens a scope in the profile for itself, while :attr:`profiling` is set; otherwise just the loss.

    Args:
        loss: of outputs and labels.
        recorder: numbers the scopes.
    """

    def __init__(self, loss: Loss, recorder: LayerRecorder) -> None:
        self.profiling = False
        self._loss = loss
        self._recorder = recorder

    def __call__(self, outputs: Any, labels: Any) -> Any:
        """The loss."""
        if not self.profiling:
            return self._loss(outputs, labels)
        call = self._recorder.enter_part(LOSS)
        with torch.profiler.record_function(scope_name(call)):
            value = self._loss(outputs, labels)
        self._recorder.exit(call)
        return value


@contextlib.contextmanager
def module_layers(module: torch.nn.Module, loss: ScopedLoss, recorder: LayerRecorder) -> Iterator[None]:
    """Scopes for the modules inside a plain module and for its loss; its hooks are left as they were afterwards."""
    names = {id(inner): without_wrapper(name) for name, inner in module.named_modules()}
    under_way: list[tuple[int, Any]] = []

    def before(inner: torch.nn.Module, inputs: Any) -> None:
        del inputs
        if id(inner) in names:
            kind = type(getattr(inner, "_orig_mod", inner)).__name__
            path = names[id(inner)] or kind
            call = recorder.enter(id(inner), path, kind, path=path)
            scope = torch.profiler.record_function(scope_name(call))
            scope.__enter__()
            under_way.append((call, scope))

    def after(inner: torch.nn.Module, inputs: Any, outputs: Any) -> None:
        del inputs, outputs
        if id(inner) in names:
            call, scope = under_way.pop()
            scope.__exit__(None, None, None)
            recorder.exit(call)

    first = torch.nn.modules.module.register_module_forward_pre_hook(before)
    last = torch.nn.modules.module.register_module_forward_hook(after, always_call=True)
    loss.profiling = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=HOOKS_SEEN)
            yield
    finally:
        loss.profiling = False
        first.remove()
        last.remove()


def _read_events(events: list[Any], places: Places, compiled: CompiledKernels) -> tuple[list[KernelEvent], list[HostSpan]]:
    """Every kernel in a recording (an accelerator's own if there is one), and the stays of the host."""
    ancestry = {id(event): [event.name, *(ancestor.name for ancestor in _ancestors(event))] for event in events}
    forward = _ForwardScopes(events, ancestry)
    host = [event for event in events if event.device_type == torch.autograd.DeviceType.CPU]
    spans = [span for event in host for span in _span(event, forward, places)]
    on_device = [event for event in events if event.device_type != torch.autograd.DeviceType.CPU]
    if on_device:
        return [KernelEvent(*_interval(event), event.name) for event in on_device], spans
    regions = [event for event in host if event.name.startswith(REGION)]
    told = compiled.places(regions, lambda event: _in_backward(ancestry[id(event)])) if regions else {}
    found: list[KernelEvent] = []
    for event in host:
        names = ancestry[id(event)]
        if not (id(event) in told or (event.name.startswith(KERNELS) and _is_kernel(event.name, bool(event.cpu_children)))):
            continue
        if any(name.startswith((INPUT_LOOP, SPAN)) for name in names):
            continue
        shares = _told(event, told) or ((_place(event, names, forward, places), 1.0),)
        name = match[1] if (match := FUSED.match(event.name)) else event.name
        for number, (start, end) in enumerate(_own_time(event)):
            found += pieces(start, end, name, shares, calls=int(number == 0))
    return found, spans


def _told(event: Any, told: dict[int, Shares]) -> Shares:
    """For whom an event inside a compiled graph works; empty where that is not known."""
    return next((told[id(each)] for each in (event, *_ancestors(event)) if id(each) in told), ())


def _span(event: Any, forward: _ForwardScopes, places: Places) -> Iterator[HostSpan]:
    """Where the host is while an event lasts, if the event tells."""
    if event.name.startswith(SPAN):
        yield HostSpan(*_interval(event), event.name.removeprefix(SPAN))
    elif event.name.startswith(INPUT_LOOP):
        yield HostSpan(*_interval(event), INPUT)
    elif SCOPE.fullmatch(event.name):
        yield HostSpan(*_interval(event), DISPATCH, *places.of(event.name, backward=False))
    elif event.name.startswith(BACKWARD):
        yield HostSpan(*_interval(event), DISPATCH, *places.of(forward.of(event), backward=True))
    elif event.name.startswith(UPDATE):
        yield HostSpan(*_interval(event), DISPATCH, OPTIMIZER, "update")


class _ForwardScopes:
    """The layer scopes in which was called forward what the backward pass differentiates.

    A node of the backward pass carries the number in autograd's sequence of what it differentiates. The node that adds a
    gradient to that of its weight, or copies it there, has none: autograd runs it right after the node that gave the gradient.

    Args:
        events: of a recording.
        ancestry: the names of each event and of those around it, by its ``id``.
    """

    def __init__(self, events: list[Any], ancestry: dict[int, list[str]]) -> None:
        self._by_number: dict[int, str] = {}
        for event in events:
            if event.sequence_nr >= 0 and not _in_backward(ancestry[id(event)]):
                scope = next((name for name in ancestry[id(event)] if SCOPE.fullmatch(name)), None)
                if scope is not None:
                    self._by_number[event.sequence_nr] = scope
        self._of_sum: dict[int, str] = {}
        latest: dict[int, str] = {}  # by thread
        nodes = (event for event in events if event.name.startswith(BACKWARD))
        for event in sorted(nodes, key=lambda event: event.time_range.start):
            if event.name.endswith(ADDING_UP):
                self._of_sum[id(event)] = latest.get(event.thread, "")
            else:
                latest[event.thread] = self.of(event)

    def of(self, event: Any) -> str:
        """The scope for an event of the backward pass; empty if it is not known."""
        for each in (event, *_ancestors(event)):
            if id(each) in self._of_sum:
                return self._of_sum[id(each)]
            if each.sequence_nr >= 0:
                return self._by_number.get(each.sequence_nr, "")
        return ""


def _place(event: Any, names: list[str], forward: _ForwardScopes, places: Places) -> Place:
    """Layer and phase of an operation."""
    if _in_backward(names):
        return places.of(forward.of(event), backward=True)
    if any(name.startswith(UPDATE) for name in names):
        return OPTIMIZER, "update"
    scope = next((name for name in names if SCOPE.fullmatch(name)), "")
    return places.of(scope, backward=False)


def _in_backward(names: list[str]) -> bool:
    return any(name.startswith(BACKWARD) for name in names)


def _interval(event: Any) -> tuple[float, float]:
    return event.time_range.start * NANOSECONDS_PER_MICROSECOND, event.time_range.end * NANOSECONDS_PER_MICROSECOND


def _ancestors(event: Any) -> Iterator[Any]:
    while (event := event.cpu_parent) is not None:
        yield event


def _own_time(event: Any) -> Iterator[tuple[float, float]]:
    """The stretches of an event in which none of its children runs."""
    start, end = _interval(event)
    for child_start, child_end in sorted(_interval(child) for child in event.cpu_children):
        if child_start > start:
            yield start, child_start
        start = max(start, child_end)
    if end > start:
        yield start, end


@functools.cache
def _is_kernel(name: str, calls_others: bool) -> bool:
    if name in COMPUTE_THEMSELVES or not name.startswith(ATEN):
        return True
    if name.startswith(ALLOCATIONS) or _is_view(name):
        return False
    try:
        if torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd"):
            return False
        explicit = torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeExplicitAutograd")
    except RuntimeError:
        # The name of an overload packet without a default overload: take it for what it does.
        explicit = True
    return not (explicit and calls_others)


def _is_view(name: str) -> bool:
    """Whether an operation returns its input in another shape: its schema says that the result shares memory, unwritten."""
    packet = getattr(torch.ops.aten, name.removeprefix(ATEN), None)
    if packet is None:
        return False
    returns = getattr(packet, packet.overloads()[0])._schema.returns
    return bool(returns) and all(value.alias_info is not None and not value.alias_info.is_write for value in returns)


def train(
    module: torch.nn.Module,
    batches: Callable[[], Iterable[tuple[Any, Any]]],
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    gate: Gate,
) -> None:
    """Train until the gate says stop: the loop of PyTorch's own tutorials.

    Zero the gradients, forward, loss, backward, step; the loss is added up with ``item()``.

    Args:
        module: trained in place.
        batches: gives the features and labels of an epoch's batches.
        loss: of outputs and labels.
        optimizer: of the module's parameters.
        gate: decides when steps run.
    """
    where = _device_of(module)
    with looking_on(module):
        gate.begin()
        try:
            while True:
                module.train()
                total, samples = 0.0, 0
                for step, (features, labels) in enumerate(gate.clock.batches(batches())):
                    gate.before_step(step)
                    optimizer.zero_grad()
                    outputs = loss(module(features.to(where)), labels.to(where))
                    outputs.backward()
                    optimizer.step()
                    total += outputs.item() * len(labels)
                    samples += len(labels)
                gate.epoch_ended({"loss": total / max(1, samples)})
        except ChangeCondition:
            raise
        except StopTraining:
            return


@contextlib.contextmanager
def under(model: Any, condition: Condition) -> Iterator[None]:
    """Hold a condition while the context is open: threads; and for a plain module what concerns its weights."""
    usual = torch.get_num_threads()
    if condition.threads:
        torch.set_num_threads(condition.threads)
    if not condition.denormals and not hasattr(model, "compiled_metrics"):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter[parameter.abs() < torch.finfo(parameter.dtype).tiny] = 0
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def batches_for(data: Dataset, batch_size: int) -> Callable[[], Iterable[tuple[Any, Any]]]:
    """Gives the batches of an epoch: those of the user's stream, or of a ``DataLoader`` that shuffles the arrays."""
    if (stream := data.streamed) is None:
        dataset = torch.utils.data.TensorDataset(torch.as_tensor(data.x), torch.as_tensor(data.y))
        loader = torch.utils.data.DataLoader(dataset, batch_size=batch_size, shuffle=True)
        return lambda: loader
    return lambda: (_tensors(batch) for batch in itertools.islice(stream.stream, stream.steps_per_epoch))


def _tensors(batch: Any) -> tuple[Any, Any]:
    features, labels = (torch.as_tensor(part) for part in batch[:2])
    return features, labels if labels.is_floating_point() else labels.long()  # PyTorch's losses take classes as int64


@contextlib.contextmanager
def kept(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Keep the weights, buffers, gradients, mode and random state of a module, and its optimizer's state; put them back."""
    weights, state = copy.deepcopy(module.state_dict()), copy.deepcopy(optimizer.state_dict())
    modes = [(inner, inner.training) for inner in module.modules()]
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    generator = torch.get_rng_state()
    try:
        yield
    finally:
        module.load_state_dict(weights)
        optimizer.load_state_dict(state)
        for inner, training in modes:
            inner.training = training
        for parameter, gradient in gradients:
            parameter.grad = gradient
        torch.set_rng_state(generator)


@torch.no_grad()
def evaluate(module: torch.nn.Module, x: Any, y: Any, loss: Loss, batch_size: int = 256) -> dict[str, float]:
    """Mean loss and, for integer labels, accuracy of the module on these samples."""
    where = _device_of(module)
    module.eval()
    features, labels = torch.as_tensor(x), torch.as_tensor(y)
    total = right = 0.0
    for start in range(0, len(labels), batch_size):
        outputs = module(features[start : start + batch_size].to(where))
        wanted = labels[start : start + batch_size].to(where)
        total += float(loss(outputs, wanted)) * len(wanted)
        if not wanted.is_floating_point():
            right += float((outputs.argmax(-1) == wanted).sum())
    module.train()
    found = {"loss": total / len(labels)}
    if not labels.is_floating_point():
        found["accuracy"] = right / len(labels)
    return found


def _device_of(module: torch.nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def device(model: Any) -> str:
    """Where the kernels of a model run: ``cpu``, or PyTorch's name of the accelerator that holds its weights."""
    where = _device_of(model)
    if where.type == "cpu":
        return "cpu"
    return f"{where}: {torch.cuda.get_device_name(where)}" if where.type == "cuda" else str(where)


def threads() -> dict[str, int]:
    """Threads by pool."""
    return {"intra-op": torch.get_num_threads(), "inter-op": torch.get_num_interop_threads()}


def versions() -> dict[str, str]:
    """Of PyTorch."""
    return {"torch": str(torch.__version__)}
