"""Whether a plant costs anything on this processor: it and its twin, trained in turn by a plain loop without epochwise.

    python benchmarks/planted/worth.py torch denormal normal 3

Prints how many times as long a step of the first takes as one of the second: the ratio of the medians of many short turns.
"""

from __future__ import annotations

import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

BATCH, STEPS = 32, 10


def keras_steps(function: str) -> Callable[[], object]:
    """Trains a Keras model on one batch."""
    models, data = (importlib.import_module(name) for name in ("keras_models", "data"))
    x, y = data.images()
    model = getattr(models, function)(x.shape[1:], 10)
    return lambda: model.train_on_batch(x[:BATCH], y[:BATCH])


def torch_steps(function: str) -> Callable[[], object]:
    """Trains a plain module on one batch."""
    import torch

    models, data = (importlib.import_module(name) for name in ("torch_models", "data"))
    x, y = data.images()
    features, labels = torch.as_tensor(x[:BATCH].transpose(0, 3, 1, 2).copy()), torch.as_tensor(y[:BATCH]).long()
    model = getattr(models, function)()
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], 0.0)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(features), labels).backward()
        optimizer.step()

    return step


def main() -> None:
    """Time both in turn."""
    backend, *functions, seconds = sys.argv[1:]
    os.environ["KERAS_BACKEND"] = "torch" if backend == "pytorch" else backend
    sys.path.insert(0, str(Path(__file__).parent))
    steps = [(torch_steps if backend == "pytorch" else keras_steps)(function) for function in functions]
    turns: list[list[float]] = [[], []]
    for step in steps:
        step()
    until = time.perf_counter() + float(seconds)
    while time.perf_counter() < until or len(turns[1]) < 5:  # noqa: PLR2004 - for a median
        for step, times in zip(steps, turns, strict=True):
            began = time.perf_counter()
            for _ in range(STEPS):
                step()
            times.append(time.perf_counter() - began)
    first, second = (statistics.median(times) for times in turns)
    print(first / second)


if __name__ == "__main__":
    main()
