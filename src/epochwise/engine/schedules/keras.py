"""Learning rates of the steps to come. A schedule is asked for a block of steps in one compiled call, and blocks are kept.

Asked step by step, Keras's schedules take from 50 us (PyTorch) to 90 ms (JAX, where each call compiles its condition), which is
far more than a step of a small network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from epochwise.engine.network import Float32

BLOCK = 1024
"""Steps of a compiled call."""
UNCOMPILED_BLOCK = 32


class Rates:
    """Remembers what a schedule said. Another schedule makes it forget; a rate that is a number is read anew each time."""

    def __init__(self) -> None:
        self._schedule: Any = None
        self._block = BLOCK
        self._ask: Callable[[Any], Float32] = lambda steps: np.zeros(len(steps), np.float32)
        self._known: dict[int, Float32] = {}

    def of(self, optimizer: Any, first: int, steps: int) -> Float32:
        """The learning rate of each of ``steps`` steps; the first has the number ``first``, counted from 0."""
        rate = optimizer._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return self._scheduled(rate, first, steps)
        if isinstance(rate, keras.Variable) or not callable(rate):
            return np.full(steps, float(keras.ops.convert_to_numpy(rate)), np.float32)
        return np.array([float(keras.ops.convert_to_numpy(rate())) for _ in range(steps)], np.float32)

    def _scheduled(self, schedule: Any, first: int, steps: int) -> Float32:
        if schedule is not self._schedule:
            self._schedule, self._known = schedule, {}
            self._ask, self._block = _asker(schedule)
        blocks = range(first // self._block, (first + steps - 1) // self._block + 1)
        for number in blocks:
            if number not in self._known:
                begin = number * self._block
                self._known[number] = self._ask(np.arange(begin, begin + self._block))
        joined = np.concatenate([self._known[number] for number in blocks])
        start = first - blocks[0] * self._block
        return joined[start : start + steps]


def _asker(schedule: Any) -> tuple[Callable[[Any], Float32], int]:
    """What asks a schedule for many steps, and for how many at a time."""
    compiled = _compiled(schedule)
    if compiled is not None:
        with contextlib.suppress(Exception):  # a schedule of the user's own may do what cannot be compiled
            compiled(np.arange(BLOCK))
            return compiled, BLOCK

    def one_by_one(steps: Any) -> Float32:
        kind = "int32" if keras.backend.backend() == "jax" else "int64"
        rates = [schedule(keras.ops.convert_to_tensor(int(step), dtype=kind)) for step in steps]
        return np.array([float(keras.ops.convert_to_numpy(rate)) for rate in rates], np.float32)

    return one_by_one, UNCOMPILED_BLOCK


def _compiled(schedule: Any) -> Callable[[Any], Float32] | None:
    """The schedule over an array of steps, as one call of the backend; ``None`` where there is no such way."""
    if keras.backend.backend() == "jax":
        from epochwise.engine.schedules.jax import mapped

        return mapped(schedule)
    if keras.backend.backend() == "tensorflow":
        from epochwise.engine.schedules.tensorflow import mapped

        return mapped(schedule)
    if not type(schedule).__module__.startswith("keras."):
        return None
    # Keras's own schedules are formulas of the step. Most of them take all steps as one tensor; the others raise.

    def together(steps: Any) -> Float32:
        rates = np.asarray(keras.ops.convert_to_numpy(schedule(keras.ops.convert_to_tensor(steps, dtype="int64"))), np.float32)
        if rates.shape != steps.shape:
            raise ValueError("one rate for all steps")
        return rates

    return together
