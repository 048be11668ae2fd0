"""Calls of ATen operators -> operations of a trace, while a step runs under fake tensors.

Whose operation is it? In the forward pass, that of the innermost open layer call. In the backward pass autograd runs nodes, and
each node carries the sequence number that was current when the forward pass made it; the numbers at which layer calls began
and ended therefore tell which call a node, and so a backward operation, belongs to (AOTAutograd does the same).

A call on lists of tensors (``_foreach_add_``) is taken apart into one operation for each place of the lists, so that it is
known whose weights it works on.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from epochwise.errors import TracingError
from epochwise.tracing.failures.torch import BRANCHES, WITHOUT_BRANCHES, line_of_caller
from epochwise.tracing.outputs.torch import detached, is_plain, outputs_of
from epochwise.tracing.recorder import OPTIMIZER, TraceBuilder
from epochwise.tracing.storages.torch import Storages
from epochwise.tracing.trace import Phase

IDENTITIES = ("aten::detach", "aten::alias", "aten::lift", "aten::lift_fresh")
"""Calls whose result is the tensor that they were given."""

FRESH = "aten::lift_fresh"
"""The call by which a constant made in Python (``torch.tensor(...)``) comes into the step."""

OVERWRITES = ("aten::copy_", "aten::_foreach_copy_")
"""Calls that write their first tensor without reading it."""

OPAQUE = ("aten::mkldnn_rnn_layer",)
"""Calls that keep a workspace for the backward pass, of a size that only the library knows; a fake tensor gives it none."""

OF_ONE_TYPE = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::convolution")
"""Calls that refuse tensors of several types, which fake tensors let pass."""

ON_LISTS = ("aten::_foreach_", "aten::_fused_")
"""How the names of calls on lists begin."""

LIKE = ("_like", "::new_empty", "::new_empty_strided", "::new_zeros", "::new_ones", "::new_full")
"""How the names of calls end that look at a tensor's shape and type only."""


WANTED = "wanted"
"""Attribute of fused backward operations: for each tensor of the forward operation, whether a gradient is asked for."""

_DEVICE = torch.ops.prim.device.default
_DETACH = torch.ops.aten.detach.default
_WRITTEN_NODE = torch._C._FunctionBase  # of a torch.autograd.Function, which may make other nodes on its way
_sequence_number = torch.autograd._get_sequence_nr


