"""What the engine does not cover is named, layer by layer and option by option; all of it at once."""

from __future__ import annotations

import keras
import pytest
from keras import layers, losses, optimizers

from epochwise.engine import supports
from epochwise.engine.keras import read
from epochwise.errors import NotAModelError, UsageError
from tests.engine.on_keras.parity import sequential

MAP, LINE = (8, 8, 4), (6,)


class Own(layers.Dense):
    """A layer that may do anything."""


class OwnModel(keras.Model):
    """A model whose code nobody reads."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


class OwnStep(keras.Sequential):
    """A functional model with a step of its own."""

    def train_step(self, *args):
        return super().train_step(*args)


def compiled(*made, shape=LINE, loss="sparse_categorical_crossentropy", optimizer="sgd", **options):
    model = sequential(shape, *made, layers.Flatten(), layers.Dense(3, activation="softmax"))
    model.compile(optimizer=optimizers.get(optimizer), loss=loss, **options)
    return model


def ending(*made, loss, **options):
    model = sequential(LINE, *made)
    model.compile("sgd", loss, **options)
    return model


OPTIONS = {
    "constraint": lambda: (compiled(layers.Dense(4, kernel_constraint="non_neg", name="it")), "it", "constraint on kernel"),
    "regularizer": lambda: (
        compiled(layers.Dense(4, kernel_regularizer="orthogonal_regularizer", name="it")),
        "it",
        "OrthogonalRegularizer",
    ),
    "activity": lambda: (compiled(layers.Dense(4, activity_regularizer="l2", name="it")), "it", "activity_regularizer"),
    "dtype": lambda: (compiled(layers.Dense(4, dtype="mixed_float16", name="it")), "it", "mixed_float16"),
    "activation": lambda: (compiled(layers.Dense(4, activation="silu", name="it")), "it", "activation silu"),
    "own_function": lambda: (compiled(layers.Dense(4, activation=lambda x: x, name="it")), "it", "activation <lambda>"),
    "own_layer": lambda: (compiled(Own(4, name="it")), "it", "class of your own"),
    "kind": lambda: (compiled(layers.GaussianNoise(0.1, name="it")), "it", "layer GaussianNoise"),
    "data_format": lambda: (
        compiled(layers.MaxPooling2D(2, data_format="channels_first", name="it"), shape=MAP),
        "it",
        "channels_f",
    ),
    "relu_cap": lambda: (compiled(layers.ReLU(max_value=6.0, name="it")), "it", "max_value 6"),
    "softmax_axis": lambda: (compiled(layers.Softmax(axis=1, name="it"), shape=MAP), "it", "axis 1"),
    "noise_shape": lambda: (compiled(layers.Dropout(0.5, noise_shape=(None, 1), name="it")), "it", "noise_shape"),
    "norm_axis": lambda: (compiled(layers.BatchNormalization(axis=1, name="it"), shape=MAP), "it", "axis 1"),
    "layer_norm_axis": lambda: (compiled(layers.LayerNormalization(axis=1, name="it"), shape=MAP), "it", "axis [1]"),
    "bilinear": lambda: (compiled(layers.UpSampling2D(2, interpolation="bilinear", name="it"), shape=MAP), "it", "bilinear"),
    "rescaling": lambda: (compiled(layers.Rescaling([1.0] * 6, name="it")), "it", "each channel"),
    "masking": lambda: (compiled(layers.Masking(name="it"), shape=(5, 3)), "it", "layer Masking"),
    "add_loss": lambda: (with_loss(), "it", "add_loss"),
    "focal": lambda: (compiled(loss=losses.CategoricalFocalCrossentropy()), "loss", "CategoricalFocalCrossentropy"),
    "ignored": lambda: (compiled(loss=losses.SparseCategoricalCrossentropy(ignore_class=0)), "loss", "ignore_class"),
    "sum": lambda: (compiled(loss=losses.SparseCategoricalCrossentropy(reduction="sum")), "loss", "reduction 'sum'"),
    "no_loss": lambda: (compiled(loss=None), "loss", "none"),
    "own_loss": lambda: (compiled(loss=lambda y, p: p[:, 0]), "loss", "<lambda>"),
    "no_softmax": lambda: (ending(layers.Dense(3), loss="sparse_categorical_crossentropy"), "loss", "from_logits=True"),
    "metric": lambda: (compiled(metrics=["accuracy", keras.metrics.AUC(name="auc")]), "metrics", "auc"),
    "many_metrics": lambda: (compiled(metrics=["accuracy"] * 40), "metrics", "40 of them; covered are at most 31"),
    "other_labels": lambda: (compiled(metrics=["categorical_accuracy"]), "metrics", "different labels"),
    "optimizer": lambda: (compiled(optimizer=optimizers.RMSprop()), "optimizer", "RMSprop"),
    "amsgrad": lambda: (compiled(optimizer=optimizers.Adam(amsgrad=True)), "optimizer", "amsgrad"),
    "ema": lambda: (compiled(optimizer=optimizers.SGD(use_ema=True)), "optimizer", "use_ema"),
    "accumulation": lambda: (
        compiled(optimizer=optimizers.SGD(gradient_accumulation_steps=2)),
        "optimizer",
        "gradient_accumulation_steps",
    ),
    "loss_scale": lambda: (compiled(optimizer=optimizers.SGD(loss_scale_factor=2.0)), "optimizer", "loss_scale_factor"),
    "own_step": lambda: (own_step(), None, "train_step of its own"),
    "open_shape": lambda: (open_shape(), "input", "leaves sizes open"),
    "two_inputs": lambda: (two_inputs(), "model", "2 inputs"),
    "stretched": lambda: (stretched(), "it", "different shapes"),
    "operation": lambda: (operation(), None, "the operation Exp outside of layers"),
}


def with_loss():
    layer = layers.Dense(4, name="it")
    model = compiled(layer)
    layer.add_loss(keras.ops.convert_to_tensor(0.0))
    return model


def own_step():
    model = OwnStep([keras.Input(LINE), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def open_shape():
    x = keras.Input((None, None, 3))
    model = keras.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def functional(*inputs, output):
    model = keras.Model(list(inputs) if len(inputs) > 1 else inputs[0], layers.Dense(3, activation="softmax")(output))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def two_inputs():
    a, b = keras.Input(LINE), keras.Input(LINE)
    return functional(a, b, output=layers.Add()([a, b]))


def stretched():
    x = keras.Input(LINE)
    return functional(x, output=layers.Add(name="it")([layers.Dense(6)(x), layers.Dense(1)(x)]))


def operation():
    x = keras.Input(LINE)
    return functional(x, output=keras.ops.exp(layers.Dense(6)(x)))


def check_option(option):
    """One reason, at its layer."""
    model, where, what = OPTIONS[option]()
    reasons = supports(model).reasons
    assert len(reasons) == 1, [str(reason) for reason in reasons]
    assert where is None or reasons[0].where == where, reasons
    assert what in reasons[0].what, reasons


def check_all_reasons_at_once():
    """Layers behind one that is not covered are looked at too; a shared layer is named once."""
    shared = layers.Dense(6, activation="silu", name="shared")
    x = keras.Input(LINE)
    model = functional(x, output=layers.GaussianNoise(0.1, name="noise")(shared(shared(x))))
    model.compile(optimizers.RMSprop(), "poisson", metrics=["cosine_similarity"])
    support = supports(model)
    assert not support
    assert [reason.where for reason in support.reasons] == ["shared", "noise", "loss", "metrics", "optimizer"], str(support)
    assert str(support).startswith("The engine does not train this model:\n  shared: activation silu")


def check_covered():
    """A covered model is told so; what is not compiled yet is looked at as far as that goes."""
    assert supports(compiled(layers.Dense(4)))
    assert "trains this model" in str(supports(compiled()))
    assert supports(sequential(LINE, layers.Dense(4)))
    assert not supports(sequential(LINE, layers.Dense(4, activation="silu")))


def check_what_is_no_model():
    """Said as it is."""
    with pytest.raises(NotAModelError, match="type int"):
        supports(3)
    with pytest.raises(UsageError, match="not compiled"):
        read(sequential(LINE, layers.Dense(4)))
    model = OwnModel()
    model.compile("sgd", "mse")
    assert "not built" in str(supports(model))
    model.build((None, 4))
    assert "OwnModel is a class of its own" in str(supports(model))
