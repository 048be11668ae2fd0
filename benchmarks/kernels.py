"""Where a step of the engine goes: the microseconds of each kernel of a model, alone on one thread.

    python benchmarks/kernels.py "question CNN"
    python benchmarks/kernels.py "LeNet-5" --batch 8 --lanes 8

Each kernel is run over and over, on as many samples at a time as in a training step. Times are medians of some turns, which go
round all kernels. Below them is the step as it is trained, on one thread. Where that takes much longer than all kernels alone,
they wait for memory: what one leaves in cache is gone when another needs it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from contenders import data
from ladder import LADDER, in_keras

from epochwise.engine import keras as keras_reading
from epochwise.engine.compiled import CompiledTrainer
from epochwise.engine.crew import Crew, crew_of
from epochwise.engine.library import library_for
from epochwise.engine.plan import Part, Program, program
from epochwise.engine.target import this_target
from epochwise.engine.trainer import Data

TURN_SECONDS = 0.02
PERCENT = 100


def microseconds(run: Callable[[int], None], count: int) -> float:
    """Of one, when so many are run."""
    start = time.perf_counter()
    run(count)
    return (time.perf_counter() - start) / count * 1e6


def _run(crew: Crew, alone: Program, batch: int, most: int, steps: int) -> None:
    """So many steps, of which there are ``most`` in the data."""
    for first in range(0, steps, most):
        count = min(most, steps - first)
        crew.run(alone, 0, count, count * batch, batch)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(LADDER))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lanes", type=int, help="length of vectors, if not the longest")
    parser.add_argument("--turns", type=int, default=15)
    options = parser.parse_args()
    architecture, batch = LADDER[options.model], options.batch
    model = in_keras(architecture)
    model.compile(architecture.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    reading, support = keras_reading.read(model)
    if reading is None:
        sys.exit(str(support))
    trainer = CompiledTrainer(reading.network, reading.state(), 1, options.lanes)
    samples = Data(*data(architecture))
    order, rates = np.arange(len(samples.x) // batch * batch), np.zeros(len(samples.x) // batch, np.float32)
    trainer.train(samples, order, batch, rates)  # with a learning rate of 0, so that all stays as it is
    library = library_for(this_target(options.lanes))
    crew = crew_of(1, library)
    plan = trainer.plan_for(samples, batch)
    addresses = library.load(plan.variants)
    runs: list[tuple[str, int, Callable[[int], None]]] = []
    for part in plan.training:
        for call in part.calls:
            alone = program([Part((call,), part.group, wait=True)], addresses, threads=1)
            runs.append(
                (
                    str(call.variant),
                    part.group,
                    partial(_run, crew, alone, batch, len(rates)),
                )
            )
    runs.append(("", 0, lambda steps: trainer.train(samples, order[: steps * batch], batch, rates[:steps])))
    counts = [max(3, int(TURN_SECONDS * 1e6 / microseconds(run, 3))) for *_, run in runs]
    counts[-1] = min(counts[-1], len(order) // batch)
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(options.turns):
        for (*_, run), count, times in zip(runs, counts, taken, strict=True):
            times.append(microseconds(run, count))
    medians = [statistics.median(times) for times in taken]
    total = sum(medians[:-1])
    for (name, group, _), median in zip(runs[:-1], medians, strict=False):
        each = "slices" if not group else "the batch" if group >= batch else f"{group} samples"
        print(f"{median:9.1f} us {median / total * PERCENT:4.0f} %  {each:>10s}  {name}")
    print(f"{total:9.1f} us together; a step takes {medians[-1]:.1f} us")


if __name__ == "__main__":
    main()
