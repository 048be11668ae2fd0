"""Trains in a process of its own, and prints by how many bytes its resident memory grew at most while ``fit`` ran.

Compared is the highest resident size during the first ``epochwise.fit`` (with all that it imports, compiles and allocates) with
the resident size just before it, when Keras, the model and the data were in memory already.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

SAMPLES = 130_000
"""About 400 MB of float32 images of 28 x 28, and a fourth of it as bytes."""


def resident(field):
    """Bytes that ``/proc`` tells: ``VmRSS`` now, ``VmHWM`` at most since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def model():
    """The question's CNN, without its second convolution, to be quick."""
    made = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(8, 3, strides=3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def data(kind):
    """Samples of this kind with their labels, all of it touched, so that it is resident."""
    y = np.arange(SAMPLES, dtype="int32") % 10
    if kind == "stream":
        return batches(y)
    x = np.empty((SAMPLES if kind != "uint8" else 4 * SAMPLES, 28, 28, 1), kind)
    x.fill(1)
    return x, np.resize(y, len(x))


def batches(y):
    """The same without ever being whole in memory."""
    for first in range(0, SAMPLES, 32):
        yield np.ones((len(y[first : first + 32]), 28, 28, 1), "float32"), y[first : first + 32]


def main(kind):
    made, given = model(), data(kind)
    made.predict(np.ones((1, 28, 28, 1)), verbose=0)  # what Keras itself sets up when it first runs
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = resident("VmRSS")
    import epochwise

    options = {"verbose": 0, "epochs": 1}
    if kind == "stream":
        epochwise.fit(made, given, **options)
    else:
        epochwise.fit(made, *given, batch_size=32, validation_split=0.1, **options)
    sys.stdout.write(f"{resident('VmHWM') - before}\n")


if __name__ == "__main__":
    main(sys.argv[1])
