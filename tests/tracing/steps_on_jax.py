"""Traces steps on Keras/JAX whose shape is known, and prints what the tests want to know of them as JSON."""

from __future__ import annotations

import json
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np

from epochwise.counting import trace_model
from epochwise.errors import EpochwiseError

L, ops = keras.layers, keras.ops


def chain(shape, *layers, compiled=True, **options):
    model = keras.Sequential([keras.Input(shape), *layers], name="model")
    if compiled:
        model.compile(**{"optimizer": "sgd", "loss": "mse", **options})
    return model


class Functional(keras.layers.Layer):
    """Calls a function on its input."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        return self.function(x)


def counted_loop(x):
    return x + jax.lax.while_loop(lambda c: c[0] < 9, lambda c: (c[0] + 2, ops.tanh(c[1])), (1, jax.lax.stop_gradient(x)))[1]


def open_loop(x):
    still = jax.lax.stop_gradient(x)
    return x + jax.lax.while_loop(lambda c: ops.sum(c) > 1, ops.tanh, still)


def scanned(x):
    return jax.lax.scan(lambda c, _: (ops.tanh(c), None), x, None, length=5)[0]


def branched(x):
    return jax.lax.cond(ops.sum(x) > 0, lambda v: v, lambda v: ops.exp(ops.tanh(v)), x)


def unused(x):
    ops.exp(x)
    return x * 2


class CustomStep(keras.Sequential):
    """A step of its own: it does not call compute_loss, and scales its loss outside any layer."""

    def train_step(self, state, data):
        trainable, others, optimizer, metrics = state
        x, y = data

        def loss_of(trainable, others):
            predicted, others = self.stateless_call(trainable, others, x, training=True)
            return 3 * keras.losses.MeanSquaredError()(y, predicted), others

        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        return {"loss": loss}, (trainable, others, optimizer, metrics)


def custom_step():
    model = CustomStep([keras.Input((4,)), L.Dense(3, name="one"), L.Dense(2, name="two")], name="model")
    model.compile("sgd", "mse")
    return model


class DecidingStep(keras.Sequential):
    """Decides by a number in a tensor, which has none while it is traced."""

    def train_step(self, state, data):
        return super().train_step(state, data if float(ops.sum(data[0])) > 0 else data[::-1])


def decides():
    model = DecidingStep([keras.Input((4,)), L.Dense(3)], name="model")
    model.compile("sgd", "mse")
    return model


def checkpointed():
    with keras.RematScope(mode="list_of_layers", layer_names=["again"]):
        return chain((6,), L.Dense(5, "tanh", name="first"), L.Dense(4, "tanh", name="again"), L.Dense(2))


class Recomputed(keras.layers.Layer):
    """Has the one layer that it holds computed again, always through the same callable, which JAX remembers."""

    def build(self, shape):
        self.inner = L.Dense(shape[-1], "tanh", name="inner")
        self.inner.build(shape)

    def call(self, x):
        return keras.remat(self.inner)(x)


def recomputed_twice():
    layer = Recomputed(name="again")
    return chain((6,), L.Dense(5, name="first"), layer, L.Dense(5, name="between"), layer, L.Dense(2, name="last"))


TRACED = {
    "scan": lambda: chain((4,), L.Dense(4), Functional(scanned, name="x")),
    "counted_loop": lambda: chain((4,), L.Dense(4), Functional(counted_loop, name="x")),
    "open_loop": lambda: chain((4,), L.Dense(4), Functional(open_loop, name="x")),
    "branched": lambda: chain((4,), L.Dense(4), Functional(branched, name="x")),
    "unused": lambda: chain((4,), L.Dense(4), Functional(unused, name="x")),
    "recurrent": lambda: chain((7, 5), L.RNN([L.LSTMCell(6), L.GRUCell(3)], name="x")),
    "custom_step": custom_step,
    "checkpointed": checkpointed,
    "recomputed_twice": recomputed_twice,
    "momentum": lambda: chain((4,), L.Dense(3), optimizer=keras.optimizers.SGD(momentum=0.9)),
    "sparse": lambda: chain((5, 4), L.Dense(3, "softmax"), loss="sparse_categorical_crossentropy"),
    "masked": lambda: chain((5,), L.Embedding(9, 4, mask_zero=True), L.LSTM(3, name="x"), L.Dense(2)),
}
REFUSED = {
    "not_compiled": lambda: (chain((4,), L.Dense(3), compiled=False), None),
    "open_shape": lambda: (chain((None, 4), L.Dense(3)), None),
    "unknown_shape": lambda: (unbuilt(), None),
    "other_shape": lambda: (chain((4,), L.Dense(3)), np.zeros((9, 7), "float32")),
    "no_array": lambda: (chain((4,), L.Dense(3)), object()),
    "step_fails": lambda: (decides(), None),
}


def unbuilt():
    model = keras.Sequential([L.Dense(3)], name="model")
    model.compile("sgd", "mse")
    return model


def described(trace):
    path = lambda call: None if call is None else trace.layers[trace.calls[call].layer].path  # noqa: E731
    return {
        "operations": [
            {
                "name": operation.name,
                "phase": operation.phase,
                "layer": path(operation.call),
                "times": operation.times,
                "recomputed": bool(operation.attributes.get("recomputed")),
            }
            for operation in trace.operations
        ],
        "layers": [layer.path for layer in trace.layers],
        "calls": [[path(number), len(call.inputs), len(call.outputs)] for number, call in enumerate(trace.calls)],
        "gradients": {parameter.path: parameter.gradient is not None for parameter in trace.parameters},
        "owners": {p.path: None if p.layer is None else trace.layers[p.layer].path for p in trace.parameters},
        "inputs": [[list(trace.values[number].shape), trace.values[number].dtype] for number in trace.inputs],
        "optimizer_state": [list(trace.values[number].shape) for number in trace.optimizer_state],
        "notes": list(trace.notes),
    }


def contractions_left_to_jax(model):
    """In what JAX itself traces of the step, after the step was traced here."""
    trace_model(model, 8)
    variables = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables)
    state = keras.tree.map_structure(lambda variable: variable.value, tuple(map(list, variables)))
    return str(jax.make_jaxpr(model.train_step)(state, (np.zeros((8, 6)), np.zeros((8, 2))))).count("= dot_general")


def main():
    told = {name: described(trace_model(make(), 8)) for name, make in TRACED.items()}
    told["left_to_jax"] = contractions_left_to_jax(chain((6,), L.Dense(5), Recomputed(), L.Dense(2)))
    for name, make in REFUSED.items():
        model, x = make()
        before = keras.layers.Layer.__call__
        try:
            trace_model(model, 8, x)
        except EpochwiseError as error:
            told[name] = {"error": type(error).__name__, "text": str(error), "put_back": keras.layers.Layer.__call__ is before}
    sys.stdout.write(json.dumps(told))


main()
