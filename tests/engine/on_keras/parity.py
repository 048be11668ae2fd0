"""Trains a model with Keras, and the network read from it with the plain trainer in float64; compares all that can be seen."""

from __future__ import annotations

import keras
import numpy as np

from epochwise.engine.keras import read
from epochwise.engine.network import State
from epochwise.engine.trainer import Data
from epochwise.engine.twin import PlainTrainer

SAMPLES, BATCH = 13, 5  # the last batch is partial
CLOSE = 1e-6
"""Weights after a few steps; what float32 leaves of numbers about 1."""


def shaken(model, seed=0):
    """Give all weights values that are not special (biases 0 hide mistakes)."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        low, high = {"gamma": (0.5, 1.5), "moving_variance": (0.5, 2.0)}.get(variable.name, (-0.3, 0.3))
        variable.assign(generator.uniform(low, high, variable.shape).astype("float32"))
    return model


def sequential(shape, *layers):
    """A Sequential model on float32 samples."""
    return keras.Sequential([keras.Input(shape), *layers])


def answers(network, samples=SAMPLES, seed=3):
    """Labels that fit the loss, and samples."""
    generator = np.random.default_rng(seed)
    shape = network.shapes[network.output]
    if network.loss.kind == "sparse_categorical_crossentropy":
        return generator.integers(shape[-1], size=(samples, *shape[:-1])).astype("int32")
    if network.loss.kind == "categorical_crossentropy":
        return np.eye(shape[-1], dtype="float32")[generator.integers(shape[-1], size=(samples, *shape[:-1]))]
    if network.loss.kind == "binary_crossentropy":
        return generator.integers(2, size=(samples, *shape)).astype("float32")
    return generator.normal(size=(samples, *shape)).astype("float32")


def covered(model):
    reading, support = read(model)
    assert reading is not None, str(support)
    return reading


def rates(reading, steps):
    return reading.learning_rates(reading.iterations(), steps)


def compare(model, x=None, y=None, *, weight=None, samples=SAMPLES, batch_size=BATCH, close=CLOSE, epochs=1):
    """Forward, evaluation, and an epoch without shuffling: outputs, losses, metrics, weights, moments.

    Weights may differ by ``close`` (of 1 + their size), losses by as much.
    """
    shaken(model)
    reading = covered(model)
    network = reading.network
    trainer = PlainTrainer(network, reading.state(), np.float64)
    generator = np.random.default_rng(1)
    x = generator.normal(size=(samples, *network.shapes[0])).astype("float32") if x is None else x
    y = answers(network, len(x)) if y is None else y
    shaped = y if network.loss.kind == "sparse_categorical_crossentropy" else y.reshape(-1, *network.shapes[network.output])
    data = Data(x, shaped.reshape(-1) if shaped is y and y.ndim == 2 and y.shape[1] == 1 else shaped, weight)

    same(trainer.predict(x, batch_size), model.predict(x, batch_size=batch_size, verbose=0), 1e-5, "outputs")
    seen = model.evaluate(x, y, sample_weight=weight, batch_size=batch_size, verbose=0, return_dict=True)
    expect(trainer.evaluate(data, batch_size), network, seen, "evaluation")

    steps = -(-len(x) // batch_size)
    for epoch in range(epochs):
        sums = trainer.train(data, np.arange(len(x)), batch_size, rates(reading, steps))
        options = {"batch_size": batch_size, "epochs": 1, "shuffle": False, "verbose": 0, "sample_weight": weight}
        history = model.fit(x, y, **options)
        if epoch == 0:
            expect(sums, network, {name: values[-1] for name, values in history.history.items()}, "training")
    reached = reading.state()
    assert reached.iterations == trainer.state.iterations == steps * epochs
    for place, weight_ in enumerate(network.weights):
        name = f"{weight_.layer} {weight_.name}"
        same(trainer.state.weights[place], reached.weights[place], close, name)
        for slot, (mine, theirs) in enumerate(zip(trainer.state.slots[place], reached.slots[place], strict=True)):
            same(mine, theirs, close, f"{name}, slot {slot}")
    return reading, trainer


def expect(sums, network, logs, what):
    """The means of some sums against Keras's logs, by name."""
    assert set(logs) == {"loss", *(metric.name for metric in network.metrics)}, logs
    same(sums.loss / sums.samples, logs["loss"], 2e-6, f"loss of {what}")
    for metric, total in zip(network.metrics, sums.metrics, strict=True):
        over = sums.weight if metric.weighted else sums.samples
        same(total / over, logs[metric.name], 2e-6, f"{metric.name} of {what}")


def same(mine, keras_own, close, what):
    mine, keras_own = np.asarray(mine, np.float64), np.asarray(keras_own, np.float64)
    assert mine.shape == keras_own.shape, f"{what}: shapes {mine.shape} and {keras_own.shape}"
    apart = np.abs(mine - keras_own) - close * (1 + np.abs(mine))
    worst = np.unravel_index(np.argmax(apart), apart.shape) if apart.ndim else ()
    assert not (apart > 0).any(), (
        f"{what}: {mine[worst]!r} and {keras_own[worst]!r} (Keras) at {tuple(map(int, worst))} of {mine.shape}, "
        f"{int((apart > 0).sum())} of {mine.size} differ by more than {close}"
    )


def float64_state(trainer):
    return State([w.copy() for w in trainer.state.weights], [[s.copy() for s in each] for each in trainer.state.slots])
