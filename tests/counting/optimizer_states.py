"""Counts the bytes of optimizers' variables and takes one real step: ``KERAS_BACKEND=jax python optimizer_states.py name ...``.

Prints as JSON, by name: what is counted, and what the variables of the optimizer hold after the step.
"""

from __future__ import annotations

import json
import sys

import keras

from epochwise.counting import count
from epochwise.subjects.keras import set_optimizer

L = keras.layers


def both(name):
    """Counted, and held; the dense weight is large enough for Adafactor to factor it."""
    layers = [L.Conv2D(4, 3), L.BatchNormalization(), L.Flatten(), L.Dense(140), L.Dense(3, trainable=False)]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    model.compile(loss="mse")
    set_optimizer(model, name)
    counted = count(model, 2)
    gradients = [keras.ops.zeros(variable.shape) for variable in model.trainable_variables]
    model.optimizer.apply(gradients, model.trainable_variables)
    held = sum(keras.ops.convert_to_numpy(variable).nbytes for variable in model.optimizer.variables)
    return counted.memory_bytes.optimizer, held, [row.operation for row in counted.uncounted]


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: both(name) for name in sys.argv[1:]}) + "\n")
