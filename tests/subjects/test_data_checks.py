"""Data that cannot be trained on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from epochwise.errors import DataError, UsageError
from epochwise.subjects.datasets import Dataset, check_data

GOOD = Dataset(name="mine", x=np.ones((40, 3), np.float32), y=(np.arange(40) % 4).astype(np.int32), classes=4)


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def test_good_data_pass():
    """Good data pass, and so does a batch of everything."""
    check_data(GOOD, 32)
    check_data(GOOD, 40)


@pytest.mark.parametrize(
    ("change", "text", "remedy"),
    [
        (
            {"x": changed(GOOD.x, (7, 1), np.nan)},
            r"x holds 1 values that are not numbers; the first is NaN at index \(7, 1\)",
            "nan_to_num",
        ),
        ({"x": changed(GOOD.x, (7, 1), -np.inf)}, r"the first is infinity at index \(7, 1\)", "nan_to_num"),
        ({"y": np.full(40, np.nan, np.float32), "classes": None}, "y holds 40 values that are not numbers", "nan_to_num"),
        ({"x": GOOD.x[:0], "y": GOOD.y[:0]}, r"x is empty; its shape is \(0, 3\)", "print"),
        ({"x": np.ones((40, 0), np.float32)}, r"x is empty; its shape is \(40, 0\)", "print"),
        ({"x": GOOD.x[:31], "y": GOOD.y[:31]}, "31 samples, fewer than one batch of 32", "--batch-size 31"),
        ({"y": GOOD.y[:39]}, "x has 40 samples and y has 39 labels", "x[:39], y[:39]"),
        ({"y": changed(GOOD.y, 5, -1)}, r"the label -1 \(at index 5\), outside the 4 classes 0 to 3", "y.min()"),
        ({"y": GOOD.y + 1}, r"the label 4 \(at index 3\), outside the 4 classes 0 to 3", "y.min()"),
        ({"x": GOOD.x.astype(object)}, "x has dtype object", "numpy.stack"),
        ({"x_test": GOOD.x[:2], "y_test": GOOD.y[:1]}, "x_test has 2 samples and y_test has 1 labels", "x_test[:1]"),
        ({"x_test": np.ones((2, 5)), "y_test": GOOD.y[:2]}, r"shape \(3,\), x_test of \(5,\)", "reshape"),
    ],
)
def test_bad_data_are_refused(change, text, remedy):
    """Each kind of bad data has an error of its own, which says what was found where, and the line that works."""
    with pytest.raises(DataError, match=text) as caught:
        check_data(dataclasses.replace(GOOD, **change), 32)
    assert caught.value.what.startswith("mine")
    assert caught.value.cause
    assert remedy in caught.value.remedy


def test_large_values_are_not_infinite():
    """The quick check by a sum does not take large numbers for infinity."""
    check_data(dataclasses.replace(GOOD, x=np.full((40, 3), np.finfo(np.float32).max, np.float32)), 32)


def test_batch_size():
    """A batch needs one sample at least."""
    with pytest.raises(UsageError, match="batch size is 0"):
        check_data(GOOD, 0)
