"""A minute of training in which each step does more than the one before, and one in which a callback does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

import epochwise

SECONDS = 60.0

KERAS = """
import json, sys, time
import keras, numpy as np
import epochwise

class Keeper(keras.callbacks.Callback):
    kept = []
    def on_train_batch_end(self, batch, logs=None):
        self.kept += range(200)
        self.total = sum(self.kept)

class Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = time.monotonic() > until

model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(4)])
model.compile("sgd", "mse")
x, y = np.random.rand(3200, 16).astype("float32"), np.random.rand(3200, 4).astype("float32")
explain = epochwise.callbacks.Explain(verbose=False)
until = time.monotonic() + float(sys.argv[1])
model.fit(x, y, epochs=10**6, verbose=0, callbacks=[explain, Keeper(), Stop()])
print(explain.explanation.to_json())
"""


@pytest.mark.torch
@pytest.mark.long
@pytest.mark.alone
def test_a_list_that_is_walked_in_each_step() -> None:
    """It is neither the machine nor memory: each step does more, and the answer says so."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    kept: list[float] = []
    until = time.monotonic() + SECONDS
    with epochwise.watch(model, steps_per_epoch=500, verbose=False) as watched:
        while time.monotonic() < until:
            optimizer.zero_grad()
            loss = model(torch.rand(32, 64)).square().mean()
            loss.backward()
            optimizer.step()
            kept.extend([loss.item()] * 10)
            assert sum(kept) > 0
            watched.step()
    growth = watched.explanation.model.measurement.growth
    assert growth is not None
    assert growth.cause == "training"
    assert growth.low > 0
    assert "Steps grow slower as training goes on" in watched.explanation.answer
    assert "each step does more than the one before" in watched.explanation.answer


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "jax", "torch")]
)
def test_a_callback_that_does_more_each_time(backend: str, kept_machine: dict[str, str]) -> None:
    """It is named by its class."""
    environment = {**os.environ, **kept_machine, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", "-c", KERAS, str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout[done.stdout.index("{") :])
    growth = result["model"]["measurement"]["growth"]
    assert growth["cause"] == "callback Keeper"
    assert "callback Keeper takes" in result["answer"]
