"""``epochwise.fit``: ``model.fit`` by the engine, with the same arguments and the same outcome."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from epochwise.engine.interrupts import Holding, Interrupts
from epochwise.engine.network import State
from epochwise.engine.run import Run, means
from epochwise.engine.samples import prepared
from epochwise.engine.sources import Arrays, Source, drawn_generator, split
from epochwise.engine.support import Support
from epochwise.engine.trainers import trainer_for
from epochwise.errors import NotCoveredError, UsageError

if TYPE_CHECKING:
    from epochwise.engine.keras import Reading

_WITH_LABELS, _WITH_WEIGHTS = 2, 3
_NUMBERS = (
    ("batch_size", 1, 32),
    ("epochs", 0, 5),
    ("initial_epoch", 0, 0),
    ("validation_batch_size", 1, 32),
    ("steps_per_epoch", 1, 100),
    ("validation_steps", 1, 100),
    ("threads", 1, 2),
)
"""Arguments that are whole numbers, with the least that each may be, and a usual one."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What a run leaves behind beside the trained model.

    Attributes:
        history: Keras's ``History``.
        engine: what trained: the trainer's name, or ``keras``.
        threads: how many it used; ``None`` where Keras decides.
    """

    history: Any
    engine: str
    threads: int | None


def fit(
    model: Any,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: Any = "auto",
    callbacks: Any = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool | Literal["batch"] = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: Any = 1,
    *,
    fallback: bool = False,
    threads: int | None = None,
) -> Any:
    """Train a compiled Keras model with the engine. Weights and optimizer state end up in the model.

    All arguments but the last two mean what they mean to ``model.fit``, which may go on afterwards where this stopped.

    Args:
        model: a built (or Sequential) and compiled Keras model, on any backend.
        x: samples ``(N, ...)`` as an array, lists or a tensor; or a ``tf.data.Dataset``, ``keras.utils.PyDataset``,
            ``DataLoader`` or generator of batches ``(x, y)`` or ``(x, y, sample_weight)``.
        y: labels, for arrays.
        batch_size: samples of a step, 32 if not given; not for data that come in batches.
        epochs: number of the last epoch.
        verbose: ``"auto"``, 0, 1 or 2.
        callbacks: Keras's, or your own.
        validation_split: share of the samples, from the end, that is held back to validate with.
        validation_data: ``(x, y)`` or ``(x, y, sample_weight)``, or batches as for ``x``.
        shuffle: a new order of the samples in each epoch; ``"batch"`` keeps the samples of a batch together.
        class_weight: weight of each class in the loss.
        sample_weight: weight of each sample in the loss, ``(N,)``.
        initial_epoch: how many epochs were done before.
        steps_per_epoch: batches of an epoch, for data without an end.
        validation_steps: the same for validation data.
        validation_batch_size: of the validation, ``batch_size`` if not given.
        validation_freq: every how many epochs to validate, or a list of epochs.
        fallback: train with ``model.fit`` what the engine does not cover, and say so, instead of refusing it.
        threads: how many to use at most; ``None`` for as many as there are cores to use.

    Returns:
        Keras's ``History``.

    Raises:
        NotAModelError: it is no Keras model.
        NotCoveredError: the engine does not train it; the message names every layer and option.
        UsageError: it is not compiled; arguments that do not go together.
        DataError, ModelDoesNotFitError: data that cannot be trained on.
    """
    given = {name: value for name, value in locals().items() if name not in ("model", "fallback", "threads")}
    return fitted(model, fallback=fallback, threads=threads, **given).history


def keras_arguments(**given: Any) -> dict[str, Any]:
    """All arguments of ``model.fit``: those given, and the others as they are by default."""
    parameters = inspect.signature(fit).parameters.values()
    own = {"model", "fallback", "threads"}
    return {parameter.name: parameter.default for parameter in parameters if parameter.name not in own} | given


def evaluated(model: Any, x: Any, y: Any, batch_size: int, by: Fitted) -> dict[str, float]:
    """Loss and metrics of a model on arrays, by what trained it."""
    from epochwise.engine import keras as models

    reading, _ = models.read(model)
    if reading is None or by.engine == "keras":
        logs: dict[str, float] = model.evaluate(x, y, batch_size=batch_size, verbose=0, return_dict=True)
        return logs
    data = prepared(reading.network, x, y, whole=reading.whole, prefix="test ")
    return means(reading.network, trainer_for(reading.network, reading.state(), by.threads).evaluate(data, batch_size))


def fitted(model: Any, *, fallback: bool, threads: int | None, **given: Any) -> Fitted:
    """The same as :func:`fit`, with what trained the model."""
    check_arguments(given, threads)
    ready = made_ready(model, given)
    if isinstance(ready, Support):
        if not fallback:
            raise refused(model, ready)
        reasons = "; ".join(map(str, ready.reasons))
        warnings.warn(f"Keras trains this model, not the engine, which does not cover: {reasons}.", stacklevel=3)
        return Fitted(model.fit(**given), "keras", None)
    with Interrupts() as interrupts:
        return ready.train(threads, interrupts)


@dataclasses.dataclass(frozen=True)
class Ready:
    """A model with its data, checked and ready to be trained, in whatever thread.

    Attributes:
        reading: the model.
        state: its weights and the optimizer's arrays.
        source: what is trained on.
        validation: what is validated with.
        callbacks: Keras's list of them.
        given: the arguments of ``fit``.
    """

    reading: Reading
    state: State
    source: Source
    validation: Source | None
    callbacks: Any
    given: dict[str, Any]

    def train(self, threads: int | None, interrupts: Holding) -> Fitted:
        """Train, and leave the weights of the last finished step in the model, whatever ends it."""
        trainer = trainer_for(self.reading.network, self.state, threads, interrupts.check)
        run = Run(self.reading, self.state, trainer, self.callbacks, interrupts)
        try:
            run.train(self.source, self.given["epochs"], self.given["initial_epoch"], self._validate)
        finally:
            run.write()
        return Fitted(self.reading.model.history, trainer.name, trainer.threads)

    def _validate(self, epoch: int) -> Source | None:
        """What to validate an epoch with."""
        every = self.given["validation_freq"]
        wanted = (epoch + 1) % every == 0 if isinstance(every, int) else epoch + 1 in every
        return self.validation if wanted else None


def made_ready(model: Any, given: dict[str, Any], prepare: Any = prepared, seed: int | None = None) -> Ready | Support:
    """A model and its data, looked at before anything is trained; or what the engine does not cover of them.

    Args:
        model: a compiled Keras model.
        given: all arguments of ``model.fit``, by name.
        prepare: what checks arrays and puts them into form, as :func:`epochwise.engine.samples.prepared` does. It is called
            here, while what comes in batches is checked where it is read.
        seed: of the order of samples, see :func:`epochwise.engine.sources.drawn_generator`.

    Raises:
        EpochwiseError: see :func:`fit`.
    """
    from epochwise.engine import keras as models
    from epochwise.engine.callbacks.keras import callback_list

    if not _is_stream(given["x"]):
        models.build_for(model, given["x"])
    reading, support = models.read(model)
    if reading is not None:
        support = _data_covered(given)
    if reading is None or not support:
        return support
    source, validation = _sources(_Prepare(reading, prepare), given, seed)
    callbacks = callback_list(given["callbacks"], model, given["verbose"], given["epochs"], source.steps)
    reading.build_metrics()
    return Ready(reading, reading.state(), source, validation, callbacks, given)


class _Prepare:
    """What puts data into the form that a model takes.

    Attributes:
        arrays: for data that are whole in memory, which several models may share.
        batch: for one batch of a stream.
    """

    def __init__(self, reading: Reading, prepare: Any) -> None:
        self.arrays, self.batch = (partial(way, reading.network, whole=reading.whole) for way in (prepare, prepared))


def _sources(prepare: _Prepare, given: dict[str, Any], seed: int | None) -> tuple[Source, Source | None]:
    """Where the batches of training and of validation come from."""
    from epochwise.engine.streams.keras import Stream

    batch_size = given["batch_size"] or 32
    validation: Source | None = None
    if _is_stream(given["x"]):
        source: Source = Stream(
            given["x"],
            prepare.batch,
            steps_per_epoch=given["steps_per_epoch"],
            shuffle=bool(given["shuffle"]),
            class_weight=given["class_weight"],
        )
    else:
        weights = {"weight": given["sample_weight"], "class_weight": given["class_weight"]}
        data = prepare.arrays(given["x"], given["y"], **weights)
        if given["validation_split"] and given["validation_data"] is None:
            data, held = split(data, given["validation_split"])
            if given["class_weight"] is not None:  # acts on training alone
                held = dataclasses.replace(held, weight=None)
            validation = Arrays(held, given["validation_batch_size"] or batch_size)
        source = Arrays(data, batch_size, given["shuffle"], drawn_generator(seed))
    if given["validation_data"] is not None:
        validation = _validation(given, prepare, batch_size)
    return source, validation


def _validation(given: dict[str, Any], prepare: _Prepare, batch_size: int) -> Source:
    from epochwise.engine.streams.keras import Stream

    data = given["validation_data"]
    if _is_stream(data):
        return Stream(data, partial(prepare.batch, prefix="validation "), steps_per_epoch=given["validation_steps"])
    if not isinstance(data, tuple | list) or len(data) not in (_WITH_LABELS, _WITH_WEIGHTS):
        raise UsageError(
            f"validation_data is of type {type(data).__name__}.",
            cause="It must be (x, y), (x, y, sample_weight), or batches of these.",
            remedy="validation_data=(x_test, y_test)",
        )
    source = Arrays(prepare.arrays(*data, prefix="validation "), given["validation_batch_size"] or batch_size)
    steps = given["validation_steps"]
    if steps is not None:
        some = slice(None, steps * source.batch_size)
        held = source.data
        source.data = type(held)(held.x[some], held.y[some], None if held.weight is None else held.weight[some])
    return source


def _is_stream(x: Any) -> bool:
    """Whether data come batch by batch: anything that is neither an array, nor a sequence of numbers."""
    return not (hasattr(x, "shape") or hasattr(x, "__array__") or isinstance(x, list | tuple))


def _data_covered(given: dict[str, Any]) -> Support:
    from epochwise.engine.support import Reason

    if not _is_stream(given["x"]) and given["steps_per_epoch"] is not None:
        return Support((Reason("data", "steps_per_epoch with arrays, which would end an epoch in their middle"),))
    return Support()


def refused(model: Any, support: Support) -> NotCoveredError:
    """The error that names what the engine does not cover."""
    listed = "\n".join(f"  {reason}" for reason in support.reasons)
    return NotCoveredError(
        f"The engine does not train {model.name}. Not covered:\n{listed}",
        cause="The engine covers the common layers of small networks, and each option by name.",
        remedy="fit(..., fallback=True), which trains such a model with Keras",
    )


def check_arguments(given: dict[str, Any], threads: int | None) -> None:
    """Arguments that make no sense, refused before anything is looked at.

    Raises:
        UsageError: which, and what is possible.
    """
    numbers = {**given, "threads": threads}
    for name, least, usual in _NUMBERS:
        value = numbers[name]
        if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least):
            raise UsageError(f"{name} is {value!r}; it must be a whole number of at least {least}.", remedy=f"{name}={usual}")
    _check_data_arguments(given)
    every = given["validation_freq"]
    if every is None or (isinstance(every, int) and every < 1):
        raise UsageError(f"validation_freq is {every!r}; it must be 1 or more, or a list.", remedy="validation_freq=1")
    if given["class_weight"] is not None and not isinstance(given["class_weight"], Mapping):
        raise UsageError(
            f"class_weight is of type {type(given['class_weight']).__name__}; it must be a dictionary from class to weight.",
            remedy="class_weight={0: 1.0, 1: 2.0}",
        )


def _check_data_arguments(given: dict[str, Any]) -> None:
    if given["x"] is None:
        raise UsageError("There are no data to train on: x is None.", remedy="fit(model, x, y)")
    if isinstance(given["x"], dict):
        raise UsageError(
            f"x is a dictionary of {', '.join(map(str, given['x']))}.",
            cause="The engine trains models with one input, which is an array.",
            remedy="fit(model, x['name'], y)",
        )
    if not 0.0 <= given["validation_split"] < 1.0:
        raise UsageError(
            f"validation_split is {given['validation_split']}; it is a share of the samples, from 0 to below 1.",
            remedy="validation_split=0.1",
        )
    if given["class_weight"] is not None and given["sample_weight"] is not None:
        raise UsageError(
            "Both class_weight and sample_weight were given; Keras takes one of them.",
            remedy="sample_weight=sample_weight * numpy.array([class_weight[c] for c in y])",
        )
    if _is_stream(given["x"]):
        for name in ("y", "sample_weight", "batch_size"):
            if given[name] is not None:
                raise UsageError(
                    f"{name} was given beside a {type(given['x']).__name__}, whose batches hold their own.",
                    cause="Data sets, loaders and generators give (x, y) or (x, y, sample_weight), a batch at a time.",
                    remedy=f"fit(model, x)   (without {name})",
                )
        if given["validation_split"]:
            raise UsageError(
                "validation_split cuts arrays, and the data come in batches.",
                remedy="validation_data=another_data_set",
            )
