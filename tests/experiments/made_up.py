"""Studies and results that were never trained: worlds whose truth is known, for protocols to judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from epochwise.experiments.models import Facts, ours
from epochwise.experiments.record import Experiment, recorded
from epochwise.experiments.study import TIERS, Source, Study
from epochwise.trials.trial import Result, Trial

Numbers = Callable[[Mapping[str, Any], np.random.Generator], dict[str, Any]]
"""From a trial's arguments and random numbers of its own to what came out."""


def study(tier: str = "smoke", *, users: bool = False, **sizes: Any) -> Study:
    """A study of images of 28 x 28 in ten classes; with models of a user's, or the question's."""
    shape = (28, 28, 1)
    source = Source(
        source="made-up",
        name="made up",
        digest="0",
        shape=shape,
        classes=10,
        samples=60_000,
        tests=10_000,
        least_per_class=6_000,
        low=0.0,
        high=1.0,
    )
    pair = ({"name": "dense", "text": "a.py:dense", "digest": ""}, {"name": "conv", "text": "a.py:conv", "digest": ""})
    made = Study(
        tier=tier,
        sizes=dataclasses.replace(TIERS[tier], **sizes),
        models=pair if users else (ours("mlp"), ours("cnn")),
        data=source,
        backend="jax",
    )
    facts = Facts(1000, 10_000, 25_000, 500)
    known = {(str(model["name"]), each): facts for model in pair for each in (shape, (42, 42, 1))}
    return dataclasses.replace(made, facts_of_users=known if users else {})


def judged(protocol: ModuleType, of: Study, numbers: Numbers, **arrays: Any) -> tuple[Experiment, dict[str, Trial]]:
    """Plan, make up results until nothing more is planned, and judge; with all trials by key."""
    known: dict[str, Result] = {}
    trials: dict[str, Trial] = {}
    while missing := [trial for trial in protocol.plan(of) if trial.key not in known]:
        for trial in missing:
            trials[trial.key] = trial
            known[trial.key] = result(trial, numbers(trial.arguments, np.random.default_rng(int(trial.key[:12], 16))), arrays)
        of = dataclasses.replace(of, known=known)
    return recorded(protocol.judge(of, known)), trials


def result(
    trial: Trial, numbers: Mapping[str, Any], arrays: Mapping[str, Any], measured: Mapping[str, Any] | None = None
) -> Result:
    """As the store gives it."""
    return Result(
        key=trial.key,
        numbers=numbers,
        arrays=dict(arrays),
        measured=dict(measured or {}),
        engine="engine",
        seconds=1.0,
        version="0",
        machine="none",
        backend="jax",
        digest="0",
        finished_at="2000-01-01T00:00:00+00:00",
    )


def rated(arguments: Mapping[str, Any], best: float) -> dict[str, Any]:
    """Validation that is best at one learning rate."""
    accuracy = 0.9 - 0.1 * abs(np.log10(arguments["learning_rate"] / best))
    return {"steps": [1, 2, 3], "accuracy": [accuracy] * 3, "loss": [0.1] * 3}
