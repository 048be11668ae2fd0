"""A fake copy of a module has its shapes, and what shares memory in the module shares memory in the copy."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode  # noqa: E402  (PyTorch may be missing)

from epochwise.tracing.copies.torch import fake_copy  # noqa: E402

pytestmark = pytest.mark.torch


class Module(torch.nn.Module):
    """Buffers that are windows on one storage, a buffer with strides, and a weight in two places."""

    def __init__(self, device: str) -> None:
        super().__init__()
        whole = torch.zeros(4, 6, device=device)
        self.register_buffer("whole", whole)
        self.register_buffer("part", whole[1:3, 2:])
        self.register_buffer("turned", torch.zeros(3, 5, dtype=torch.int64, device=device).t())
        self.weight = torch.nn.Parameter(torch.zeros(7, device=device))
        self.again = self.weight


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_shares_memory_still_does(device: str) -> None:
    """Windows on one storage, with their offsets and strides; a module without numbers stands for one on the CPU."""
    module = Module(device)
    copied, _, _ = fake_copy(module, None, None, FakeTensorMode())
    for name, tensor in [*module.named_buffers(), *module.named_parameters()]:
        made = getattr(copied, name)
        assert isinstance(made, FakeTensor)
        assert (made.shape, made.stride(), made.storage_offset()) == (tensor.shape, tensor.stride(), tensor.storage_offset())
        assert (made.dtype, made.requires_grad, made.device.type) == (tensor.dtype, tensor.requires_grad, "cpu")
    storages = [made.untyped_storage()._cdata for made in (copied.whole, copied.part, copied.turned)]
    assert storages[0] == storages[1] != storages[2]
    assert copied.again is copied.weight
    assert isinstance(copied.weight, torch.nn.Parameter)
    assert type(module.whole) is torch.Tensor
