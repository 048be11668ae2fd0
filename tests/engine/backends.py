"""Processes, one a backend, in which the checks of ``on_keras`` run; see :mod:`keras_worker`."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BACKENDS = ("tensorflow", "jax", "torch")


class Workers:
    """Asks the process of a backend, which is started when it is first needed."""

    def __init__(self):
        self._started = {}

    def ask(self, backend, question):
        worker = self._started.get(backend)
        if worker is None or worker.poll() is not None:
            environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            worker = subprocess.Popen([sys.executable, HERE / "keras_worker.py"], env=environment, text=True, **pipes)
            self._started[backend] = worker
        worker.stdin.write(json.dumps(question) + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
        return json.loads(line) if line else {"error": f"the process on {backend} ended: {worker.wait()}"}

    def close(self):
        for worker in self._started.values():
            worker.kill()
            worker.communicate()


def checks(topic):
    """``(check, case)`` of a topic, read from its text, so that no framework is imported here.

    A check has a case for each name in the list that its one parameter names: ``def check_this(layer)`` goes over the keys of
    the dictionary, or the names of the list, ``LAYERS``.
    """
    tree = ast.parse((HERE / "on_keras" / f"{topic}.py").read_text())
    lists = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values = node.value.keys if isinstance(node.value, ast.Dict) else getattr(node.value, "elts", [])
            lists[node.targets[0].id] = [value.value for value in values if isinstance(value, ast.Constant)]
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_"):
            names = [argument.arg for argument in node.args.args]
            found += [(node.name, case) for case in (lists[_plural(names[0])] if names else [None])]
    return found


LONG = {"check_hundreds_of_steps": ("nesterov", "adamw")}
"""Checks that take seconds a case, with the cases that are run in any event; the rest is for `make test-long`."""

WHOLE = "jax"
"""The backend on which every case is run in any event."""
SAMPLED = 5
"""On the other backends, one case of so many is."""


def _marks(backend, check, case):
    marks = [getattr(pytest.mark, backend)]
    always = check not in LONG or case in LONG[check]
    if backend != WHOLE:
        always = always and zlib.crc32(f"{check} {case}".encode()) % SAMPLED == 0
    return marks if always else [*marks, pytest.mark.long]


def _plural(name):
    return (name + ("es" if name.endswith("s") else "s")).upper()


def on_backends(topic):
    """Parametrizes a test over all checks of a topic and all backends."""
    return pytest.mark.parametrize(
        ("backend", "check", "case"),
        [
            pytest.param(backend, check, case, marks=_marks(backend, check, case), id=f"{backend}-{check[6:]}-{case}")
            for backend in BACKENDS
            for check, case in checks(topic)
        ],
    )
