"""How long it takes from starting Python until the first step is done, as a user has it: with an empty cache and a full one.

    python benchmarks/start.py --json benchmarks/results/DATE-start.json

Each figure is a process of its own that imports Keras, makes a model of ``ladder.py``, and calls ``epochwise.fit``; its parent
looks at the clock when it is started and when its first step is done. "cold": nothing is compiled yet (``EPOCHWISE_CACHE`` is
an empty folder). "warm": the same once more, as often as ``--rounds``. "next": another network of the same kinds of layers,
with other sizes, in the full cache, and how many kernels it compiled. Then the command line, ``epochwise fit`` for one epoch
with a warm cache, without the epoch itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from records import write

HERE = Path(__file__).parent
WORK = ("question CNN", "residual")
CLASSES = 10
STAGES = ("import keras", "make the model", "import epochwise", "make ready", "first step")


def other_sizes(layers: Any) -> list[Any]:
    """The same layers with other numbers of channels, units and rows."""
    changed = []
    for kind, *options in layers:
        if kind == "conv":
            changed.append((kind, options[0] + 16, *options[1:]))
        elif kind == "dense" and options[0] != CLASSES:
            changed.append((kind, options[0] + 32))
        elif kind == "residual":
            changed.append((kind, other_sizes(options[0]), other_sizes(options[1])))
        else:
            changed.append((kind, *options))
    return changed


def work(name: str, resized: bool) -> None:
    """A user's program: prints the moment after each stage."""
    moments = []
    import keras

    moments.append(time.time())
    import numpy as np
    from ladder import LADDER, in_keras

    architecture = LADDER[name]
    if resized:
        architecture = dataclasses.replace(architecture, layers=other_sizes(architecture.layers))
    model = in_keras(architecture)
    x, y = np.random.default_rng(0).random((64, *architecture.shape), np.float32), np.arange(64) % 10
    moments.append(time.time())
    import epochwise

    fit = epochwise.fit
    moments.append(time.time())
    told = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: moments.append(time.time()),
        on_train_batch_end=lambda batch, logs: moments.append(time.time()),
    )
    fit(model, x, y, batch_size=32, verbose=0, callbacks=[told])
    sys.stdout.write(json.dumps(moments[: len(STAGES)]) + "\n")


def run(name: str, backend: str, cache: Path, *, resized: bool = False) -> dict[str, Any]:
    """Seconds of each stage of a fresh process, and kernels compiled by it."""
    before = kernels(cache)
    environment = {**os.environ, "EPOCHWISE_CACHE": str(cache), "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--work", name, *(["--resized"] if resized else [])]
    start = time.time()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    moments = [start, *json.loads(done.stdout.splitlines()[-1])]
    stages = {stage: after - before for stage, before, after in zip(STAGES, moments, moments[1:], strict=False)}
    return {"seconds": moments[-1] - start, "stages": stages, "kernels_compiled": kernels(cache) - before}


def kernels(cache: Path) -> int:
    """How many are kept."""
    return len(list((cache / "kernels").glob("*.o")))


def command_line(backend: str, cache: Path) -> float:
    """Seconds of ``epochwise fit`` for one epoch of the question's CNN, without the epoch."""
    environment = {**os.environ, "EPOCHWISE_CACHE": str(cache), "TF_CPP_MIN_LOG_LEVEL": "3"}
    model = f"{HERE.parent / 'examples' / 'question.py'}:build_model_cnn"
    command = [sys.executable, "-m", "epochwise", "fit", model, "--epochs", "1", "--backend", backend, "--json", "-"]
    start = time.time()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return time.time() - start - sum(epoch["seconds"] for epoch in json.loads(done.stdout)["epochs"])


def main() -> None:
    """Measure, print a table, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--resized", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--models", nargs="*", default=list(WORK))
    parser.add_argument("--backends", nargs="*", default=["jax", "torch", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.resized)
        return
    rows: list[dict[str, Any]] = []
    for backend in options.backends:
        for name in options.models:
            with tempfile.TemporaryDirectory() as folder:
                cache = Path(folder)
                rows.append({"work": name, "backend": backend, "cold": run(name, backend, cache)})
                rows[-1]["warm"] = [run(name, backend, cache) for _ in range(options.rounds)]
                rows[-1]["next"] = run(name, backend, cache, resized=True)
                show(rows[-1])
                if name == options.models[0]:
                    command_line(backend, cache)  # what only the command line imports may have to be compiled to bytecode
                    rows[-1]["command_line_seconds"] = [command_line(backend, cache) for _ in range(options.rounds)]
                    print(
                        f"  epochwise fit, warm: {statistics.median(rows[-1]['command_line_seconds']):.2f} s without the epoch"
                    )
    if options.json:
        write(options.json, rows=rows)


def show(row: dict[str, Any]) -> None:
    """One architecture on one backend."""
    warm = sorted(row["warm"], key=lambda each: each["seconds"])[len(row["warm"]) // 2]
    print(f"{row['work']}, Keras on {row['backend']}: seconds until the first step is done")
    for what, each in (("cold", row["cold"]), ("warm", warm), ("next", row["next"])):
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in each["stages"].items())
        print(f"  {what}  {each['seconds']:6.2f}   {each['kernels_compiled']:3d} kernels compiled   ({stages})", flush=True)


if __name__ == "__main__":
    main()
