"""Keras architectures as plain data: :func:`architectures` draws them, :func:`build` makes the model.

A description holds no shapes. It is a list of steps with small numbers, and each step takes what it can of them on the tensor
that it meets (a kernel no longer than the axis, as many groups as divide the channels), so every description is a model.
"""

from __future__ import annotations

import math

ANY = [
    "dense",
    "einsum",
    "activation",
    "batch_norm",
    "layer_norm",
    "rms_norm",
    "group_norm",
    "dropout",
    "noise",
    "prelu",
    "residual",
    "branches",
    "nested",
    "shared",
]
LINES = [
    "conv",
    "conv_transposed",
    "depthwise",
    "separable",
    "max_pool",
    "average_pool",
    "global_pool",
    "up_sampling",
    "zero_padding",
    "cropping",
    "spatial_dropout",
    "flatten",
]
KINDS = {
    "vector": [*ANY, "repeat", "fold"],
    "sequence": [
        *(*ANY, *LINES, "lstm", "gru", "simple_rnn", "bidirectional", "attention", "group_attention", "dot_attention"),
        *("time_distributed", "permute"),
    ],
    "image": [*ANY, *LINES, "conv_lstm", "rows"],
    "volume": [*ANY, *LINES],
}
"""Layers that suit a tensor of each rank (samples not counted): 1 vector, 2 sequence, 3 image, 4 volume."""
NAMES = sorted({name for kind in KINDS.values() for name in kind})
RANKS = {1: "vector", 2: "sequence", 3: "image", 4: "volume"}
SIZES = {"vector": (6,), "sequence": (5, 4), "image": (6, 5, 4), "volume": (4, 5, 3, 2), "tokens": (5,)}
ACTIVATIONS = ["linear", "relu", "gelu", "softmax", "silu", "tanh", "sigmoid"]
OPTIMIZERS = ["sgd", "momentum", "adam", "clipped", "accumulated"]
MOST = 2000
"""Elements of a sample above which a step that enlarges a tensor leaves it as it is, so that nothing explodes."""


def architectures():
    """Hypothesis's strategy for descriptions."""
    from hypothesis import strategies as st

    plain = st.fixed_dictionaries(
        {
            "layer": st.sampled_from(NAMES),
            "units": st.integers(2, 6),
            "kernel": st.lists(st.integers(1, 3), min_size=3, max_size=3),
            "strides": st.integers(1, 2),
            "dilation": st.integers(1, 2),
            "groups": st.integers(1, 3),
            "padding": st.sampled_from(["valid", "same", "causal"]),
            "bias": st.booleans(),
            "activation": st.sampled_from(ACTIVATIONS),
            "trainable": st.sampled_from([True, True, True, False]),
            "last": st.sampled_from([False, False, True]),
        }
    )
    no_steps = st.just({"inner": [], "other": []})
    step = st.recursive(
        st.tuples(plain, no_steps).map(lambda pair: pair[0] | pair[1]),
        lambda steps: st.tuples(
            plain, st.fixed_dictionaries({"inner": st.lists(steps, max_size=3), "other": st.lists(steps, max_size=2)})
        ).map(lambda pair: pair[0] | pair[1]),
        max_leaves=4,
    )
    return st.fixed_dictionaries(
        {
            "input": st.sampled_from(sorted(SIZES)),
            "second_input": st.booleans(),
            "second_output": st.booleans(),
            "steps": st.lists(step, min_size=3, max_size=6),
            "optimizer": st.sampled_from(OPTIMIZERS),
        }
    )


def build(description):
    """The compiled model of a description, on the active backend."""
    import keras

    kind = description["input"]
    inputs = [keras.Input(SIZES[kind], dtype="int32" if kind == "tokens" else "float32", name="given")]
    tensor = inputs[0]
    if kind == "tokens":
        tensor = keras.layers.Embedding(7, 4, mask_zero=False)(tensor)
    if description["second_input"]:
        inputs.append(keras.Input(tuple(tensor.shape[1:]), name="second"))
        tensor = keras.layers.Concatenate()([tensor, keras.layers.Dense(2)(inputs[1])])
    middle = len(description["steps"]) // 2
    early = chain(description["steps"][:middle], tensor)
    late = chain(description["steps"][middle:], early)
    outputs = [keras.layers.Dense(2, name="head")(late)]
    if description["second_output"]:
        outputs.append(keras.layers.Dense(3, name="second_head")(early))
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs if len(outputs) > 1 else outputs[0])
    model.compile(optimizer=_optimizer(description["optimizer"]), loss="mse" if len(outputs) == 1 else ["mse", "mae"])
    return model


def _optimizer(name):
    import keras

    return {
        "sgd": keras.optimizers.SGD,
        "momentum": lambda: keras.optimizers.SGD(momentum=0.9),
        "adam": keras.optimizers.Adam,
        "clipped": lambda: keras.optimizers.SGD(clipnorm=1.0),
        "accumulated": lambda: keras.optimizers.SGD(gradient_accumulation_steps=2),
    }[name]()


