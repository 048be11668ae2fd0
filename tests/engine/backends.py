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
TOPICS = ("layers", "settings", "fitting", "support", "many")
"""Files in ``on_keras``: forward and gradients; losses, metrics and optimizers; ``fit`` against ``model.fit``; what is not
covered; ``fit_many`` against ``fit``."""


class Worker:
    """Asks the process of one backend, which is started when it is first needed, and again if it has ended."""

    def __init__(self, backend):
        self._backend = backend
        self._process = None

    def ask(self, question):
        if self._process is None or self._process.poll() is not None:
            environment = {
                **os.environ,
                "KERAS_BACKEND": self._backend,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "",
            }
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            command = [sys.executable, HERE / "keras_worker.py"]
            self._process = subprocess.Popen(command, env=environment, text=True, **pipes)
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"the process on {self._backend} ended: {self._process.wait()}"}

    def close(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


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


def worker_on(backend):
    """A fixture: the process of a backend."""

    @pytest.fixture(scope="module")
    def worker():
        started = Worker(backend)
        yield started
        started.close()

    return worker


def checks_on(backend):
    """A test over all checks of all topics on a backend; each backend has a file of its own, so that files run side by side."""

    @pytest.mark.parametrize(
        ("topic", "check", "case"),
        [
            pytest.param(topic, check, case, marks=_marks(backend, check, case), id=f"{topic}-{check[6:]}-{case}")
            for topic in TOPICS
            for check, case in checks(topic)
        ],
    )
    def test_check(worker, topic, check, case):
        """What the check's own docstring promises, in the folder ``on_keras``."""
        told = worker.ask({"topic": topic, "check": check, "case": case})
        assert "error" not in told, told["error"]

    return test_check
