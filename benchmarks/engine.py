"""The engine beside the frameworks, side by side in one run: seconds per epoch of small networks on this machine's cores.

    python benchmarks/engine.py                                    # the question's two models, batch 32, Fashion-MNIST
    python benchmarks/engine.py --ladder                           # twelve architectures
    python benchmarks/engine.py --batch 1 8 32 256                 # the two models at several batch sizes
    python benchmarks/engine.py --json benchmarks/results/DATE-engine.json

Every contender is a process of its own that waits until it is its turn, and the turns go round: A B C A B C. A turn is as
many steps as take about ``--seconds``, and at least 75. The table has the median of the turns in seconds per epoch, and how
many times longer than the engine each takes.

Contenders: Keras on TensorFlow as it comes, and with ``steps_per_execution``; Keras on JAX; Keras on PyTorch; plain PyTorch,
and compiled (``--compiled``; it needs a C++ compiler and minutes). The roofline is the time of the multiply-accumulates at
this machine's measured peak (`epochwise machine`).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from ladder import LADDER, Architecture, in_keras, in_torch

SAMPLES = 60_000
PAIR = ("question CNN", "question MLP")
CONTENDERS = {
    "engine": ("tensorflow", "engine"),
    "Keras/TensorFlow": ("tensorflow", "fit"),
    "Keras/TensorFlow, 75 steps per execution": ("tensorflow", "fit 75"),
    "Keras/JAX": ("jax", "fit"),
    "Keras/PyTorch": ("torch", "fit"),
    "PyTorch": ("torch", "loop"),
    "PyTorch, compiled": ("torch", "loop compiled"),
}


def data(architecture: Architecture, samples: int) -> tuple[Any, Any]:
    """Fashion-MNIST where it fits, random numbers elsewhere: the time does not depend on it much, but on which are live."""
    if architecture.shape == (28, 28, 1):
        from epochwise.subjects.datasets import DataSpec, load_data

        held = load_data(DataSpec("fashion-mnist"))
        x, y = np.asarray(held.x), np.asarray(held.y)
        return x.reshape(-1, 28, 28, 1)[:samples].astype(np.float32), y[:samples].astype(np.int32)
    generator = np.random.default_rng(0)
    x = generator.random((samples, *architecture.shape), np.float32)
    return x, generator.integers(0, 10, samples).astype(np.int32)


def runner(how: str, architecture: Architecture, batch: int) -> Callable[[int], float]:
    """What runs so many steps and gives their seconds."""
    held = data(architecture, SAMPLES if architecture.shape == (28, 28, 1) else 8192)
    if how.startswith("loop"):
        return _torch_runner(architecture, batch, held, compiled=how.endswith("compiled"))
    model = in_keras(architecture)
    if how.startswith("fit "):
        steps = int(how.split()[1])
        loss, metrics = "sparse_categorical_crossentropy", ["accuracy"]
        model.compile(architecture.optimizer, loss, metrics=metrics, steps_per_execution=steps)
    import epochwise

    fit = epochwise.fit if how == "engine" else type(model).fit

    def run(steps: int) -> float:
        count = min(steps * batch, len(held[0]))
        epochs = max(1, steps * batch // count)
        start = time.perf_counter()
        fit(model, held[0][:count], held[1][:count], batch_size=batch, epochs=epochs, verbose=0)
        return (time.perf_counter() - start) * steps / (epochs * -(-count // batch))

    return run


def _torch_runner(architecture: Architecture, batch: int, held: tuple[Any, Any], *, compiled: bool) -> Callable[[int], float]:
    import torch

    model = in_torch(architecture)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    if architecture.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters())
    loss_of = torch.nn.CrossEntropyLoss()
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(held[0], -1, 1)))
    y = torch.from_numpy(held[1]).long()
    step_model = torch.compile(model) if compiled else model

    def run(steps: int) -> float:
        start = time.perf_counter()
        done = 0
        while done < steps:
            order = torch.randperm(len(x))
            for first in range(0, len(x) - batch + 1, batch):
                which = order[first : first + batch]
                optimizer.zero_grad()
                loss_of(step_model(x[which]), y[which]).backward()
                optimizer.step()
                done += 1
                if done == steps:
                    break
        return time.perf_counter() - start

    return run


def work() -> None:
    """A contender: reads what to do line by line, and answers with seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what frameworks print is no answer
    run: Callable[[int], float] | None = None
    for line in sys.stdin:
        order = json.loads(line)
        if "load" in order:
            run = runner(order["how"], LADDER[order["load"]], order["batch"])
            seconds = run(3)
        else:
            assert run is not None
            seconds = run(order["steps"])
        print(seconds, file=answers, flush=True)


