"""``import tensorflow`` in users' files on the backends that are not TensorFlow."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Every way in which people import Keras out of TensorFlow; the last function reaches for TensorFlow itself.
USER_FILE = """
import tensorflow as tf
import tensorflow
import tensorflow.keras
import tensorflow.keras as K
import tensorflow.keras.layers as L
from tensorflow import keras
from tensorflow.keras import layers, Sequential
from tensorflow.keras.layers import Dense as D
from helper import flatten

class Mine(tf.keras.layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.inner = layers.Dense(units)
    def call(self, x):
        return tf.keras.activations.relu(self.inner(x))

def build(input_shape, output_shape):
    from tensorflow.keras.optimizers import SGD
    print("building")
    model = Sequential([tf.keras.Input(input_shape), flatten(), Mine(4), L.Dense(4), D(output_shape, activation="softmax")])
    model.compile(SGD(), "sparse_categorical_crossentropy")
    assert tf is tensorflow and K is keras is tf.keras is tensorflow.keras
    return model

def reaches():
    return tf.raw_ops.Relu
"""

HELPER = """
from tensorflow.keras.layers import Flatten

def flatten():
    return Flatten()
"""

CODE = """
import builtins
before = builtins.__import__
subject = load("mine.py:build")
import keras
assert isinstance(subject.model, keras.Model) and keras.backend.backend() == BACKEND == subject.backend
assert builtins.__import__ is before
assert not [name for name in sys.modules if name.partition(".")[0] == "tensorflow"], "TensorFlow was imported, or left behind"
subject.model.fit(subject.data.x, subject.data.y, verbose=0)  # custom layers run after the stand-in has gone
assert "tensorflow" not in sys.modules
assert sys.path[0] == "" and "mine" in sys.modules
"""

UNINSTALLED = """
sys.modules["tensorflow"] = None  # what Python itself takes for "not installed"
load("mine.py:build")
refused(ModelFailedError, "mine.py:reaches", "uses tensorflow.raw_ops, and TensorFlow is not installed", "pip install")
open("other.py", "w").write("from tensorflow import data\\ndef build(): ...")
refused(ModelFailedError, "other.py:build", "ImportError", "uses tensorflow.data, and TensorFlow is not installed")
open("wrong.py", "w").write("from tensorflow.keras.layers import Dens\\ndef build(): ...")
refused(ModelFailedError, "wrong.py:build", "cannot import name 'Dens' from 'tensorflow.keras.layers'")
open("odd.py", "w").write("import tensorflow.keras.nothing\\ndef build(): ...")
refused(ModelFailedError, "odd.py:build", "No module named 'tensorflow.keras.nothing'")
"""


@pytest.mark.parametrize("backend", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("jax", "torch")])
def test_tf_keras_without_tensorflow(run_with, tmp_path, backend):
    """A file against tf.keras runs unmodified, TensorFlow is neither imported nor needed, and nothing is left behind.

    What only TensorFlow has is refused by name where it is not installed.
    """
    (tmp_path / "mine.py").write_text(USER_FILE)
    (tmp_path / "helper.py").write_text(HELPER)
    out = run_with(backend, CODE + UNINSTALLED)
    assert "building" not in out, "what a user's file prints belongs on standard error"


@pytest.mark.jax
@pytest.mark.tensorflow
def test_the_rest_of_tensorflow(run_with, tmp_path):
    """Where TensorFlow is installed, everything but tf.keras is the real one's; libraries receive the real one anyway."""
    (tmp_path / "mine.py").write_text(USER_FILE)
    (tmp_path / "helper.py").write_text(HELPER)
    run_with(
        "jax",
        """
        refused(NotAModelError, "mine.py:reaches")
        import tensorflow
        assert tensorflow.__file__ and tensorflow.raw_ops
        assert load("mine.py:build").backend == "jax"
        """,
    )


@pytest.mark.tensorflow
def test_on_tensorflow_nothing_is_replaced(run_with, tmp_path):
    """On its own backend, TensorFlow is TensorFlow."""
    (tmp_path / "mine.py").write_text(USER_FILE)
    (tmp_path / "helper.py").write_text(HELPER)
    run_with("tensorflow", 'load("mine.py:build"); import tensorflow; assert sys.modules["mine"].tf is tensorflow')


def test_keras_is_asked_for_late():
    """A user's file that imports no framework makes none be imported."""
    code = (
        "import sys\n"
        "from epochwise.subjects.stand_in import tensorflow_stand_in, is_library\n"
        "def keras(): raise AssertionError\n"
        "with tensorflow_stand_in(keras, backend='jax', packages=()):\n"
        "    import tensorflow, json\n"
        "assert 'tensorflow' not in sys.modules and tensorflow.__name__ == 'tensorflow'\n"
        "assert is_library(json.__file__) and not is_library('') and not is_library('/home/me/net.py')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
