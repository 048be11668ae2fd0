"""``epochwise.callbacks.Explain()`` inside a user's own ``fit``, on every backend; also in trainings that go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

CODE = """
import json, sys, tempfile, threading, time
import keras, numpy as np
import epochwise
from epochwise.tracing.calls.keras import _PATCHES

backend = keras.backend.backend()
found = {}

class Leave(keras.callbacks.Callback):
    def __init__(self, while_profiling, error):
        super().__init__()
        self.while_profiling, self.error, self.seen = while_profiling, error, 0
    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        profiling = explain._observer.gate.clock.annotate is not None
        if profiling if self.while_profiling else self.seen == 70:
            raise self.error

def build():
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(4)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model

class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.02)

x, y = np.random.rand(1600, 16).astype("float32"), np.random.rand(1600, 4).astype("float32")
explain = epochwise.callbacks.Explain(verbose=False)
model = build()
history = model.fit(x, y, epochs=6, verbose=0, callbacks=[explain, Slow()], validation_data=(x, y))
found["epochs"] = len(history.history["loss"])
found["slow callback"] = json.loads(explain.explanation.to_json())
again = epochwise.callbacks.Explain()
model.fit(x[:64], y[:64], epochs=1, verbose=0, callbacks=[again])
found["too short"] = again.explanation is None

before = keras.layers.Layer.__call__, keras.Model.evaluate
for name, error, while_profiling in (("error", ZeroDivisionError, False), ("interrupt", KeyboardInterrupt, True)):
    explain = epochwise.callbacks.Explain(verbose=False)
    try:
        build().fit(x, y, epochs=500, verbose=0, callbacks=[explain, Leave(while_profiling, error)])
    except error:
        found[name] = True
    until = time.monotonic() + 20
    while (_PATCHES or any(thread.name == "epochwise" for thread in threading.enumerate())) and time.monotonic() < until:
        time.sleep(0.05)
    found[f"patches after {name}"] = len(_PATCHES)
    found[f"threads after {name}"] = sum(thread.name == "epochwise" for thread in threading.enumerate())
found["as before"] = before == (keras.layers.Layer.__call__, keras.Model.evaluate)

class Mine(epochwise.callbacks.Explain):
    pass

explain = Mine(verbose=False)
diverging = build()
diverging.fit(x, y * np.inf, epochs=12, verbose=0, callbacks=[explain])
model = explain.explanation.model
found["profiled"] = model.measurement.profile is not None
found["diverged"] = [note for note in model.measurement.notes if "not a number" in note or "diverged" in note]
found["seconds"] = model.epoch_seconds.median
found["callbacks"] = [time_.place for time_ in model.measurement.host if time_.place.startswith("callback ")]

folder = tempfile.mkdtemp()
if backend == "torch":
    import torch
    users = torch.profiler.profile()
    start, stop = users.start, users.stop
elif backend == "jax":
    import jax
    start, stop = (lambda: jax.profiler.start_trace(folder)), jax.profiler.stop_trace
else:
    import tensorflow as tf
    start, stop = (lambda: tf.profiler.experimental.start(folder)), tf.profiler.experimental.stop
explain = epochwise.callbacks.Explain(verbose=False)
start()
build().fit(x, y, epochs=8, verbose=0, callbacks=[explain])
stop()
model = explain.explanation.model
found["theirs"] = backend != "torch" or len(users.events()) > 100
found["notes"] = model.measurement.notes
factors = model.factors
found["without a profile"] = [model.measurement.profile is None, model.busy_seconds, factors.kernels, factors.waiting]
found["causes"] = [cause.name for cause in model.causes]
found["answer"] = explain.explanation.answer
print(json.dumps(found))
"""


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "jax", "torch")]
)
def found(request: pytest.FixtureRequest, kept_machine: dict[str, str]) -> dict[str, Any]:
    """What one process found that went through all of it, on one backend."""
    environment = {**os.environ, **kept_machine, "KERAS_BACKEND": request.param, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return {**result, "said": done.stderr}


pytestmark = pytest.mark.alone


def test_a_slow_callback_of_the_users_is_named(found: dict[str, Any]) -> None:
    """Training is what it would be without it; what is slow is named by its class; too short a training is told."""
    result = found["slow callback"]
    first = result["model"]["causes"][0]
    assert found["epochs"] == 6
    assert first["name"] == "callbacks and validation"
    assert first["places"][0]["name"] == "callback Slow"
    assert first["seconds"] >= 50 * 0.02
    assert result["model"]["measurement"]["batch_size"] == 32
    assert result["model"]["counts"]["parameters"]["trainable"] == 16 * 32 + 32 + 32 * 4 + 4
    assert {"dense", "dense_1"} & {part["name"] for part in result["model"]["where"] if part["phase"]}
    assert found["too short"]
    assert "Too few steps" in found["said"]


def test_a_training_that_was_left_leaves_nothing_behind(found: dict[str, Any]) -> None:
    """After an error, and after Ctrl-C in the midst of a profile, Keras is as it was, and no thread of ours remains."""
    for name in ("error", "interrupt"):
        assert found[name]
        assert (found[f"patches after {name}"], found[f"threads after {name}"]) == (0, 0)
    assert found["as before"]
    assert found["profiled"], "the profiler of the training that was left is still running"


def test_a_class_derived_from_explain_is_not_taken_for_another_callback(found: dict[str, Any]) -> None:
    """What it costs is ours, in each step, and no time of the user's callbacks."""
    assert "callback Mine" not in found["callbacks"]
    assert "callback History" in found["callbacks"]


def test_a_training_that_diverges_is_told_and_timed(found: dict[str, Any]) -> None:
    """Loss that is no number is said; the times are there."""
    assert found["diverged"]
    assert found["seconds"] > 0


def test_the_users_own_profiler_comes_first(found: dict[str, Any]) -> None:
    """It keeps what it recorded; ours stays off, and it is said which factors are unknown for it."""
    assert found["theirs"]
    assert found["without a profile"] == [True, None, None, None]
    assert any("profiler could not be used" in note for note in found["notes"])
    assert "kernel path or per-step overhead" in found["causes"]
