"""Losses, metrics and optimizers with all their options."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, losses, optimizers

from epochwise.engine.schedules.keras import Rates
from epochwise.engine.trainer import Data
from epochwise.engine.twin import PlainTrainer
from tests.engine.on_keras.parity import compare, covered, rates, same, sequential, shaken

LINE = (6,)

LOSSES = {
    "sparse": ("softmax", 4, "sparse_categorical_crossentropy"),
    "sparse_object": ("softmax", 4, losses.SparseCategoricalCrossentropy()),
    "sparse_logits": (None, 4, losses.SparseCategoricalCrossentropy(from_logits=True)),
    "categorical": ("softmax", 4, "categorical_crossentropy"),
    "categorical_function": ("softmax", 4, losses.categorical_crossentropy),
    "categorical_logits": (None, 4, losses.CategoricalCrossentropy(from_logits=True)),
    "categorical_smoothed": ("softmax", 4, losses.CategoricalCrossentropy(label_smoothing=0.2)),
    "binary": ("sigmoid", 1, "binary_crossentropy"),
    "binary_many": ("sigmoid", 3, losses.BinaryCrossentropy()),
    "binary_logits": (None, 2, losses.BinaryCrossentropy(from_logits=True)),
    "binary_smoothed": ("sigmoid", 2, losses.BinaryCrossentropy(label_smoothing=0.3)),
    "binary_softmax": ("softmax", 3, "binary_crossentropy"),
    "binary_of_relu": ("relu", 3, "binary_crossentropy"),
    "mse": (None, 3, "mse"),
    "mse_one": ("tanh", 1, losses.MeanSquaredError()),
}


def model_for(loss, optimizer=None, metrics=("accuracy",), weighted=None):
    ending, units, made = LOSSES[loss]
    model = sequential(LINE, layers.Dense(7, activation="tanh"), layers.Dense(units, activation=ending))
    metrics = ["mae", "mse"] if "mse" in loss else list(metrics)
    model.compile(optimizer=optimizer or optimizers.SGD(0.1), loss=made, metrics=metrics, weighted_metrics=weighted)
    return model


def check_loss(loss):
    """Value, gradient and metrics, also with sample weights."""
    compare(model_for(loss))
    compare(model_for(loss), weight=np.random.default_rng(5).uniform(0, 2, 13).astype("float32"))


def check_a_class_at_each_place():
    """Sparse labels of sequences and of maps, from probabilities and from logits."""
    for ending, loss in (("softmax", "sparse_categorical_crossentropy"), (None, losses.SparseCategoricalCrossentropy(True))):
        for shape in ((7, 4), (5, 3, 4)):
            if (keras.backend.backend(), ending, shape) == ("torch", "softmax", (5, 3, 4)):
                continue  # Keras 3.15 itself cannot train it there: "grad_input must be contiguous"
            model = sequential(shape, layers.Dense(6, activation="tanh"), layers.Dense(5, activation=ending))
            model.compile(optimizers.Adam(0.01), loss, metrics=["accuracy"])
            compare(model)


def check_saturated(loss):
    """Far out, where TensorFlow still has the logits and the others clip: each as it does."""
    model = model_for(loss)
    x = (60 * np.random.default_rng(2).normal(size=(13, 6))).astype("float32")
    compare(model, x, close=3e-5)


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.05, momentum=0.8, nesterov=True),
    "sgd_decay": lambda: optimizers.SGD(0.1, weight_decay=0.1),
    "adam": lambda: optimizers.Adam(0.01),
    "adam_betas": lambda: optimizers.Adam(0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-4),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "adam_decay": lambda: optimizers.Adam(0.01, weight_decay=0.05),
    "clip_norm": lambda: optimizers.SGD(0.1, clipnorm=0.05),
    "clip_value": lambda: optimizers.SGD(0.1, clipvalue=0.01),
    "global_clip_norm": lambda: optimizers.Adam(0.01, global_clipnorm=0.1),
    "exponential": lambda: optimizers.SGD(optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "piecewise": lambda: optimizers.SGD(optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.1, 0.03, 0.01])),
    "cosine": lambda: optimizers.Adam(optimizers.schedules.CosineDecay(0.01, 5, warmup_target=0.05, warmup_steps=2)),
    "callable": lambda: optimizers.SGD(lambda: 0.07),
}


def check_optimizer(optimizer):
    """Weights, moments and the count of steps after two epochs with a partial batch each."""
    compare(model_for("sparse", OPTIMIZERS[optimizer]()), epochs=2)


def check_hundreds_of_steps(optimizer):
    """After 300 steps the weights are those of Keras, to what rounding makes of them on the way."""
    compare(model_for("sparse", OPTIMIZERS[optimizer]()), samples=100, batch_size=10, epochs=30, close=3e-4)


def check_exclusion_from_decay():
    """By name and by variable."""
    optimizer = optimizers.AdamW(0.01, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    reading, _ = compare(model_for("sparse", optimizer))
    assert [weight.decays for weight in reading.network.weights] == [True, False, True, False]
    optimizer = optimizers.AdamW(0.01, weight_decay=0.5)
    model = model_for("sparse", optimizer)
    optimizer.exclude_from_weight_decay(var_list=[model.layers[1].kernel])
    reading, _ = compare(model)
    assert [weight.decays for weight in reading.network.weights] == [True, True, False, True]


def check_penalties_are_clipped_with_the_loss():
    """The gradient of a penalty is part of what is clipped."""
    model = sequential(LINE, layers.Dense(5, kernel_regularizer="l2"), layers.Dense(3, activation="softmax"))
    model.compile(optimizer=optimizers.SGD(0.1, global_clipnorm=0.1), loss="sparse_categorical_crossentropy")
    compare(model)


def check_names_of_metrics():
    """As History has them: twice the same, weighted, and objects with names of their own."""
    model = sequential(LINE, layers.Dense(4, activation="softmax"))
    own = keras.metrics.SparseCategoricalAccuracy(name="mine")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy", own], weighted_metrics=["accuracy"])
    compare(model, weight=np.linspace(0, 2, 13).astype("float32"))
    names = [metric.name for metric in covered(model).network.metrics]
    assert names == ["accuracy", "mine", "weighted_accuracy"], names


def check_threshold():
    """Accuracy of logits, at 0."""
    model = sequential(LINE, layers.Dense(1))
    metric = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)
    model.compile("sgd", losses.BinaryCrossentropy(from_logits=True), metrics=[metric])
    compare(model)


def check_logits_are_recovered_on_tensorflow_alone():
    """Whatever makes the probabilities: an activation, or a layer of its own."""
    for ending in ([layers.Dense(4, activation="softmax")], [layers.Dense(4), layers.Softmax()]):
        model = sequential(LINE, *ending)
        model.compile("sgd", "sparse_categorical_crossentropy")
        recovered = covered(model).network.loss.logits is not None
        assert recovered == (keras.backend.backend() == "tensorflow")
        compare(model, (80 * np.random.default_rng(2).normal(size=(13, 6))).astype("float32"), close=3e-5)


def check_resuming():
    """What the plain trainer trained, Keras goes on with; the optimizer's moments and count of steps are in the model."""
    plain, mixed = (model_for("sparse", optimizers.Adam(0.01)) for _ in range(2))
    for model in (plain, mixed):
        shaken(model)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(40, 6)).astype("float32"), generator.integers(4, size=40).astype("int32")
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    plain.fit(x, y, epochs=6, **options)
    reading = covered(mixed)
    for _ in range(3):
        state = reading.state()
        trainer = PlainTrainer(reading.network, state)
        trainer.train(Data(x, y), np.arange(40), 16, rates(reading, 3))
        reading.write(state)
        state.weights[0][...] = np.nan  # nobody may go on with memory that is ours
        mixed.fit(x, y, epochs=1, **options)
    for place, (a, b) in enumerate(zip(plain.variables, mixed.variables, strict=True)):
        same(keras.ops.convert_to_numpy(b.value), keras.ops.convert_to_numpy(a.value), 1e-5, f"variable {place}")
    assert int(mixed.optimizer.iterations) == int(plain.optimizer.iterations) == 18


