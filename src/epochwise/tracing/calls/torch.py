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
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from epochwise.errors import TracingError
from epochwise.tracing.recorder import OPTIMIZER, TraceBuilder
from epochwise.tracing.trace import Phase

IDENTITIES = ("aten::detach", "aten::alias", "aten::lift", "aten::lift_fresh")
"""Calls whose result is the tensor that they were given."""

OVERWRITES = ("aten::copy_", "aten::_foreach_copy_")
"""Calls that write their first tensor without reading it."""

ON_LISTS = ("aten::_foreach_", "aten::_fused_")
"""How the names of calls on lists begin."""

LIKE = ("_like", "::new_empty", "::new_empty_strided", "::new_zeros", "::new_ones", "::new_full")
"""How the names of calls end that look at a tensor's shape and type only."""


class AtenRecorder(TorchDispatchMode):
    """Writes down every ATen call of a step that runs under fake tensors."""

    def __init__(self, builder: TraceBuilder) -> None:
        super().__init__()
        self.builder = builder
        self.recorder = builder.recorder
        self._began: list[int] = []  # sequence numbers at which another layer call became the innermost one
        self._owner: list[int | None] = []  # that call
        self._recomputing: list[int] = []  # calls whose forward pass runs again in the backward pass (checkpointing)
        self._alive: dict[int, Any] = {}  # see _window
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
            return "backward", self._first_read_in.get(self.number(node.variable))
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
        return [self.number(leaf) for leaf in _tensors(structure)]

    # --- operations ------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let one call happen and put it on record."""
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            return self.read(args[0])
        given = _by_name(func._schema, args, kwargs)
        inputs = self.numbers(list(given.values()))  # before the call, which may change a tensor's shape in place
        outputs = func(*args, **kwargs)
        if func.namespace in ("prim", "profiler"):
            return outputs
        if func._schema.name.startswith(ON_LISTS):
            for part, made in _taken_apart(given, outputs):
                self._record(func._schema, part, self.numbers(list(part.values())), made)
        else:
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
        if schema.name.endswith(LIKE):
            call = self._made_in.get(inputs[0]) if call is None else call
            inputs = []
        elif schema.name in OVERWRITES:
            inputs = inputs[len(results) :]
        if phase == "forward":
            for number in inputs:
                self._first_read_in.setdefault(number, call)
        self._made_in.update(dict.fromkeys(results, call))
        attributes = _attributes(given)
        if self._recomputing:
            attributes["recomputed"] = True
        name = schema.name.replace("::", ".")
        self.builder.operation(name, inputs, results, phase=phase, call=call, attributes=attributes)

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


def _taken_apart(given: dict[str, Any], outputs: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """A call on lists as calls on the members of the lists; what is not in lists, and empty lists, is the same for all."""
    lists = {name for name, value in given.items() if isinstance(value, (list, tuple)) and value}
    for place in range(min((len(given[name]) for name in lists), default=0)):
        part = {name: value[place] if name in lists else value for name, value in given.items()}
        yield part, outputs[place] if isinstance(outputs, (list, tuple)) else ()
