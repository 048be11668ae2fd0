"""The data of a trial: which samples, how they are shown, and in what order. Nothing is held that can be made when needed.

A description is JSON::

    {"source": "fashion-mnist", "digest": "...", "validation": 5000, "samples": null, "permutation": 0, "view": null}

``samples`` takes so many of the training samples, the same share of each class. ``permutation`` 0 leaves the pixels where they
are; 1, 2, ... are fixed permutations of all places, the same for training and test. A ``view`` shows each image at half its
size somewhere on an empty canvas::

    {"side": 42, "offsets": [[0, 0]], "fresh": true}

``offsets`` are the places ``[down, right]`` at which the upper left corner of the object may be; for each sample one of them
is drawn: anew each time it is shown (``fresh``), or once. Seeds draw the split, the subset, the order and the offsets, each
from a stream of its own.

Legend: ``N`` samples, ``H W C`` rows, columns and channels of an image, ``S`` side of the canvas.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.network import Float32
from epochwise.errors import DataError
from epochwise.subjects.arrays import Dataset
from epochwise.subjects.datasets import DataSpec, load_data

Description: TypeAlias = Mapping[str, Any]
"""Data as they stand in a trial."""
Places: TypeAlias = NDArray[np.int64]
"""Numbers of samples in the arrays that were loaded."""

_AXES = 3
SPLIT, SUBSET, ORDER, OFFSETS, PIXELS = 1, 2, 3, 4, 5
"""Streams of random numbers of a seed; 0 is that of the weights."""


def stream(seed: int, kind: int) -> np.random.Generator:
    """The random numbers of one kind that a seed gives."""
    return np.random.default_rng([seed, kind])


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """Labelled images, as they were loaded.

    Attributes:
        x: ``(N, H, W, C)`` float32.
        y: ``(N,)`` int32, numbers of classes.
        x_test: images that were never trained on.
        y_test: their classes.
        classes: how many.
        name: of the data, with their origin.
        digest: a hash of all numbers.
    """

    x: Float32
    y: NDArray[np.int32]
    x_test: Float32
    y_test: NDArray[np.int32]
    classes: int
    name: str
    digest: str

    @functools.cached_property
    def halves(self) -> Float32:
        """``x`` at half its size, see :func:`halved`; worked out once, since trials with a view show them over and over."""
        return halved(self.x)

    @functools.cached_property
    def halves_test(self) -> Float32:
        """``x_test`` at half its size."""
        return halved(self.x_test)


@functools.lru_cache(maxsize=1)
def images(source: str) -> Images:
    """Load images: ``fashion-mnist``, or what else ``--data`` takes. Those used last are kept.

    Data without test samples are split: a sixth of each class, the same one always, is the test.

    Raises:
        DataError: these are no labelled images; and whatever loading raises.
    """
    data = load_data(DataSpec(source=source))
    return labelled_images(data)


def labelled_images(data: Dataset) -> Images:
    """The images and classes of any data set.

    Raises:
        DataError: no images, no classes, or a single one.
    """
    if data.streamed is not None or data.x.ndim not in (_AXES, _AXES + 1) or data.x.dtype.kind != "f":
        raise DataError(
            f"{data.name} has samples of shape {data.x.shape[1:]} ({data.x.dtype}); the experiments need images.",
            cause="They move objects and permute pixels, so samples must be (rows, columns) or (rows, columns, channels).",
            remedy='numpy.savez("data.npz", x=x, y=y)   (x: samples, rows, columns, channels)',
        )
    if not data.classes or data.classes < 2:  # noqa: PLR2004 - one class leaves nothing to tell apart
        raise DataError(
            f"{data.name} has labels that are not numbers of at least two classes.",
            cause="Float labels are taken as numbers to predict.",
            remedy='y = y.astype("int64")',
        )
    x, y = _four_axes(data.x), _classes(data.y)
    if data.x_test is None or data.y_test is None:
        test = _share_of_each(y, len(y) // 6, np.random.default_rng(0))
        rest = np.setdiff1d(np.arange(len(y)), test)
        x, y, x_test, y_test = x[rest], y[rest], x[test], y[test]
    else:
        x_test, y_test = _four_axes(data.x_test), _classes(data.y_test)
    content = hashlib.sha256()
    for array in (x, y, x_test, y_test):
        content.update(str(array.shape).encode())
        content.update(np.ascontiguousarray(array).data)
    name = f"{data.name}: {data.provenance}" if data.provenance else data.name
    return Images(x, y, x_test, y_test, int(data.classes), name, content.hexdigest())


def _four_axes(x: Any) -> Float32:
    made: Float32 = np.ascontiguousarray(x[..., None] if x.ndim == _AXES else x, np.float32)
    return made


def _classes(y: Any) -> NDArray[np.int32]:
    made: NDArray[np.int32] = (np.argmax(y, axis=1) if y.ndim > 1 else y).astype(np.int32)
    return made


def _share_of_each(labels: NDArray[np.int32], count: int, generator: np.random.Generator) -> Places:
    """So many places, of each class its share (to one sample), in a random order."""
    order = generator.permutation(len(labels))
    kinds, sizes = np.unique(labels, return_counts=True)
    exact = sizes * (count / len(labels))
    shares = np.floor(exact).astype(int)
    for place in np.argsort(shares - exact, kind="stable")[: count - int(shares.sum())]:
        shares[place] += 1
    taken = [order[labels[order] == kind][:share] for kind, share in zip(kinds, shares, strict=True)]
    return generator.permutation(np.concatenate(taken)).astype(np.int64)


def halved(x: Float32) -> Float32:
    """Images at half their size: means of 2 x 2, a last odd row or column left out. ``(N, H, W, C) -> (N, H/2, W/2, C)``."""
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    even = x[:, : 2 * rows, : 2 * columns]
    made: Float32 = even.reshape(len(x), rows, 2, columns, 2, x.shape[3]).mean(axis=(2, 4), dtype=np.float32)
    return made


def on_canvas(objects: Float32, offsets: NDArray[np.int64], side: int) -> Float32:
    """Objects on empty canvases ``(N, S, S, C)``; ``offsets`` are ``(N, 2)``, or ``(2,)`` for all alike.

    Raises:
        ValueError: an object would not lie on its canvas.
    """
    count, rows, columns, channels = objects.shape
    offsets = np.broadcast_to(np.asarray(offsets, np.int64), (count, 2))
    if count and (offsets.min() < 0 or (offsets + np.array([rows, columns])).max() > side):
        raise ValueError(f"an object of {rows} x {columns} does not lie on a canvas of {side} at all of these offsets")
    canvas = np.zeros((count, side, side, channels), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(canvas, (rows, columns), axis=(1, 2), writeable=True)
    windows[np.arange(count), offsets[:, 0], offsets[:, 1]] = objects.transpose(0, 3, 1, 2)
    return canvas


def permuted(x: Float32, number: int) -> Float32:
    """Images with their places in another order; 0 leaves them. The permutation depends on the number and the size alone."""
    if number == 0:
        return x
    moved: Float32 = np.take(x.reshape(len(x), -1, x.shape[3]), pixel_order(number, x.shape[1:]), axis=1).reshape(x.shape)
    return moved


def pixel_order(number: int, shape: Sequence[int]) -> Places:
    """Which place comes first, second, ... in a permutation of the pixels of images ``(H, W, C)``."""
    return stream(number, PIXELS).permutation(shape[0] * shape[1])


class Task:
    """What one trial trains on and is tested on.

    Args:
        description: see the top of the file.
        seed: of split, subset, order and offsets.
        loaded: the images; by default loaded from the description's source.

    Attributes:
        training: places of the samples trained on.
        validation: places of those that choices are made with.
        classes: how many.
        input_shape: of a sample as the model sees it.

    Raises:
        DataError: other data than described, or too few of them.
    """

    def __init__(self, description: Description, seed: int, loaded: Images | None = None) -> None:
        self._images = images(str(description["source"])) if loaded is None else loaded
        if description["digest"] != self._images.digest:
            raise DataError(
                f"{description['source']} holds other numbers than when this trial was planned.",
                cause="The file was changed in between, or a data function draws other numbers each time.",
                remedy="the same command again, which plans anew; in a function, numpy.random.default_rng(0)",
            )
        self._view = description.get("view")
        self._permutation = int(description.get("permutation") or 0)
        self._seed = seed
        labels = self._images.y
        held = int(description["validation"])
        wanted = description.get("samples")
        if held + (wanted or 1) > len(labels):
            raise DataError(
                f"{self._images.name} has {len(labels):,} samples to train on; {held + (wanted or 1):,} are needed.",
                remedy="more samples",
            )
        self.validation = _share_of_each(labels, held, stream(seed, SPLIT))
        rest = np.setdiff1d(np.arange(len(labels), dtype=np.int64), self.validation)
        if wanted is not None:
            rest = np.sort(rest[_share_of_each(labels[rest], int(wanted), stream(seed, SUBSET))])
        self.training: Places = rest
        self.classes = self._images.classes
        self._drawn = stream(seed, OFFSETS)
        self._fixed: NDArray[np.int64] | None = None
        if self._view is not None and not self._view["fresh"]:
            self._fixed = self._offsets(len(labels))
        rows, columns, channels = self._images.x.shape[1:]
        side = None if self._view is None else int(self._view["side"])
        self.input_shape = (rows, columns, channels) if side is None else (side, side, channels)

    def order(self, steps: int, batch_size: int) -> list[Places]:
        """Places of the samples of each step: epochs in new orders, the last batch of each smaller if need be.

        Args:
            steps: how many.
            batch_size: samples of a step.
        """
        generator = stream(self._seed, ORDER)
        made: list[Places] = []
        while len(made) < steps:
            epoch = self.training[generator.permutation(len(self.training))]
            made += [epoch[first : first + batch_size] for first in range(0, len(epoch), batch_size)]
        return made[:steps]

    @property
    def plain(self) -> bool:
        """Whether samples are shown as they were loaded."""
        return self._view is None and self._permutation == 0

    @property
    def x(self) -> Float32:
        """All samples as they were loaded; see :attr:`plain`."""
        return self._images.x

    @property
    def y(self) -> NDArray[np.int32]:
        """All classes of the samples to train on and to validate with."""
        return self._images.y

    def shown(self, places: Places) -> Float32:
        """Samples as the model sees them in training; offsets are drawn, if they are."""
        if self._view is None:
            return permuted(self._images.x[places], self._permutation)
        offsets = self._offsets(len(places)) if self._fixed is None else self._fixed[places]
        return permuted(on_canvas(self._images.halves[places], offsets, int(self._view["side"])), self._permutation)

    def validating(self) -> tuple[Float32, NDArray[np.int32]]:
        """What choices are made with, the same each time; with a view, at offsets like those of training."""
        if self._view is None:
            x = self._images.x[self.validation]
        else:
            drawn = stream(self._seed, OFFSETS + PIXELS)
            offsets = np.asarray(self._view["offsets"], np.int64)
            x = self._images.halves[self.validation]
            x = on_canvas(x, offsets[drawn.integers(len(offsets), size=len(x))], int(self._view["side"]))
        return permuted(x, self._permutation), self._images.y[self.validation]

    def testing(self, count: int | None = None, offset: Sequence[int] | None = None) -> tuple[Float32, NDArray[np.int32]]:
        """The test samples, the same for every seed.

        Args:
            count: the first so many of a fixed order with the same share of each class; ``None`` for all in their own order.
            offset: where the object lies, with a view. By default drawn from the offsets of training, for every seed alike.
        """
        y = self._images.y_test
        places = np.arange(len(y)) if count is None else _share_of_each(y, min(count, len(y)), np.random.default_rng(0))
        if self._view is None:
            x = self._images.x_test[places]
        else:
            side, offsets = int(self._view["side"]), np.asarray(self._view["offsets"], np.int64)
            drawn = np.random.default_rng(1).integers(len(offsets), size=len(y))[places]
            x = self._images.halves_test[places]
            x = on_canvas(x, offsets[drawn] if offset is None else np.asarray(offset, np.int64), side)
        return permuted(x, self._permutation), y[places]

    def _offsets(self, count: int) -> NDArray[np.int64]:
        assert self._view is not None
        offsets = np.asarray(self._view["offsets"], np.int64)
        drawn: NDArray[np.int64] = offsets[self._drawn.integers(len(offsets), size=count)]
        return drawn


def least_per_class(labels: NDArray[np.int32], classes: int) -> int:
    """How many samples the rarest class has."""
    return int(np.bincount(labels, minlength=classes).min())


def steps_in(samples: int, batch_size: int) -> int:
    """Steps of an epoch."""
    return math.ceil(samples / batch_size)


def absolute(source: str) -> str:
    """A source that means the same in every folder of this machine."""
    where, colon, function = source.rpartition(":")
    if source.endswith(".npz"):
        return str(Path(source).expanduser().absolute())
    if colon and where.endswith(".py"):
        return f"{Path(where).expanduser().absolute()}:{function}"
    return source
