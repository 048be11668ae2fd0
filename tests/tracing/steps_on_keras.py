"""Traces Keras steps on the active backend and prints, as JSON, whether that changed a model, and what was found."""

from __future__ import annotations

import importlib
import json
import sys

import keras
import numpy as np

from epochwise.counting.assembling import count_trace
from epochwise.errors import EpochwiseError
from epochwise.tracing.keras import batch_specs

L, optimizers = keras.layers, keras.optimizers
BACKEND = keras.backend.backend()
TRACER = importlib.import_module(f"epochwise.tracing.{BACKEND}")
BATCH = 4


def traced(model, batch=BATCH):
    return TRACER.trace(model, *batch_specs(model, batch), batch)


def chain(shape, *layers, kind=keras.Sequential, **options):
    model = kind([keras.Input(shape), *layers])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **options})
    return model


class CustomStep(keras.Sequential):
    """A step that Keras does not know: its own loss, its gradients halved."""

    def train_step(self, data):
        x, y = data
        if BACKEND == "torch":
            import torch

            self.zero_grad()
            loss = ((self(x, training=True) - y) ** 2).mean() * 3
            loss.backward()
            torch.nn.utils.clip_grad_norm_([v.value for v in self.trainable_variables], 1.0)
            with torch.no_grad():
                self.optimizer.apply([v.value.grad / 2 for v in self.trainable_variables], self.trainable_variables)
        else:
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2) * 3
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply([g / 2 for g in gradients], self.trainable_variables)
        return {"loss": loss}


class DecidingStep(keras.Sequential):
    """Decides in Python by a number that the data holds, after the optimizer has already run."""

    def train_step(self, data):
        super().train_step(data)
        return super().train_step(data if int(keras.ops.argmax(data[0])) > 0 else data[::-1])


class Chosen(L.Layer):
    """A condition that the framework knows of, with one branch that costs more."""

    def call(self, x):
        return keras.ops.cond(keras.ops.sum(x) > 0, lambda: x * 2, lambda: keras.ops.exp(keras.ops.tanh(x)))


class Looped(L.Layer):
    """A loop of a known length."""

    def call(self, x):
        return keras.ops.fori_loop(0, 5, lambda _, h: keras.ops.tanh(h), x)


class Open(L.Layer):
    """A loop whose length depends on data."""

    def call(self, x):
        return keras.ops.while_loop(lambda h: keras.ops.sum(h) > 1, lambda h: (keras.ops.tanh(h),), (x,))[0]


