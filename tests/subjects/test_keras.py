"""Keras models as subjects. Each test is one process per backend, and tries much in it."""

from __future__ import annotations

import pytest

BACKENDS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "jax", "torch")]

NETS = """
import keras
from keras import layers

def net(units, activation=None, flatten=True, input_shape=(28, 28, 1)):
    inner = [layers.Flatten()] if flatten else []
    return keras.Sequential([layers.Input(input_shape), *inner, layers.Dense(units, activation=activation)])

def unbuilt(): return keras.Sequential([layers.Flatten(), layers.Dense(10)])
def softmax_layer(): return keras.Sequential([layers.Flatten(), layers.Dense(10), layers.Softmax()])
def activation_layer(): return keras.Sequential([layers.Flatten(), layers.Dense(10), layers.Activation("softmax")])
def nested():
    x = layers.Input((28, 28, 1))
    return keras.Model(x, net(10, "softmax")(x))
class Own(keras.Model):
    def __init__(self, activation="softmax"):
        super().__init__()
        self.flatten, self.dense = layers.Flatten(), layers.Dense(10, activation=activation)
    def call(self, x): return self.dense(self.flatten(x))
def own(activation="softmax"): return Own(activation)
class Mistaken(Own):
    def call(self, x): return undefined
def mistaken(): return Mistaken()
def compiled(loss="mse", units=10):
    model = net(units)
    model.compile("adam", loss)
    return model
def several():
    x = layers.Input((28, 28, 1))
    flat = layers.Flatten()(x)
    return keras.Model(x, [layers.Dense(10)(flat), layers.Dense(10)(flat)])
def rgb(): return net(10, input_shape=(32, 32, 3))
def layer(): return layers.Dense(3)
def dropout(): return keras.Sequential([layers.Flatten(), layers.Dropout(0.5), layers.Dense(10)])
"""

BOTH = """
import keras, torch
from torch import nn

def plain(input_shape, output_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, output_shape))

def kerasy(input_shape, output_shape):
    return keras.Sequential([keras.layers.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(output_shape)])
"""

