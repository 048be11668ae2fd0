"""A model that is given by name, trained by the engine, with a record of the run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epochwise.engine.result import Epoch, Fit, Score
from epochwise.errors import NotCoveredError
from epochwise.subjects.backends import PLAIN_PYTORCH, choose_backend
from epochwise.subjects.datasets import DataSpec, load_data
from epochwise.subjects.loading import Subject, load_subject
from epochwise.subjects.models import parse_model

if TYPE_CHECKING:
    from epochwise.engine.callbacks.keras import EpochTimes

Progress = Callable[[float, float, str], None]


def fit_named(
    model: str,
    data: DataSpec,
    *,
    backend: str | None,
    batch_size: int,
    epochs: int,
    threads: int | None,
    validation_split: float,
    shuffle: bool,
    fallback: bool,
    save: str | None,
    seed: int,
    progress: Progress,
) -> Fit:
    """Load a model and data, train, evaluate on the test samples if there are any, and save.

    Args:
        model: a MODEL string.
        data: to train on.
        backend: of Keras; ``None`` for the one that Keras would take.
        batch_size: samples of a step.
        epochs: how many.
        threads: at most; ``None`` for as many as there are cores to use.
        validation_split: share of the samples, from the end, that is held back.
        shuffle: whether the order is new in each epoch.
        fallback: train with Keras what the engine does not cover.
        save: a ``.keras`` file for the trained model.
        seed: of weights, order and dropout.
        progress: told ``(done, total, text)``.

    Raises:
        NotCoveredError: the engine does not train this model.
        EpochwiseError: what loading of models and data raises.
        KeyboardInterrupt: Ctrl-C. The model as of its last finished step is saved before, and the exception says so.
    """
    chosen = choose_backend(backend)
    progress(0, epochs, "loading the data")
    if chosen == "jax":
        from epochwise.engine.starting.jax import keep_compiled

        keep_compiled()
    samples = load_data(data, chosen)
    spec = parse_model(model)
    progress(0, epochs, f"loading {spec.name}")
    subject = load_subject(spec, samples, backend=chosen, batch_size=batch_size, seed=seed)
    if subject.backend == PLAIN_PYTORCH:
        raise NotCoveredError(
            f"{spec.text} is a plain torch.nn.Module, and the engine trains Keras models.",
            cause="The engine reads the layers of a Keras model; what a module computes, only its code knows.",
            remedy="the same layers as a keras.Sequential",
        )
    options = {"validation_split": validation_split, "shuffle": shuffle, "batch_size": batch_size, "epochs": epochs}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            record = _trained(subject, options, threads, fallback, seed, lambda done, text: progress(done, epochs, text))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(*_rescued(subject.model, save)) from None
    notes = tuple(dict.fromkeys(str(each.message) for each in caught if each.category in (UserWarning, RuntimeWarning)))
    if save:
        subject.model.save(Path(save))
    from msgspec.structs import replace

    return replace(record, notes=notes)


def _rescued(model: Any, save: str | None) -> list[str]:
    """Save a model whose training was interrupted, if it was to be saved; what there is to say."""
    steps = int(model.optimizer.iterations)
    if not save or not steps:
        return []
    model.save(Path(save))
    return [f"{save} holds the model as of its last finished step, the {steps:,}th."]


def _trained(
    subject: Subject,
    options: dict[str, Any],
    threads: int | None,
    fallback: bool,
    seed: int,
    tell: Callable[[float, str], None],
) -> Fit:
    from epochwise.engine.callbacks.keras import EpochTimes
    from epochwise.engine.fit import evaluated, fitted, keras_arguments

    data, model = subject.data, subject.model
    times = EpochTimes(tell)
    tell(0, f"training {subject.name}")
    given = keras_arguments(x=data.x, y=data.y, verbose=0, callbacks=[times], **options)
    done = fitted(model, fallback=fallback, threads=threads, **given)
    test = None
    if data.x_test is not None:
        test = _score(evaluated(model, data.x_test, data.y_test, options["batch_size"], done))
    return Fit(
        name=subject.name,
        engine=done.engine,
        threads=done.threads,
        backend=subject.backend,
        batch_size=options["batch_size"],
        samples=math.floor(len(data.x) * (1.0 - options["validation_split"])),
        data=f"{data.name}: {data.provenance}" if data.provenance else data.name,
        seed=seed,
        parameters=int(model.count_params()),
        epochs=tuple(_epochs(times)),
        test=test,
    )


def _epochs(times: EpochTimes) -> list[Epoch]:
    made = []
    for seconds, logs in zip(times.seconds, times.logs, strict=True):
        score, held = _score(logs), None
        if "val_loss" in logs:
            held = _score({name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")})
        made.append(Epoch(score.loss, score.accuracy, seconds, held))
    return made


def _score(logs: dict[str, float]) -> Score:
    """Loss and accuracy out of Keras's logs; the first metric that calls itself an accuracy."""
    accuracy = next((value for name, value in logs.items() if name in ("acc", "accuracy")), None)
    if accuracy is None:
        accuracy = next((value for name, value in logs.items() if "accuracy" in name and not name.startswith("val_")), None)
    return Score(_finite(logs["loss"]), None if accuracy is None else _finite(accuracy))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
