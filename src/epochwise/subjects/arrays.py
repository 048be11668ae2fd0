"""Arrays to train on: what they must be, and how arrays as users have them become that.

Legend of shapes: ``N`` samples, ``H W C`` image height, width and channels, ``K`` classes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from epochwise.errors import DataError

if TYPE_CHECKING:
    from epochwise.subjects.feeding import Feed

Array = npt.NDArray[Any]

_MOST_CHANNELS = 4  # grey, grey + alpha, RGB, RGBA
_CHANNELS = (1, 3, _MOST_CHANNELS)
_IMAGE_AXES = 4  # N, H, W, C
_LEAST_IMAGE_AXES = 3  # N, H, W
_ROWS_OF_LABELS = 2  # N, K


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Arrays to train on, in memory.

    Attributes:
        name: short readable name.
        x: samples, ``(N, ...)``; images are channels-last ``(N, H, W, C)`` unless :meth:`channels_first` was taken.
        y: labels, ``(N,)`` int32 for classes, ``(N, K)`` float32 one-hot, or float32 numbers to predict.
        x_test: test samples, or ``None``.
        y_test: test labels, or ``None``.
        classes: how many classes the labels have; ``None`` for numbers to predict.
        provenance: which file or place, what was done to it, and its checksum where one is known.
        images: whether the samples are channels-last images.
        feed: a stream of batches in the place of the arrays, of which ``x`` and ``y`` are then one batch, and what else the
            training loop is given; ``None`` for arrays alone.
    """

    name: str
    x: Array
    y: Array
    x_test: Array | None = None
    y_test: Array | None = None
    classes: int | None = None
    provenance: str = ""
    images: bool = False
    feed: Feed | None = None

    @property
    def streamed(self) -> Feed | None:
        """The feed, where it gives the batches."""
        return self.feed if self.feed is not None and self.feed.stream is not None else None

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches in an epoch."""
        return self.streamed.steps_per_epoch or 1 if self.streamed else math.ceil(len(self.x) / batch_size)

    def batch_size(self, asked: int) -> int:
        """Samples in a batch: a stream has its own."""
        return self.streamed.batch_size or asked if self.streamed else asked

    def samples(self) -> int:
        """Samples in an epoch."""
        stream = self.streamed
        return (stream.steps_per_epoch or 1) * (stream.batch_size or 1) if stream else len(self.x)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch."""
        return tuple(int(size) for size in self.x.shape[1:])

    @property
    def output_shape(self) -> int:
        """What a function ``(input_shape, output_shape)`` receives: the number of classes, or of numbers to predict."""
        return self.classes if self.classes else int(np.prod(self.y.shape[1:], dtype=int))

    def channels_first(self) -> Dataset:
        """The same data with images as ``(N, C, H, W)``, contiguous; data that are not images unchanged."""
        if not self.images:
            return self
        x_test = None if self.x_test is None else _channels_first(self.x_test)
        return dataclasses.replace(self, x=_channels_first(self.x), x_test=x_test, images=False)


def make_dataset(
    name: str, x: object, y: object, x_test: object = None, y_test: object = None, *, provenance: str = ""
) -> Dataset:
    """A data set from arrays as users have them: types settled, the kind of labels found out.

    Samples: floats become float32; uint8 images (three axes or more) are divided by 255; other integers (tokens) become int32.
    Labels: integers become int32, ``(N, 1)`` becomes ``(N,)``; rows with a single 1 are one-hot; floats become float32.
    """
    notes: list[str] = []
    samples = _samples(as_array(x, "x"), "x", notes)
    labels, classes = _labels(as_array(y, "y"), "y")
    held_x = None if x_test is None else _samples(as_array(x_test, "x_test"), "x_test", [])
    held_y = None if y_test is None else _labels(as_array(y_test, "y_test"), "y_test")[0]
    if (held_x is None) != (held_y is None):
        raise DataError(
            f"{name}: there are test {'samples' if held_y is None else 'labels'} without test "
            f"{'labels' if held_y is None else 'samples'}.",
            cause="x_test and y_test belong together.",
            remedy="give both, or neither",
        )
    if classes is not None and held_y is not None and held_y.ndim == 1 and held_y.size:
        classes = max(classes, int(held_y.max()) + 1)
    return Dataset(
        name=name,
        x=samples,
        y=labels,
        x_test=held_x,
        y_test=held_y,
        classes=classes,
        provenance="; ".join([provenance, *notes]) if provenance else "; ".join(notes),
        images=looks_like_images(samples),
    )


def as_array(values: object, name: str) -> Array:
    """A NumPy array of ``values``: arrays, nested lists, and tensors of any framework (copied to this machine's memory)."""
    if hasattr(values, "detach"):  # a torch tensor, perhaps on a device, perhaps with a gradient
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as problem:
        raise DataError(
            f"{name} cannot be made an array: it is of type {type(values).__name__}.",
            cause="Rows of different length, or an object that yields batches; epochwise needs the whole array in memory.",
            remedy=f"{name} = numpy.stack([...])",
        ) from problem


def looks_like_images(x: Array) -> bool:
    """Whether samples are channels-last images: ``(N, H, W, C)`` with 1, 3 or 4 channels, and more rows and columns."""
    return x.ndim == _IMAGE_AXES and x.shape[3] in _CHANNELS and min(x.shape[1:3]) > _MOST_CHANNELS


def _samples(x: Array, name: str, notes: list[str]) -> Array:
    refuse_objects(x, name)
    if x.dtype == np.uint8 and x.ndim >= _LEAST_IMAGE_AXES:
        notes.append("uint8 divided by 255")
        return np.divide(x, np.float32(255.0), dtype=np.float32)
    if x.dtype.kind == "f":
        return x.astype(np.float32, copy=False)
    if x.dtype.kind in "iub":
        return x.astype(np.int32, copy=False)
    raise DataError(
        f"{name} has dtype {x.dtype}, which no model takes.",
        cause="Samples must be numbers.",
        remedy=f'{name} = {name}.astype("float32")',
    )


def _labels(y: Array, name: str) -> tuple[Array, int | None]:
    refuse_objects(y, name)
    if y.dtype.kind not in "iubf":
        raise DataError(
            f"{name} has dtype {y.dtype}: labels must be numbers.",
            cause="Names of classes instead of their numbers.",
            remedy=f"names, {name} = numpy.unique({name}, return_inverse=True)",
        )
    if y.ndim == _ROWS_OF_LABELS and y.shape[1] > 1 and len(y) and _is_one_hot(y):
        return y.astype(np.float32, copy=False), int(y.shape[1])
    if y.dtype.kind == "f":
        return y.astype(np.float32, copy=False), None
    labels = y[:, 0] if y.ndim == _ROWS_OF_LABELS and y.shape[1] == 1 else y
    if labels.size and (int(labels.min()) < -(2**31) or int(labels.max()) >= 2**31):
        raise DataError(
            f"{name} holds {labels.max()}, which cannot be the number of a class.", remedy=f"{name} = {name} % classes"
        )
    return labels.astype(np.int32, copy=False), int(labels.max()) + 1 if labels.size else None


def _is_one_hot(y: Array) -> bool:
    return bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())


def refuse_objects(values: Array, name: str) -> None:
    """Raise :class:`DataError` for an array of Python objects."""
    if values.dtype.kind == "O":
        raise DataError(
            f"{name} has dtype object: it is an array of Python objects, not of numbers.",
            cause="Rows of different length, None among the values, or numbers and strings mixed.",
            remedy=f'{name} = numpy.stack([...]).astype("float32")',
        )


def _channels_first(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))
