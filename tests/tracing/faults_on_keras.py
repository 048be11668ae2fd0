"""Counts Keras models that cannot be counted, on the active backend, and prints as JSON what is said of each."""

from __future__ import annotations

import json
import sys

import keras
import numpy as np

from epochwise.counting import count
from epochwise.errors import EpochwiseError

L = keras.layers


class Faulty(L.Layer):
    """A layer that does as if it kept its input's shape, and then does something else."""

    def compute_output_shape(self, shape):
        return shape


class Wrong(Faulty):
    def call(self, x):
        return keras.ops.matmul(x, keras.ops.ones((99, 3)))


class Buggy(Faulty):
    def call(self, x):
        raise KeyError("no such head")


class AsksForNumbers(Faulty):
    def call(self, x):
        return x * np.asarray(x).sum()


class Decides(Faulty):
    def call(self, x):
        return x if keras.ops.sum(x) > 0 else x * 2


def chain(*layers, shape=(6,)):
    model = keras.Sequential([L.Input(shape, name="given"), *layers])
    model.compile("sgd", "mse")
    return model


def nested():
    given, inside = L.Input((6,)), L.Input((4,))
    inner = keras.Model(inside, Wrong(name="deep")(L.Dense(5)(inside)), name="inner")
    model = keras.Model(given, inner(L.Dense(4)(given)), name="outer")
    model.compile("sgd", "mse")
    return model


FAULTS = {
    "open_image": lambda: chain(L.Conv2D(3, 3), L.GlobalAveragePooling2D(), shape=(None, None, 3)),
    "open_sequence": lambda: chain(L.LSTM(3), shape=(None, 5)),
    "wrong": lambda: chain(L.Dense(4), Wrong(name="mine"), L.Dense(2)),
    "nested": nested,
    "buggy": lambda: chain(L.Dense(4), Buggy(name="mine"), L.Dense(2)),
    "numbers": lambda: chain(L.Dense(4), AsksForNumbers(name="mine"), L.Dense(2)),
    "decides": lambda: chain(L.Dense(4), Decides(name="mine"), L.Dense(2)),
}


def said(make):
    model = make()
    try:
        count(model, 4)
    except EpochwiseError as error:
        return {"error": type(error).__name__, "what": error.what, "cause": error.cause, "remedy": error.remedy}
    return {"error": "none"}


if __name__ == "__main__":
    found = {name: said(make) for name, make in FAULTS.items()}
    given = count(FAULTS["open_image"](), 4, x=np.zeros((1, 9, 8, 3), "float32"))
    found["open_image_with_data"] = given.per_sample.forward_macs
    sys.stdout.write(json.dumps(found) + "\n")
