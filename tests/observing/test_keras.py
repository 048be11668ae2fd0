"""``epochwise.callbacks.Explain()`` inside a user's own ``fit``, on every backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CODE = """
import sys, time
import keras, numpy as np
import epochwise

class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.02)

model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(4)])
model.compile("sgd", "mse")
x, y = np.random.rand(1600, 16).astype("float32"), np.random.rand(1600, 4).astype("float32")
explain = epochwise.callbacks.Explain(verbose=False)
history = model.fit(x, y, epochs=8, verbose=0, callbacks=[explain, Slow()], validation_data=(x, y))
assert len(history.history["loss"]) == 8
again = epochwise.callbacks.Explain()
model.fit(x[:64], y[:64], epochs=1, verbose=0, callbacks=[again])
assert again.explanation is None
print(explain.explanation.to_json())
"""


@pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "jax", "torch")]
)
def test_a_slow_callback_of_the_users_is_named(backend: str) -> None:
    """Training is what it would be without it; what is slow is named by its class; too short a training is told."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout[done.stdout.index("{") :])
    first = result["model"]["causes"][0]
    assert first["name"] == "callbacks and validation"
    assert first["places"][0]["name"] == "callback Slow"
    assert first["seconds"] >= 50 * 0.02
    assert result["model"]["measurement"]["batch_size"] == 32
    assert result["model"]["counts"]["parameters"]["trainable"] == 16 * 32 + 32 + 32 * 4 + 4
    assert {"dense", "dense_1"} & {part["name"] for part in result["model"]["where"] if part["phase"]}
    assert "Too few steps" in done.stderr
