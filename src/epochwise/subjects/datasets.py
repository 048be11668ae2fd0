"""Data to train on: the real Fashion-MNIST, random numbers, a user's file, or a user's function. Imports no framework.

Legend of shapes: ``N`` samples, ``H W C`` image height, width and channels, ``K`` classes.
"""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from epochwise.errors import DataCorruptError, DataError, DataNotFoundError, ModelNotFoundError, UsageError
from epochwise.subjects.models import near_files, parse_target

Array = npt.NDArray[Any]

_MOST_CHANNELS = 4  # grey, grey + alpha, RGB, RGBA
_CHANNELS = (1, 3, _MOST_CHANNELS)
_IMAGE_AXES = 4  # N, H, W, C


class DataSpec(msgspec.Struct, frozen=True):
    """Where data comes from.

    Attributes:
        source: ``fashion-mnist``, ``random``, the path of an ``.npz`` file, or ``module:function`` / ``file.py:function``.
        input_shape: shape of one sample without the batch, ``(28, 28, 1)``; for random data.
        classes: how many classes random labels have; 0 gives random numbers to predict instead.
        samples: how many random samples.
        data_dir: folder in which the Fashion-MNIST files are looked for first.
        seed: of random data.
    """

    source: str = "fashion-mnist"
    input_shape: tuple[int, ...] | None = None
    classes: int | None = None
    samples: int = 60000
    data_dir: str | None = None
    seed: int = 0


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
    """

    name: str
    x: Array
    y: Array
    x_test: Array | None = None
    y_test: Array | None = None
    classes: int | None = None
    provenance: str = ""
    images: bool = False

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


def load_data(spec: DataSpec) -> Dataset:
    """Load the data that a specification names.

    Raises:
        UsageError: the specification does not fit together, or is none of the known kinds.
        DataNotFoundError: there is no such file, or Fashion-MNIST is in none of the places tried.
        DataCorruptError: a file is unreadable, truncated, or has a wrong checksum.
        DataError: the arrays are not data to train on.
        ModelFailedError: the user's data function raised.
    """
    if spec.source != "random" and spec.input_shape is not None:
        raise UsageError(
            f"--input-shape was given with --data {spec.source}, whose samples have a shape of their own.",
            cause="--input-shape and --classes describe random data.",
            remedy=f"--data random --input-shape {_dashed(spec.input_shape)} --classes {spec.classes or 10}",
        )
    if spec.source == "fashion-mnist":
        from epochwise.subjects import fashion_mnist

        return fashion_mnist.load(spec.data_dir)
    if spec.source == "random":
        return _random(spec)
    if spec.source.endswith(".npz"):
        return _npz(spec.source)
    if ":" in spec.source:
        return _from_function(spec.source)
    raise UsageError(
        f"--data '{spec.source}' cannot be understood.",
        cause="It must be fashion-mnist, random, a file.npz, module:function or file.py:function.",
        remedy="--data fashion-mnist",
    )


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
    """Whether samples are channels-last images: ``(N, H, W, C)`` with 1, 3 or 4 channels and more rows and columns than that."""
    return x.ndim == _IMAGE_AXES and x.shape[3] in _CHANNELS and min(x.shape[1:3]) > _MOST_CHANNELS


def _samples(x: Array, name: str, notes: list[str]) -> Array:
    _refuse_objects(x, name)
    if x.dtype == np.uint8 and x.ndim >= 3:
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
    _refuse_objects(y, name)
    if y.dtype.kind not in "iubf":
        raise DataError(
            f"{name} has dtype {y.dtype}: labels must be numbers.",
            cause="Names of classes instead of their numbers.",
            remedy=f"names, {name} = numpy.unique({name}, return_inverse=True)",
        )
    if y.ndim == 2 and y.shape[1] > 1 and len(y) and _is_one_hot(y):
        return y.astype(np.float32, copy=False), int(y.shape[1])
    if y.dtype.kind == "f":
        return y.astype(np.float32, copy=False), None
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if labels.size and (int(labels.min()) < -(2**31) or int(labels.max()) >= 2**31):
        raise DataError(f"{name} holds {labels.max()}, which is not the number of a class.", remedy=f"{name} in 0 to classes - 1")
    return labels.astype(np.int32, copy=False), int(labels.max()) + 1 if labels.size else None


def _is_one_hot(y: Array) -> bool:
    return bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())


def _refuse_objects(values: Array, name: str) -> None:
    if values.dtype.kind == "O":
        raise DataError(
            f"{name} has dtype object: it is an array of Python objects, not of numbers.",
            cause="Rows of different length, None among the values, or numbers and strings mixed.",
            remedy=f'{name} = numpy.stack([...]).astype("float32")',
        )


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
        _refuse_objects(values, f"{name}: {part}")
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
            raise DataError(
                f"{name}: {y_name} holds the label {wrong} (at index {int(np.argmax(y.reshape(len(y), -1).T.ravel() == wrong)) % len(y)}), "
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


def _random(spec: DataSpec) -> Dataset:
    if spec.input_shape is None or spec.classes is None:
        missing = [
            option for option, value in (("--input-shape", spec.input_shape), ("--classes", spec.classes)) if value is None
        ]
        raise UsageError(
            f"Random data need {' and '.join(missing)}.",
            cause="Nothing else says what the samples look like; --classes 0 gives numbers to predict instead of classes.",
            remedy=f"--data random --input-shape {_dashed(spec.input_shape or (28, 28, 1))} --classes {spec.classes or 10}",
        )
    if not spec.input_shape or min(spec.input_shape) < 1 or spec.classes < 0 or spec.samples < 1:
        raise UsageError(
            f"Random data of shape {spec.input_shape} with {spec.classes} classes and {spec.samples} samples cannot be made.",
            cause="Sizes must be 1 or more.",
            remedy="--data random --input-shape 28,28,1 --classes 10",
        )
    generator = np.random.default_rng(spec.seed)
    x = generator.random((spec.samples, *spec.input_shape), dtype=np.float32)
    if spec.classes:
        y: Array = generator.integers(spec.classes, size=spec.samples, dtype=np.int32)
    else:
        y = generator.random((spec.samples, 1), dtype=np.float32)
    return Dataset(
        name="random",
        x=x,
        y=y,
        classes=spec.classes or None,
        provenance=f"uniform random numbers in [0, 1) of shape {spec.input_shape}, seed {spec.seed}",
        images=looks_like_images(x),
    )


def _npz(source: str) -> Dataset:
    path = Path(source).expanduser()
    if not path.is_file():
        near = near_files(path, ".npz")
        raise DataNotFoundError(
            f"--data names the file '{source}', which does not exist.",
            cause=f"A slip in the name, or another current folder: epochwise runs in {Path.cwd()}."
            + (f" Near it: {', '.join(near)}." if near else ""),
            remedy=f"--data {near[0]}" if near else 'numpy.savez("data.npz", x=x, y=y)',
        )
    arrays: dict[str, Array] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise zipfile.BadZipFile("a single array, not an archive of several")
            for key in archive.files:
                try:
                    arrays[key] = archive[key]
                except ValueError as problem:
                    if "pickle" in str(problem):
                        _refuse_objects(np.empty(0, dtype=object), f"{source}: {key}")
                    raise
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, KeyError) as problem:
        raise DataCorruptError(
            f"{source} cannot be read as an .npz file: {problem}",
            cause="The file was cut short while it was written or copied, or it is of another kind.",
            remedy='numpy.savez("data.npz", x=x, y=y)',
        ) from problem
    for names in (("x_train", "y_train", "x_test", "y_test"), ("x_train", "y_train"), ("x", "y", "x_test", "y_test"), ("x", "y")):
        if all(name in arrays for name in names):
            provenance = f"{source} ({', '.join(names)})"
            return make_dataset(path.stem, *(arrays[name] for name in names), provenance=provenance)
    raise DataError(
        f"{source} holds the arrays {', '.join(arrays) or '(none)'}; x and y were looked for, or x_train and y_train.",
        cause="Arrays saved without names are called arr_0, arr_1.",
        remedy='numpy.savez("data.npz", x=x, y=y)   (and, if there are any, x_test=..., y_test=...)',
    )


def _from_function(source: str) -> Dataset:
    from epochwise.subjects import user_code
    from epochwise.subjects.backends import choose_backend

    try:
        target = parse_target(source, what="--data")
    except ModelNotFoundError as problem:
        raise DataNotFoundError(problem.what, cause=problem.cause, remedy=problem.remedy) from None
    with user_code.running(target, choose_backend(None)):
        returned = user_code.function_of(target, user_code.load_module(target))(**target.arguments)
    x, y, x_test, y_test = _unpacked(returned, source)
    return make_dataset(target.name, x, y, x_test, y_test, provenance=f"{source}")


def _unpacked(returned: Any, source: str) -> tuple[Any, Any, Any, Any]:
    """``(x, y)``, ``((x, y), (x_test, y_test))`` or a dictionary, as four parts."""
    if isinstance(returned, dict):
        for x, y in (("x", "y"), ("x_train", "y_train")):
            if x in returned and y in returned:
                return returned[x], returned[y], returned.get("x_test"), returned.get("y_test")
    elif isinstance(returned, tuple | list) and len(returned) == 2:
        first, second = returned
        if isinstance(first, tuple) and isinstance(second, tuple) and len(first) == len(second) == 2:
            return first[0], first[1], second[0], second[1]
        return first, second, None, None
    shown = f"a dictionary with {', '.join(map(str, returned))}" if isinstance(returned, dict) else type(returned).__name__
    raise DataError(
        f"The data function {source} returned {shown}.",
        cause="It must return (x, y), ((x, y), (x_test, y_test)), or a dictionary with x and y.",
        remedy="return x, y",
    )


def _channels_first(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def _dashed(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
