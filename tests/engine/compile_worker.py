"""Trains a small network in a process of its own, with whatever ``EPOCHWISE_CACHE`` holds, and prints the loss, exactly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # as in the tests: ``tests.engine...``

from epochwise.engine.compiled import CompiledTrainer
from epochwise.engine.network import MaxPool, Metric
from tests.engine.networks_by_hand import SPARSE, Builder, data_for, state_for

BATCH = 8


def small_network():
    """A convolution, its maximum and normalisation, and ten classes."""
    builder = Builder((9, 9, 3))
    x = builder.activation(builder.convolution(builder.input, 12, (3, 3)), "relu")
    x = builder.flatten(builder.batch_normalization(builder.pool(MaxPool, x, (2, 2))))
    return builder.network(builder.dense(x, 10), SPARSE, [Metric("accuracy", "sparse_categorical_accuracy")])


def main():
    network = small_network()
    trainer = CompiledTrainer(network, state_for(network, 3), 1)
    sums = trainer.train(data_for(network, 16, 4), np.arange(16), BATCH, np.full(2, 0.01, np.float32))
    sys.stdout.write(f"{sums.loss.hex()}\n")


if __name__ == "__main__":
    main()
