"""What trains in the benchmark of the engine, each at its best honest setting, in a process of its own.

A contender reads orders line by line (``load`` a model, run so many ``steps``) and answers with seconds. All of them have the
data in memory, take samples in random order, and leave out what is not training: no validation, no progress bar.

Tried once and left out, since on two cores they changed little or made it slower: PyTorch with one thread, and with fused
optimizers.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ladder import LADDER, Architecture, in_keras, in_torch

SAMPLES = 60_000
"""Of an epoch."""

_EXECUTED = 2400
"""Samples of one execution of several steps: 75 steps of 32."""

_MOST_STEPS, _SCANNED = 300, 16

Run = Callable[[int], float]


@dataclass(frozen=True)
class Setting:
    """A framework and how it is used.

    Attributes:
        backend: of Keras, which is chosen before Keras is imported.
        loop: ``fit`` (Keras's), ``engine``, or ``own`` (written by hand, as in each framework's tutorials).
        several: many steps at a time: Keras's ``steps_per_execution``, or a ``lax.scan`` in a loop of one's own.
        xla: what ``jit_compile`` is set to; ``None`` leaves Keras's default.
        channels_last: PyTorch's layout of that name.
        compiled: by ``torch.compile``.
    """

    backend: str
    loop: str
    several: bool = False
    xla: bool | None = None
    channels_last: bool = False
    compiled: bool = False

    def at_once(self, batch: int) -> int:
        """Steps that are run at a time."""
        if not self.several:
            return 1
        return _SCANNED if self.loop == "own" else max(4, min(_MOST_STEPS, _EXECUTED // batch))


SETTINGS = {
    "engine": Setting("tensorflow", "engine"),
    "Keras/TensorFlow": Setting("tensorflow", "fit"),
    "Keras/TensorFlow, many steps per execution": Setting("tensorflow", "fit", several=True),
    "Keras/TensorFlow, many steps per execution, no XLA": Setting("tensorflow", "fit", several=True, xla=False),
    "Keras/JAX": Setting("jax", "fit"),
    "Keras/JAX, many steps per execution": Setting("jax", "fit", several=True),
    "JAX, own loop": Setting("jax", "own"),
    "JAX, own loop, 16 steps in a scan": Setting("jax", "own", several=True),
    "Keras/PyTorch": Setting("torch", "fit"),
    "PyTorch": Setting("torch", "own"),
    "PyTorch, channels last": Setting("torch", "own", channels_last=True),
    "PyTorch, compiled": Setting("torch", "own", channels_last=True, compiled=True),
}
"""``fit`` on PyTorch gains nothing from several steps per execution: they only run callbacks less often."""


def data(architecture: Architecture) -> tuple[Any, Any]:
    """Fashion-MNIST where it fits, random numbers elsewhere."""
    if architecture.shape == (28, 28, 1):
        from epochwise.subjects.datasets import DataSpec, load_data

        held = load_data(DataSpec("fashion-mnist"))
        return np.asarray(held.x).reshape(-1, 28, 28, 1).astype(np.float32), np.asarray(held.y).astype(np.int32)
    generator = np.random.default_rng(0)
    x = generator.random((8192, *architecture.shape), np.float32)
    return x, generator.integers(0, 10, len(x)).astype(np.int32)


def runner(setting: Setting, architecture: Architecture, batch: int) -> Run:
    """What runs so many steps (a multiple of :meth:`Setting.at_once`) and gives their seconds."""
    held = data(architecture)
    if setting.loop == "own":
        own = _torch_runner if setting.backend == "torch" else _jax_runner
        return own(setting, architecture, batch, held)
    model = in_keras(architecture)
    loss, xla = "sparse_categorical_crossentropy", "auto" if setting.xla is None else setting.xla
    together = setting.at_once(batch)
    model.compile(architecture.optimizer, loss, metrics=["accuracy"], steps_per_execution=together, jit_compile=xla)
    import epochwise

    fit = epochwise.fit if setting.loop == "engine" else type(model).fit

    def run(steps: int) -> float:
        most = len(held[0]) // batch // together * together  # whole steps only, and whole executions
        epochs = max(1, round(steps / most))
        each = min(steps, most)
        x, y = (array[: each * batch] for array in held)
        start = time.perf_counter()
        fit(model, x, y, batch_size=batch, epochs=epochs, verbose=0)
        return (time.perf_counter() - start) * steps / (epochs * each)

    return run


def _torch_runner(setting: Setting, architecture: Architecture, batch: int, held: tuple[Any, Any]) -> Run:
    import torch

    model = in_torch(architecture)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    if architecture.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters())
    loss_of = torch.nn.CrossEntropyLoss()
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(held[0], -1, 1)))
    y = torch.from_numpy(held[1]).long()
    if setting.channels_last and x.ndim == len("NCHW"):
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    step_model = torch.compile(model) if setting.compiled else model

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


def _jax_runner(setting: Setting, architecture: Architecture, batch: int, held: tuple[Any, Any]) -> Run:
    """The Keras model, without Keras's loop: a compiled step whose state stays on the device."""
    import jax

    model = in_keras(architecture)
    model.optimizer.build(model.trainable_variables)
    variables = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    state = jax.tree.map(lambda array: jax.numpy.array(array, copy=True), tuple([v.value for v in some] for some in variables))
    at_once = setting.at_once(batch)

    def loss_of(trained: Any, other: Any, x: Any, y: Any) -> Any:
        answers, other = model.stateless_call(trained, other, x, training=True)
        right = jax.numpy.take_along_axis(answers, y[:, None], 1)
        return -jax.numpy.mean(jax.numpy.log(right + 1e-7)), other

    def step(state: Any, x: Any, y: Any) -> Any:
        trained, other, slots = state
        (_, other), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained, other, x, y)
        trained, slots = model.optimizer.stateless_apply(slots, gradients, trained)
        return trained, other, slots

    def steps_of(state: Any, x: Any, y: Any, which: Any) -> Any:
        if at_once == 1:
            return step(state, x[which[0]], y[which[0]])
        return jax.lax.scan(lambda held, some: (step(held, x[some], y[some]), None), state, which)[0]

    compiled = jax.jit(steps_of, donate_argnums=0)
    x, y = map(jax.numpy.asarray, held)

    def run(steps: int) -> float:
        nonlocal state
        start = time.perf_counter()
        order = np.random.default_rng().permutation(len(x)).astype(np.int32)
        for first in range(0, steps * batch, at_once * batch):
            which = np.take(order, np.arange(first, first + at_once * batch), mode="wrap")
            state = compiled(state, x, y, which.reshape(at_once, batch))
        jax.block_until_ready(state)
        return time.perf_counter() - start

    return run