def state_of(model):
    """All that tracing must leave as it is."""
    state = {
        variable.path: keras.ops.convert_to_numpy(variable).copy()
        for variable in [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    }
    if BACKEND == "torch":
        import torch

        state["random"] = torch.get_rng_state().numpy().copy()
        for name, parameter in model.named_parameters():
            state["gradient", name] = None if parameter.grad is None else parameter.grad.numpy().copy()
            state["kind", name] = (type(parameter).__name__, parameter.requires_grad)
        state["modes"] = [part.training for part in model.modules() if not isinstance(part, torch.nn.ParameterDict)]
    return state


def changes(before, after):
    return sorted(str(key) for key in before if not np.array_equal(before[key], after[key])) + sorted(
        map(str, set(before) ^ set(after))
    )


def left_alone():
    """What tracing changed in a model that was trained a little, and what a trace that fails changed."""
    layers = [L.Conv2D(3, 3), L.BatchNormalization(), L.Dropout(0.5), L.Flatten(), L.Dense(2, "softmax")]
    model = chain((8, 8, 1), *layers, optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.ones((8, 8, 8, 1), "float32"), np.zeros(8, "int32"), batch_size=4, verbose=0)
    before = state_of(model)
    traced(model)
    changed = changes(before, state_of(model))
    model = chain((8,), L.Dense(2), kind=DecidingStep, optimizer="adam")
    model.optimizer.build(model.trainable_variables)
    before, raised = state_of(model), ["no error"]
    try:
        traced(model)
    except EpochwiseError:
        raised = []
    return changed, raised + changes(before, state_of(model))


def refused_optimizers():
    """Optimizers that cannot be traced, or have uncounted operations, with why."""
    schedule = optimizers.schedules.PiecewiseConstantDecay([1, 2], [0.1, 0.2, 0.3])
    kinds = [
        optimizers.SGD(momentum=0.9),
        optimizers.Adam(schedule),
        optimizers.AdamW(),
        optimizers.RMSprop(),
        optimizers.Adagrad(),
        optimizers.Adadelta(),
        optimizers.Adamax(),
        optimizers.Nadam(),
    ]
    kinds += [
        optimizers.Ftrl(),
        optimizers.Lion(),
        optimizers.Adafactor(),
        optimizers.Lamb(),
        optimizers.SGD(clipnorm=1.0),
        optimizers.SGD(clipvalue=1.0),
        optimizers.SGD(use_ema=True),
    ]
    kinds += [
        optimizers.SGD(gradient_accumulation_steps=2),
        optimizers.SGD(weight_decay=0.1),
        optimizers.LossScaleOptimizer(optimizers.SGD()),
    ]
    failed = {}
    for optimizer in kinds:
        try:
            counts = count_trace(traced(chain((5,), L.Dense(3), optimizer=optimizer)), "model")
            if counts.uncounted:
                failed[type(optimizer).__name__] = [unknown.operation for unknown in counts.uncounted]
        except EpochwiseError as error:
            failed[type(optimizer).__name__] = str(error)
    return failed


class Again(L.Layer):
    """A layer whose inner layer runs again in the backward pass; keras.RematScope does that, but fails on TensorFlow."""

    def __init__(self):
        super().__init__()
        self.inner = L.Dense(4, "tanh", name="again")

    def call(self, x):
        import tensorflow as tf

        return tf.recompute_grad(self.inner)(x)


def checkpointed():
    """Calls and MACs of a layer that runs again in the backward pass, and the backward work of it."""
    if BACKEND == "tensorflow":
        model = chain((6,), L.Dense(5, "tanh"), Again(), L.Dense(2))
    else:
        with keras.RematScope(mode="list_of_layers", layer_names=["again"]):
            model = chain((6,), L.Dense(5, "tanh"), L.Dense(4, "tanh", name="again"), L.Dense(2))
    counts = count_trace(traced(model), "model")
    row = next(row for row in counts.layers if row.name.endswith("again"))
    return [row.calls, row.forward_macs, row.weight_gradient_macs, row.input_gradient_macs, row.backward.macs]


def summary(model):
    trace = traced(model)
    counts = count_trace(trace, "model")
    return {
        "training_macs": counts.per_sample.training_macs,
        "uncounted": [[unknown.operation, unknown.times] for unknown in counts.uncounted],
        "notes": trace.notes,
        "times": sorted({(o.name, o.times) for o in trace.operations if o.times != 1 and "anh" in o.name}),
    }


def decides():
    try:
        traced(chain((4,), L.Dense(4), kind=DecidingStep))
    except EpochwiseError as error:
        return [type(error).__name__, str(error)]
    return ["", ""]


def main():
    changed, changed_by_error = left_alone()
    found = {
        "changed": changed,
        "changed_by_error": changed_by_error,
        "optimizers": refused_optimizers(),
        "custom_step": summary(chain((4,), L.Dense(3), L.Dense(2), kind=CustomStep)),
        "checkpointed": checkpointed(),
        "decides": decides(),
    }
    if BACKEND == "tensorflow":
        found["chosen"] = summary(chain((4,), L.Dense(4), Chosen()))
        found["looped"] = summary(chain((4,), L.Dense(4), Looped()))
        found["open"] = summary(chain((4,), L.Dense(4), Open()))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
