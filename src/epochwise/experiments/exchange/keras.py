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
_REPEATS = 20
_LONG_ENOUGH = 1.5  # seconds after which no further call is timed
_CALL_SECONDS, _MOST_STEPS = 0.05, 500


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
    """Seconds of a training step of the engine on one core, of ``model.train_on_batch`` where it does not cover it.

    The shortest of some calls, since others may be busy on this machine. A call makes so many steps that what is done once in
    a call, which takes longer than a step of a small model, does not count.
    """
    shape = model.input_shape[1:]
    x = np.random.default_rng(0).random((batch_size, *shape), np.float32)
    y = np.arange(batch_size, dtype=np.int32) % model.output_shape[-1]
    reading = read(model)[0]
    if reading is None:
        return _shortest(lambda: model.train_on_batch(x, y))
    trainer, data = trainer_for(reading.network, reading.state(), threads=1), Data(x, y)

    def steps(count: int) -> None:
        order = np.tile(np.arange(batch_size, dtype=np.int64), count)
        trainer.train(data, order, batch_size, np.full(count, 0.01, np.float32))

    count = max(1, min(_MOST_STEPS, round(_CALL_SECONDS / _shortest(lambda: steps(1)))))
    return _shortest(lambda: steps(count)) / count


def _shortest(call: Any) -> float:
    """Seconds, after a first call that is not counted."""
    call()
    taken: list[float] = []
    while not taken or (sum(taken) < _LONG_ENOUGH and len(taken) < _REPEATS):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)
