"""What a training loop is fed with beside arrays: streams of batches, callbacks, validation data. Imports no framework."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any

from epochwise.errors import DataError, UsageError
from epochwise.subjects.arrays import Array, Dataset, as_array, make_dataset

FIT_ARGUMENTS = (
    "callbacks",
    "validation_data",
    "validation_split",
    "validation_freq",
    "validation_steps",
    "validation_batch_size",
    "class_weight",
    "sample_weight",
    "shuffle",
)
"""Arguments of Keras's ``fit`` that may be given beside the data."""

_STREAMS = ("PyDataset", "DatasetV2", "DataLoader", "IterDataset", "MapDataset")
"""Classes whose instances give batches: of Keras, TensorFlow, PyTorch and Grain."""
_LEAST_PARTS = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Feed:
    """How a loop gets its batches, and what else ``fit`` is given.

    Attributes:
        stream: gives batches: a generator, a ``keras.utils.PyDataset``, a ``tf.data.Dataset``, a PyTorch ``DataLoader``;
            ``None`` for arrays.
        sample: features and labels of one batch of the stream, as it gives them.
        batch_size: samples in a batch of the stream.
        steps_per_epoch: batches in an epoch of the stream.
        arguments: further arguments of ``fit``, see :data:`FIT_ARGUMENTS`.
    """

    stream: Any = None
    sample: tuple[Any, Any] | None = None
    batch_size: int | None = None
    steps_per_epoch: int | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def callbacks(self) -> list[Any]:
        """The user's callbacks."""
        given = self.arguments.get("callbacks") or ()
        return list(given) if isinstance(given, list | tuple) else [given]


def is_stream(candidate: object) -> bool:
    """Whether it gives batches, one after the other, rather than being an array."""
    return isinstance(candidate, types.GeneratorType) or any(kind.__name__ in _STREAMS for kind in type(candidate).__mro__)


def fed_dataset(name: str, x: Any, y: Any, extras: Mapping[str, Any], *, provenance: str) -> Dataset:
    """A data set from what ``fit`` would be given.

    Args:
        name: short readable name.
        x: samples, or a stream of batches ``(x, y)``.
        y: labels; ``None`` with a stream.
        extras: ``x_test`` and ``y_test``; ``classes`` and ``steps_per_epoch`` of a stream; arguments of ``fit``.
        provenance: for the record.

    Raises:
        UsageError: an argument that is none of these.
        DataError: a stream whose length or batches cannot be made out.
    """
    arguments = {key: value for key, value in extras.items() if key in FIT_ARGUMENTS and value is not None}
    unknown = [key for key in extras if key not in (*FIT_ARGUMENTS, "x_test", "y_test", "classes", "steps_per_epoch")]
    if unknown:
        raise UsageError(
            f"{name} comes with {', '.join(unknown)}, which epochwise cannot pass on.",
            cause=f"Beside x and y there may be x_test and y_test, classes and steps_per_epoch, {', '.join(FIT_ARGUMENTS)}.",
            remedy='return {"x": x, "y": y, "callbacks": [...], "validation_data": (x_val, y_val)}',
        )
    if not is_stream(x):
        data = make_dataset(name, x, y, extras.get("x_test"), extras.get("y_test"), provenance=provenance)
        return dataclasses.replace(data, feed=Feed(arguments=arguments))
    sample, stream = _first_batch(x, name)
    steps = extras.get("steps_per_epoch") or _length(x)
    if not steps:
        raise DataError(
            f"{name} is a {type(x).__name__}, and nothing says how many batches make an epoch.",
            cause="A generator, or a data set without a length, does not know where an epoch ends.",
            remedy='return {"x": stream, "steps_per_epoch": 100}',
        )
    data = make_dataset(name, as_array(sample[0], "x"), as_array(sample[1], "y"), provenance=provenance)
    feed = Feed(stream, sample, len(data.x), int(steps), arguments)
    return dataclasses.replace(data, feed=feed, classes=extras.get("classes", data.classes), images=False)


def _first_batch(stream: Any, name: str) -> tuple[tuple[Any, Any], Any]:
    """Features and labels of one batch as arrays, and the stream with that batch still to come."""
    again = stream
    if isinstance(stream, types.GeneratorType):
        first = next(stream, None)
        again = _with_first(first, stream)
    elif hasattr(stream, "__getitem__") and not hasattr(stream, "__iter__"):
        first = stream[0]
    else:
        first = next(iter(stream), None)
    if not isinstance(first, tuple | list) or len(first) < _LEAST_PARTS:
        given = "nothing" if first is None else f"a {type(first).__name__}"
        raise DataError(
            f"{name} gives {given} where a batch (x, y) is needed.",
            cause="The stream is at its end, or its batches hold no labels.",
            remedy="yield x, y",
        )
    parts: list[Array] = [as_array(part, part_name) for part, part_name in zip(first, ("x", "y"), strict=False)]
    return (parts[0], parts[1]), again


def _with_first(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    """A generator again, since Keras tells generators by their type."""
    yield first
    yield from rest


def _length(stream: Any) -> int | None:
    """Batches in an epoch, if the stream says."""
    for found in (getattr(stream, "num_batches", None), getattr(stream, "cardinality", None)):
        if isinstance(found, int) and found > 0:
            return found
    try:
        return len(stream) or None
    except TypeError:
        return None
