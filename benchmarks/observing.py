"""What ``epochwise.callbacks.Explain()`` and ``epochwise.watch()`` cost a training loop while they do not profile.

    KERAS_BACKEND=jax python benchmarks/observing.py --loop keras --resume benchmarks/results/DATE-observing.json
    python benchmarks/observing.py --loop pytorch --resume benchmarks/results/DATE-observing.json

Trainings of some seconds with and without it are paired, in one process. A loop of PyTorch or JAX takes turns within a
training: every other half second is told nothing of. ``fit`` cannot do this, so there whole trainings take turns, A B B A. Of
each training the mean epoch counts, the first one left out, so that what is done in few epochs counts too. The ratio is the
median over the pairs, with a 95 % interval by the bootstrap: processors whose speed changes from second to second slow down
both of a pair. Where they change too much for that, there is a second figure: which share of a training of some more seconds,
its first epoch with it, the loop's thread spends in epochwise, waiting for the device included.

The loop is one of Keras (on the backend of ``KERAS_BACKEND``), of PyTorch, or of JAX, and trains the question's CNN or, for
very short steps, its MLP. With ``--resume`` the record grows.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import importlib.metadata
import itertools
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from epochwise.machines.host import host
from epochwise.measuring.clock import HostClock
from epochwise.measuring.gate import Gate
from epochwise.measuring.statistics import median_interval

SAMPLES, BATCH = 6400, 32
TURN_SECONDS = 2.0
GROUP_SECONDS = 0.5
"""Of epochs that follow each other in a loop that takes turns."""
OWN_TURNS = 3
"""Times as long is the training of which the loop's own calls are timed."""
FEWEST_EPOCHS = 4
"""Of a turn, of which the first is not counted."""
STEPS = SAMPLES // BATCH
Pair = Callable[[int], tuple[list[float], list[float]]]
"""Trains so many epochs without and as many with it, and gives the seconds of each but the first."""


def arrays() -> tuple[Any, Any]:
    """Random images and labels."""
    generator = np.random.default_rng(0)
    return generator.random((SAMPLES, 28, 28, 1), dtype=np.float32), generator.integers(10, size=SAMPLES).astype("int32")


def keras_loop(model_name: str) -> Pair:
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

    orders = itertools.cycle([(False, True), (True, False)])

    def pair(number: int) -> tuple[list[float], list[float]]:
        seconds = {watched: epochs(number, watched) for watched in next(orders)}
        return seconds[False], seconds[True]

    return pair


def by_turns(epoch: Callable[[Any], None]) -> Pair:
    """Some epochs of a loop are watched, and some are not.

    Args:
        epoch: trains one, and tells the watch, unless it is given ``None``.
    """
    import epochwise

    def seconds_of(watch: Any) -> float:
        began = time.perf_counter()
        epoch(watch)
        return time.perf_counter() - began

    def pair(number: int) -> tuple[list[float], list[float]]:
        seconds: dict[bool, list[float]] = {False: [], True: []}
        with epochwise.watch(name="loop", steps_per_epoch=STEPS, profile=False, verbose=False) as watch:
            seconds_of(watch)
            group = max(1, round(GROUP_SECONDS / seconds_of(None)))
            for watched in itertools.cycle((False, True)):
                if len(seconds[watched]) >= number:
                    return seconds[False], seconds[True]
                seconds[watched] += [seconds_of(watch if watched else None) for _ in range(group)]
        raise AssertionError

    return pair


def pytorch_loop(model_name: str) -> Pair:
    """A plain loop of PyTorch, with ``w.step()`` and ``w.batches``."""
    import torch
    from torch import nn

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

    def epoch(watch: Any) -> None:
        if watch is None:
            for batch in loader:
                step(batch)
        else:
            for batch in watch.batches(loader):
                step(batch)
                watch.step()

    return by_turns(epoch)


def jax_loop(model_name: str) -> Pair:
    """A plain loop of JAX over a dense network, whatever ``model_name`` says."""
    import jax

    x, y = arrays()
    rows = x.reshape(SAMPLES, -1)
    sizes = (784, 64, 64, 10)
    keys = jax.random.split(jax.random.key(0), len(sizes))
    weights = [0.05 * jax.random.normal(key, size) for key, size in zip(keys, itertools.pairwise(sizes), strict=False)]

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

    def epoch(watch: Any) -> None:
        nonlocal weights
        if watch is None:
            for batch in batches():
                weights, loss = step(weights, *batch)
        else:
            for batch in watch.batches(batches()):
                weights, loss = step(weights, *batch)
                watch.step(loss)
        loss.block_until_ready()

    return by_turns(epoch)


def own_share(pair: Pair, number: int) -> float:
    """Share of a watched training that its thread spends in epochwise: at the gate, and around its fetching of batches."""
    spent = calls = 0.0
    before_step = Gate.before_step

    def timed(gate: Gate, step: int) -> None:
        nonlocal spent, calls
        began = time.perf_counter()
        before_step(gate, step)
        spent += time.perf_counter() - began
        calls += 1

    with mock.patch.object(Gate, "before_step", timed):
        _, watched = pair(number)
    return (spent + calls * fetching()) / sum(watched)


def fetching() -> float:
    """Seconds for which a batch is fetched through the clock, beyond those of the loader."""
    fetches = 100_000

    def seconds(batches: Iterator[None]) -> float:
        began = time.perf_counter()
        collections.deque(batches, maxlen=0)
        return (time.perf_counter() - began) / fetches

    plain = seconds(itertools.repeat(None, fetches))
    return seconds(HostClock().batches(itertools.repeat(None, fetches))) - plain


LOOPS = {"keras": keras_loop, "pytorch": pytorch_loop, "jax": jax_loop}


def main() -> None:
    """Time in turn, print, and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--model", choices=("cnn", "seq"), default="cnn")
    parser.add_argument("--seconds", type=float, default=75.0)
    parser.add_argument("--resume", type=Path, help="record that grows")
    asked = parser.parse_args()
    pair = LOOPS[asked.loop](asked.model)
    pair(FEWEST_EPOCHS)
    number = max(FEWEST_EPOCHS, math.ceil(TURN_SECONDS / np.median(pair(FEWEST_EPOCHS)[0])))
    plain: list[float] = []
    watched: list[float] = []
    until = time.perf_counter() + asked.seconds
    while time.perf_counter() < until:
        for column, seconds in zip((plain, watched), pair(number), strict=True):
            column.append(float(np.mean(seconds)))
    ratio = median_interval([second / first for first, second in zip(plain, watched, strict=True)])
    own = own_share(pair, OWN_TURNS * number)
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
        "own_share": own,
    }
    cost = " to ".join(f"{value - 1:+.2%}" for value in (ratio.low, ratio.high))
    loop = f"{asked.loop} {backend} {asked.model}"
    print(f"{loop}: {np.median(plain):.3f} s an epoch; watched {ratio.median - 1:+.2%} ({cost}), own {own:.2%}")
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
