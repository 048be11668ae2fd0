"""From a request to a study: models and data are looked at, and what does not fit is found before anything is trained."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import platformdirs

from epochwise.errors import ModelDoesNotFitError, UsageError
from epochwise.experiments import data, models, reach
from epochwise.experiments.models import Description, Facts
from epochwise.experiments.study import TIERS, Source, Study
from epochwise.subjects.backends import PLAIN_PYTORCH, choose_backend
from epochwise.trials.trial import Result, Trial

if TYPE_CHECKING:
    from epochwise.experiments.request import Request

Shape: TypeAlias = tuple[int, int, int]

_FACTS = "epochwise.experiments.models.keras:facts"
_SECONDS = 2.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"[\w.]+(Error|Exception): ")
_PAIR = 2
_FOLDER_VARIABLE = "EPOCHWISE_CACHE"


def default_store() -> Path:
    """Where trials are kept unless a file is given: below ``EPOCHWISE_CACHE``, or the user's cache folder."""
    return Path(os.environ.get(_FOLDER_VARIABLE) or platformdirs.user_cache_dir("epochwise")) / "trials.sqlite"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A request that was looked at.

    Attributes:
        study: without the costs of the user's models.
        looks: trials that find these costs; none for the question's own models.
    """

    study: Study
    looks: tuple[Trial, ...]


def prepare(request: Request, shapes: Callable[[Study], Iterable[Shape]]) -> Prepared:
    """Look at models and data. The data are loaded once, and let go.

    Args:
        request: what is asked for.
        shapes: of samples that will be shown to both models, besides the images as they are.

    Raises:
        UsageError: an unknown tier, one model alone, plain PyTorch.
        EpochwiseError: models or data that are not there.
    """
    if request.tier not in TIERS:
        raise UsageError(f"There is no tier '{request.tier}'; there are {', '.join(TIERS)}.", remedy="--tier smoke")
    if len(request.models) not in (0, _PAIR):
        raise UsageError(
            f"{len(request.models)} model was given; the experiments compare two."
            if len(request.models) == 1
            else f"{len(request.models)} models were given; the experiments compare two.",
            remedy="epochwise evidence models.py:dense models.py:convolutional",
        )
    backend = choose_backend(request.backend)
    if backend == PLAIN_PYTORCH:
        raise UsageError(
            "The experiments train Keras models, and --backend pytorch is for a plain torch.nn.Module.",
            remedy="--backend torch",
        )
    pair = [models.users(text) for text in request.models] or [models.ours("mlp"), models.ours("cnn")]
    if len(request.models) == _PAIR and pair[0]["name"] == pair[1]["name"]:
        pair = [{**each, "name": each["text"]} for each in pair]
    study = Study(
        tier=request.tier,
        sizes=TIERS[request.tier],
        models=(pair[0], pair[1]),
        data=_source(data.absolute(request.data)),
        backend=backend,
        first_seed=request.seed,
    )
    shown = dict.fromkeys([study.data.shape, *shapes(study)])
    looks = [_look(study, model, shape) for model in study.models if "layers" not in model for shape in shown]
    return Prepared(study, tuple(looks))


def informed(prepared: Prepared, results: Mapping[str, Result]) -> Study:
    """The study with what the trials found of the user's models.

    Raises:
        ModelDoesNotFitError: a model does not even accept the images as they are.
    """
    study = prepared.study
    facts: dict[tuple[str, tuple[int, ...]], Facts] = {}
    refused: dict[tuple[str, tuple[int, ...]], str] = {}
    notes: list[str] = []
    faint: dict[str, str] = {}
    for trial in prepared.looks:
        numbers = results[trial.key].numbers
        place = str(trial.arguments["model"]["name"]), tuple(trial.arguments["input_shape"])
        if "refused" in numbers:
            refused[place] = _briefly(str(numbers["refused"]), *place)
            if place[1] == study.data.shape:
                raise ModelDoesNotFitError(
                    str(numbers["refused"]),
                    cause=str(numbers["cause"]),
                    remedy=str(numbers["remedy"]),
                )
            continue
        facts[place] = Facts(**numbers["facts"])
        if numbers["reach"] is not None and place[1] == study.data.shape:
            found = reach.of_model(place[0], study.data.high - study.data.low, reach.Reach(**numbers["reach"]))
            if found:
                faint[place[0]] = found
        if numbers["reasons"] and place[1] == study.data.shape:
            reasons = "; ".join(numbers["reasons"])
            notes.append(f"Keras trains {place[0]}, which is slower: the engine does not cover {reasons}.")
    if prepared.looks:
        notes.append(
            "Both models are trained with plain SGD, batches of 32 and cross-entropy, whatever they were compiled with, so "
            "that nothing but the models differs."
        )
    pixels = reach.of_images(study.data.low, study.data.high)
    notes = [*faint.values(), *([pixels] if pixels else []), *notes]
    return dataclasses.replace(study, facts_of_users=facts, refused=refused, faint=tuple(faint), notes=tuple(notes))


def _briefly(refusal: str, name: str, shape: Sequence[int]) -> str:
    """A refusal as a sentence; of a traceback only the error's own words, without Keras's heading and colours."""
    lines = [line.strip() for line in _COLOURS.sub("", refusal).splitlines() if line.strip()]
    if len(lines) == 1:
        return refusal
    errors = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    place = errors[-1] if errors else 0
    if "Exception encountered when calling" in lines[place] and place + 1 < len(lines):
        place += 1
    return f"{name} fails with samples of {tuple(shape)}, which are shown to it here: {lines[place].rstrip('.')}."


def _source(source: str) -> Source:
    loaded = data.images(source)
    rows, columns, channels = loaded.x.shape[1:]
    found = Source(
        source=source,
        name=loaded.name,
        digest=loaded.digest,
        shape=(rows, columns, channels),
        classes=loaded.classes,
        samples=len(loaded.y),
        tests=len(loaded.y_test),
        least_per_class=data.least_per_class(loaded.y, loaded.classes),
        low=float(loaded.x.min()),
        high=float(loaded.x.max()),
    )
    data.images.cache_clear()
    return found


def _look(study: Study, model: Description, shape: Sequence[int]) -> Trial:
    arguments = {
        "model": dict(model),
        "input_shape": list(shape),
        "classes": study.data.classes,
        "between": [study.data.low, study.data.high],
        "backend": study.backend,
    }
    return Trial(run=_FACTS, arguments=arguments, cost=_SECONDS)
