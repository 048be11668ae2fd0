"""What the trainings of ``epochwise evidence`` would take with ``model.fit``, and what they took.

    python benchmarks/evidence.py STORE.sqlite --json benchmarks/results/DATE-evidence-with-fit.json

The store says which models were trained for how many steps, and how long the engine took for them, on one core each and two at
once. A few epochs of each model on images of that size (their content does not matter) are then trained by ``model.fit`` with
each backend of Keras, in a process of its own that has all cores: the shortest epoch after the first, over its steps, is what
``model.fit`` takes at best. That times the steps of the store is what all trainings would take. Validation and tests, building
of models and compilation are left out on both sides, and so are the control's trainings (P0), which have another optimizer.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from records import write

RUN = "epochwise.experiments.training:train"
BATCH = 32
STEPS, EPOCHS = 100, 3
AT_ONCE = 2
SLOW = {"lcn": 5}
"""Steps of an epoch of models whose step takes a framework seconds: convolutions with hundreds of groups."""


def kinds(store: Path) -> list[dict[str, Any]]:
    """Each model and size of images: how many trainings, steps, and seconds of the engine."""
    found: dict[str, dict[str, Any]] = defaultdict(lambda: {"trainings": 0, "steps": 0, "engine_seconds": 0.0})
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT description, measured FROM trials WHERE engine = 'engine'").fetchall()
    for description, measured in rows:
        trial = json.loads(description)
        if trial["run"] != RUN:
            continue
        arguments = trial["arguments"]
        view = arguments["data"]["view"]
        side = 28 if view is None else view["side"]
        kind = found[json.dumps([arguments["model"], side], sort_keys=True)]
        kind["trainings"] += 1
        kind["steps"] += arguments["steps"]
        kind["engine_seconds"] += msgspec.msgpack.decode(measured)["train_seconds"]
    return [{"model": json.loads(key)[0], "side": json.loads(key)[1], **kind} for key, kind in sorted(found.items())]


def seconds_of_a_step(model: dict[str, Any], side: int) -> float:
    """The shortest epoch of ``model.fit`` after the first, over its steps; in a process whose backend is set."""
    import time

    import keras
    import numpy as np

    from epochwise.experiments.models.keras import build

    steps = SLOW.get(model["name"], STEPS)
    x = np.random.default_rng(0).random((steps * BATCH, side, side, 1), np.float32)
    y = np.arange(len(x), dtype=np.int32) % 10

    taken: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            taken.append(time.perf_counter() - self.start)

    build(model, (side, side, 1), 10, seed=0).fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[Clock()])
    return min(taken[1:]) / steps


def asked(kind: dict[str, Any], backend: str) -> float:
    """The same in a new process."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    request = json.dumps([kind["model"], kind["side"]])
    command = [sys.executable, __file__, "--one", request]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Time every kind with every backend, and add up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, nargs="?", help="of the trials")
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax", "torch"])
    parser.add_argument("--json", type=Path, help="write a record to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(seconds_of_a_step(*json.loads(options.one)))
        return
    if options.store is None:
        parser.error("which store? epochwise evidence --store FILE keeps one")
    found = kinds(options.store)
    names = "".join(f"{name:>11}" for name in options.backends)
    print(f"{'model':<16}{'side':>5}{'trainings':>10}{'steps':>11}{'engine ms':>11}{names}")
    for kind in found:
        taken = {backend: asked(kind, backend) for backend in options.backends}
        kind["fit_seconds_of_a_step"] = taken
        engine = 1e3 * kind["engine_seconds"] / kind["steps"]
        said = "".join(f"{1e3 * seconds:11.3f}" for seconds in taken.values())
        head = f"{kind['model']['name']:<16}{kind['side']:>5}{kind['trainings']:>10,}{kind['steps']:>11,}{engine:>11.3f}"
        print(head + said, flush=True)
    totals = {}
    for which, some in (
        ("all", found),
        ("all but locally connected", [kind for kind in found if kind["model"]["name"] not in SLOW]),
    ):
        totals[which] = added_up(some, options.backends)
        print(f"{which}: the engine, two at once, {totals[which]['engine']:,.0f} s")
        for name, seconds in totals[which].items():
            print(f"  {name:<24}{seconds:>10,.0f} s {seconds / totals[which]['engine']:>7.1f} times as long")
    if options.json:
        write(options.json, kinds=found, at_once=AT_ONCE, seconds=totals)


def added_up(kinds: list[dict[str, Any]], backends: list[str]) -> dict[str, float]:
    """Seconds of all trainings by the engine, two at once; by ``model.fit`` one after another, on each backend and the best."""
    totals = {"engine": sum(kind["engine_seconds"] for kind in kinds) / AT_ONCE}
    for backend in backends:
        totals[backend] = sum(kind["steps"] * kind["fit_seconds_of_a_step"][backend] for kind in kinds)
    totals["the best for each model"] = sum(kind["steps"] * min(kind["fit_seconds_of_a_step"].values()) for kind in kinds)
    return totals


if __name__ == "__main__":
    main()
