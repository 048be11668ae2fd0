"""Activations kept for the backward pass, and the peak, against real training steps in eager PyTorch.

Kept: what autograd hands to ``saved_tensors_hooks``. Peak: a mode that sees each tensor that an operation gives, and notes
when its storage is freed. Neither knows anything of epochwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
import weakref

import pytest

from epochwise.counting import count

pytestmark = pytest.mark.torch

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from tests.counting.models_in_torch import BATCH, MODELS, called, made  # noqa: E402


class Tracker(TorchDispatchMode):
    """Bytes of the storages that are there, and the most that ever were."""

    def __init__(self):
        super().__init__()
        self.there = {}
        self.bytes = self.peak = 0

    def see(self, tensor):
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self.there:
            return

        def gone(_):
            del self.there[address]
            self.bytes -= size

        self.there[address] = weakref.ref(storage, gone)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, torch.Tensor):
                self.see(leaf)
        return outputs


def a_real_step(name):
    """Bytes that autograd keeps and the most bytes that are there at once, in the second step of a training run."""
    module, x, y, loss, make_optimizer = made(name)
    optimizer = make_optimizer(module.parameters())
    loss(called(module, x), y).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    there = [*module.parameters(), *module.buffers(), *tree_leaves(x), y]
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(called(module, x), y)
    own = {tensor.untyped_storage()._cdata for tensor in there}
    saved = sum(storage.nbytes() for address, storage in kept.items() if address not in own)
    kept.clear()
    del value
    tracker = Tracker()
    state = [leaf for leaf in tree_leaves(list(optimizer.state.values())) if isinstance(leaf, torch.Tensor)]
    for tensor in [*there, *state]:
        tracker.see(tensor)
    with tracker:
        outputs = called(module, x)
        value = loss(outputs, y)
        value.backward()
        optimizer.step()
    return saved, tracker.peak


@pytest.fixture
def own_kernels(request):
    """PyTorch's own recurrent layers: those of oneDNN keep a workspace of a size that only the library knows."""
    torch._C._set_mkldnn_enabled(request.node.callspec.params["name"] != "lstm")
    yield
    torch._C._set_mkldnn_enabled(True)


def counted(name):
    module, x, y, loss, make_optimizer = made(name)
    return count(module, BATCH, x, y, loss=loss, optimizer=make_optimizer).memory_bytes


@pytest.mark.usefixtures("own_kernels")
@pytest.mark.parametrize("name", MODELS)
def test_activations_are_what_autograd_keeps_and_the_peak_is_the_allocators(name):
    """Activations to the byte; peak within 10 %."""
    memory, (saved, peak) = counted(name), a_real_step(name)
    assert memory.activations == saved
    assert memory.peak == pytest.approx(peak, rel=0.1)


def test_memory_that_only_a_library_knows_is_noted():
    """oneDNN's LSTM, which PyTorch takes on CPUs by default, keeps a workspace; a model without it has no such note."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("PyTorch without oneDNN")
    module, x, y, loss, _ = made("lstm")
    noted = count(module, BATCH, x, y, loss=loss).notes
    assert [note for note in noted if "mkldnn_rnn_layer" in note and "workspace" in note]
    module, x, y, loss, _ = made("gru")
    assert not [note for note in count(module, BATCH, x, y, loss=loss).notes if "workspace" in note]


KERAS = """
import keras, numpy, torch
from epochwise.counting import count
L = keras.layers
model = keras.Sequential([
    keras.Input((16, 16, 3)), L.Conv2D(8, 3, activation="relu"), L.BatchNormalization(), L.MaxPooling2D(), L.Dropout(0.2),
    L.Flatten(), L.Dense(16, "gelu"), L.LayerNormalization(), L.Dense(10, "softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
x, y = torch.randn(8, 16, 16, 3), torch.randint(10, (8,), dtype=torch.int32)
counted = count(model, 8, numpy.zeros((8, 16, 16, 3), "float32"), numpy.zeros(8, "int32")).memory_bytes.activations
model.train_step((x, y))
there = {value.untyped_storage()._cdata for value in [x, y, *(v.value for v in [*model.variables, *model.metrics_variables])]}
kept, begun, backward = {}, [], torch.Tensor.backward

def pack(tensor):
    storage = tensor.untyped_storage()
    if not begun:
        kept[storage._cdata] = storage
    return tensor.detach()

def noted(*args, **kwargs):
    begun.append(True)
    return backward(*args, **kwargs)

torch.Tensor.backward = noted
with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
    model.train_step((x, y))
print(counted, sum(storage.nbytes() for address, storage in kept.items() if address not in there))
"""


def test_keras_on_pytorch_keeps_what_is_counted():
    """The activations of a Keras model are those of its real ``train_step``; what metrics keep afterwards is not among them."""
    environment = {**os.environ, "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", KERAS], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counted, real = done.stdout.split()[-2:]
    assert counted == real
