"""Data from random numbers, files, functions and arrays."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from epochwise.errors import DataCorruptError, DataError, DataNotFoundError, ModelFailedError, UsageError
from epochwise.subjects import datasets
from epochwise.subjects.datasets import DataSpec, load_data


def test_no_framework_is_imported():
    """Finding models and data imports no framework."""
    code = (
        "import sys, epochwise.subjects.models, epochwise.subjects.datasets, epochwise.subjects.loading, "
        "epochwise.subjects.fashion_mnist; "
        "assert not {'keras', 'tensorflow', 'jax', 'torch', 'pooch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_random_data():
    """Random data have the shape, classes and number asked for, in the order of the seed."""
    spec = DataSpec(source="random", input_shape=(8, 9, 3), classes=7, samples=50, seed=3)
    data = load_data(spec)
    assert (data.x.shape, data.x.dtype, data.y.shape, data.y.dtype) == ((50, 8, 9, 3), np.float32, (50,), np.int32)
    assert (data.classes, data.output_shape, data.images) == (7, 7, True)
    assert set(data.y) <= set(range(7))
    np.testing.assert_array_equal(data.x, load_data(spec).x)
    numbers = load_data(DataSpec(source="random", input_shape=(5,), classes=0, samples=4))
    assert (numbers.y.dtype, numbers.classes, numbers.output_shape) == (np.float32, None, 1)


def test_random_data_fit_into_memory(monkeypatch):
    """Unless a number is given there are 60,000, and fewer of large samples, such as photographs."""
    assert len(load_data(DataSpec(source="random", input_shape=(2,), classes=2)).x) == 60_000
    assert datasets.MOST_RANDOM_BYTES == 2**30
    monkeypatch.setattr(datasets, "MOST_RANDOM_BYTES", 2**24)
    photographs = load_data(DataSpec(source="random", input_shape=(64, 64, 4), classes=2))
    assert photographs.x.nbytes == 2**24
    assert "256 samples" in photographs.provenance


def test_random_data_need_their_shape():
    """Without a shape or classes, the message holds the line that works."""
    with pytest.raises(UsageError, match="need --input-shape and --classes") as caught:
        load_data(DataSpec(source="random"))
    assert caught.value.remedy == "--data random --input-shape 28,28,1 --classes 10"
    with pytest.raises(UsageError, match="Random data need --classes"):
        load_data(DataSpec(source="random", input_shape=(3,)))
    with pytest.raises(UsageError, match="cannot be made"):
        load_data(DataSpec(source="random", input_shape=(0,), classes=2))


def test_shape_belongs_to_random_data():
    """A shape with data that have one of their own is a slip."""
    with pytest.raises(UsageError, match="shape of their own") as caught:
        load_data(DataSpec(source="fashion-mnist", input_shape=(28, 28, 1)))
    assert caught.value.remedy == "--data random --input-shape 28,28,1 --classes 10"


def test_unknown_source():
    """What is no source of data is refused with those there are."""
    with pytest.raises(UsageError, match="--data 'mnist' cannot be understood") as caught:
        load_data(DataSpec(source="mnist"))
    assert "file.npz" in caught.value.cause


def test_channels_first():
    """Channels-first moves the channels of images, and leaves other data alone."""
    data = load_data(DataSpec(source="random", input_shape=(8, 9, 3), classes=7, samples=5))
    moved = data.channels_first()
    assert moved.x.shape == (5, 3, 8, 9)
    assert moved.x.flags.c_contiguous
    np.testing.assert_array_equal(moved.x[:, 2], data.x[..., 2])
    assert moved.channels_first() is moved
    flat = load_data(DataSpec(source="random", input_shape=(6,), classes=2, samples=5))
    assert flat.channels_first() is flat


def test_npz_names(tmp_path):
    """Both customs of naming arrays are read, and which was found is said."""
    x, y = np.ones((6, 3)), np.arange(6) % 3
    np.savez(tmp_path / "a.npz", x=x, y=y)
    data = load_data(DataSpec(source=str(tmp_path / "a.npz")))
    assert data.provenance.endswith("a.npz (x, y)")
    assert (data.name, data.x.dtype, data.y.dtype, data.classes, data.x_test) == ("a", np.float32, np.int32, 3, None)
    np.savez(tmp_path / "b.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    data = load_data(DataSpec(source=str(tmp_path / "b.npz")))
    assert "(x_train, y_train, x_test, y_test)" in data.provenance
    assert data.x_test.shape == (2, 3)


def test_npz_images_of_bytes(tmp_path):
    """Images of bytes become numbers between 0 and 1, which is said; labels in a column become a row."""
    x = np.full((4, 8, 8, 3), 255, dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([[0], [1], [2], [1]], dtype=np.uint8))
    data = load_data(DataSpec(source=str(tmp_path / "a.npz")))
    assert data.x.max() == 1.0
    assert data.x.dtype == np.float32
    assert "uint8 divided by 255" in data.provenance
    assert (data.images, data.y.shape, data.classes) == (True, (4,), 3)


def test_kinds_of_labels(tmp_path):
    """One-hot rows are classes; floats are numbers to predict; integer samples stay integers (tokens)."""
    np.savez(tmp_path / "a.npz", x=np.arange(12).reshape(4, 3), y=np.eye(5)[[0, 1, 4, 2]])
    data = load_data(DataSpec(source=str(tmp_path / "a.npz")))
    assert (data.x.dtype, data.y.dtype, data.classes) == (np.int32, np.float32, 5)
    np.savez(tmp_path / "a.npz", x=np.ones((4, 3)), y=np.array([0.5, 1, 2, 3]))
    data = load_data(DataSpec(source=str(tmp_path / "a.npz")))
    assert (data.classes, data.output_shape) == (None, 1)


def test_npz_with_other_names(tmp_path):
    """A file without the names looked for is refused, saying which names it has."""
    np.savez(tmp_path / "a.npz", np.ones(3), labels=np.ones(3))
    with pytest.raises(DataError, match="holds the arrays labels, arr_0") as caught:
        load_data(DataSpec(source=str(tmp_path / "a.npz")))
    assert caught.value.remedy.startswith('numpy.savez("data.npz", x=x, y=y)')


def test_npz_missing(tmp_path):
    """A missing file is data not found, with files like it."""
    (tmp_path / "data.npz").write_bytes(b"")
    with pytest.raises(DataNotFoundError, match="which does not exist") as caught:
        load_data(DataSpec(source=str(tmp_path / "date.npz")))
    assert "data.npz" in caught.value.remedy


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "array"])
def test_npz_unreadable(tmp_path, damage):
    """A truncated file, or one of another kind, is said to be corrupt."""
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((100, 9)), y=np.zeros(100))
    whole = path.read_bytes()
    if damage == "array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(DataCorruptError, match=r"a\.npz cannot be read as an \.npz file") as caught:
        load_data(DataSpec(source=str(path)))
    assert "cut short" in caught.value.cause


def test_npz_of_objects(tmp_path):
    """An array of Python objects is refused as such, and never unpickled."""
    ragged = np.array([[1], [1, 2]], dtype=object)
    np.savez(tmp_path / "a.npz", x=ragged, y=np.zeros(2))
    with pytest.raises(DataError, match="x has dtype object"):
        load_data(DataSpec(source=str(tmp_path / "a.npz")))


FUNCTIONS = """
import numpy as np
X, Y = np.ones((8, 4)), np.arange(8) % 2

