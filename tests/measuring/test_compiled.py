"""What ``torch.compile`` makes: its kernels are given to the layers that they work for, and what cannot be known is said."""

from __future__ import annotations

import contextlib
import shutil

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - only where there is PyTorch

from epochwise.measuring.compiled.torch import CompiledKernels, compiled_kernels, looking_on  # noqa: E402
from epochwise.measuring.messages import ProfiledSteps  # noqa: E402
from epochwise.measuring.places import Places  # noqa: E402
from epochwise.measuring.torch import ScopedLoss, TorchRuntime, module_layers  # noqa: E402
from epochwise.tracing.recorder import LayerRecorder  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the compiler's own
    pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="Inductor needs a C++ compiler"),
]
FEATURES, WIDTH, BATCH, STEPS = 48, 96, 16, 4


def network() -> nn.Module:
    """Two linear layers; norm and activation between them make fused kernels that work for both."""
    block = nn.Sequential(nn.LayerNorm(WIDTH), nn.GELU())
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), block, nn.Linear(WIDTH, 3))


def profiled(module: nn.Module, first: bool) -> ProfiledSteps:
    """Some steps of a compiled module; the first step, which compiles it, is looked on or not."""
    recorder = LayerRecorder(top=id(module))
    loss = ScopedLoss(nn.functional.cross_entropy, recorder)
    runtime = TorchRuntime(module, lambda: module_layers(module, loss, recorder), Places(recorder))
    x, y = torch.rand(BATCH, FEATURES), torch.randint(3, (BATCH,))

    def step() -> None:
        loss(module(x), y).backward()

    with looking_on(module) if first else contextlib.nullcontext():
        step()
    runtime.start_profiler()
    for _ in range(STEPS):
        step()
    return runtime.stop_profiler(STEPS)


def test_kernels_of_compiled_graphs_belong_to_their_layers() -> None:
    """Forward and backward of every layer is found, also of those that are only in fused kernels, and that is said."""
    module = torch.compile(network())
    steps = profiled(module, first=True)
    found = {(kernel.layer, kernel.phase) for kernel in steps.kernels}
    assert {(layer, phase) for layer in ("0", "1.0", "1.1", "2") for phase in ("forward", "backward")} <= found
    assert any(kernel.name.startswith("cpp_fused") and kernel.layer == "1.0" for kernel in steps.kernels)
    assert any("shared out by the elements" in note for note in steps.notes)
    assert not any("cannot be told" in note for note in steps.notes)
    products = {(kernel.layer, kernel.phase): kernel.calls_per_step for kernel in steps.kernels if kernel.name == "aten::mm"}
    assert products["0", "backward"] == 1  # of its weights; nothing needs the gradient of the data
    assert products["2", "backward"] == 2
    assert compiled_kernels(module) is compiled_kernels(module)


def test_what_was_compiled_before_is_one_kernel_for_each_graph() -> None:
    """Its time is busy time of the whole module, forward and backward, not dispatch, and a note says so."""
    torch._dynamo.reset()
    steps = profiled(torch.compile(network()), first=False)
    found = {(kernel.layer, kernel.phase) for kernel in steps.kernels}
    assert {("Sequential", "forward"), ("Sequential", "backward")} <= found
    assert not {layer for layer, _ in found} & {"0", "2"}
    assert any("cannot be told" in note for note in steps.notes)


def test_modules_that_are_not_compiled_are_left_alone() -> None:
    """No compiler is imported for them, and there is nothing to say."""
    with looking_on(network()):
        pass
    assert CompiledKernels(network()).notes() == ()
