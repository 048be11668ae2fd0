"""Every layer, with every option that is covered, in a small model; and graphs of several shapes."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from epochwise.engine.keras import supports
from tests.engine.on_keras.parity import compare, sequential

MAP, ROW, LINE = (7, 6, 4), (9, 4), (6,)
WIDE = (8, 6, 20)
"""A map whose 3x3 convolutions are done with fewer multiplications."""

LAYERS = {
    "dense": lambda: (LINE, layers.Dense(5)),
    "dense_without_bias": lambda: (LINE, layers.Dense(5, use_bias=False)),
    "dense_on_a_map": lambda: (MAP, layers.Dense(5, activation="relu")),
    "dense_with_penalties": lambda: (
        LINE,
        layers.Dense(5, kernel_regularizer="l1l2", bias_regularizer=keras.regularizers.L2(0.1)),
    ),
    "dense_with_l1": lambda: (LINE, layers.Dense(5, kernel_regularizer=keras.regularizers.L1(0.02))),
    "dense_with_a_layer_as_activation": lambda: (LINE, layers.Dense(5, activation=layers.LeakyReLU(0.3))),
    "conv_valid": lambda: (MAP, layers.Conv2D(5, 3)),
    "conv_same": lambda: (MAP, layers.Conv2D(5, (3, 2), padding="same", use_bias=False)),
    "conv_wide": lambda: (WIDE, keras.Sequential([layers.Conv2D(24, 3, padding="same"), layers.BatchNormalization()])),
    "conv_wide_relu": lambda: (WIDE, layers.Conv2D(33, 3, activation="relu")),
    "conv_strides": lambda: (MAP, layers.Conv2D(5, 3, strides=(2, 1), activation="tanh")),
    "conv_same_strides": lambda: (MAP, layers.Conv2D(5, 3, strides=2, padding="same")),
    "conv_same_even": lambda: (MAP, layers.Conv2D(5, 4, strides=3, padding="same")),
    "conv_dilated": lambda: (MAP, layers.Conv2D(5, 2, dilation_rate=(3, 2))),
    "conv_dilated_same": lambda: (MAP, layers.Conv2D(5, 3, dilation_rate=2, padding="same")),
    "conv_groups": lambda: (MAP, layers.Conv2D(6, 3, groups=2)),
    "conv_1x1": lambda: (MAP, layers.Conv2D(9, 1, kernel_regularizer="l2")),
    "conv1d": lambda: (ROW, layers.Conv1D(5, 3, strides=2, padding="same")),
    "conv1d_causal": lambda: (ROW, layers.Conv1D(5, 3, dilation_rate=2, padding="causal")),
    "conv1d_groups": lambda: (ROW, layers.Conv1D(4, 2, groups=4)),
    "depthwise": lambda: (MAP, layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "depthwise_same": lambda: (MAP, layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)),
    "depthwise_dilated": lambda: (MAP, layers.DepthwiseConv2D(2, dilation_rate=2, activation="relu")),
    "depthwise1d": lambda: (ROW, layers.DepthwiseConv1D(3, depth_multiplier=3)),
    "separable": lambda: (MAP, layers.SeparableConv2D(5, 3, depth_multiplier=2, activation="relu")),
    "separable_same": lambda: (MAP, layers.SeparableConv2D(5, 3, strides=2, padding="same", use_bias=False)),
    "separable1d": lambda: (ROW, layers.SeparableConv1D(5, 3)),
    "max_pool": lambda: (MAP, layers.MaxPooling2D(2)),
    "max_pool_strides": lambda: (MAP, layers.MaxPooling2D((3, 2), strides=(1, 2))),
    "max_pool_same": lambda: (MAP, layers.MaxPooling2D(3, strides=2, padding="same")),
    "max_pool1d": lambda: (ROW, layers.MaxPooling1D(2)),
    "average_pool": lambda: (MAP, layers.AveragePooling2D(2)),
    "average_pool_same": lambda: (MAP, layers.AveragePooling2D(3, strides=(2, 1), padding="same")),
    "average_pool1d": lambda: (ROW, layers.AveragePooling1D(3, strides=2)),
    "global_average": lambda: (MAP, layers.GlobalAveragePooling2D()),
    "global_average_kept": lambda: (MAP, layers.GlobalAveragePooling2D(keepdims=True)),
    "global_max": lambda: (MAP, layers.GlobalMaxPooling2D()),
    "global_average1d": lambda: (ROW, layers.GlobalAveragePooling1D()),
    "global_max1d": lambda: (ROW, layers.GlobalMaxPooling1D(keepdims=True)),
    "batch_norm": lambda: (MAP, layers.BatchNormalization()),
    "batch_norm_plain": lambda: (MAP, layers.BatchNormalization(momentum=0.8, epsilon=1e-2, center=False, scale=False)),
    "batch_norm_vector": lambda: (LINE, layers.BatchNormalization()),
    "batch_norm_frozen": lambda: (MAP, layers.BatchNormalization(trainable=False)),
    "layer_norm": lambda: (MAP, layers.LayerNormalization()),
    "layer_norm_whole": lambda: (MAP, layers.LayerNormalization(axis=[1, 2, 3], epsilon=1e-2)),
    "layer_norm_plain": lambda: (LINE, layers.LayerNormalization(center=False, scale=False)),
    "relu": lambda: (LINE, layers.ReLU()),
    "relu_slope": lambda: (LINE, layers.ReLU(negative_slope=0.3)),
    "leaky_relu": lambda: (LINE, layers.LeakyReLU()),
    "elu": lambda: (LINE, layers.ELU(alpha=0.7)),
    "softmax": lambda: (LINE, layers.Softmax()),
    "act_relu": lambda: (LINE, layers.Activation("relu")),
    "act_sigmoid": lambda: (LINE, layers.Activation("sigmoid")),
    "act_tanh": lambda: (LINE, layers.Activation("tanh")),
    "act_softmax": lambda: (MAP, layers.Activation("softmax")),
    "act_gelu": lambda: (LINE, layers.Activation("gelu")),
    "act_leaky_relu": lambda: (LINE, layers.Activation("leaky_relu")),
    "act_elu": lambda: (LINE, layers.Activation("elu")),
    "act_linear": lambda: (LINE, layers.Activation("linear")),
    "identity": lambda: (LINE, layers.Identity()),
    "zero_padding": lambda: (MAP, layers.ZeroPadding2D(((1, 0), (2, 3)))),
    "zero_padding1d": lambda: (ROW, layers.ZeroPadding1D((1, 3))),
    "up_sampling": lambda: (MAP, layers.UpSampling2D((2, 3))),
    "up_sampling1d": lambda: (ROW, layers.UpSampling1D(2)),
    "reshape": lambda: (MAP, layers.Reshape((6, -1, 7))),
    "flatten": lambda: (MAP, layers.Flatten()),
    "rescaling": lambda: (MAP, layers.Rescaling(1 / 127.5, offset=-1)),
    "dropout_of_nothing": lambda: (LINE, layers.Dropout(0.0)),
    "frozen_dense": lambda: (LINE, layers.Dense(5, trainable=False, kernel_regularizer="l2")),
}
"""Each between two layers with weights, so that gradients of inputs and weights show."""


def before(shape):
    """A layer with weights that keeps the shape."""
    return layers.Dense(shape[-1])


def trained(model, loss="sparse_categorical_crossentropy", optimizer="sgd", **options):
    options = {"run_eagerly": True, **options}  # a model that is used once is not worth compiling
    model.compile(optimizer=keras.optimizers.get(optimizer), loss=loss, metrics=["accuracy"], **options)
    return model


def check_layer(layer):
    """Between two layers with weights: outputs, loss, one epoch of weights and running statistics are Keras's to 1e-6."""
    shape, made = LAYERS[layer]()
    compare(
        trained(sequential(shape, before(shape), made, layers.Flatten(), layers.Dense(3, activation="softmax"))), samples=10
    )


