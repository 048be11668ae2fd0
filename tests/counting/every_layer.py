"""One small model for every public layer of Keras that can stand in a model, each behind a layer that learns."""

from __future__ import annotations

import keras
import numpy as np

L = keras.layers

LINE, IMAGE, VOLUME = (8, 6), (12, 10, 3), (6, 5, 4, 3)

ON_LINES = {
    "Activation": {"activation": "gelu"},
    "ActivityRegularization": {"l2": 0.1},
    "AdaptiveAveragePooling1D": {"output_size": 4},
    "AdaptiveMaxPooling1D": {"output_size": 4},
    "AlphaDropout": {"rate": 0.5},
    "AveragePooling1D": {"pool_size": 2},
    "BatchNormalization": {},
    "Conv1D": {"filters": 4, "kernel_size": 3},
    "Conv1DTranspose": {"filters": 4, "kernel_size": 3, "strides": 2},
    "Cropping1D": {},
    "Dense": {"units": 4},
    "DepthwiseConv1D": {"kernel_size": 3},
    "Dropout": {"rate": 0.5},
    "ELU": {},
    "EinsumDense": {"equation": "abc,cd->abd", "output_shape": (None, 4)},
    "Flatten": {},
    "GRU": {"units": 4},
    "GaussianDropout": {"rate": 0.5},
    "GaussianNoise": {"stddev": 0.5},
    "GlobalAveragePooling1D": {},
    "GlobalMaxPooling1D": {},
    "GroupNormalization": {"groups": 2},
    "Identity": {},
    "LSTM": {"units": 4},
    "LayerNormalization": {},
    "LeakyReLU": {},
    "Masking": {},
    "MaxPooling1D": {},
    "PReLU": {},
    "Permute": {"dims": (2, 1)},
    "RMSNormalization": {},
    "ReLU": {},
    "Rescaling": {"scale": 2.0},
    "Reshape": {"target_shape": (6, 8)},
    "SeparableConv1D": {"filters": 4, "kernel_size": 3},
    "SimpleRNN": {"units": 4},
    "Softmax": {},
    "SpatialDropout1D": {"rate": 0.5},
    "UnitNormalization": {},
    "UpSampling1D": {},
    "ZeroPadding1D": {},
}
ON_IMAGES = {
    "AdaptiveAveragePooling2D": {"output_size": 4},
    "AdaptiveMaxPooling2D": {"output_size": 4},
    "AveragePooling2D": {"pool_size": 2},
    "CenterCrop": {"height": 6, "width": 6},
    "Conv2D": {"filters": 4, "kernel_size": 3},
    "Conv2DTranspose": {"filters": 4, "kernel_size": 3, "strides": 2},
    "ConvLSTM1D": {"filters": 4, "kernel_size": 3},
    "Cropping2D": {},
    "DepthwiseConv2D": {"kernel_size": 3},
    "GlobalAveragePooling2D": {},
    "GlobalMaxPooling2D": {},
    "MaxPooling2D": {},
    "Resizing": {"height": 7, "width": 5},
    "SeparableConv2D": {"filters": 4, "kernel_size": 3},
    "SpatialDropout2D": {"rate": 0.5},
    "UpSampling2D": {"interpolation": "bilinear"},
    "ZeroPadding2D": {},
}
ON_VOLUMES = {
    "AdaptiveAveragePooling3D": {"output_size": 2},
    "AdaptiveMaxPooling3D": {"output_size": 2},
    "AveragePooling3D": {"pool_size": 2},
    "Conv3D": {"filters": 4, "kernel_size": 3},
    "Conv3DTranspose": {"filters": 4, "kernel_size": 3, "strides": 2},
    "ConvLSTM2D": {"filters": 4, "kernel_size": 3},
    "Cropping3D": {},
    "GlobalAveragePooling3D": {},
    "GlobalMaxPooling3D": {},
    "MaxPooling3D": {},
    "SpatialDropout3D": {"rate": 0.5},
    "UpSampling3D": {},
    "ZeroPadding3D": {},
}
OF_TWO = {
    "Add": {},
    "AdditiveAttention": {},
    "Attention": {},
    "Average": {},
    "Concatenate": {},
    "Dot": {"axes": 2},
    "GroupQueryAttention": {"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2},
    "Maximum": {},
    "Minimum": {},
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 3},
    "Multiply": {},
    "Subtract": {},
}
OF_LAYERS = {
    "Bidirectional": lambda: L.Bidirectional(L.GRU(4)),
    "RNN": lambda: L.RNN(L.GRUCell(4)),
    "GRUCell": lambda: L.RNN(L.GRUCell(4, reset_after=False)),
    "LSTMCell": lambda: L.RNN(L.LSTMCell(4), return_sequences=True),
    "SimpleRNNCell": lambda: L.RNN(L.SimpleRNNCell(4)),
    "StackedRNNCells": lambda: L.RNN(L.StackedRNNCells([L.LSTMCell(4), L.GRUCell(3)])),
    "SpectralNormalization": lambda: L.SpectralNormalization(L.Dense(4)),
    "TimeDistributed": lambda: L.TimeDistributed(L.Dense(4)),
    "Lambda": lambda: L.Lambda(lambda x: keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1))), output_shape=(8, 8)),
}
OF_NUMBERS = {
    "CategoryEncoding": (lambda: L.CategoryEncoding(num_tokens=9, output_mode="multi_hot"), (5,), "int32"),
    "Discretization": (lambda: L.Discretization(bin_boundaries=[0.0, 1.0]), (6,), "float32"),
    "Embedding": (lambda: L.Embedding(9, 4), (5,), "int32"),
    "MelSpectrogram": (lambda: L.MelSpectrogram(fft_length=32, sequence_stride=16, num_mel_bins=5), (64,), "float32"),
    "Normalization": (lambda: L.Normalization(mean=np.zeros(6), variance=np.ones(6)), (6,), "float32"),
    "RepeatVector": (lambda: L.RepeatVector(3), (6,), "float32"),
    "ReversibleEmbedding": (lambda: L.ReversibleEmbedding(9, 4), (5,), "int32"),
    "STFTSpectrogram": (lambda: L.STFTSpectrogram(frame_length=16, frame_step=8, fft_length=16), (64, 2), "float32"),
}
VOLUME_SEQUENCES = {"ConvLSTM3D": {"filters": 2, "kernel_size": 2}}
OF_PICTURES = {
    "AutoContrast": {},
    "ContrastLimitedAdaptiveHistogramEqualization": {},
    "RandomBrightness": {"factor": 0.2},
    "RandomColorJitter": {"brightness_factor": 0.2},
    "RandomContrast": {"factor": 0.2},
    "RandomErasing": {},
    "RandomFlip": {},
    "RandomInvert": {},
    "RandomPosterization": {"factor": 4},
    "RandomSharpness": {"factor": 0.2},
    "Solarization": {},
}


