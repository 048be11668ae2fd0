"""What ``epochwise.callbacks.Explain()`` and ``epochwise.watch()`` cost a training loop while they do not profile.

    KERAS_BACKEND=jax python benchmarks/observing.py --loop keras --resume benchmarks/results/DATE-observing.json
    python benchmarks/observing.py --loop pytorch --resume benchmarks/results/DATE-observing.json

Within trainings of some seconds, epochs take turns: watched, told nothing of, told nothing of, watched, and so on. Processors
whose speed changes from second to second slow down neighbours alike. The cost is the ratio of the sums of both kinds, first
epochs and all, since much of it falls on few epochs; with a 95 % interval by the bootstrap over pairs of neighbours.

Two figures look at it from another side: which share of a training its own thread spends in epochwise, waiting for the device
included (for which it might have to wait anyway), and for which share the thread beside it keeps a processor busy.

The loop is one of Keras (on the backend of ``KERAS_BACKEND``), of PyTorch, or of JAX, and trains the question's CNN or, for
very short steps, its MLP. With ``--resume`` the record grows.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
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
from scipy import stats

from epochwise.machines.host import host
from epochwise.measuring.clock import HostClock
from epochwise.measuring.gate import Gate
from epochwise.observing.observer import Observer

BATCH = 32
FEWEST_STEPS, MOST_STEPS = 25, 400
EPOCH_SECONDS = 0.1
"""Of an epoch at least: short enough for many turns, long enough that a queue of steps of a device is a small part of it."""
TRAINING_SECONDS = 16.0
"""Of each training, half of them watched."""
FEWEST_PAIRS = 4
Pairs = list[tuple[float, float]]
"""Seconds of neighbouring epochs: told nothing of, and watched."""
Loop = Callable[[int], Pairs]
"""Trains for so many pairs of epochs."""


def arrays(steps: int) -> tuple[Any, Any]:
    """Random images and labels for so many steps."""
    generator, samples = np.random.default_rng(0), steps * BATCH
    return generator.random((samples, 28, 28, 1), dtype=np.float32), generator.integers(10, size=samples).astype("int32")


def watched_epochs() -> Iterator[bool]:
    """Whether an epoch is watched: one, none, none, one, and so on, so that a drift of speed cancels."""
    return itertools.cycle((True, False, False, True))


def pairs_of(epochs: list[float]) -> Pairs:
    """The seconds of epochs in turns, pair by pair."""
    neighbours = zip(epochs[::2], epochs[1::2], itertools.islice(watched_epochs(), 0, None, 2), strict=False)
    return [(second, first) if first_is_watched else (first, second) for first, second, first_is_watched in neighbours]


def keras_loop(model_name: str, steps: int) -> Loop:
    """``model.fit`` on the active backend."""
    import keras
    from keras.src.trainers.epoch_iterator import EpochIterator

    import epochwise
    from epochwise.measuring.keras import _first_seen
    from epochwise.subjects import question

    class InTurns(epochwise.callbacks.Explain):
        """Times epochs, and is told nothing of some of them."""

        def on_train_begin(self, logs: Any = None) -> None:
            super().on_train_begin(logs)
            self.watches, self.asleep, self.seconds = watched_epochs(), None, []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            watched = next(self.watches)
            if watched and self.asleep is not None:
                self._observer, self.asleep = self.asleep, None
                self._open.enter_context(self._listen(self._observer.gate))
            elif not watched and self.asleep is None:
                self._observer, self.asleep = None, self._observer
                self._open.close()
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(epoch, logs)
            self.seconds.append(time.perf_counter() - self.began)

        def on_train_end(self, logs: Any = None) -> None:
            self._observer = self._observer or self.asleep
            super()._give_up()

    (kind,) = EpochIterator.__subclasses__()
    x, y = arrays(steps)
    model = getattr(question, f"build_model_{model_name}")((28, 28, 1), 10)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def train(pairs: int) -> Pairs:
        turns = InTurns(profile=False, verbose=False)
        iterate, make, made = EpochIterator.__iter__, kind._get_iterator, None

        def kept(iterator: Any) -> Any:
            """An iterator over batches, as Keras makes it at the end of the epoch before."""
            nonlocal made
            made = iter(make(iterator))
            return made

        def iterated(iterator: Any) -> Any:
            """It becomes what this epoch would have made of it."""
            if iterator._current_iterator is not None and made is not None:
                observer = turns._observer
                iterator._current_iterator = made
                if observer is not None:
                    iterator._current_iterator = _first_seen(observer.gate.clock.batches(made), turns._see_first)
            return iterate(iterator)

        # On TensorFlow the step itself takes its batch, in the graph.
        outside = keras.backend.backend() != "tensorflow"
        with (
            mock.patch.object(EpochIterator, "__iter__", iterated),
            mock.patch.object(kind, "_get_iterator", kept) if outside else contextlib.nullcontext(),
        ):
            model.fit(x, y, batch_size=BATCH, epochs=2 * pairs, verbose=0, callbacks=[turns])
        return pairs_of(turns.seconds)

    return train


def by_turns(epoch: Callable[[Any], None], steps: int) -> Loop:
    """Some epochs of a loop are watched, and some are not.

    Args:
        epoch: trains one, and tells the watch, unless it is given ``None``.
        steps: of an epoch.
    """
    import epochwise

    def seconds_of(watch: Any) -> float:
        began = time.perf_counter()
        epoch(watch)
        return time.perf_counter() - began

    def train(pairs: int) -> Pairs:
        with epochwise.watch(name="loop", steps_per_epoch=steps, profile=False, verbose=False) as watch:
            turns = itertools.islice(watched_epochs(), 2 * pairs)
            return pairs_of([seconds_of(watch if watched else None) for watched in turns])

    return train


def pytorch_loop(model_name: str, steps: int) -> Loop:
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
    x, y = arrays(steps)
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

    return by_turns(epoch, steps)


def jax_loop(model_name: str, steps: int) -> Loop:
    """A plain loop of JAX over a dense network, whatever ``model_name`` says."""
    import jax

    x, y = arrays(steps)
    rows = x.reshape(len(x), -1)
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
        return ((rows[place : place + BATCH], y[place : place + BATCH]) for place in range(0, len(rows), BATCH))

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

    return by_turns(epoch, steps)


@contextlib.contextmanager
def shares(of: dict[str, float]) -> Iterator[None]:
    """Add up in ``of`` the seconds that a loop's thread is at the gate, how often, and those of the thread beside it."""
    before_step, drive = Gate.before_step, Observer._drive

    def timed(gate: Gate, step: int) -> None:
        began = time.perf_counter()
        before_step(gate, step)
        of["gate"] += time.perf_counter() - began
        of["calls"] += 1

    def driven(observer: Observer) -> None:
        drive(observer)
        of["beside"] += time.thread_time()

    with mock.patch.object(Gate, "before_step", timed), mock.patch.object(Observer, "_drive", driven):
        yield


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
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--resume", type=Path, help="record that grows")
    asked = parser.parse_args()
    loop, steps = LOOPS[asked.loop], FEWEST_STEPS
    train = loop(asked.model, steps)
    while (shortest := min(map(min, train(FEWEST_PAIRS)))) < EPOCH_SECONDS and steps < MOST_STEPS:
        steps *= 2
        train = loop(asked.model, steps)
    pairs = math.ceil(TRAINING_SECONDS / 2 / shortest)
    found: Pairs = []
    until = time.perf_counter() + asked.seconds
    while time.perf_counter() < until:
        found += train(pairs)
    plain, watched = (list(column) for column in zip(*found, strict=True))
    ratio = sum(watched) / sum(plain)
    bounds = stats.bootstrap(
        (watched, plain), lambda one, other, axis: one.sum(axis) / other.sum(axis), paired=True, method="percentile", rng=0
    ).confidence_interval
    spent = dict.fromkeys(("gate", "calls", "beside"), 0.0)
    with shares(spent):
        seconds = math.fsum(watched for _, watched in train(pairs))
    own, beside = (spent["gate"] + spent["calls"] * fetching()) / seconds, spent["beside"] / seconds
    backend = os.environ.get("KERAS_BACKEND", "tensorflow") if asked.loop == "keras" else asked.loop
    row = {
        "loop": asked.loop,
        "backend": backend,
        "model": asked.model,
        "steps_per_epoch": steps,
        "pairs_of_a_training": pairs,
        "plain_seconds": plain,
        "watched_seconds": watched,
        "cost": [value - 1 for value in (ratio, *bounds)],
        "own_share": own,
        "beside_share": beside,
    }
    cost = " to ".join(f"{value - 1:+.2%}" for value in bounds)
    print(f"{asked.loop} {backend} {asked.model}: {np.median(plain):.3f} s an epoch of {steps} steps")
    print(f"  watched {ratio - 1:+.2%} ({cost}); own {own:.2%}, beside {beside:.2%}")
    if asked.resume:
        kept = json.loads(asked.resume.read_text())["results"] if asked.resume.exists() else []
        key = ("loop", "backend", "model")
        kept = [other for other in kept if [other[name] for name in key] != [row[name] for name in key]]
        tools = ("epochwise", "keras", "tensorflow-cpu", "jax", "torch")
        record = {
            "schema": "epochwise-benchmark/observing/2",
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
