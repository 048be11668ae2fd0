"""What ATen calls on fake tensors give, remembered by what they were given.

A model calls the same operator on tensors of the same shapes many times, and PyTorch's fake tensors take most of the time of a
trace. What a call gave is therefore kept, by the operator, the shapes, strides and types of its tensors, and its other
arguments; the next such call gets new fake tensors of the same kind.

Left to PyTorch each time: tensors whose numbers are known, tensors that are not fake or not strided, operators whose result
depends on data, and whatever gives something else than new tensors, views of its arguments, or its arguments themselves.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor

_GROUPED_PRODUCT = getattr(getattr(torch.ops.aten, "_grouped_mm", None), "default", None)  # older versions have none
_ON_CPU_ONLY = (torch.float32, torch.float16)
_MATRIX = 2
_DEPENDS_ON_DATA = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view}
_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


class _Made(NamedTuple):
    """One tensor that a call gave.

    Attributes:
        source: place of the argument whose storage it shows, ``None`` for a new tensor.
        same: whether it is that argument itself.
        shape, stride, offset, dtype, device: as of a tensor.
    """

    source: int | None
    same: bool
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device


class _Remembered(NamedTuple):
    """What a call gave: its tensors (``None`` for none, a place for the very tensor given there) and in what they came."""

    made: tuple[_Made | int | None, ...]
    wrap: Callable[[list[Any]], Any]


_MOST = 20_000
"""Calls that are remembered; beyond them all are forgotten."""
_known: dict[Hashable, _Remembered | None] = {}
_patterns: weakref.WeakKeyDictionary[Any, dict[torch.device, dict[str, Any]]] = weakref.WeakKeyDictionary()
"""By mode of fake tensors and by device: the attributes of a new one."""


def outputs_of(func: Any, args: Any, kwargs: Any, leaves: list[Any]) -> Any:
    """Carry out an ATen call on fake tensors; one that was carried out before, from memory.

    Args:
        func: the operator.
        args: its arguments by place.
        kwargs: its arguments by name.
        leaves: all tensors among its arguments.

    Returns:
        What the operator gives.
    """
    key = _key(func, args, kwargs) if leaves else None
    if key is None:
        return _carried_out(func, args, kwargs)
    if key in _known:
        known = _known[key]
        return _carried_out(func, args, kwargs) if known is None else _again(known, leaves)
    outputs = _carried_out(func, args, kwargs)
    unchanged = _key(func, args, kwargs) == key
    if len(_known) >= _MOST:
        _known.clear()
    _known[key] = _remembered(outputs, leaves) if unchanged else None
    return outputs


def _carried_out(func: Any, args: Any, kwargs: Any) -> Any:
    """The call by PyTorch's own fake tensors, except where these refuse what a real step does."""
    if func is _GROUPED_PRODUCT and args[0].dtype == args[1].dtype in _ON_CPU_ONLY:
        return _grouped_product(*args, **kwargs)
    return func(*args, **kwargs)


def _grouped_product(a: Any, b: Any, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:
    """Of ``(M, K) (G, K, N)``, ``(G, M, K) (G, K, N)``, ``(G, M, K) (K, N)`` or ``(M, K) (K, N)``, in groups along one axis.

    PyTorch's own (``_meta_grouped_mm_common``) knows the GPU's types alone.
    """
    both = a.dim() == b.dim()
    if (a.dim() > _MATRIX or b.dim() > _MATRIX) and a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"contraction dimension of mat_a {tuple(a.shape)} and mat_b {tuple(b.shape)} must match")
    groups = (len(offs) if a.dim() == _MATRIX else len(a),) if both else ()
    return a.new_empty((*groups, a.shape[-2], b.shape[-1]), dtype=out_dtype or a.dtype)


def is_plain(tensor: Any) -> bool:
    """Whether a tensor is fake, strided, and of unknown numbers, as most are."""
    if type(tensor) is not FakeTensor or tensor.constant is not None or tensor.layout != torch.strided:
        return False
    return not tensor.is_conj() and not tensor.is_neg()


def detached(tensor: Any) -> Any:
    """As ``tensor.detach()``, of a plain fake tensor; autograd asks for one whenever it takes out what it kept."""
    known = _patterns.setdefault(tensor.fake_mode, {}).get(tensor.fake_device)
    with torch._C._DisableTorchDispatch():
        if known is not None:
            return _subclassed(tensor, tensor.fake_mode, tensor.fake_device, known)
        window = tensor.storage_offset(), tensor.shape, tensor.stride()
        meta = torch.empty(0, dtype=tensor.dtype, device="meta").set_(tensor.untyped_storage(), *window)
    return fake_tensor(tensor.fake_mode, meta, tensor.fake_device)


