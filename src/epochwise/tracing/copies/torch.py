"""A plain PyTorch module -> a copy of it whose tensors are fake, so that a step can be traced and the module is not touched.

A module on the ``meta`` device, which has shapes and no numbers, stands for one on the CPU: there its tensors are in the copy,
and PyTorch picks the same operators for it (fused attention, for one) as if it had been given weights.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from epochwise.errors import TracingError
from epochwise.tracing.outputs.torch import fake_tensor

_KNOWN_TYPES = (torch.Tensor, torch.nn.Parameter, FakeTensor)


def fake_copy(module: Any, loss: Any, optimizer: Any, fake: FakeTensorMode) -> tuple[Any, Any, Any]:
    """A copy of module, loss and optimizer whose tensors are fake and still shared among them as they were.

    Raises:
        TracingError: something in them cannot be copied.
    """
    try:
        with _CopiesAreFake(fake):
            copied: tuple[Any, Any, Any] = copy.deepcopy((module, loss, optimizer))
            return copied
    except Exception as error:
        raise TracingError(
            f"Module {type(module).__name__} cannot be copied: {error}",
            cause="an attribute that copy.deepcopy refuses, such as a tensor that is a result of a computation, or a lock",
            remedy="keep such attributes out of the module, or give the module a __deepcopy__",
        ) from error


class _CopiesAreFake(TorchFunctionMode):
    """While it is open, a deep copy of a tensor is a fake tensor of its shape, strides and type."""

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self._fake = fake
        self._cloned: Any = None
        self._storages: dict[int, Any] = {}  # by the real one's address, which the module keeps alive: the copy's

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Parameters copy themselves by cloning their data; other tensors have a ``__deepcopy__``."""
        if func is torch._C.TensorBase.clone:
            self._cloned = self._like(args[0])
            return self._cloned
        if func is torch._C.TensorBase.detach and args[0] is self._cloned:  # to be a parameter's, and nobody else has it
            self._cloned = None
            return args[0]
        if func is torch.Tensor.__deepcopy__:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = self._copied(tensor)
            return memo[id(tensor)]
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    def _copied(self, tensor: Any) -> Any:
        if type(tensor) is FakeTensor:  # of another mode; parameters are of this type as well
            new = self._like(tensor)
            if isinstance(tensor, torch.nn.Parameter):
                return torch.nn.Parameter(new, tensor.requires_grad)
            return new.requires_grad_(tensor.requires_grad)
        if type(tensor) is torch.Tensor and _is_ordinary(tensor) and not tensor.requires_grad and tensor.grad is None:
            return self._window(tensor)
        new = self._fake.from_tensor(tensor, static_shapes=True)  # keeps what views of one storage share
        if new.fake_device.type == "meta":
            new.fake_device = torch.device("cpu")
        return new

    def _window(self, tensor: Any) -> Any:
        """The same window on a storage that stands for the tensor's own, so what views of one storage share stays shared."""
        storage = tensor.untyped_storage()
        shown = self._storages.get(storage._cdata)
        with torch._C.DisableTorchFunctionSubclass():
            if shown is None:
                shown = torch.empty(storage.nbytes(), dtype=torch.uint8, device="meta").untyped_storage()
                self._storages[storage._cdata] = shown
            meta = torch.empty(0, dtype=tensor.dtype, device="meta")
            meta.set_(shown, tensor.storage_offset(), tensor.shape, tensor.stride())
            return fake_tensor(self._fake, meta, _device_of(tensor))

    def _like(self, tensor: Any) -> Any:
        if type(tensor) not in _KNOWN_TYPES or not _is_ordinary(tensor):
            return self._fake.from_tensor(tensor, static_shapes=True).clone()
        with torch._C.DisableTorchFunctionSubclass():
            kept = torch.empty_like(tensor, device="meta") if type(tensor) is not FakeTensor else None
            if kept is None:
                kept = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
            return fake_tensor(self._fake, kept, _device_of(tensor))


def _is_ordinary(tensor: Any) -> bool:
    return tensor.layout == torch.strided and not tensor.is_conj() and not tensor.is_neg()


def _device_of(tensor: Any) -> torch.device:
    return torch.device("cpu") if tensor.device.type == "meta" else tensor.device