def work() -> None:
    """A contender: reads what to do line by line, and answers with seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what frameworks print is no answer
    runs: dict[tuple[str, int], Run] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if "forget" in order:
            runs.clear()  # each holds its data
            gc.collect()
            print(0.0, file=answers, flush=True)
            continue
        name, batch = order["work"], order["batch"]
        if "setting" in order:
            setting = SETTINGS[order["setting"]]
            runs[name, batch] = runner(setting, LADDER[name], batch)
            seconds = runs[name, batch](setting.at_once(batch))
            runs[name, batch](2 * setting.at_once(batch))
        else:
            seconds = runs[name, batch](order["steps"])
        print(seconds, file=answers, flush=True)
    os._exit(0)  # whoever asked is gone; threads of frameworks are not waited for


class Contender:
    """A process that trains when it is told to.

    Attributes:
        setting: what it is.
    """

    def __init__(self, name: str) -> None:
        self.setting = SETTINGS[name]
        self._name = name
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": self.setting.backend}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | quiet,
        )

    def _ask(self, **order: Any) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._name} ended at {order}")
        return float(answer)

    def load(self, work: str, batch: int) -> float:
        """Make a model ready, and run a few steps; the seconds of the first, with tracing and compiling.

        Raises:
            RuntimeError: the process ended.
        """
        return self._ask(work=work, batch=batch, setting=self._name)

    def run(self, work: str, batch: int, steps: int) -> float:
        """Seconds of so many steps of a model that was made ready.

        Raises:
            RuntimeError: the process ended.
        """
        return self._ask(work=work, batch=batch, steps=steps)

    def forget(self) -> None:
        """Let all models and their data go."""
        self._ask(forget=True)

    def end(self) -> None:
        """Let it go."""
        self._process.terminate()
        self._process.wait()


if __name__ == "__main__":
    work()
