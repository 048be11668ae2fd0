"""Data that come batch by batch, which may be larger than memory, against the same data as arrays: seconds per epoch.

    python benchmarks/streams.py --json benchmarks/results/DATE-streams.json

The question's models on Fashion-MNIST, batch 32, without shuffling: arrays; a generator that cuts them; a ``PyDataset``; a
``tf.data.Dataset`` and a ``DataLoader`` that cut tensors of theirs. "reading" is how long it takes to go through the stream as
Keras does (its ``EpochIterator``, with each batch as a NumPy array) without any training: what the stream itself costs. "added"
is what an epoch takes beyond the two one after the other. Medians of ``--rounds`` turns, which go round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras.src.trainers.epoch_iterator import EpochIterator
from ladder import LADDER, in_keras
from records import fashion_mnist, write

import epochwise

WORK = ("question CNN", "question MLP")
BATCH = 32


def streams(x: Any, y: Any) -> dict[str, Callable[[], Any]]:
    """What makes each kind of stream anew."""
    import tensorflow as tf
    import torch

    class Cut(keras.utils.PyDataset):
        def __len__(self) -> int:
            return (len(x) + BATCH - 1) // BATCH

        def __getitem__(self, number: int) -> tuple[Any, Any]:
            part = slice(number * BATCH, (number + 1) * BATCH)
            return x[part], y[part]

    def generator() -> Iterator[tuple[Any, Any]]:
        for first in range(0, len(x), BATCH):
            yield x[first : first + BATCH], y[first : first + BATCH]

    pair = torch.from_numpy(x), torch.from_numpy(y)
    batches = torch.utils.data.BatchSampler(range(len(x)), BATCH, drop_last=False)
    return {
        "generator": generator,
        "PyDataset": Cut,
        "tf.data": lambda: tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).prefetch(16),
        "DataLoader": lambda: torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(*pair), sampler=batches, batch_size=None
        ),
    }


def reading(stream: Any) -> float:
    """Seconds of going through a stream."""
    start = time.perf_counter()
    iterator = EpochIterator(x=stream)
    iterator.reset()
    for _, _, (batch,) in iterator:
        for each in batch:
            np.asarray(each)
    return time.perf_counter() - start


def epoch(model: Any, *data: Any, **options: Any) -> float:
    """Seconds of an epoch."""
    start = time.perf_counter()
    epochwise.fit(model, *data, verbose=0, shuffle=False, **options)
    return time.perf_counter() - start


def main() -> None:
    """Compare, print a table, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    held = fashion_mnist()
    x, y = held.x, held.y
    made = streams(x, y)
    rows = []
    for name in WORK:
        model = in_keras(LADDER[name])
        epoch(model, x[:640], y[:640], batch_size=BATCH)
        seconds: dict[str, list[float]] = {who: [] for who in ("arrays", *made)}
        alone: dict[str, list[float]] = {who: [] for who in made}
        for _ in range(options.rounds):
            seconds["arrays"].append(epoch(model, x, y, batch_size=BATCH))
            for who, make in made.items():
                seconds[who].append(epoch(model, make()))
                alone[who].append(reading(make()))
        rows.append({"work": name, "epoch_seconds": seconds, "reading_seconds": alone})
        arrays = statistics.median(seconds["arrays"])
        print(f"{name}: {arrays:.3f} s an epoch from arrays")
        for who in made:
            whole, read = statistics.median(seconds[who]), statistics.median(alone[who])
            above = whole - arrays - read
            print(f"  {who:12s} {whole:.3f} s   reading alone {read:.3f} s   added {above:+.3f} s", flush=True)
    if options.json:
        write(options.json, batch_size=BATCH, rows=rows)


if __name__ == "__main__":
    main()
