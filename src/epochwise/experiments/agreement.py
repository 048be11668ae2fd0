"""A sample of the trials, trained by Keras as well: the same weights to begin with, the same batches in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from epochwise.experiments import training
from epochwise.experiments.record import Agreement
from epochwise.experiments.study import RATE, Study, seconds
from epochwise.trials.trial import Result, Trial

_SLOW_IN_KERAS = ("lcn",)
"""Models whose layers have hundreds of groups of channels, which frameworks go through one by one."""

Pairs = tuple[tuple[Trial, Trial], ...]


def sampled(study: Study, trials: Iterable[Trial]) -> Pairs:
    """Trials with their twins that Keras trains: the shortest of each model, of those that see all samples as they are.

    Args:
        study: says how many.
        trials: to choose from.
    """
    shortest: dict[str, Trial] = {}
    for trial in trials:
        if trial.run != training.RUN:
            continue
        arguments = trial.arguments
        whole = arguments["data"]["samples"] is None and arguments["data"]["view"] is None
        usual = arguments["learning_rate"] == RATE and arguments["seed"] == study.first_seed
        if arguments["trainer"] != "engine" or not (whole and usual) or arguments["data"]["permutation"]:
            continue
        name = str(arguments["model"]["name"])
        if name in _SLOW_IN_KERAS:
            continue
        if name not in shortest or trial.cost < shortest[name].cost:
            shortest[name] = trial
    own = [str(model["name"]) for model in study.models]
    order = sorted(shortest, key=lambda name: (name not in own, shortest[name].cost))
    return tuple((shortest[name], twin(study, shortest[name])) for name in order[: study.sizes.agreement])


def twin(study: Study, trial: Trial) -> Trial:
    """The same trial, trained by Keras."""
    arguments = {**trial.arguments, "trainer": "keras"}
    facts = study.facts(arguments["model"])
    every = int(arguments["validate_every"])
    evaluations = int(arguments["steps"]) // every if every else 0
    evaluated = study.data.validation * evaluations + study.data.tests * len(arguments["test_at"])
    cost = seconds(facts, int(arguments["steps"]), evaluated, by_keras=True)
    return Trial(run=trial.run, recipe=trial.recipe, arguments=arguments, cost=cost)


def agreement(pairs: Pairs, results: Mapping[str, Result]) -> Agreement | None:
    """Accuracies and seconds of both, over those pairs of which both have a result."""
    both = [
        (results[engine.key], results[keras.key]) for engine, keras in pairs if engine.key in results and keras.key in results
    ]
    if not both:
        return None
    apart = np.concatenate(
        [
            np.subtract(engine.numbers["test"]["accuracy"], keras.numbers["test"]["accuracy"], dtype=np.float64)
            for engine, keras in both
        ]
    )
    return Agreement(
        trials=len(both),
        largest_difference=float(np.abs(apart).max()),
        mean_difference=float(apart.mean()),
        engine_seconds=sum(float(engine.measured["train_seconds"]) for engine, _ in both),
        keras_seconds=sum(float(keras.measured["train_seconds"]) for _, keras in both),
    )