def _key(func: Any, args: Any, kwargs: Any) -> Hashable | None:
    """What the result's shapes depend on; ``None`` for calls that are left to PyTorch."""
    if not _DEPENDS_ON_DATA.isdisjoint(func.tags):
        return None
    parts: list[Hashable] = [func, torch.get_default_dtype()]
    try:
        parts += [_described(value) for value in args]
        parts += [(name, _described(value)) for name, value in kwargs.items()]
    except _LeftToPyTorchError:
        return None
    return tuple(parts)


class _LeftToPyTorchError(Exception):
    """An argument that calls are not remembered by."""


def _described(value: Any) -> Hashable:
    if isinstance(value, FakeTensor):
        if not is_plain(value):
            raise _LeftToPyTorchError
        return value.shape, value.stride(), value.storage_offset(), value.dtype, value.fake_device
    if isinstance(value, (list, tuple)):
        return (list, *[_described(item) for item in value])
    if type(value) in _PLAIN:
        return type(value), value  # 1, 1.0 and True are equal and not the same
    raise _LeftToPyTorchError


def _remembered(outputs: Any, leaves: list[Any]) -> _Remembered | None:
    given = [leaf.untyped_storage()._cdata for leaf in leaves]
    several = type(outputs) in (list, tuple)
    made: list[_Made | int | None] = []
    new: set[int] = set()
    results = outputs if several else (outputs,)
    for place, output in enumerate(results):
        earlier = next((at for at in range(place) if results[at] is output), None)
        if output is None or earlier is not None:
            made.append(earlier if output is not None else None)
            continue
        if not isinstance(output, FakeTensor) or output.constant is not None or output.layout != torch.strided:
            return None
        storage = output.untyped_storage()
        same = next((at for at, leaf in enumerate(leaves) if leaf is output), None)
        source = given.index(storage._cdata) if storage._cdata in given and same is None else same
        if source is None:
            if storage._cdata in new or storage.nbytes() != _bytes(output) or output.storage_offset():
                return None
            new.add(storage._cdata)
        elif same is None and (output.dtype != leaves[source].dtype or output.is_conj() or output.is_neg()):
            return None
        kind = tuple(output.shape), output.stride(), output.storage_offset(), output.dtype, output.fake_device
        made.append(_Made(source, same is not None, *kind))
    return _Remembered(tuple(made), type(outputs) if several else operator.itemgetter(0))


def _bytes(tensor: Any) -> int:
    """Bytes of the storage that a new tensor of this shape and these strides has."""
    if not tensor.numel():
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return int((last + 1) * tensor.element_size())


def _again(known: _Remembered, leaves: list[Any]) -> Any:
    """New fake tensors of the remembered kinds, over the storages of the arguments where they show these."""
    fake = leaves[0].fake_mode

    results: list[Any] = []
    for made in known.made:
        results.append(results[made] if isinstance(made, int) else None if made is None else _new(made, leaves, fake))
    return known.wrap(results)


def _new(made: _Made, leaves: list[Any], fake: Any) -> Any:
    if made.same and made.source is not None:
        return leaves[made.source]
    with torch._C._DisableTorchDispatch():
        if made.source is None:
            meta = torch.empty_strided(made.shape, made.stride, dtype=made.dtype, device="meta")
        else:
            meta = torch.empty(0, dtype=made.dtype, device="meta")
            meta.set_(leaves[made.source].untyped_storage(), made.offset, made.shape, made.stride)
    return fake_tensor(fake, meta, made.device)


def fake_tensor(fake: Any, meta: Any, device: torch.device) -> Any:
    """As ``FakeTensor(fake, meta, device)``, which sets a dozen attributes one by one, from those of an earlier one."""
    known = _patterns.setdefault(fake, {})
    if device not in known:
        first = FakeTensor(fake, meta, device)
        known[device] = {name: value for name, value in vars(first).items() if name != "fake_mode"}  # or it would live for ever
        return first
    return _subclassed(meta, fake, device, known[device])


def _subclassed(shown: Any, fake: Any, device: torch.device, attributes: dict[str, Any]) -> Any:
    """A fake tensor that shows what another tensor shows, on the meta device or fake."""
    made = torch.Tensor._make_subclass(FakeTensor, shown, False, dispatch_device=True, device_for_backend_keys=device)
    torch._C._set_throw_on_mutable_data_ptr(made)
    vars(made).update(attributes, fake_mode=fake)
    return made