class Contender:
    """A process that trains when it is told to."""

    def __init__(self, backend: str, how: str) -> None:
        self._how = how
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend}
        command = [sys.executable, __file__, "--work"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | quiet
        )

    def ask(self, **order: Any) -> float:
        """Seconds of what it did.

        Raises:
            RuntimeError: it ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the contender ended at {order}")
        return float(answer)

    def load(self, name: str, batch: int) -> None:
        """Make a model ready, and run a few steps."""
        self.ask(load=name, batch=batch, how=self._how)

    def end(self) -> None:
        """Let it go."""
        self._process.terminate()
        self._process.wait()


def compare(name: str, batch: int, contenders: dict[str, Contender], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per epoch of each contender, of each round."""
    epoch = -(-SAMPLES // batch)
    steps = {}
    for who, contender in contenders.items():
        contender.load(name, batch)
        trial = max(4, min(epoch, 1024 // batch))
        contender.ask(steps=trial)
        each = contender.ask(steps=trial) / trial
        steps[who] = max(75, min(epoch, int(seconds / each)))
    turns: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(rounds):
        for who, contender in contenders.items():
            turns[who].append(contender.ask(steps=steps[who]) / steps[who] * epoch)
    return turns


def roofline(name: str) -> float:
    """Seconds of an epoch's multiply-accumulates at the peak of this machine."""
    code = (
        "import sys, epochwise, ladder\n"
        f"counts = epochwise.count(ladder.in_keras(ladder.LADDER[{name!r}]), batch_size=32)\n"
        f"print({2 * SAMPLES} * counts.per_sample.training_macs / epochwise.machine().peak)"
    )
    quiet = {"KERAS_BACKEND": "jax", "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | quiet)
    return float(done.stdout.split()[-1])


def main() -> None:
    """Compare, print a table, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ladder", action="store_true", help="all architectures, not the question's two alone")
    parser.add_argument("--only", nargs="*", help="these architectures")
    parser.add_argument("--batch", type=int, nargs="*", default=[32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn")
    parser.add_argument("--compiled", action="store_true", help="with torch.compile")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.work:
        work()
        return
    names = options.only or (list(LADDER) if options.ladder else list(PAIR))
    chosen = {who: how for who, how in CONTENDERS.items() if options.compiled or "compiled" not in how[1]}
    contenders = {who: Contender(*how) for who, how in chosen.items()}
    rows = []
    try:
        for name in names:
            least = roofline(name)
            for batch in options.batch:
                turns = compare(name, batch, contenders, options.rounds, options.seconds)
                rows.append({"work": name, "batch": batch, "roofline_seconds": least, "epoch_seconds": turns})
                show(rows[-1])
    finally:
        for contender in contenders.values():
            contender.end()
    if options.json:
        record = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "machine": machine(), "rows": rows}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """What this is measured on."""
    import importlib.metadata

    import epochwise

    facts = epochwise.machine()
    names = ("epochwise", "keras", "tensorflow-cpu", "jax", "torch", "llvmlite", "numpy")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"name": facts.name, "cores": facts.cores, "peak_flops_per_second": facts.peak, "versions": versions}


def show(row: dict[str, Any]) -> None:
    """One comparison."""
    medians = {who: statistics.median(turns) for who, turns in row["epoch_seconds"].items()}
    engine = medians["engine"]
    best = min(seconds for who, seconds in medians.items() if who != "engine")
    above = engine / row["roofline_seconds"]
    print(f"\n{row['work']}, batch {row['batch']}: engine {engine:.3f} s an epoch, {above:.2f} times the roofline")
    for who, seconds in medians.items():
        turns = row["epoch_seconds"][who]
        print(f"  {who:42s} {seconds:8.3f} s  ({min(turns):.3f}-{max(turns):.3f})  {seconds / engine:6.2f} x")
    print(f"  best setting of a framework: {best / engine:.2f} times the engine's time", flush=True)


if __name__ == "__main__":
    main()