class Stairs(optimizers.schedules.LearningRateSchedule):
    """A schedule of the user's own, with Python's own conditions, which no backend can compile."""

    def __call__(self, step):
        return 0.1 if int(step) % 100 < 50 else 0.01

    def get_config(self):
        return {}


SCHEDULES = {
    "exponential": lambda: optimizers.schedules.ExponentialDecay(0.1, 100, 0.5, staircase=True),
    "piecewise": lambda: optimizers.schedules.PiecewiseConstantDecay([1000, 1100], [0.1, 0.03, 0.01]),
    "cosine": lambda: optimizers.schedules.CosineDecay(0.01, 900, warmup_target=0.05, warmup_steps=1000),
    "restarts": lambda: optimizers.schedules.CosineDecayRestarts(0.01, 60),
    "polynomial": lambda: optimizers.schedules.PolynomialDecay(0.1, 500, cycle=True),
    "inverse": lambda: optimizers.schedules.InverseTimeDecay(0.1, 10, 0.5),
    "own": Stairs,
}


def check_schedule(schedule):
    """Many steps at once are what the schedule says of each, also across blocks and after another schedule."""
    made = SCHEDULES[schedule]()
    optimizer, rates = optimizers.SGD(optimizers.schedules.ExponentialDecay(0.3, 7, 0.9)), Rates()
    rates.of(optimizer, 0, 3)
    optimizer = optimizers.SGD(made)
    for first, steps in ((0, 5), (1015, 15), (5, 2), (2047, 1)):
        found = rates.of(optimizer, first, steps)
        told = [float(made(keras.ops.convert_to_tensor(step))) for step in range(first, first + steps)]
        assert found.shape == (steps,)
        same(found, np.array(told), 1e-7, f"steps from {first}")


def check_rates_that_are_set():
    """A number is read each time, as callbacks may set it."""
    optimizer, rates = optimizers.SGD(0.5), Rates()
    assert rates.of(optimizer, 0, 2).tolist() == [0.5, 0.5]
    optimizer.learning_rate = 0.25
    assert rates.of(optimizer, 0, 2).tolist() == [0.25, 0.25]