class AtenRecorder(TorchDispatchMode):
    """Writes down every ATen call of a step that runs under fake tensors.

    Args:
        builder: takes the operations.
        recording: whether anything is written down; without, numbers are still read as in a recording.

    Attributes:
        handled: elements that calls read and gave while nothing was written down.
    """

    def __init__(self, builder: TraceBuilder, *, recording: bool = True) -> None:
        super().__init__()
        self.builder = builder
        self.recording = recording
        self.handled = 0
        self._has_differentiated = False
        self.recorder = builder.recorder
        self.storages = Storages()
        self._began: list[int] = []  # sequence numbers at which another layer call became the innermost one
        self._owner: list[int | None] = []  # that call
        self._recomputing: list[int] = []  # calls whose forward pass runs again in the backward pass (checkpointing)
        self._alive: dict[int, Any] = {}  # sparse tensors, whose identity must not be given to another
        self._first_read_in: dict[int, int | None] = {}  # the call in which the forward pass first read a value
        self._made_in: dict[int, int | None] = {}  # the call that a value was made in

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

    def data_of(self, function: Callable[[], object]) -> int:
        """How much data a function handles: elements that it reads and gives. It is run, and nothing of it written down."""
        before, self.recording, self.handled = self.recording, False, 0
        try:
            function()
        finally:
            self.recording = before
        return self.handled

    def _mark(self, call: int | None) -> None:
        self._began.append(_sequence_number())
        self._owner.append(call)

    def _owner_of_node(self, node: Any) -> int | None:
        place = bisect.bisect_right(self._began, node._sequence_nr()) - 1
        return self._owner[place] if place >= 0 else None

    def _whose(self) -> tuple[Phase, int | None]:
        if not self.in_backward:
            call = self.recorder.current
            if call is None:  # between the gradients and the optimizer: clipping and scaling, which nothing differentiates
                updating = self._has_differentiated and not torch.is_grad_enabled()
            else:
                updating = self.recorder.is_part(call, OPTIMIZER)
            return ("update" if updating else "forward"), call
        self._has_differentiated = True
        if self._recomputing:
            return "backward", self._recomputing[-1]
        node = torch._C._current_autograd_node()
        if node is not None and "AccumulateGrad" in node.name():  # of a weight, not of an operation
            return "backward", self._first_read_in.get(self.number(node.variable))
        return "backward", (None if node is None else self._owner_of_node(node))

    # --- tensors ---------------------------------------------------------------------------------------------------

    def number(self, tensor: Any, born: int | None = None) -> int:
        """The number of a tensor; tensors that are the same window on the same storage share one.

        ``born`` is the place of the operation that makes it, if it is an output.
        """
        window = self._window(tensor, born)
        known = self.builder.known(window)
        return self.builder.number(window, tuple(tensor.shape), _dtype(tensor)) if known is None else known

    def _window(self, tensor: Any, born: int | None = None) -> tuple[object, ...]:
        """What part of what storage a tensor shows.

        Neither is kept alive: memory is freed as in a real run, and autograd takes a gradient as it is when nobody else holds
        it, and copies it otherwise.
        """
        if tensor.layout != torch.strided:
            self._alive[id(tensor)] = tensor
            return ("tensor", id(tensor))
        storage = self.storages.number(tensor, born)
        return (storage, tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)

    def keep(self, tensor: Any) -> Any:
        """Autograd is about to keep a tensor: what it shall keep for it. Of the forward pass, that is on record.

        A tensor that the node at work gives would keep this node alive, and with it itself.
        """
        if self.recording and not self.in_backward and tensor.layout == torch.strided:
            self.storages.keep(tensor)
        node = tensor.grad_fn
        own = node is not None and (isinstance(node, _WRITTEN_NODE) or node._sequence_nr() >= _sequence_number() - 1)
        return tensor.detach() if own else tensor

    def stored(self) -> dict[int, int]:
        """For each value one that lies on the same storage: what is written in place shows in all of them."""
        same: dict[int, int] = {}
        first: dict[object, int] = {}

        def representative(number: int) -> int:
            while same.setdefault(number, number) != number:
                number = same[number]
            return number

        for window, number in self.builder.keys().items():
            storage = window[0] if isinstance(window, tuple) and window[0] != "tensor" else window
            same[representative(number)] = representative(first.setdefault(storage, number))
        return {number: representative(number) for number in list(same)}

    def numbers(self, structure: Any) -> list[int]:
        """The numbers of all tensors in a structure, in its order."""
        return [self.number(_unwrapped(leaf)) for leaf in _tensors(structure)]

    # --- operations ------------------------------------------------------------------------------------------------

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch.compile never sees this mode, and being skipped by it costs a wrapper around every call."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let one call happen and put it on record."""
        kwargs = kwargs or {}
        if func is _DEVICE and isinstance(args[0], FakeTensor):
            return args[0].fake_device
        if func is _DETACH and is_plain(args[0]):  # the same window, so the same number
            return detached(args[0])
        if func is torch.ops.aten._local_scalar_dense.default:
            return self.read(args[0])
        signature = _signature(func)
        given = signature.by_name(args, kwargs)
        leaves = list(_leaves(given.values()))
        if signature.is_of_one_type and len(types_given := sorted({_dtype(leaf) for leaf in leaves})) > 1:
            raise RuntimeError(f"{signature.name} got tensors of different types, {' and '.join(types_given)}")
        if not self.recording:
            outputs = outputs_of(func, args, kwargs, leaves)
            self.handled += sum(tensor.numel() for tensor in (*leaves, *_leaves((outputs,))))
            return outputs
        if signature.is_identity:  # autograd makes many
            outputs = outputs_of(func, args, kwargs, leaves)
            self._same(leaves[0], outputs, self.storages.place if signature.is_fresh else None)
            return outputs
        inputs = [self.number(leaf) for leaf in leaves]  # before the call, which may change a tensor's shape in place
        outputs = outputs_of(func, args, kwargs, leaves)
        if signature.on_lists:
            for part, made in _taken_apart(given, outputs):
                self._record(signature, part, self.numbers(list(part.values())), made)
        else:
            self._record(signature, given, inputs, outputs)
        return outputs

    def _record(self, signature: _Signature, given: dict[str, Any], inputs: list[int], outputs: Any) -> None:
        place = self.storages.place
        written = list(_leaves(given.get(name) for name in signature.written))
        made = list(_leaves((outputs,)))
        self._unite(list(_leaves(given.get(name) for name in signature.shared)), made)
        for tensor, target in zip(made, written, strict=False):
            if tensor is not target:  # an in-place operation on a real tensor gives back its fake
                self.builder.alias(self._window(tensor), self.number(target))
        results = [self.number(tensor, place) for tensor in made] or self.numbers(written)
        if not results or (signature.is_view and len(results) == 1 and results[0] in inputs):
            return  # gives no tensor, or the very tensor that it was given
        phase, call = self._whose()
        if signature.is_like:
            call = self._made_in.get(inputs[0]) if call is None else call
            inputs = []
        elif signature.overwrites:
            inputs = inputs[len(results) :]
        if phase == "backward":
            self.storages.last_backward = place
        if phase == "forward":
            for number in inputs:
                self._first_read_in.setdefault(number, call)
        self._made_in.update(dict.fromkeys(results, call))
        if signature.is_opaque:
            self.builder.note(
                f"Activations and peak leave out the workspace that {signature.name} keeps for the backward pass:"
                " only its library knows the size."
            )
        attributes = _attributes(given)
        if self._recomputing:
            attributes["recomputed"] = True
        elif phase == "backward":
            attributes |= self._wanted(signature)
        operation = self.builder.operation(signature.name, inputs, results, phase=phase, call=call, attributes=attributes)
        self.storages.place = 1 + operation

    def _same(self, tensor: Any, other: Any, born: int | None) -> None:
        """Another object for a tensor has the same number; ``born`` is the place of a constant made in the step."""
        number = self.number(tensor, born)
        if not isinstance(tensor, FakeTensor) and tensor.layout == torch.strided:
            self.storages.unite(other, tensor)
        self.builder.alias(self._window(other), number)

    def _unite(self, shared: list[Any], made: list[Any]) -> None:
        """What an operator's schema says is a view of an argument, or the argument itself, lies in the argument's storage."""
        for place, tensor in enumerate(made):
            if shared and tensor.layout == torch.strided == shared[0].layout:
                self.storages.unite(tensor, shared[place] if len(shared) == len(made) else shared[0])

    @staticmethod
    def _wanted(signature: _Signature) -> dict[str, object]:
        """Which gradients autograd asks a fused backward operation for, where the operation has no argument that says it."""
        node = torch._C._current_autograd_node()
        if node is None or not signature.name.endswith("_backward") or signature.has_mask:
            return {}
        return {WANTED: tuple(behind is not None for behind, _ in node.next_functions)}

    def read(self, tensor: Any) -> Any:
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
                cause=BRANCHES,
                remedy=WITHOUT_BRANCHES,
            )
        line = line_of_caller()
        self.builder.note(
            "The step reads numbers out of tensors in Python; 1 was taken for each, so a branch that depends on one may differ"
            + (f" ({line})." if line else ".")
        )
        return True if tensor.dtype == torch.bool else 1.0 if tensor.is_floating_point() else 1