CODE = """
import keras

def compiled_as(model, data=IMAGES):
    subject = load("nets.py:" + model, data)
    assert subject.backend == BACKEND and subject.model.built and subject.model.compiled
    subject.model.fit(subject.data.x, subject.data.y, batch_size=32, verbose=0)
    loss = subject.model.loss
    assert isinstance(subject.model.optimizer, keras.optimizers.SGD)
    assert float(subject.model.optimizer.learning_rate) == np.float32(0.01)
    return type(loss).__name__, bool(getattr(loss, "from_logits", False))

def labelled(y): return make_dataset("mine", IMAGES.x, y)

# The loss fits the output and the labels.
SPARSE, ONE_HOT, BINARY = "SparseCategoricalCrossentropy", "CategoricalCrossentropy", "BinaryCrossentropy"
for model in ("net(units=10, activation='softmax')", "softmax_layer", "activation_layer", "nested", "own"):
    assert compiled_as(model) == (SPARSE, False), model
for model in ("net(units=12)", "unbuilt", "own(activation=None)", "dropout"):
    assert compiled_as(model) == (SPARSE, True), model
one_hot = labelled(np.eye(10)[IMAGES.y])
assert compiled_as("net(units=10, activation='softmax')", one_hot) == (ONE_HOT, False)
assert compiled_as("net(units=10)", one_hot) == (ONE_HOT, True)
two = labelled(IMAGES.y % 2)
assert compiled_as("net(units=1, activation='sigmoid')", two) == (BINARY, False)
assert compiled_as("net(units=1)", two) == (BINARY, True)
numbers = labelled(IMAGES.y / 7.0)
assert compiled_as("net(units=1)", numbers) == ("MeanSquaredError", False)

# What is compiled stays as it is.
subject = load("nets.py:compiled")
assert subject.model.loss == "mse" and type(subject.model.optimizer).__name__ == "Adam"

# The same seed, the same weights.
first, again, other = (load("nets.py:unbuilt", seed=seed).model.get_weights()[0] for seed in (1, 1, 2))
assert (first == again).all() and (first != other).any()

# What does not fit is refused, with both shapes.
refused(ModelDoesNotFitError, "nets.py:rgb", "samples of shape (28, 28, 1) (float32)", "takes (32, 32, 3)")
try:
    load("nets.py:rgb")
except ModelDoesNotFitError as problem:
    assert "\\x1b" not in str(problem) and "Arguments received" not in str(problem)
refused(ModelDoesNotFitError, "nets.py:net(units=3)", "gives 3 numbers per sample, and the labels have 10 classes", "Dense(10")
refused(ModelDoesNotFitError, "nets.py:net(units=1)", "gives 1 number per sample")
refused(ModelDoesNotFitError, "nets.py:net(units=12)", "gives 12 numbers per sample", "one-hot of 10", data=one_hot)
refused(ModelDoesNotFitError, "nets.py:net(units=2)", "the numbers to predict have ()", data=numbers)
refused(ModelDoesNotFitError, "nets.py:net(units=10, flatten=False)", "Flatten")
refused(ModelDoesNotFitError, "nets.py:several", "has 2 outputs")
refused(ModelDoesNotFitError, "nets.py:compiled(loss='categorical_crossentropy')", "loss for one-hot labels", '"sparse_')
refused(ModelDoesNotFitError, "nets.py:compiled(loss='sparse_categorical_crossentropy')", '"categorical_', data=one_hot)
refused(ModelDoesNotFitError, "nets.py:compiled(loss='sparse_categorical_crossentropy', units=5)", "gives 5 numbers")
refused(NotAModelError, "nets.py:layer", "Dense; a Keras model or a torch.nn.Module is needed")
refused(ModelFailedError, "nets.py:mistaken", "NameError", "nets.py", "in call")
other_backend = {"tensorflow": "jax", "jax": "torch", "torch": "jax"}[BACKEND]
import importlib.util
if importlib.util.find_spec(other_backend):
    refused(UsageError, "nets.py:unbuilt", f"Keras runs on {BACKEND} in this process", backend=other_backend)

# Live objects.
model = keras.Sequential([keras.layers.Dense(3)])
subject = subject_of(model, keras.ops.ones((8, 4)), [0, 1, 2, 0] * 2, name="mine", batch_size=4, seed=0)
assert subject.model is model and model.built and subject.backend == BACKEND and subject.data.classes == 3
assert (BACKEND == "tensorflow") == ("tensorflow" in sys.modules)

# Files.
trained = load("nets.py:net(units=10, activation='softmax')").model
trained.save("mine.keras")
loaded = load("mine.keras")
assert loaded.name == "mine" and loaded.model.compiled
assert all((a == b).all() for a, b in zip(trained.get_weights(), loaded.model.get_weights()))
keras.Sequential([keras.layers.Input((28, 28, 1)), keras.layers.Lambda(lambda x: x * 2)]).save("code.keras")
refused(UnsafeModelError, "code.keras", "holds code, and was refused by Keras's safe mode", "Lambda", "file.py:function")
load("nets.py:own").model.save("own.keras")
refused(ModelFailedError, "own.keras", "cannot load own.keras", "Own")
whole = open("mine.keras", "rb").read()
open("half.keras", "wb").write(whole[: len(whole) // 2])
refused(NotAModelError, "half.keras", "cannot be read as a .keras file", "cut short")
refused(UsageError, "mine.keras", "--backend torch", backend="pytorch") if importlib.util.find_spec("torch") else None
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_keras_models(run_with, tmp_path, backend):
    """Keras models are built, given the loss that fits, seeded, or refused in words; .keras files are loaded safely."""
    (tmp_path / "nets.py").write_text(NETS)
    run_with(backend, CODE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_question(run_with, backend):
    """The question's two models have its parameters on every backend, from the package and from the example alike."""
    run_with(
        backend,
        """
        from pathlib import Path
        import epochwise.subjects
        example = Path(epochwise.subjects.__file__).parents[3] / "examples" / "question.py"
        for source in ("epochwise.subjects.question", str(example)):
            for function, parameters in (("build_model_seq", 55050), ("build_model_cnn", 3330)):
                subject = load(f"{source}:{function}")
                assert subject.model.count_params() == parameters
                assert subject.model.loss == "sparse_categorical_crossentropy"
                assert type(subject.model.optimizer).__name__ == "SGD"
                assert subject.data.x.shape == (64, 28, 28, 1)
                assert subject.name == function
        """,
    )


@pytest.mark.torch
@pytest.mark.jax
def test_plain_pytorch_beside_keras(run_with, tmp_path):
    """A plain module is a pytorch subject whatever backend Keras has; a file that speaks PyTorch alone imports no Keras."""
    (tmp_path / "plain.py").write_text(
        "from torch import nn\n"
        "def build(input_shape, output_shape):\n"
        "    assert input_shape == (1, 28, 28)\n"
        "    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.LazyLinear(output_shape))\n"
    )
    (tmp_path / "both.py").write_text(BOTH)
    run_with(
        "jax",
        """
        subject = load("plain.py:build")
        assert subject.backend == "pytorch" and subject.data.x.shape == (64, 1, 28, 28)
        assert "keras" not in sys.modules and "jax" not in sys.modules
        subject = load("both.py:plain")
        assert subject.backend == "pytorch" and subject.data.x.shape == (64, 1, 28, 28)
        assert load("both.py:kerasy").backend == "jax"
        refused(NotAModelError, "both.py:kerasy", "gave a Keras model", "--backend torch", backend="pytorch")
        """,
    )
