"""The course of the loss over 300 steps, by Keras and by the engine, for comparison between backends."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, losses, optimizers

import epochwise
from tests.engine.on_keras.parity import sequential, shaken

OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.02, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "sgd_decay": lambda: optimizers.SGD(0.05, weight_decay=0.01),
    "adam": lambda: optimizers.Adam(0.003),
    "adamw": lambda: optimizers.AdamW(0.003, weight_decay=0.05),
    "clipped": lambda: optimizers.Adam(0.003, global_clipnorm=0.5),
}


def course(optimizer):
    """The mean loss of each of 30 epochs of 10 steps: ``[by Keras, by the engine]``.

    The loss takes logits, because with probabilities the backends do not compute the same (see ``settings``).
    """
    generator = np.random.default_rng(5)
    x = generator.normal(size=(100, 8, 8, 2)).astype("float32")
    y = (x.mean((1, 2)) @ generator.normal(size=(2, 3))).argmax(1).astype("int32")
    found = []
    for train in (keras.Model.fit, epochwise.fit):
        model = sequential(
            (8, 8, 2),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(16, activation="tanh"),
            layers.Dense(3),
        )
        model.compile(OPTIMIZERS[optimizer](), losses.SparseCategoricalCrossentropy(from_logits=True))
        shaken(model)
        found.append(train(model, x, y, batch_size=10, epochs=30, shuffle=False, verbose=0).history["loss"])
        assert int(model.optimizer.iterations) == 300
    return found
