"""Data to train on: the real Fashion-MNIST, random numbers, a user's file, or a user's function. Imports no framework."""

from __future__ import annotations

import math
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from epochwise.errors import DataCorruptError, DataError, DataNotFoundError, ModelNotFoundError, UsageError
from epochwise.subjects.arrays import Array, Dataset, looks_like_images, make_dataset, refuse_objects
from epochwise.subjects.data_checks import check_data
from epochwise.subjects.feeding import fed_dataset, is_stream
from epochwise.subjects.models import near_files, parse_target

_NAMES_IN_FILES = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("x_train", "y_train"),
    ("x", "y", "x_test", "y_test"),
    ("x", "y"),
)
_A_PAIR = 2

__all__ = ["DataSpec", "Dataset", "check_data", "load_data", "make_dataset"]


class DataSpec(msgspec.Struct, frozen=True):
    """Where data comes from.

    Attributes:
        source: ``fashion-mnist``, ``random``, the path of an ``.npz`` file, or ``module:function`` / ``file.py:function``.
        input_shape: shape of one sample without the batch, ``(28, 28, 1)``; for random data.
        classes: how many classes random labels have; 0 gives random numbers to predict instead.
        samples: how many random samples; ``None`` for 60,000, or of large samples as many as fit into a gibibyte.
        data_dir: folder in which the Fashion-MNIST files are looked for first.
        seed: of random data.
    """

    source: str = "fashion-mnist"
    input_shape: tuple[int, ...] | None = None
    classes: int | None = None
    samples: int | None = None
    data_dir: str | None = None
    seed: int = 0


MOST_RANDOM_SAMPLES, MOST_RANDOM_BYTES = 60_000, 2**30


def load_data(spec: DataSpec, backend: str | None = None) -> Dataset:
    """Load the data that a specification names.

    Args:
        spec: where the data comes from.
        backend: the one that the model will run on, as in :func:`~epochwise.subjects.backends.choose_backend`; a data function
            that imports Keras receives it on this backend.

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
        return _from_function(spec.source, backend)
    raise UsageError(
        f"--data '{spec.source}' cannot be understood.",
        cause="It must be fashion-mnist, random, a file.npz, module:function or file.py:function.",
        remedy="--data fashion-mnist",
    )


def more_needed(input_shape: tuple[int, ...] | None, classes: int | None) -> UsageError:
    """Random data were asked for without all that they need; gives the error."""
    missing = [option for option, value in (("--input-shape", input_shape), ("--classes", classes)) if value is None]
    return UsageError(
        f"Random data need {' and '.join(missing)}.",
        cause="Nothing else says what the samples look like; --classes 0 gives numbers to predict instead of classes.",
        remedy=f"--data random --input-shape {_dashed(input_shape or (28, 28, 1))} --classes {classes or 10}",
    )


def _random(spec: DataSpec) -> Dataset:
    if spec.input_shape is None or spec.classes is None:
        raise more_needed(spec.input_shape, spec.classes)
    wanted = f" and {spec.samples} samples" if spec.samples is not None else ""
    if not spec.input_shape or min(spec.input_shape) < 1 or spec.classes < 0 or (spec.samples is not None and spec.samples < 1):
        raise UsageError(
            f"Random data of shape {spec.input_shape} with {spec.classes} classes{wanted} cannot be made.",
            cause="Sizes must be 1 or more.",
            remedy="--data random --input-shape 28,28,1 --classes 10",
        )
    most = max(1, MOST_RANDOM_BYTES // (4 * math.prod(spec.input_shape)))
    samples = spec.samples or min(MOST_RANDOM_SAMPLES, most)
    generator = np.random.default_rng(spec.seed)
    x = generator.random((samples, *spec.input_shape), dtype=np.float32)
    if spec.classes:
        y: Array = generator.integers(spec.classes, size=samples, dtype=np.int32)
    else:
        y = generator.random((samples, 1), dtype=np.float32)
    return Dataset(
        name="random",
        x=x,
        y=y,
        classes=spec.classes or None,
        provenance=f"{samples:,} samples of uniform random numbers in [0, 1) of shape {spec.input_shape}, seed {spec.seed}",
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
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise zipfile.BadZipFile("a single array, not an archive of several")
            for key in archive.files:
                try:
                    arrays[key] = archive[key]
                except ValueError as problem:
                    if "pickle" in str(problem):
                        refuse_objects(np.empty(0, dtype=object), f"{source}: {key}")
                    raise
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, KeyError) as problem:
        raise DataCorruptError(
            f"{source} cannot be read as an .npz file: {problem}",
            cause="The file was cut short while it was written or copied, or it is of another kind.",
            remedy='numpy.savez("data.npz", x=x, y=y)',
        ) from problem
    for names in _NAMES_IN_FILES:
        if all(name in arrays for name in names):
            provenance = f"{source} ({', '.join(names)})"
            return make_dataset(path.stem, *(arrays[name] for name in names), provenance=provenance)
    raise DataError(
        f"{source} holds the arrays {', '.join(arrays) or '(none)'}; x and y were looked for, or x_train and y_train.",
        cause="Arrays saved without names are called arr_0, arr_1.",
        remedy='numpy.savez("data.npz", x=x, y=y)   (and, if there are any, x_test=..., y_test=...)',
    )


def _from_function(source: str, backend: str | None) -> Dataset:
    from epochwise.subjects import user_code
    from epochwise.subjects.backends import PLAIN_PYTORCH, bind_keras, choose_backend

    try:
        target = parse_target(source, what="--data")
    except ModelNotFoundError as problem:
        raise DataNotFoundError(problem.what, cause=problem.cause, remedy=problem.remedy) from None
    chosen = choose_backend(backend)
    under_keras = "torch" if chosen == PLAIN_PYTORCH else chosen
    if backend is not None and "keras" not in sys.modules:  # the function may import it
        bind_keras(under_keras)
    with user_code.running(target, under_keras):
        returned = user_code.function_of(target, user_code.load_module(target))(**target.arguments)
    x, y, extras = _unpacked(returned, source)
    return fed_dataset(target.name, x, y, extras, provenance=f"{source}")


def _unpacked(returned: Any, source: str) -> tuple[Any, Any, dict[str, Any]]:
    """Samples, labels and the rest of what a data function gave, in whichever of the forms that are known."""
    if is_stream(returned):
        return returned, None, {}
    if isinstance(returned, dict):
        for x, y in (("x", "y"), ("x_train", "y_train")):
            if x in returned and (y in returned or is_stream(returned[x])):
                return returned[x], returned.get(y), {key: value for key, value in returned.items() if key not in (x, y)}
    elif isinstance(returned, tuple | list) and len(returned) == _A_PAIR:
        first, second = returned
        if isinstance(first, tuple) and isinstance(second, tuple) and len(first) == len(second) == _A_PAIR:
            return first[0], first[1], {"x_test": second[0], "y_test": second[1]}
        return first, second, {}
    shown = f"a dictionary with {', '.join(map(str, returned))}" if isinstance(returned, dict) else type(returned).__name__
    raise DataError(
        f"The data function {source} returned {shown}.",
        cause="It must return (x, y), ((x, y), (x_test, y_test)), a stream of batches, or a dictionary with x and y.",
        remedy="return x, y",
    )


def _dashed(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
