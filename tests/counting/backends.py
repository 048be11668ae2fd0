"""Three processes, one a backend, that count the Keras models described to them; see :mod:`keras_worker`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).with_name("keras_worker.py")
BACKENDS = ("jax", "torch", "tensorflow")
NOTHING = [0, 0, 0, 0]
"""Figures of a row without weights and MACs, which is left out where a backend does nothing there."""


@contextlib.contextmanager
def workers(backends=BACKENDS):
    """Gives a function from a description to what each backend says of it, by backend."""
    started = {}
    try:
        for backend in backends:
            environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            started[backend] = subprocess.Popen([sys.executable, WORKER], env=environment, text=True, **pipes)

        def ask(description):
            for worker in started.values():
                worker.stdin.write(json.dumps(description) + "\n")
                worker.stdin.flush()
            lines = {backend: worker.stdout.readline() for backend, worker in started.items()}
            return {backend: json.loads(line) if line else {"error": "the process ended"} for backend, line in lines.items()}

        yield ask
    finally:
        for worker in started.values():
            worker.kill()
            worker.communicate()


def differences(told):
    """What is wrong with answers that ought to be the same, in plain lines: errors, what is uncounted, figures that differ."""
    wrong = [f"{backend}: {counts['error']}" for backend, counts in told.items() if "error" in counts]
    counted = {backend: counts for backend, counts in told.items() if "error" not in counts}
    wrong += [f"{backend}: uncounted {counts['uncounted']}" for backend, counts in counted.items() if counts["uncounted"]]
    if not counted:
        return wrong
    first, *others = counted
    for other in others:
        mine, theirs = counted[first], counted[other]
        for figure in ("parameters", "forward_macs", "training_macs"):
            if mine[figure] != theirs[figure]:
                wrong.append(f"{figure}: {first} {mine[figure]}, {other} {theirs[figure]}")
        for row in sorted(set(mine["rows"]) | set(theirs["rows"])):
            if mine["rows"].get(row, NOTHING) != theirs["rows"].get(row, NOTHING):
                wrong.append(f"row {row}: {first} {mine['rows'].get(row)}, {other} {theirs['rows'].get(row)}")
    return wrong
