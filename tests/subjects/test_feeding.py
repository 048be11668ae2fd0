"""Streams of batches and arguments of ``fit``: what becomes of them, and what is refused with the line that works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epochwise.errors import DataError, UsageError
from epochwise.subjects.datasets import DataSpec, load_data
from epochwise.subjects.feeding import fed_dataset, is_stream

X, Y = np.zeros((4, 3), np.float32), np.array([0, 1, 2, 1])


def batches(count: int = 3) -> Iterator[tuple[Any, Any]]:
    for number in range(count):
        yield X + number, Y


class PyDataset:
    """As Keras's class of this name: by number, with a length."""

    num_batches = 7

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        return X, Y


def test_a_generator_keeps_its_first_batch() -> None:
    """The batch that was looked at comes first again, and the stream is still a generator."""
    data = fed_dataset("mine", batches(), None, {"steps_per_epoch": 3}, provenance="test")
    assert data.streamed is not None
    assert is_stream(data.streamed.stream)
    assert [float(x[0, 0]) for x, _ in data.streamed.stream] == [0.0, 1.0, 2.0]
    assert (data.batch_size(32), data.steps_per_epoch(32), data.samples()) == (4, 3, 12)


def test_a_stream_with_a_length_needs_none() -> None:
    """Keras's PyDataset says how many batches it has; classes can be told where a batch does not show them all."""
    data = fed_dataset("mine", PyDataset(), None, {"classes": 10}, provenance="test")
    assert (data.steps_per_epoch(32), data.classes, data.output_shape) == (7, 10, 10)
    assert data.x.shape == (4, 3)


def test_arrays_come_with_what_fit_is_given() -> None:
    """Callbacks and validation data are kept for ``fit``; without any, batches are as they were."""
    data = fed_dataset("mine", X, Y, {"callbacks": ["mine"], "validation_freq": 2, "validation_data": None}, provenance="test")
    assert data.streamed is None
    assert data.feed is not None
    assert dict(data.feed.arguments) == {"callbacks": ["mine"], "validation_freq": 2}
    assert data.feed.callbacks == ["mine"]
    assert (data.batch_size(2), data.steps_per_epoch(3), data.samples()) == (2, 2, 4)


def test_a_generator_without_a_length_is_refused() -> None:
    """The message gives the line that works."""
    with pytest.raises(DataError, match="nothing says how many batches make an epoch") as refused:
        fed_dataset("mine", batches(), None, {}, provenance="test")
    assert "steps_per_epoch" in refused.value.remedy


@pytest.mark.parametrize("stream", [lambda: (x for x in ()), lambda: (X for _ in range(3))])
def test_a_stream_without_labels_is_refused(stream: Any) -> None:
    """An empty one, or one that gives samples alone."""
    with pytest.raises(DataError, match=r"where a batch \(x, y\) is needed"):
        fed_dataset("mine", stream(), None, {"steps_per_epoch": 3}, provenance="test")


def test_an_unknown_argument_is_refused() -> None:
    """A slip in a name would otherwise be lost without a word."""
    with pytest.raises(UsageError, match="comes with callback, which"):
        fed_dataset("mine", X, Y, {"callback": []}, provenance="test")


def test_a_data_function_may_give_a_stream_or_a_dictionary(tmp_path: Path) -> None:
    """From the command line: ``--data file.py:function``."""
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "x, y = np.zeros((6, 2), 'float32'), np.array([0, 1] * 3)\n"
        "def stream():\n"
        "    def batches():\n"
        "        while True:\n"
        "            yield x, y\n"
        "    return {'x': batches(), 'steps_per_epoch': 5}\n"
        "def arrays():\n"
        "    return {'x': x, 'y': y, 'x_test': x, 'y_test': y, 'validation_split': 0.5}\n"
    )
    stream = load_data(DataSpec(f"{tmp_path / 'data.py'}:stream"))
    assert (stream.samples(), stream.batch_size(32)) == (30, 6)
    arrays = load_data(DataSpec(f"{tmp_path / 'data.py'}:arrays"))
    assert arrays.x_test is not None
    assert arrays.feed is not None
    assert dict(arrays.feed.arguments) == {"validation_split": 0.5}
