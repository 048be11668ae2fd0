"""Kernels that ``torch.compile`` makes with Inductor: whose work each of them does.

Inductor forgets layers: a recording holds names such as ``graph_0_cpp_fused_relu_1``, and calls of ATen without any scope.
While it generates code it still knows the FX nodes of each kernel, and these know the module that they came from, forward and
backward. So it is asked then. Whoever compiled before we looked has graphs whose layers are not known.

Does not read Triton's kernels, nor graphs from PyTorch's caches on disk, which are therefore not used while this looks on.
"""

from __future__ import annotations

import contextlib
import math
import re
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch

from epochwise.measuring.xplane import Place, Shares, fused_note

REGION = "## Call CompiledFxGraph"
"""What the event around one run of a compiled graph begins with."""
FUSED = re.compile(r"graph_\d+_(cpp_.*)")
"""A kernel that Inductor wrote; recorded only where it was told to before it wrote it."""
STEPS_OF_PATH = re.compile(r"\.(\w+)|\[['\"]?(\w+)['\"]?\]")
ROOT = re.compile(r"^L\[['\"]\w+['\"]\]")
UNTOLD = (
    "The module had been compiled before epochwise looked on, or its compiled graphs came from elsewhere: the kernels in them"
    " cannot be told from each other, and a graph's time counts as one kernel, with the Python code between its kernels."
)
ANEW = (
    "torch.compile did not use its caches on disk, so that it could be seen which layers each kernel works for;"
    " the first step takes as long as the very first one of a program."
)


class _Made(NamedTuple):
    """One call in the code of a graph.

    Attributes:
        name: of a kernel that Inductor wrote; ``None`` for one of ATen.
        shares: for whom it works.
    """

    name: str | None
    shares: Shares


