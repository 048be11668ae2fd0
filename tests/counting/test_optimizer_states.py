"""Memory of the optimizer: the bytes that its variables hold after one real step, for each optimizer and framework."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from epochwise.counting import count
from epochwise.errors import UsageError

SCRIPT = Path(__file__).with_name("optimizer_states.py")
NAMES = ["sgd", "momentum", "adam", "adamw", "adafactor", "lion"]
ALL = [
    pytest.param("jax", ["sgd", "adam", "adafactor"], marks=pytest.mark.jax),
    *(
        pytest.param(backend, NAMES, marks=[getattr(pytest.mark, backend), pytest.mark.long], id=f"{backend} all")
        for backend in ("jax", "torch", "tensorflow")
    ),
]
WEIGHTS = 3 * 3 * 3 * 4 + 4 + 2 * 4 + 144 * 140 + 140
"""That learn: of the convolution, the normalisation and the first dense layer."""


@pytest.mark.parametrize(("backend", "names"), ALL)
def test_keras_optimizers(backend, names):
    """As many bytes as there are; Adam two numbers for each weight, momentum and Lion one, SGD none."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, SCRIPT, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: counted for name, (counted, _, _) in found.items()} == {name: held for name, (_, held, _) in found.items()}
    assert all(uncounted == [] for _, _, uncounted in found.values())
    few = found["sgd"][0]
    assert few <= 16
    for name, numbers in {"momentum": 1, "lion": 1, "adam": 2, "adamw": 2}.items():
        assert name not in names or 0 <= found[name][0] - 4 * numbers * WEIGHTS <= few + 8, name


def module(torch):
    nn = torch.nn
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 140), nn.Linear(140, 3)]
    made = nn.Sequential(*layers)
    made[-1].requires_grad_(False)
    return made


def lion(torch):
    """Chen et al. 2023, which PyTorch does not have: a user's own optimizer."""

    class Lion(torch.optim.Optimizer):
        def __init__(self, parameters, lr=1e-4, betas=(0.9, 0.99)):
            super().__init__(parameters, {"lr": lr, "betas": betas})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                first, second = group["betas"]
                for parameter in group["params"]:
                    if parameter.grad is None:
                        continue
                    state = self.state[parameter]
                    if not state:
                        state["momentum"] = torch.zeros_like(parameter)
                    momentum = state["momentum"]
                    parameter.add_(momentum.mul(first).add(parameter.grad, alpha=1 - first).sign_(), alpha=-group["lr"])
                    momentum.mul_(second).add_(parameter.grad, alpha=1 - second)

    return Lion


@pytest.mark.torch
@pytest.mark.parametrize("name", NAMES)
def test_pytorch_optimizers(name):
    """The tensors of its state after one real step of the module itself; nothing is uncounted."""
    torch = pytest.importorskip("torch")
    from epochwise.subjects.torch import optimizer_named

    trained = module(torch)
    learning = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimizer = lion(torch)(learning) if name == "lion" else optimizer_named(name, trained)
    x, y = torch.randn(2, 3, 8, 8), torch.zeros(2, dtype=torch.long)
    counts = count(trained, 2, x, y, optimizer=optimizer)
    assert optimizer.state == {}
    torch.nn.functional.cross_entropy(trained(x), y).backward()
    optimizer.step()
    state = [entry for values in optimizer.state.values() for entry in values.values() if isinstance(entry, torch.Tensor)]
    assert counts.memory_bytes.optimizer == sum(tensor.nbytes for tensor in state)
    assert counts.memory_bytes.gradients == 4 * WEIGHTS
    assert counts.uncounted == ()


@pytest.mark.torch
def test_an_optimizer_that_does_not_take_these_parameters():
    """Muon is for matrices alone; Lion is not PyTorch's."""
    torch = pytest.importorskip("torch")
    from epochwise.subjects.torch import optimizer_named

    with pytest.raises(UsageError, match="Muon does not take these parameters"):
        optimizer_named("muon", module(torch))
    with pytest.raises(UsageError, match="PyTorch has no optimizer 'lion'"):
        optimizer_named("lion", module(torch))