class _Signature:
    """What the recording needs to know of an operator, from its schema.

    Attributes:
        name: as the trace has it.
        written: names of the arguments that it writes into.
        shared: names of the arguments whose storage its results lie in.
        is_identity: see :data:`IDENTITIES`.
        is_fresh: see :data:`FRESH`.
        is_opaque: see :data:`OPAQUE`.
        is_view: whether its result shows its input's storage, unwritten.
        is_like: see :data:`LIKE`.
        overwrites: see :data:`OVERWRITES`.
        on_lists: see :data:`ON_LISTS`.
        is_of_one_type: see :data:`OF_ONE_TYPE`.
        has_mask: whether an argument says which gradients are asked for.
    """

    def __init__(self, func: Any) -> None:
        schema = func._schema
        self._arguments = [(argument.name, argument.has_default_value()) for argument in schema.arguments]
        self._defaults = {argument.name: argument.default_value for argument in schema.arguments}
        self.name = schema.name.replace("::", ".")
        self.written = [argument.name for argument in schema.arguments if _is_written(argument)]
        shares = any(value.alias_info is not None for value in schema.returns)
        self.shared = [argument.name for argument in schema.arguments if shares and argument.alias_info is not None]
        self.is_identity = schema.name in IDENTITIES
        self.is_fresh = schema.name == FRESH
        self.is_opaque = schema.name in OPAQUE
        self.is_view = any(value.alias_info is not None and not value.alias_info.is_write for value in schema.returns)
        self.is_like = schema.name.endswith(LIKE)
        self.overwrites = schema.name in OVERWRITES
        self.on_lists = schema.name.startswith(ON_LISTS)
        self.is_of_one_type = schema.name in OF_ONE_TYPE
        self.has_mask = "output_mask" in self._defaults

    def by_name(self, args: Any, kwargs: Any) -> dict[str, Any]:
        """The arguments of a call by name, in the order of the schema, defaults included."""
        given: dict[str, Any] = {}
        positional = len(args)
        for place, (name, has_default) in enumerate(self._arguments):
            if place < positional:
                given[name] = args[place]
            elif name in kwargs:
                given[name] = kwargs[name]
            elif has_default:
                given[name] = self._defaults[name]
        return given


_signature = functools.cache(_Signature)


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


@functools.cache
def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(tensor: Any) -> str:
    return _dtype_name(tensor.dtype)


def _tensors(structure: Any) -> list[Any]:
    """All tensors in a structure of the user's."""
    if isinstance(structure, torch.Tensor):
        return [structure]
    return [leaf for leaf in _pytree.tree_leaves(structure) if isinstance(leaf, torch.Tensor)]


def _unwrapped(tensor: Any) -> Any:
    """The tensor of all samples that one of ``torch.func`` (``vmap``, ``grad``) stands for; other tensors as they are."""
    transforms = torch._C._functorch
    while transforms.is_functorch_wrapped_tensor(tensor):
        tensor = transforms.get_unwrapped(tensor)
    return tensor


def _leaves(values: Any) -> Iterator[Any]:
    """All tensors in arguments or results of an operator, which are tensors and lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _leaves(value)


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
            attributes[name] = _dtype_name(value)
    return attributes


def _taken_apart(given: dict[str, Any], outputs: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """A call on lists as calls on the members of the lists; what is not in lists, and empty lists, is the same for all."""
    lists = {name for name, value in given.items() if isinstance(value, (list, tuple)) and value}
    for place in range(min((len(given[name]) for name in lists), default=0)):
        part = {name: value[place] if name in lists else value for name, value in given.items()}
        yield part, outputs[place] if isinstance(outputs, (list, tuple)) else ()