class CompiledKernels:
    """What ``torch.compile`` made while this looked on.

    Args:
        module: that is trained; its parts are known by their paths.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._paths = {without_wrapper(name) for name, _ in module.named_modules()}
        self._top = type(getattr(module, "_orig_mod", module)).__name__
        self._graphs: dict[int, tuple[Any, list[_Made]]] = {}
        self._told: set[Shares] = set()
        self._untold = False

    @contextlib.contextmanager
    def looking_on(self) -> Iterator[None]:
        """Note what the compiler makes while the context is open."""
        import torch._functorch.config as autograd_config
        from torch._inductor import config
        from torch._inductor.codegen.cpp import CppScheduling
        from torch._inductor.scheduler import Scheduler

        define, call = CppScheduling.define_kernel, Scheduler.codegen_extern_call

        def defined(scheduling: Any, source: Any, nodes: Any, *others: Any, **named: Any) -> Any:
            name = define(scheduling, source, nodes, *others, **named)
            self._note(name, [node.node for node in nodes])
            return name

        def called(scheduler: Any, node: Any) -> Any:
            if getattr(node.node, "python_kernel_name", None) is not None:  # else a part of another's result
                self._note(None, [node.node])
            return call(scheduler, node)

        with (
            config.patch({"cpp.enable_kernel_profile": True, "fx_graph_cache": False}),
            autograd_config.patch(enable_autograd_cache=False),
            mock.patch.object(CppScheduling, "define_kernel", defined),
            mock.patch.object(Scheduler, "codegen_extern_call", called),
        ):
            yield

    def places(self, regions: Iterable[Any], backward: Callable[[Any], bool]) -> dict[int, Shares]:
        """For whom the events directly inside these regions work, by the event's ``id``; those not known are left out.

        A region that is not known is itself among them, and works for the whole module.

        Args:
            regions: events of a profile, each one run of a compiled graph.
            backward: whether an event is part of the backward pass.
        """
        found: dict[int, Shares] = {}
        for region in regions:
            events = sorted(region.cpu_children, key=lambda event: event.time_range.start)
            made = self._graph_of(events, backward(region))
            for event, call in _aligned(events, made):
                found[id(event)] = call.shares
                self._told.add(call.shares)
            if not made:
                self._untold = True
                found[id(region)] = (((self._top, "backward" if backward(region) else "forward"), 1.0),)
        return found

    def notes(self) -> tuple[str, ...]:
        """What a reader of the profile must know, in sentences."""
        notes = fused_note(self._told)
        return (*notes, *((UNTOLD,) if self._untold else ()), *((ANEW,) if self._graphs else ()))

    def _note(self, name: str | None, buffers: list[Any]) -> None:
        from torch._inductor.virtualized import V

        graph = V.graph
        phase = "backward" if graph.is_backward else "forward"
        nodes = {node for buffer in buffers if buffer is not None for node in buffer.origins}
        if name is None:  # what it takes in is named as well, and is another's
            own = {buffer.get_origin_node() for buffer in buffers} - {None}
            nodes = own or nodes
        work: defaultdict[Place, float] = defaultdict(float)
        for node in nodes:
            if (path := self._path_of(node)) is not None:
                work[path, phase] += _elements(node)
        total = math.fsum(work.values())
        shares = tuple((place, amount / total) for place, amount in work.items()) if total else ()
        self._graphs.setdefault(id(graph), (graph, []))[1].append(_Made(name, shares))

    def _path_of(self, node: Any) -> str | None:
        """The innermost module that an operation was called in, ``None`` where that is not known."""
        stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack")
        if not stack:
            return None
        for written, *_ in reversed(list(stack.values())):
            steps = STEPS_OF_PATH.findall(ROOT.sub("", written))
            path = ".".join(step for pair in steps for step in pair if step and step not in ("_modules", "_orig_mod"))
            if path in self._paths:
                return path or self._top
        return None

    def _graph_of(self, events: list[Any], backward: bool) -> list[_Made]:
        """The newest graph that runs these kernels in this order; empty where there is none."""
        names = _names(events)
        fitting = [
            made
            for graph, made in self._graphs.values()
            if bool(graph.is_backward) == backward and [call.name for call in made if call.name] == names
        ]
        return fitting[-1] if fitting else []


def _aligned(events: list[Any], made: list[_Made]) -> Iterator[tuple[Any, _Made]]:
    """Events and what they are calls of: kernels of Inductor's by name, and between two of these as many of ATen's in order."""
    between: list[list[Any]] = [[]]
    for event in events:
        if FUSED.match(event.name):
            between.append([])
        elif _computes(event):
            between[-1].append(event)
    place, calls = 0, iter(made)
    pending: list[_Made] = []
    named = iter(event for event in events if FUSED.match(event.name))
    for call in (*calls, None):
        if call is not None and call.name is None:
            pending.append(call)
            continue
        if place < len(between) and len(between[place]) == len(pending):
            yield from zip(between[place], pending, strict=True)
        pending, place = [], place + 1
        if call is not None:
            yield next(named), call


def _names(events: list[Any]) -> list[str]:
    return [match[1] for event in events if (match := FUSED.match(event.name))]


def _computes(event: Any) -> bool:
    """Whether an operation of ATen is a call of a graph, and no allocation."""
    return str(event.name).startswith(("aten::", "mkldnn::", "mkl::")) and not str(event.name).startswith(
        ("aten::empty", "aten::as_strided", "aten::resize_")
    )


def _elements(node: Any) -> float:
    """Elements that a node computes."""
    value = node.meta.get("val")
    values = value if isinstance(value, (tuple, list)) else [value]
    return float(sum(each.numel() for each in values if isinstance(each, torch.Tensor) and isinstance(each.numel(), int)) or 1)


def without_wrapper(name: str) -> str:
    """A module's path as it would be without ``torch.compile``."""
    return ".".join(step for step in name.split(".") if step != "_orig_mod")


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether ``torch.compile`` was called for a module or one inside it."""
    return any(
        hasattr(inner, "_orig_mod") or getattr(inner, "_compiled_call_impl", None) is not None for inner in module.modules()
    )


_KNOWN: weakref.WeakKeyDictionary[torch.nn.Module, CompiledKernels] = weakref.WeakKeyDictionary()


def compiled_kernels(module: torch.nn.Module) -> CompiledKernels:
    """What was made for a module; it is compiled once, however often its loop begins anew."""
    if module not in _KNOWN:
        _KNOWN[module] = CompiledKernels(module)
    return _KNOWN[module]


def looking_on(module: torch.nn.Module) -> contextlib.AbstractContextManager[None]:
    """Note what the compiler makes of a module while the context is open; nothing where it is not compiled."""
    return compiled_kernels(module).looking_on() if is_compiled(module) else contextlib.nullcontext()
