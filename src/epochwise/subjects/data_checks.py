"""Data that cannot be trained on, refused before any work."""

from __future__ import annotations

import numpy as np

from epochwise.errors import DataError, UsageError
from epochwise.subjects.arrays import Array, Dataset, refuse_objects


def check_data(dataset: Dataset, batch_size: int) -> None:
    """Refuse data that cannot be trained on, before any work.

    Raises:
        UsageError: the batch size is not positive.
        DataError: empty data, fewer samples than a batch, ``x`` and ``y`` of different length, NaN or infinity, labels outside
            the classes, dtype object.
    """
    if batch_size < 1:
        raise UsageError(f"The batch size is {batch_size}; it must be 1 or more.", remedy="--batch-size 32")
    _check_part(dataset, dataset.x, dataset.y, "x", "y")
    if len(dataset.x) < batch_size:
        raise DataError(
            f"{dataset.name} has {len(dataset.x)} samples, fewer than one batch of {batch_size}.",
            cause="A batch size meant for more data, or data that were cut for a test.",
            remedy=f"--batch-size {len(dataset.x)}",
        )
    if dataset.x_test is not None and dataset.y_test is not None:
        _check_part(dataset, dataset.x_test, dataset.y_test, "x_test", "y_test")
        if dataset.x_test.shape[1:] != dataset.x.shape[1:]:
            raise DataError(
                f"{dataset.name}: x has samples of shape {dataset.x.shape[1:]}, x_test of {dataset.x_test.shape[1:]}.",
                cause="Only one of the two was reshaped.",
                remedy=f"x_test = x_test.reshape(-1, {', '.join(map(str, dataset.x.shape[1:]))})",
            )


def _check_part(dataset: Dataset, x: Array, y: Array, x_name: str, y_name: str) -> None:
    name = dataset.name
    for values, part in ((x, x_name), (y, y_name)):
        refuse_objects(values, f"{name}: {part}")
        if values.ndim == 0 or values.size == 0:
            raise DataError(
                f"{name}: {part} is empty; its shape is {values.shape}.",
                cause="A filter that let nothing through, or the wrong slice.",
                remedy=f"print({part}.shape) where it is made",
            )
    if len(x) != len(y):
        raise DataError(
            f"{name}: {x_name} has {len(x)} samples and {y_name} has {len(y)} labels.",
            cause="Only one of the two was cut or filtered.",
            remedy=f"{x_name}, {y_name} = {x_name}[:{min(len(x), len(y))}], {y_name}[:{min(len(x), len(y))}]",
        )
    for values, part in ((x, x_name), (y, y_name)):
        _check_finite(values, f"{name}: {part}", part)
    if dataset.classes and y.dtype.kind in "iu":
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= dataset.classes:
            wrong = low if low < 0 else high
            where = tuple(int(axis) for axis in np.argwhere(y == wrong)[0])
            raise DataError(
                f"{name}: {y_name} holds the label {wrong} (at index {where[0]}), "
                f"outside the {dataset.classes} classes 0 to {dataset.classes - 1}.",
                cause="Labels that count from 1, or -1 for missing labels.",
                remedy=f"{y_name} = {y_name} - {y_name}.min()   (or remove those samples)",
            )


def _check_finite(values: Array, where: str, name: str) -> None:
    if values.dtype.kind != "f" or np.isfinite(np.sum(values, dtype=np.float64)):
        return  # any NaN or infinity makes the sum so; float32 values cannot overflow a float64 sum
    bad = ~np.isfinite(values)
    first = tuple(int(axis) for axis in np.argwhere(bad)[0])
    kind = "NaN" if np.isnan(values[first]) else "infinity"
    raise DataError(
        f"{where} holds {int(bad.sum())} values that are not numbers; the first is {kind} at index {first}.",
        cause="A division by a zero standard deviation, or missing values.",
        remedy=f"{name} = numpy.nan_to_num({name})   (or remove those samples)",
    )
