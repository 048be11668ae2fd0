"""The compiled trainer: a network's plan, run by a crew of threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.code import Run
from epochwise.engine.crew import Crew, crew_of
from epochwise.engine.library import library_for
from epochwise.engine.network import Float32, Network, State, Sums
from epochwise.engine.plan import Program, program
from epochwise.engine.planner import Plan, plan
from epochwise.engine.stages.alike import alike
from epochwise.engine.stages.planning import Planning
from epochwise.engine.target import this_target
from epochwise.engine.trainer import Data


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a plan depends on."""

    batch: int
    weighted: bool
    bytes_in: bool


@dataclass(slots=True)
class _Ready:
    plan: Plan
    training: Program
    evaluating: Program
    predicting: Program
    crew: Crew


class CompiledTrainer:
    """Trains a network with kernels compiled for this machine; see :class:`~epochwise.engine.trainer.Trainer`.

    The same numbers come out every time for the same number of threads.

    Attributes:
        name: of the engine.
        threads: how many share a step, if it has as many samples.
    """

    name = "epochwise"

    def __init__(
        self,
        network: Network,
        state: State,
        threads: int,
        lanes: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Nothing is compiled yet.

        Args:
            network: what is trained.
            state: its weights, which training changes in place.
            threads: how many share a step; never more than it has samples.
            lanes: length of vectors; by default the longest that the processor has.
            progress: is told how many kernels are ready, and of how many, while they are compiled.
        """
        self.threads = threads
        self._network, self._state, self._progress = network, state, progress
        self._library = library_for(this_target(lanes))
        self._ready: dict[_Kind, _Ready] = {}

    def prepare(self, data: Data, batch_size: int) -> None:
        """Plan, and compile what is not yet."""
        self._for(data, batch_size)

    def train(self, data: Data, order: NDArray[np.int64], batch_size: int, learning_rates: NDArray[np.float32]) -> Sums:
        """Steps over the samples in this order."""
        ready = self._for(data, batch_size)
        planning = ready.plan.planning
        steps = -(-len(order) // batch_size)
        optimizer, done = self._network.optimizer, self._state.iterations
        first, second = (_powers(beta, done + 1, steps) for beta in (optimizer.beta_1, optimizer.beta_2))
        strides = learning_rates * np.sqrt(1 - second) / (1 - first)  # in the order in which Keras does it
        self._put(planning)
        self._run(ready, ready.training, data, order, batch_size, learning_rates, strides)
        for number, packed in planning.weights.items():
            packed.take(packed.values, self._state.weights[number])
            for memory, slot in zip(packed.slots, self._state.slots[number], strict=True):
                packed.take(memory, slot)
        self._state.iterations += steps
        return self._sums(planning.sums, data, order)

    def evaluate(self, data: Data, batch_size: int) -> Sums:
        """Loss and metrics over all samples, in their order."""
        ready = self._for(data, batch_size)
        self._put(ready.plan.planning)
        order = np.arange(len(data.x), dtype=np.int64)
        nothing = np.zeros(1, np.float32)
        self._run(ready, ready.evaluating, data, order, batch_size, nothing, nothing)
        sums = self._sums(ready.plan.planning.sums, data, order)
        sums.loss += self._penalty() * sums.samples
        return sums

    def predict(self, x: NDArray[np.float32] | NDArray[np.uint8], batch_size: int) -> Float32:
        """The output of each sample."""
        data = Data(x, np.zeros(len(x), np.int32))
        ready = self._for(data, batch_size)
        planning = ready.plan.planning
        self._put(planning)
        output = planning.tensors[self._network.output]
        result = np.empty((len(x), output.form.blocks, output.form.channels), np.float32)
        nothing = np.zeros(1, np.float32)
        for first in range(0, len(x), batch_size):
            order = np.arange(first, min(first + batch_size, len(x)), dtype=np.int64)
            self._run(ready, ready.predicting, data, order, batch_size, nothing, nothing)
            batch = output.values[: len(order)].reshape(len(order), output.form.blocks, output.form.pitch)
            result[order] = batch[:, :, : output.form.channels]
        return result.reshape(len(x), *output.form.shape)

    def plan_for(self, data: Data, batch_size: int) -> Plan:
        """The plan for such data and this batch size."""
        return self._for(data, batch_size).plan

    def _for(self, data: Data, batch_size: int) -> _Ready:
        kind = _Kind(batch_size, data.weight is not None, data.x.dtype == np.uint8)
        if kind not in self._ready:
            threads = max(1, min(self.threads, batch_size))
            made = plan(
                self._network, self._library.target, batch_size, threads, weighted=kind.weighted, bytes_in=kind.bytes_in
            )
            addresses = self._library.load(made.variants, self._progress, lambda: alike(made.variants, self._library.target))
            self._ready[kind] = _Ready(
                made,
                training=program(made.training, addresses, threads),
                evaluating=program(made.evaluating, addresses, threads),
                predicting=program(made.predicting, addresses, threads),
                crew=crew_of(threads, self._library),
            )
        return self._ready[kind]

    def _put(self, planning: Planning) -> None:
        """The state into the kernels' memory."""
        for number, packed in planning.weights.items():
            array = self._state.weights[number]
            for form in (packed, *planning.twins.get(number, ())):
                form.put(form.values, array)
            for memory, slot in zip(packed.slots, self._state.slots[number], strict=True):
                packed.put(memory, slot)

    def _run(
        self,
        ready: _Ready,
        what: Program,
        data: Data,
        order: NDArray[np.int64],
        batch_size: int,
        rates: NDArray[np.float32],
        strides: NDArray[np.float32],
    ) -> None:
        run = ready.plan.planning.run
        held = {  # until the run is over
            Run.SAMPLES: data.x,
            Run.ORDER: order,
            Run.ANSWERS: data.y,
            Run.WEIGHTS: rates if data.weight is None else data.weight,
            Run.RATES: np.ascontiguousarray(rates),
            Run.STRIDES: np.ascontiguousarray(strides),
        }
        for word, array in held.items():
            run[word] = array.ctypes.data
        run[Run.FIRST_STEP] = self._state.iterations
        ready.plan.planning.sums[:] = 0.0
        ready.crew.run(what, 0, -(-len(order) // batch_size), len(order), batch_size)

    def _sums(self, sums: NDArray[np.float64], data: Data, order: NDArray[np.int64]) -> Sums:
        total = sums.sum(0)
        weight = float(len(order)) if data.weight is None else float(data.weight[order].sum(dtype=np.float64))
        return Sums(len(order), weight, float(total[0]), [float(value) for value in total[1 : 1 + len(self._network.metrics)]])

    def _penalty(self) -> float:
        return sum(
            float(weight.l1 * np.abs(array).sum(dtype=np.float64) + weight.l2 * np.square(array, dtype=np.float64).sum())
            for weight, array in zip(self._network.weights, self._state.weights, strict=True)
        )


def _powers(beta: float, first: int, steps: int) -> Float32:
    """``beta`` to the power of each step's number, to the last bit of float32, as the backends have it.

    NumPy's own float32 power may be off by one bit, and ``1 - 0.999^t`` makes that a relative error of 1e-5 in the first steps.
    """
    counts = np.arange(first, first + steps, dtype=np.float64)
    return (np.float64(np.float32(beta)) ** counts).astype(np.float32)
