"""What ``epochwise.callbacks.Explain()`` and ``epochwise.watch()`` cost a training loop while they do not profile.

    KERAS_BACKEND=jax python benchmarks/observing.py --loop keras --resume benchmarks/results/DATE-observing.json
    python benchmarks/observing.py --loop pytorch --resume benchmarks/results/DATE-observing.json

Trainings of some seconds without and with it take turns, A B A B, in one process. Of each the mean epoch counts, the first
one left out, so that what is done in few epochs counts too. The ratio is that of the medians over the turns, with a 95 %
interval by the paired bootstrap. The loop is one of Keras (on the backend of ``KERAS_BACKEND``), of PyTorch, or of JAX, and
trains the question's CNN or, for very short steps, its MLP. With ``--resume`` the record grows.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import itertools
import json
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from epochwise.machines.host import host
from epochwise.measuring.statistics import paired_ratio

SAMPLES, BATCH = 6400, 32
TURN_SECONDS = 2.0
FEWEST_EPOCHS = 4
"""Of a turn, of which the first is not counted."""
STEPS = SAMPLES // BATCH
Epochs = Callable[[int, bool], list[float]]
"""Trains so many epochs, watched or not, and gives the seconds of each but the first."""


def arrays() -> tuple[Any, Any]:
    """Random images and labels."""
    generator = np.random.default_rng(0)
    return generator.random((SAMPLES, 28, 28, 1), dtype=np.float32), generator.integers(10, size=SAMPLES).astype("int32")


def keras_loop(model_name: str) -> Epochs:
    """``model.fit`` on the active backend."""
    import keras

    import epochwise
    from epochwise.subjects import question

    class Times(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = [*getattr(self, "seconds", []), time.perf_counter() - self.began]

    x, y = arrays()
    model = getattr(question, f"build_model_{model_name}")((28, 28, 1), 10)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def epochs(number: int, watched: bool) -> list[float]:
        times = Times()
        explain = [epochwise.callbacks.Explain(profile=False, verbose=False)] if watched else []
        model.fit(x, y, batch_size=BATCH, epochs=number, verbose=0, callbacks=[*explain, times])
        return times.seconds[1:]

    return epochs


def pytorch_loop(model_name: str) -> Epochs:
    """A plain loop of PyTorch, with ``w.step()`` and ``w.batches``."""
    import torch
    from torch import nn

    import epochwise

    models = {
        "cnn": lambda: nn.Sequential(
            *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(200, 10)),
        ),
        "seq": lambda: nn.Sequential(
            *(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        ),
    }
    model = models[model_name]()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x, y = arrays()
    features, labels = torch.as_tensor(x.transpose(0, 3, 1, 2).copy()), torch.as_tensor(y).long()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(features, labels), batch_size=BATCH)

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()

    def epochs(number: int, watched: bool) -> list[float]:
        seconds = []
        if not watched:
            for _ in range(number):
                began = time.perf_counter()
                for batch in loader:
                    step(batch)
                seconds.append(time.perf_counter() - began)
            return seconds[1:]
        with epochwise.watch(name="loop", steps_per_epoch=STEPS, profile=False, verbose=False) as watch:
            for _ in range(number):
                began = time.perf_counter()
                for batch in watch.batches(loader):
                    step(batch)
                    watch.step()
                seconds.append(time.perf_counter() - began)
        return seconds[1:]

    return epochs


def jax_loop(model_name: str) -> Epochs:
    """A plain loop of JAX over a dense network, whatever ``model_name`` says."""
    import jax

    import epochwise

    x, y = arrays()
    rows = x.reshape(SAMPLES, -1)
    sizes = (784, 64, 64, 10)
    keys = jax.random.split(jax.random.key(0), len(sizes))
    start = [0.05 * jax.random.normal(key, size) for key, size in zip(keys, itertools.pairwise(sizes), strict=False)]

    def loss_of(weights: Any, features: Any, labels: Any) -> Any:
        for weight in weights[:-1]:
            features = jax.nn.relu(features @ weight)
        return -jax.nn.log_softmax(features @ weights[-1])[jax.numpy.arange(len(labels)), labels].mean()

    @jax.jit
    def step(weights: Any, features: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(weights, features, labels)
        return [weight - 0.01 * gradient for weight, gradient in zip(weights, gradients, strict=True)], loss

    def batches() -> Any:
        return ((rows[place : place + BATCH], y[place : place + BATCH]) for place in range(0, SAMPLES, BATCH))

    def epochs(number: int, watched: bool) -> list[float]:
        weights, seconds = start, []
        if not watched:
            for _ in range(number):
                began = time.perf_counter()
                for batch in batches():
                    weights, loss = step(weights, *batch)
                loss.block_until_ready()
                seconds.append(time.perf_counter() - began)
            return seconds[1:]
        with epochwise.watch(name="loop", steps_per_epoch=STEPS, profile=False, verbose=False) as watch:
            for _ in range(number):
                began = time.perf_counter()
                for batch in watch.batches(batches()):
                    weights, loss = step(weights, *batch)
                    watch.step(loss)
                loss.block_until_ready()
                seconds.append(time.perf_counter() - began)
        return seconds[1:]

    return epochs


LOOPS = {"keras": keras_loop, "pytorch": pytorch_loop, "jax": jax_loop}


def main() -> None:
    """Time in turn, print, and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--model", choices=("cnn", "seq"), default="cnn")
    parser.add_argument("--seconds", type=float, default=75.0)
    parser.add_argument("--resume", type=Path, help="record that grows")
    asked = parser.parse_args()
    epochs = LOOPS[asked.loop](asked.model)
    epochs(FEWEST_EPOCHS, False)
    epochs(FEWEST_EPOCHS, True)
    number = max(FEWEST_EPOCHS, math.ceil(TURN_SECONDS / np.median(epochs(FEWEST_EPOCHS, False))))
    plain: list[float] = []
    watched: list[float] = []
    until = time.perf_counter() + asked.seconds
    while time.perf_counter() < until:
        plain.append(float(np.mean(epochs(number, False))))
        watched.append(float(np.mean(epochs(number, True))))
    ratio = paired_ratio(plain, watched)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow") if asked.loop == "keras" else asked.loop
    row = {
        "loop": asked.loop,
        "backend": backend,
        "model": asked.model,
        "steps_per_epoch": STEPS,
        "epochs": number,
        "plain_seconds": plain,
        "watched_seconds": watched,
        "cost": [ratio.median - 1, ratio.low - 1, ratio.high - 1],
    }
    cost = " to ".join(f"{value - 1:+.2%}" for value in (ratio.low, ratio.high))
    print(f"{asked.loop} {backend} {asked.model}: {np.median(plain):.3f} s an epoch; watched {ratio.median - 1:+.2%} ({cost})")
    if asked.resume:
        kept = json.loads(asked.resume.read_text())["results"] if asked.resume.exists() else []
        key = ("loop", "backend", "model")
        kept = [other for other in kept if [other[name] for name in key] != [row[name] for name in key]]
        tools = ("epochwise", "keras", "tensorflow-cpu", "jax", "torch")
        record = {
            "schema": "epochwise-benchmark/observing/1",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": "python benchmarks/observing.py",
            "machine": {"processor": host().name, "cores": host().cores},
            "python": platform.python_version(),
            "versions": {tool: importlib.metadata.version(tool) for tool in tools},
            "results": [*kept, row],
        }
        asked.resume.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