def pair(): return X, Y
def four(): return (X, Y), (X[:2], Y[:2])
def named(classes=2): return {"x_train": X, "y_train": np.arange(8) % classes}
def named_wrongly(): return {"images": X}
def single(): return X
def failing(): raise ZeroDivisionError("no luck")
def ragged(): return [[1], [1, 2]], Y
def words(): return X, ["cat", "dog"] * 4
def half(): return {"x": X, "y": Y, "x_test": X}
print("loaded")
"""


@pytest.fixture
def functions(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_data.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    return lambda call: load_data(DataSpec(source=f"my_data.py:{call}"))


def test_data_function(functions, capsys):
    """A function may return a pair, two pairs or a dictionary; what its file prints does not reach standard output."""
    assert functions("pair").x.shape == (8, 4)
    assert functions("four").y_test.shape == (2,)
    assert functions("named(classes=4)").classes == 4
    assert functions("pair").provenance == "my_data.py:pair"
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "loaded" in printed.err


@pytest.mark.jax
@pytest.mark.parametrize("line", ["import keras", "from tensorflow import keras"])
def test_data_function_receives_keras_on_the_backend_asked_for(tmp_path, line):
    """Whatever Keras would choose by itself: the model that comes after is bound to what the data function imported."""
    (tmp_path / "my_data.py").write_text(
        f"{line}\nimport numpy as np\n\ndef pair():\n    return np.ones((8, 4)), keras.utils.to_categorical(np.arange(8))\n"
    )
    code = (
        "import sys; from epochwise.subjects.datasets import DataSpec, load_data; "
        "load_data(DataSpec(source='my_data.py:pair'), 'jax'); print(sys.modules['keras'].config.backend())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "jax"


@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [
        ("single", DataError, "returned ndarray"),
        ("named_wrongly", DataError, "returned a dictionary with images"),
        ("ragged", DataError, "cannot be made an array|dtype object"),
        ("words", DataError, "labels must be numbers"),
        ("half", DataError, "test samples without test labels"),
        ("missing", DataNotFoundError, "no function 'missing'"),
    ],
)
def test_data_function_that_gives_something_else(functions, function, kind, text):
    """What a data function may not return is refused by name."""
    with pytest.raises(kind, match=text):
        functions(function)


def test_data_function_that_raises(functions):
    """The function's own traceback is shown, without frames of epochwise."""
    with pytest.raises(ModelFailedError) as caught:
        functions("failing")
    assert "raised ZeroDivisionError" in caught.value.what
    assert 'my_data.py", line ' in caught.value.what
    assert "ZeroDivisionError: no luck" in caught.value.what
    assert "subjects" not in caught.value.what
