"""The plain trainer: batches forward, backward and into the optimizer, one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from epochwise.engine.network import Dropout, Float32, Network, State, Sums
from epochwise.engine.trainer import Data
from epochwise.engine.twin.losses import loss_and_gradient, metric_values, penalties, penalty_gradient
from epochwise.engine.twin.operations import Keep, Pass, Pull, run
from epochwise.engine.twin.updates import update
from epochwise.engine.twin.windows import Array


def drawn_mask(operation: Dropout, step: int, shape: tuple[int, ...]) -> Array:
    """A mask of dropout that depends on nothing but its seed, the step and its place in the network."""
    generator = np.random.default_rng([operation.seed, step, operation.output])
    return generator.random(shape) >= operation.rate


class PlainTrainer:
    """A :class:`~epochwise.engine.trainer.Trainer` in plain NumPy.

    Args:
        network: what is trained.
        state: weights and the optimizer's arrays. In float32 these arrays are trained; in float64 they are copied, and
            :attr:`state` is the copy.
        dtype: float32, or float64 for a reference that is exact by comparison.
        keep: the masks of dropout, for tests that need the masks of somebody else; see :func:`drawn_mask`.

    Attributes:
        state: what is trained.
    """

    name = "plain"
    threads = 1

    def __init__(self, network: Network, state: State, dtype: DTypeLike = np.float32, keep: Keep = drawn_mask) -> None:
        self.network = network
        self.state = state
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        self._keep = keep
        if self._dtype != np.float32:
            weights = [array.astype(self._dtype) for array in state.weights]
            slots = [[array.astype(self._dtype) for array in arrays] for arrays in state.slots]
            self.state = State(weights, slots, state.iterations)

    def prepare(self, data: Data, batch_size: int) -> None:
        """Nothing is compiled here."""

    def train(self, data: Data, order: NDArray[np.int64], batch_size: int, learning_rates: NDArray[np.float32]) -> Sums:
        """Steps over the samples in this order; see :class:`~epochwise.engine.trainer.Trainer`."""
        total = Sums(metrics=[0.0] * len(self.network.metrics))
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        for samples, learning_rate in zip(batches, learning_rates, strict=True):
            weight = None if data.weight is None else data.weight[samples]
            sums, gradients, at = self.step(Data(data.x[samples], data.y[samples], weight))
            with np.errstate(all="ignore"):
                update(self.network, self.state.weights, self.state.slots, gradients, learning_rate, self.state.iterations)
            for place, statistic in at.moved.items():
                self.state.weights[place][...] = statistic
            self.state.iterations += 1
            total.add(sums)
        return total

    def evaluate(self, data: Data, batch_size: int) -> Sums:
        """Loss and metrics without training."""
        total = Sums(metrics=[0.0] * len(self.network.metrics))
        for start in range(0, len(data.x), batch_size):
            part = slice(start, start + batch_size)
            batch = Data(data.x[part], data.y[part], None if data.weight is None else data.weight[part])
            tensors, _, _ = self._forward(batch.x, training=False)
            total.add(self._sums(batch, tensors)[0])
        return total

    def predict(self, x: NDArray[np.float32] | NDArray[np.uint8], batch_size: int) -> Float32:
        """The output tensor of each sample: ``(samples, *output shape)``."""
        parts = [
            self._forward(x[start : start + batch_size], training=False)[0][self.network.output]
            for start in range(0, len(x), batch_size)
        ]
        empty = np.zeros((0, *self.network.shapes[self.network.output]), self._dtype)
        return np.concatenate([empty, *parts])

    def step(self, batch: Data) -> tuple[Sums, dict[int, Array], Pass]:
        """One batch forward and backward, without the update.

        Returns:
            what it adds up to; the gradients of the trained weights by place, penalties included and not clipped; and the
            pass, with the running statistics as they will be.
        """
        tensors, pulls, at = self._forward(batch.x, training=True)
        sums, gradient = self._sums(batch, tensors)
        return sums, self._backward(gradient, pulls), at

    def _forward(self, x: Array, *, training: bool) -> tuple[dict[int, Array], list[Pull], Pass]:
        """All tensors, and what pulls gradients back through each operation."""
        at = Pass(self.network, self.state.weights, training, self.state.iterations, self._keep)
        tensors: dict[int, Array] = {self.network.input: x.astype(self._dtype)}
        pulls = []
        with np.errstate(all="ignore"):  # infinite and NaN go on, as in Keras
            for operation in self.network.operations:
                output, pull = run(operation, [tensors[place] for place in operation.inputs], at)
                tensors[operation.output] = output
                pulls.append(pull)
        return tensors, pulls, at

    def _sums(self, batch: Data, tensors: dict[int, Array]) -> tuple[Sums, Array]:
        """What a batch adds up to, and the gradient of its loss (without penalties) where the loss takes hold."""
        output, samples = tensors[self.network.output], len(batch.x)
        with np.errstate(all="ignore"):
            values, gradient = loss_and_gradient(self.network.loss, tensors[self._held()], batch.y)
            weight = np.ones(samples, self._dtype) if batch.weight is None else batch.weight.astype(self._dtype)
            places = max(values.size // max(samples, 1), 1)  # of one sample
            loss = (values.reshape(samples, -1) * weight[:, None]).sum() / (samples * places)
            gradient = gradient * weight.reshape(-1, *(1,) * (gradient.ndim - 1)) / self._dtype.type(samples * places)
            metrics = [
                float((metric_values(metric, output, batch.y) * (weight if metric.weighted else 1)).sum())
                for metric in self.network.metrics
            ]
            added = float(loss) + penalties(self.network, self.state.weights)
        return Sums(samples, float(weight.sum()), added * samples, metrics), gradient

    def _held(self) -> int:
        """The tensor whose gradient the loss gives."""
        logits = self.network.loss.logits
        return self.network.output if logits is None else logits

    def _backward(self, gradient: Array, pulls: list[Pull]) -> dict[int, Array]:
        """Gradients of the trained weights; a tensor that several operations read gets the sum of what they give back."""
        tensors: dict[int, Array] = {self._held(): gradient}
        weights: dict[int, Array] = {}
        with np.errstate(all="ignore"):
            for operation, pull in zip(reversed(self.network.operations), reversed(pulls), strict=True):
                if operation.output not in tensors:
                    continue  # nothing that the loss sees comes of it
                to_inputs, to_weights = pull(tensors[operation.output])
                for place, part in zip(operation.inputs, to_inputs, strict=True):
                    tensors[place] = tensors[place] + part if place in tensors else part
                for place, part in to_weights.items():
                    weights[place] = weights[place] + part if place in weights else part
            return {
                place: (part + penalty_gradient(self.network.weights[place], self.state.weights[place])).astype(self._dtype)
                for place, part in sorted(weights.items())
                if self.network.weights[place].trained
            }
