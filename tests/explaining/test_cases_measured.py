"""The questions that were asked in public, measured: the true cause is named first, on the backends where it applies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parents[2] / "examples" / "cases"

CODE = """
import json, sys
from epochwise.explaining.compare import compare_named
from epochwise.explaining.explain import explain_named
from epochwise.explaining.loads import loads_for
from epochwise.subjects.datasets import DataSpec

models, backend, data, batch, seconds = json.loads(sys.argv[1])
loads = loads_for(models, DataSpec(**data), backend=backend, batch_size=batch, seed=0)
print((explain_named(loads[0], seconds) if len(loads) == 1 else compare_named(loads, seconds)).to_json())
"""

IMAGES: dict[str, Any] = {"source": "random", "input_shape": [28, 28, 1], "classes": 10, "samples": 9600}


def measured(
    *models: str, backend: str, data: dict[str, Any] | None = None, batch: int = 32, seconds: float = 8.0
) -> dict[str, Any]:
    """What ``epochwise explain`` or ``compare`` finds, as its JSON."""
    names = [f"{CASES / name}" for name in models]
    asked = json.dumps([names, backend, data or IMAGES, batch, seconds])
    command = [sys.executable, "-c", CODE, asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def causes_of_difference(result: dict[str, Any]) -> list[str]:
    """Names of the causes that make the difference, largest first."""
    return [cause["name"] for cause in result["causes"] if cause["share"] > 0]


def factor(result: dict[str, Any], name: str) -> float:
    """One factor of the ratio."""
    return float(next(found["ratio"] for found in result["factors"] if found["name"] == name))


on = {name: pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "jax", "torch")}
every = list(on.values())
pytestmark = pytest.mark.long


@pytest.mark.parametrize("backend", every)
def test_cnn_against_mlp(backend: str) -> None:
    """Case 1: 0.17 times the parameters, 20.3 times the arithmetic, and the time follows the kernels that do it."""
    result = measured("cnn_and_mlp.py:mlp", "cnn_and_mlp.py:cnn", backend=backend, data=IMAGES | {"samples": 3200}, seconds=12)
    assert factor(result, "parameters") == pytest.approx(0.17, abs=0.01)
    assert factor(result, "parameters") * factor(result, "reuse") == pytest.approx(20.3, abs=0.1)
    assert result["ratio"]["low"] > 1
    assert set(causes_of_difference(result)[:2]) <= {"arithmetic", "kernel path", "memory traffic", "per-step overhead"}
    assert {"arithmetic", "kernel path"} & set(causes_of_difference(result)[:2])
    assert "0.17" in result["answer"] or "6.03 times fewer parameters" in result["answer"]


@pytest.mark.tensorflow
def test_depthwise_convolution() -> None:
    """Case 3: 16 times fewer MACs in the convolution; what remains is overhead of the step and a kernel far from its best."""
    data = IMAGES | {"input_shape": [64, 64, 3], "samples": 1024}
    result = measured("depthwise.py:dense", "depthwise.py:depthwise", backend="tensorflow", data=data, batch=2)
    assert result["ratio"]["high"] > 0.5
    for model in result["models"]:
        assert model["causes"][0]["name"] in {"per-step overhead", "number of steps"}
        assert {cause["name"] for cause in model["causes"][:2]} <= {"per-step overhead", "number of steps", "kernel path"}


@pytest.mark.parametrize("backend", every)
def test_grouped_convolution(backend: str) -> None:
    """Case 4: 8 times fewer MACs, and the kernels are so much further from their best that little or nothing is won."""
    batch = 128 if backend == "torch" else 8  # with small ones Keras's own overhead comes first on PyTorch, as it should
    data = IMAGES | {"input_shape": [32, 32, 64], "samples": 20 * batch if backend == "torch" else 640}
    result = measured("grouped.py:dense", "grouped.py:grouped", backend=backend, data=data, batch=batch)
    assert factor(result, "parameters") * factor(result, "reuse") < 0.2
    assert factor(result, "kernels") > 2
    grouped = result["models"][1]
    assert grouped["causes"][0]["name"] == "kernel path"
    assert sum(part["share"] for part in grouped["where"] if part["name"] == "unattributed") < 0.05


@pytest.mark.torch
def test_keras_on_torch_against_torch() -> None:
    """Case 5: the same network; what Keras adds is overhead in each step."""
    result = measured("one_cnn_torch.py:build", "one_cnn_keras.py:build", backend="torch", data=IMAGES | {"samples": 3200})
    assert factor(result, "reuse") * factor(result, "parameters") == pytest.approx(1.0, abs=0.01)
    assert causes_of_difference(result)[0] == "per-step overhead"


@pytest.mark.torch
def test_many_threads() -> None:
    """Case 6: the same tiny network; eight threads cost more than they help."""
    result = measured("threads.py:one_thread", "threads.py:many_threads", backend="torch")
    assert causes_of_difference(result)[0] == "threads"
    assert "torch.set_num_threads(1)" in result["answer"]


@pytest.mark.parametrize("backend", every)
def test_slow_input(backend: str) -> None:
    """Case 7: both models wait for their batches, and the ratio of their epochs tends to 1."""
    data = {"source": f"{CASES / 'slow_input.py'}:slow"}
    result = measured("slow_input.py:small", "slow_input.py:large", backend=backend, data=data, seconds=16)
    assert all(model["causes"][0]["name"] == "input pipeline" for model in result["models"])
    assert all(model["epoch_seconds"]["median"] >= 100 * 0.025 for model in result["models"])
    assert 0.9 < result["ratio"]["median"] < 1.5


@pytest.mark.parametrize("backend", [on["tensorflow"], on["jax"]])
def test_first_epoch(backend: str) -> None:
    """Case 8: the first epoch takes longer, and compilation is why."""
    result = measured("first_epoch.py:deep", backend=backend, data={"source": f"{CASES / 'first_epoch.py'}:little"})
    model = result["model"]
    assert model["first_epoch_seconds"] > 2 * model["epoch_seconds"]["median"]
    first = model["first_epoch_causes"][0]
    assert first["name"] == "compilation"
    assert first["seconds"] > 0.7 * (model["first_epoch_seconds"] - model["epoch_seconds"]["median"])


@pytest.mark.parametrize("backend", every)
def test_slow_callback(backend: str) -> None:
    """Case 9: the callback is named by its class."""
    result = measured("slow_callback.py:model", backend=backend, data={"source": f"{CASES / 'slow_callback.py'}:watched"})
    first = result["model"]["causes"][0]
    assert first["name"] == "callbacks and validation"
    assert first["places"][0]["name"] == "callback WeightWatcher"
    assert "callback WeightWatcher" in result["answer"]


@pytest.mark.parametrize("backend", [on["tensorflow"], on["torch"]])
def test_recurrent_dropout(backend: str) -> None:
    """Case 10: the same arithmetic as many more operations: dropout takes the fused loop away."""
    data = IMAGES | {"input_shape": [64, 32], "samples": 640}
    result = measured("recurrent_dropout.py:plain", "recurrent_dropout.py:with_dropout", backend=backend, data=data)
    assert causes_of_difference(result)[0] == "lowering"


@pytest.mark.tensorflow
@pytest.mark.jax
def test_one_model_on_two_backends() -> None:
    """Case 11: the same work, layer by layer; what differs is how each backend lowers the grouped convolution."""
    data = IMAGES | {"input_shape": [32, 32, 64], "samples": 640}
    result = measured("grouped.py:grouped", "grouped.py:grouped", backend="tensorflow,jax", data=data, batch=8)
    assert result["backend"] == "tensorflow / jax"
    assert factor(result, "reuse") * factor(result, "parameters") == pytest.approx(1.0)
    lowering = result["causes"][0]
    assert lowering["name"] == "lowering"
    assert lowering["places"][0]["name"].startswith("conv2d")