def chain(steps, tensor):
    """One step after the other; a layer that does not suit the tensor's rank gives its place to one that does."""
    for step in steps:
        suits, wanted = KINDS[RANKS[len(tensor.shape) - 1]], step["layer"]
        layer = wanted if wanted in suits else suits[NAMES.index(wanted) % len(suits)]
        tensor = getattr(_Step(step), layer)(tensor)
    return tensor


def _sizes(tensor):
    """Sizes of the axes between samples and channels."""
    return tuple(tensor.shape[1:-1])


def _common(first, second):
    """Both tensors with the same sizes, by taking vectors of them where they differ; the second as wide as the first."""
    import keras

    if first.shape[1:-1] != second.shape[1:-1]:
        first, second = (tensor if len(tensor.shape) == 2 else keras.layers.Flatten()(tensor) for tensor in (first, second))
    return first, second if second.shape[-1] == first.shape[-1] else keras.layers.Dense(first.shape[-1])(second)


class _Step:
    """One step; each method is a layer, or several, on the tensor that it is given."""

    def __init__(self, step):
        import keras

        self.step = step
        self.layers = keras.layers
        self.keras = keras

    def _call(self, kind, tensor, **options):
        return kind(trainable=self.step["trainable"], **options)(tensor)

    def _of_rank(self, name, tensor):
        return getattr(self.layers, f"{name}{len(tensor.shape) - 2}D")

    def _window(self, tensor):
        return tuple(min(size, kernel) for size, kernel in zip(_sizes(tensor), self.step["kernel"], strict=False))

    def _padding(self, tensor):
        causal = self.step["padding"] == "causal" and len(tensor.shape) != 3
        return "same" if causal else self.step["padding"]

    # any rank

    def dense(self, tensor):
        return self._call(
            self.layers.Dense, tensor, units=self.step["units"], use_bias=self.step["bias"], activation=self.step["activation"]
        )

    def einsum(self, tensor):
        outer = "bcdef"[: len(tensor.shape) - 1]
        return self._call(
            self.layers.EinsumDense,
            tensor,
            equation=f"{outer}x,xy->{outer}y",
            output_shape=(*_sizes(tensor), self.step["units"]),
        )

    def activation(self, tensor):
        return self.layers.Activation(self.step["activation"])(tensor)

    def batch_norm(self, tensor):
        return self._call(self.layers.BatchNormalization, tensor, scale=self.step["bias"])

    def layer_norm(self, tensor):
        return self._call(self.layers.LayerNormalization, tensor, center=self.step["bias"])

    def rms_norm(self, tensor):
        return self._call(self.layers.RMSNormalization, tensor)

    def group_norm(self, tensor):
        return self._call(self.layers.GroupNormalization, tensor, groups=math.gcd(self.step["groups"], tensor.shape[-1]))

    def dropout(self, tensor):
        return self.layers.Dropout(0.3)(tensor)

    def noise(self, tensor):
        return self.layers.GaussianNoise(0.1)(tensor)

    def prelu(self, tensor):
        return self._call(self.layers.PReLU, tensor)

    def residual(self, tensor):
        return self.layers.Add()(_common(tensor, chain(self.step["inner"], tensor)))

    def branches(self, tensor):
        first, second = _common(chain(self.step["inner"], tensor), chain(self.step["other"], tensor))
        joins = ("Concatenate", "Multiply", "Average", "Subtract", "Maximum", "Add")
        return getattr(self.layers, joins[self.step["units"] % len(joins)])()([first, second])

    def nested(self, tensor):
        given = self.keras.Input(tuple(tensor.shape[1:]))
        model = self.keras.Model(given, chain(self.step["inner"], self.layers.Dense(self.step["units"])(given)))
        if not self.step["trainable"]:
            model.trainable = False
        return model(tensor)

    def shared(self, tensor):
        layer = self.layers.Dense(tensor.shape[-1], activation=self.step["activation"], trainable=self.step["trainable"])
        return layer(layer(tensor))

    # sequences, images, volumes

    def conv(self, tensor):
        groups = math.gcd(self.step["groups"], tensor.shape[-1])
        window, padding = self._window(tensor), self._padding(tensor)
        dilation = tuple(
            self.step["dilation"] if (kernel - 1) * self.step["dilation"] < size else 1
            for kernel, size in zip(window, _sizes(tensor), strict=True)
        )
        return self._call(
            self._of_rank("Conv", tensor),
            tensor,
            filters=groups * self.step["units"],
            kernel_size=window,
            strides=self.step["strides"] if max(dilation) == 1 else 1,
            padding=padding,
            dilation_rate=dilation,
            groups=groups,
            use_bias=self.step["bias"],
            activation=self.step["activation"],
        )

    def conv_transposed(self, tensor):
        if math.prod(tensor.shape[1:]) > MOST:
            return tensor
        padding = "valid" if self._padding(tensor) == "causal" else self._padding(tensor)
        name = f"Conv{len(tensor.shape) - 2}DTranspose"
        options = {"filters": self.step["units"], "kernel_size": self._window(tensor), "strides": self.step["strides"]}
        return self._call(getattr(self.layers, name), tensor, padding=padding, use_bias=self.step["bias"], **options)

    def depthwise(self, tensor):
        if len(tensor.shape) > 4:
            return self.conv(tensor)
        padding = "same" if self._padding(tensor) == "causal" else self._padding(tensor)
        return self._call(
            self._of_rank("DepthwiseConv", tensor),
            tensor,
            kernel_size=min(self._window(tensor)),
            strides=self.step["strides"],
            padding=padding,
            depth_multiplier=self.step["groups"],
        )

    def separable(self, tensor):
        if len(tensor.shape) > 4:
            return self.conv(tensor)
        options = {"filters": self.step["units"], "kernel_size": min(self._window(tensor)), "strides": self.step["strides"]}
        kind = self._of_rank("SeparableConv", tensor)
        return self._call(kind, tensor, padding=self._padding(tensor), depth_multiplier=self.step["dilation"], **options)

    def _pool(self, kind, tensor):
        padding = "same" if self._padding(tensor) == "causal" else self._padding(tensor)
        return self._of_rank(kind, tensor)(min(self._window(tensor)), strides=self.step["strides"], padding=padding)(tensor)

    def max_pool(self, tensor):
        return self._pool("MaxPooling", tensor)

    def average_pool(self, tensor):
        return self._pool("AveragePooling", tensor)

    def global_pool(self, tensor):
        return self._of_rank("GlobalMaxPooling" if self.step["last"] else "GlobalAveragePooling", tensor)()(tensor)

    def up_sampling(self, tensor):
        return tensor if math.prod(tensor.shape[1:]) > MOST else self._of_rank("UpSampling", tensor)(2)(tensor)

    def zero_padding(self, tensor):
        return tensor if math.prod(tensor.shape[1:]) > MOST else self._of_rank("ZeroPadding", tensor)(1)(tensor)

    def cropping(self, tensor):
        return tensor if min(_sizes(tensor)) < 3 else self._of_rank("Cropping", tensor)(1)(tensor)

    def spatial_dropout(self, tensor):
        return self._of_rank("SpatialDropout", tensor)(0.3)(tensor)

    def flatten(self, tensor):
        return self.layers.Flatten()(tensor)

    # vectors

    def repeat(self, tensor):
        return self.layers.RepeatVector(3)(tensor)

    def fold(self, tensor):
        return self.layers.Reshape((tensor.shape[-1], 1))(tensor)

    # sequences

    def _recurrent(self, kind, tensor):
        return self._call(
            kind,
            tensor,
            units=self.step["units"],
            return_sequences=not self.step["last"],
            use_bias=self.step["bias"],
            go_backwards=self.step["strides"] == 2,
            recurrent_dropout=0.2 if self.step["groups"] == 3 else 0.0,
        )

    def lstm(self, tensor):
        return self._recurrent(self.layers.LSTM, tensor)

    def gru(self, tensor):
        return self._recurrent(self.layers.GRU, tensor)

    def simple_rnn(self, tensor):
        return self._recurrent(self.layers.SimpleRNN, tensor)

    def bidirectional(self, tensor):
        kind = self.layers.GRU if self.step["dilation"] == 2 else self.layers.LSTM
        inner = kind(self.step["units"], return_sequences=not self.step["last"])
        return self.layers.Bidirectional(inner, merge_mode="sum" if self.step["bias"] else "concat")(tensor)

    def attention(self, tensor):
        inner = self.layers.MultiHeadAttention(self.step["groups"], self.step["units"], trainable=self.step["trainable"])
        return inner(tensor, tensor, use_causal_mask=self.step["last"])

    def group_attention(self, tensor):
        groups = self.step["groups"]
        inner = self.layers.GroupQueryAttention(self.step["units"], groups * self.step["dilation"], groups)
        return inner(tensor, tensor)

    def dot_attention(self, tensor):
        return self.layers.Attention()([tensor, self.layers.Dense(tensor.shape[-1])(tensor)])

    def time_distributed(self, tensor):
        return self.layers.TimeDistributed(self.layers.Dense(self.step["units"], trainable=self.step["trainable"]))(tensor)

    def permute(self, tensor):
        return self.layers.Permute((2, 1))(tensor)

    # images

    def conv_lstm(self, tensor):
        options = {"return_sequences": not self.step["last"], "use_bias": self.step["bias"], "padding": "same"}
        return self._call(
            self.layers.ConvLSTM1D, tensor, filters=self.step["units"], kernel_size=self.step["kernel"][0], **options
        )

    def rows(self, tensor):
        return self.layers.Reshape((tensor.shape[1], tensor.shape[2] * tensor.shape[3]))(tensor)
