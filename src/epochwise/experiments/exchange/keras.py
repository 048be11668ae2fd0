"""The models of P10 in Keras, what a step of them costs, and how long it takes."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

from epochwise.counting import count
from epochwise.engine.keras import read
from epochwise.engine.trainer import Data
from epochwise.engine.trainers import trainer_for
from epochwise.experiments.exchange import OF_THE_QUESTION
from epochwise.experiments.models import ours
from epochwise.experiments.models.keras import build

_CLASSES = 10
_IMAGENET = 1000
_REPEATS = 5
_LONG_ENOUGH = 2.0  # seconds after which no further step is timed


def built(name: str) -> Any:
    """A compiled model: one of ours for 28 x 28, or the shape of a well-known one for its own images."""
    if name in OF_THE_QUESTION:
        return build(ours(name), (28, 28, 1), _CLASSES, seed=0)
    if name == "alexnet":
        model = _alexnet()
    else:
        kind = {"vgg16": keras.applications.VGG16, "resnet50": keras.applications.ResNet50}[name]
        model = kind(weights=None)
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _alexnet() -> Any:
    """Krizhevsky, Sutskever and Hinton 2012, with its two groups, without response normalisation and dropout (no weights)."""
    kl = keras.layers
    return keras.Sequential(
        [
            kl.Input((227, 227, 3)),
            kl.Conv2D(96, 11, strides=4, activation="relu"),
            kl.MaxPooling2D(3, 2),
            kl.Conv2D(256, 5, padding="same", groups=2, activation="relu"),
            kl.MaxPooling2D(3, 2),
            kl.Conv2D(384, 3, padding="same", activation="relu"),
            kl.Conv2D(384, 3, padding="same", groups=2, activation="relu"),
            kl.Conv2D(256, 3, padding="same", groups=2, activation="relu"),
            kl.MaxPooling2D(3, 2),
            kl.Flatten(),
            kl.Dense(4096, activation="relu"),
            kl.Dense(4096, activation="relu"),
            kl.Dense(_IMAGENET, activation="softmax"),
        ],
        name="alexnet",
    )


def counted(model: Any, batch_size: int) -> dict[str, Any]:
    """Counts of one training step, all of the whole batch, bytes in float32; ``adam_bytes`` is what Adam keeps."""
    counts = count(model, batch_size=batch_size)
    adam = keras.optimizers.Adam()
    adam.build(model.trainable_variables)
    of_adam = sum(4 * int(np.prod(variable.shape)) for variable in adam.variables if variable.shape)
    return {
        "parameters": counts.parameters.total,
        "gradient_bytes": counts.memory_bytes.gradients,
        "checkpoint_bytes": counts.memory_bytes.parameters,
        "sgd_bytes": counts.memory_bytes.optimizer,
        "adam_bytes": of_adam,
        "activation_bytes": counts.memory_bytes.activations,
        "forward_macs": batch_size * counts.per_sample.forward_macs,
        "training_macs": batch_size * counts.per_sample.training_macs,
        "dense_parameters": sum(layer.parameters for layer in counts.layers if layer.kind == "Dense"),
        "dense_macs": batch_size * sum(layer.forward_macs for layer in counts.layers if layer.kind == "Dense"),
    }


def step_seconds(model: Any, batch_size: int) -> float:
    """The shortest of some training steps of the engine on one core, of ``model.train_on_batch`` where it does not cover it."""
    shape = model.input_shape[1:]
    x = np.random.default_rng(0).random((batch_size, *shape), np.float32)
    y = np.arange(batch_size, dtype=np.int32) % model.output_shape[-1]
    reading = read(model)[0]
    if reading is None:
        return _shortest(lambda: model.train_on_batch(x, y))
    trainer = trainer_for(reading.network, reading.state(), threads=1)
    order, rates, data = np.arange(batch_size, dtype=np.int64), np.full(1, 0.01, np.float32), Data(x, y)
    return _shortest(lambda: trainer.train(data, order, batch_size, rates))


def _shortest(step: Any) -> float:
    step()
    taken: list[float] = []
    while len(taken) < _REPEATS or (sum(taken) < _LONG_ENOUGH / 10 and len(taken) < 20 * _REPEATS):
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
        if sum(taken) > _LONG_ENOUGH:
            break
    return min(taken)
