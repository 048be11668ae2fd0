"""Many models at once against one after another: the same trainings by ``fit_many`` and by ``fit``, in turn in one process.

    python benchmarks/many.py --json benchmarks/results/DATE-many.json

As many copies as ``--jobs`` of each of the question's models are trained on Fashion-MNIST for an epoch (batch 32): all by one
``fit_many``; one after another by ``fit(..., threads=1)``, which gives
the same bits; and one after another by ``fit`` with all cores. Models are built, and kernels compiled, before a turn is timed.
Figures are seconds per model and epoch, the median of the turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from ladder import LADDER, in_keras
from records import fashion_mnist, write

import epochwise
from epochwise.engine import Job, fit_many

WORK = ("question CNN", "question MLP")
OPTIONS = {"batch_size": 32, "verbose": 0}


def turn(how: str, models: list[Any], x: Any, y: Any) -> float:
    """Seconds per model."""
    start = time.perf_counter()
    if how == "fit_many":
        fit_many([Job(model, x, y, seed=number, **OPTIONS) for number, model in enumerate(models)])
    else:
        for number, model in enumerate(models):
            keras.utils.set_random_seed(number)
            epochwise.fit(model, x, y, threads=1 if how == "fit, one thread" else None, **OPTIONS)
    return (time.perf_counter() - start) / len(models)


def main() -> None:
    """Compare, print a table, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    held = fashion_mnist()
    x, y = held.x, held.y
    rows = []
    for name in WORK:
        architecture = LADDER[name]
        hows = ("fit_many", "fit, one thread", "fit, all cores")
        seconds: dict[str, list[float]] = {how: [] for how in hows}
        weights = {}
        for number in range(options.rounds + 1):
            for how in hows:
                keras.utils.set_random_seed(0)
                models = [in_keras(architecture) for _ in range(options.jobs if number else 1)]
                some = slice(None) if number else slice(320)  # the first round compiles, and is not counted
                took = turn(how, models, x[some], y[some])
                if number:
                    seconds[how].append(took)
                    weights[how] = [weight for model in models for weight in model.get_weights()]
        same = all(np.array_equal(a, b) for a, b in zip(weights["fit_many"], weights["fit, one thread"], strict=True))
        rows.append({"work": name, "jobs": options.jobs, "seconds_per_model": seconds, "same_bits_as_one_thread": same})
        medians = {how: statistics.median(each) for how, each in seconds.items()}
        print(f"{name}, {options.jobs} models: the same bits as with one thread: {'yes' if same else 'NO'}")
        for how, median in medians.items():
            low, high = min(seconds[how]), max(seconds[how])
            print(
                f"  {how:16s} {median:7.3f} s a model ({low:.3f}-{high:.3f})  {median / medians['fit_many']:5.2f} x", flush=True
            )
    if options.json:
        write(options.json, batch_size=OPTIONS["batch_size"], rows=rows)


if __name__ == "__main__":
    main()