def check_uneven_average_pool():
    """PyTorch's backend repeats pixels where others count none, and is not followed there."""
    pool = layers.AveragePooling2D(3, strides=2, padding="same")
    model = trained(sequential(MAP, pool, layers.Flatten(), layers.Dense(3, activation="softmax")))
    if keras.backend.backend() == "torch":
        (reason,) = supports(model).reasons
        assert reason.where == pool.name, reason
        assert "uneven" in reason.what, reason
    else:
        compare(model)


def check_embedding():
    """Whole numbers become rows; of a row that is looked up twice, the gradients add up."""
    model = keras.Sequential([keras.Input((6,), dtype="int32"), layers.Embedding(8, 5), layers.Flatten(), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x = np.random.default_rng(0).integers(8, size=(13, 6)).astype("int32")
    compare(trained(model, loss), x)


def check_uint8_rescaled():
    """Bytes go into the model as they are."""
    model = keras.Sequential(
        [
            keras.Input((5, 4, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 2),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compare(trained(model, loss), np.random.default_rng(0).integers(256, size=(13, 5, 4, 3)).astype("uint8"))


JOINS = ["Add", "Subtract", "Multiply", "Maximum", "Average", "Concatenate"]


def check_join(join):
    """Branches that meet again; the tensor that both read gets the gradients of both."""
    x = keras.Input(MAP)
    middle = layers.Conv2D(4, 3, padding="same", activation="tanh")(x)
    left, right = layers.Conv2D(4, 3, padding="same")(middle), layers.Conv2D(4, 1)(middle)
    ends = [left, right] if join == "Subtract" else [left, right, middle]
    joined = getattr(layers, join)()(ends)
    out = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(joined))
    compare(trained(keras.Model(x, out)))


def check_concatenate_along_rows():
    """The axis is Keras's, with the samples as axis 0."""
    x = keras.Input(MAP)
    joined = layers.Concatenate(axis=1)([layers.Conv2D(4, 1)(x), layers.MaxPooling2D((2, 1))(x)])
    compare(trained(keras.Model(x, layers.Dense(3, activation="softmax")(layers.Flatten()(joined)))))


def check_operators():
    """``a + b`` on tensors is a layer without a name."""
    x = keras.Input(LINE)
    a, b = layers.Dense(5)(x), layers.Dense(5)(x)
    out = layers.Dense(3, activation="softmax")(keras.ops.relu((a + b) * a - b))
    compare(trained(keras.Model(x, out)))


def check_shared_layer():
    """A layer that is used three times has one set of weights, whose gradients add up."""
    x = keras.Input(LINE)
    shared = layers.Dense(6, activation="tanh")
    out = layers.Dense(3, activation="softmax")(layers.Add()([shared(shared(x)), shared(x)]))
    compare(trained(keras.Model(x, out)))


def check_shared_normalization():
    """Running statistics move once for each use, in Keras's order."""
    x = keras.Input(LINE)
    shared = layers.BatchNormalization(momentum=0.7)
    out = layers.Dense(3, activation="softmax")(shared(layers.Dense(6)(shared(layers.Dense(6)(x)))))
    compare(trained(keras.Model(x, out)))


def check_nested():
    """Models within models, one of them used twice, Sequential and functional."""
    inner_input = keras.Input((5,))
    inner = keras.Model(inner_input, layers.Add()([layers.Dense(5, activation="relu")(inner_input), inner_input]))
    block = keras.Sequential([layers.Dense(5), layers.BatchNormalization(), inner])
    x = keras.Input(LINE)
    middle = block(layers.Dense(5)(x))
    out = layers.Dense(3, activation="softmax")(inner(middle))
    compare(trained(keras.Model(x, out)))


def check_sequential_of_models():
    """A Sequential whose first layer is a model."""
    first = keras.Sequential([keras.Input(LINE), layers.Dense(4, activation="relu")])
    compare(trained(keras.Sequential([first, layers.Dense(3, activation="softmax")])))


def check_part_of_a_model():
    """A model cut out of the middle of another one."""
    x = keras.Input(LINE)
    a = layers.Dense(5, activation="relu")(x)
    b = layers.Dense(4, activation="relu")(a)
    whole = keras.Model(x, layers.Dense(3)(b))
    compare(trained(keras.Sequential([keras.Model(whole.input, b), layers.Dense(3, activation="softmax")])))


def check_frozen_model():
    """What is frozen as a whole stays, also its running statistics."""
    base = keras.Sequential([keras.Input(MAP), layers.Conv2D(4, 2), layers.BatchNormalization()])
    base.trainable = False
    compare(trained(keras.Sequential([base, layers.Flatten(), layers.Dense(3, activation="softmax")])))


def check_compiled():
    """The step that Keras compiles is the one that it runs eagerly."""
    shape = (7, 6, 4)
    model = sequential(shape, layers.Conv2D(4, 2), layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dense(3, activation="softmax"))
    compare(trained(model, run_eagerly=False))


def check_training_told_within_a_graph():
    """``layer(x, training=False)`` within a functional model is overruled by fit, in Keras as here."""
    x = keras.Input(LINE)
    normal = layers.BatchNormalization(momentum=0.7)(layers.Dense(5)(x), training=False)
    compare(trained(keras.Model(x, layers.Dense(3, activation="softmax")(normal))))