DIFFERENT = {
    "AugMix": "see RandomRotation, and draws numbers whose values it branches on",
    "CutMix": "branches on numbers that it draws",
    "Equalization": "gives back its symbolic input, so that it cannot stand behind another layer",
    "MelSpectrogram": "JAX makes the window's bands with a matrix product in each step",
    "MixUp": "draws from another distribution on each",
    "RandAugment": "see RandomRotation and RandomColorDegeneration",
    "RandomColorDegeneration": "see RandomGrayscale",
    "RandomCrop": "the model that fit traces gives another shape than the one that Keras says it gives",
    "RandomElasticTransform": "cannot be trained on JAX",
    "RandomGaussianBlur": "TensorFlow makes the kernel with a matrix product",
    "RandomGrayscale": "a matrix product with three weights, on PyTorch a sum",
    "RandomHue": "TensorFlow has no gradient for the colours",
    "RandomPerspective": "solves linear equations, which have no rule on purpose",
    "RandomRotation": "TensorFlow transforms places in one kernel, the others with matrix products",
    "RandomSaturation": "TensorFlow has no gradient for the colours",
    "RandomShear": "see RandomRotation",
    "RandomTranslation": "see RandomRotation",
    "RandomZoom": "see RandomRotation",
    "SpectralNormalization": "writes its weight in its call: a gradient goes through that on JAX alone",
}
"""Layers whose programs are not the same on all backends, and why."""
NOT_IN_A_MODEL = {
    *("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"),  # another library's
    *("HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization"),  # of TensorFlow's data pipeline
    *("InputLayer", "InputSpec", "Layer", "MaxNumBoundingBoxes", "Pipeline", "Wrapper"),
}
SAME = sorted(
    {**ON_LINES, **ON_IMAGES, **ON_VOLUMES, **VOLUME_SEQUENCES, **OF_TWO, **OF_LAYERS, **OF_NUMBERS, **OF_PICTURES}.keys()
    - DIFFERENT
)


def missing():
    """Public layers that are on no list; other names of the same class are one layer."""
    known = {getattr(L, name) for name in {*SAME, *DIFFERENT, *NOT_IN_A_MODEL} if hasattr(L, name)}
    return [name for name, layer in sorted(vars(L).items()) if isinstance(layer, type) and layer not in known]


def build(name):
    """A compiled model around the layer of this name."""
    inputs, outputs = _graph(name)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer="sgd", loss="mse")
    return model


def _graph(name):
    if name in OF_NUMBERS:
        make, shape, dtype = OF_NUMBERS[name]
        given = L.Input(shape, dtype=dtype)
        hidden = given if dtype == "int32" or len(shape) > 1 or name == "Discretization" else L.Dense(shape[-1])(given)
        made = make()(hidden)
        return given, L.Dense(2, name="after")(L.Rescaling(1.0)(made))
    shape = (
        (*LINE,) if name in {**ON_LINES, **OF_TWO, **OF_LAYERS} else IMAGE if name in {**ON_IMAGES, **OF_PICTURES} else VOLUME
    )
    if name in VOLUME_SEQUENCES:
        shape = (3, *VOLUME)
    given = L.Input(shape)
    hidden = L.Dense(shape[-1], name="before")(given)
    if name in OF_TWO:
        other = L.Dense(shape[-1], name="other")(given)
        apart = "Attention" in name and name not in {"Attention", "AdditiveAttention"}
        layer = getattr(L, name)(**OF_TWO[name], name="x")
        return given, layer(hidden, other) if apart else layer([hidden, other])
    if name in OF_LAYERS:
        return given, OF_LAYERS[name]()(hidden)
    known = {**ON_LINES, **ON_IMAGES, **ON_VOLUMES, **VOLUME_SEQUENCES, **OF_PICTURES}
    made = getattr(L, name)(**known[name], name="x")(hidden)
    return given, L.Dense(2, name="after")(made)
