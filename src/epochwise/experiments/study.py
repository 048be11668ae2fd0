"""What all protocols share: models, data, seeds, sizes, and how a trial is described. Nothing is run here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from epochwise.experiments import training
from epochwise.experiments.data import steps_in
from epochwise.experiments.models import Description, Facts
from epochwise.experiments.models import facts as facts_of
from epochwise.trials.trial import Result, Trial

BATCH = 32
RATE = 0.01
"""Keras's own learning rate of SGD, at which every protocol is judged first."""
RATES = (0.003, 0.01, 0.03, 0.1)
"""What is tried for each arm, on validation samples."""
Tuning: TypeAlias = Callable[[float], Sequence[Trial]]
"""Gives the trials that say how good a learning rate is, a seed each."""

LARGER_RATES = (0.3, 1.0)
"""What is tried after that, one by one, while the largest does best."""

_MACS_PER_SECOND = 50e9  # of the engine on one core, convolutions and large products
_SECONDS_PER_UPDATE = 0.8e-9  # for each weight and step
_LOCAL = 8  # times as long as its MACs say: a locally connected layer is hundreds of tiny products
_SECONDS_PER_TRIAL = 0.35  # building a model, reading it, making samples
_KERAS_STEP = 4e-3
_KERAS_MACS_PER_SECOND = 5e9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much a tier trains; the only place where that stands.

    Attributes:
        seeds: of each arm.
        baseline_seeds: of P1, and so of P2.
        baseline_epochs: of P1.
        capacity_epochs: of P3.
        permutations: of P5, beside the identity.
        permutation_epochs: of P5.
        ladder_samples: of P4, numbers of images.
        ladder_steps: of P4.
        ladder_tests: test images of P4; ``None`` for all.
        canvas_samples: images of P6 and P8.
        canvas_epochs: of P6 and P8.
        canvas_rates: learning rates that P6 and P8 try first.
        largest_rate: up to which larger ones are tried, while the largest does best.
        moving_tuning_seeds: with which learning rates are chosen where the object's place changes from image to image.
        canvas_pooled: models with a pooled head in P6.
        position_images: test images at each place of P6 and P8.
        places_per_side: of P8; their squares are numbers of places.
        placed_seeds: of P8.
        efficiency_samples: of P9, numbers of images; larger ones than there are stand for all.
        efficiency_steps: of P9.
        efficiency_control_seeds: of the two larger models of P9; with none, the pair is trained at its best rates only.
        agreement: trials that Keras trains as well.
        resamples: of bootstraps.
    """

    seeds: int
    baseline_seeds: int
    baseline_epochs: int
    capacity_epochs: int
    permutations: int
    permutation_epochs: int
    ladder_samples: tuple[int, ...]
    ladder_steps: int
    ladder_tests: int | None
    canvas_samples: int
    canvas_epochs: int
    canvas_rates: tuple[float, ...]
    largest_rate: float
    moving_tuning_seeds: int
    canvas_pooled: tuple[str, ...]
    position_images: int
    places_per_side: tuple[int, ...]
    placed_seeds: int
    efficiency_samples: tuple[int, ...]
    efficiency_steps: int
    efficiency_control_seeds: int
    agreement: int
    resamples: int = 10_000


_STANDARD = Sizes(
    seeds=5,
    baseline_seeds=10,
    baseline_epochs=30,
    capacity_epochs=10,
    permutations=3,
    permutation_epochs=10,
    ladder_samples=(1_000, 10_000, 60_000),
    ladder_steps=3_000,
    ladder_tests=None,
    canvas_samples=12_000,
    canvas_epochs=10,
    canvas_rates=(0.03, 0.1, 0.3),
    largest_rate=1.0,
    moving_tuning_seeds=3,
    canvas_pooled=("cnn_16_64_gap", "cnn_16_64_gmp", "cnn_16_64_gmp_full"),
    position_images=500,
    places_per_side=(1, 2, 4, 8, 15),
    placed_seeds=3,
    efficiency_samples=(100, 300, 1_000, 3_000, 10_000, 30_000, 60_000),
    efficiency_steps=9_375,
    efficiency_control_seeds=3,
    agreement=6,
)

TIERS: dict[str, Sizes] = {
    "smoke": Sizes(
        seeds=3,
        baseline_seeds=3,
        baseline_epochs=5,
        capacity_epochs=2,
        permutations=1,
        permutation_epochs=3,
        ladder_samples=(1_000,),
        ladder_steps=200,
        ladder_tests=1_000,
        canvas_samples=4_000,
        canvas_epochs=5,
        canvas_rates=(0.1, 0.3),
        largest_rate=0.1,
        moving_tuning_seeds=1,
        canvas_pooled=("cnn_16_64_gmp",),
        position_images=50,
        places_per_side=(1, 4, 15),
        placed_seeds=3,
        efficiency_samples=(300, 1_000, 3_000),
        efficiency_steps=600,
        efficiency_control_seeds=0,
        agreement=2,
        resamples=2_000,
    ),
    "standard": _STANDARD,
    "full": dataclasses.replace(
        _STANDARD,
        seeds=29,
        baseline_seeds=29,
        ladder_steps=9_375,
        placed_seeds=29,
        efficiency_control_seeds=29,
    ),
}
"""Sizes by the tier's name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """The data of a study, as far as planning needs to know them.

    Attributes:
        source: what ``--data`` was, understood in every folder.
        name: with the origin, for records.
        digest: a hash of all numbers.
        shape: ``(rows, columns, channels)`` of an image.
        classes: how many.
        samples: to train on, validation included.
        tests: test images.
        least_per_class: training samples of the rarest class.
        low: the smallest number in the images.
        high: the largest.
    """

    source: str
    name: str
    digest: str
    shape: tuple[int, int, int]
    classes: int
    samples: int
    tests: int
    least_per_class: int
    low: float
    high: float

    @property
    def validation(self) -> int:
        """Samples held back to make choices with: one in twelve, 5,000 of 60,000."""
        return self.samples // 12

    @property
    def training(self) -> int:
        """Samples left to train on."""
        return self.samples - self.validation


@dataclasses.dataclass(frozen=True)
class Tuned:
    """How far the choice of a learning rate is; see :meth:`Study.tuned`.

    Attributes:
        trials: that decide it, as far as they can be named by now.
        rates: that are tried by now.
        rate: the one with the best validation accuracy at the end, on average; ``None`` while that is not known.
    """

    trials: tuple[Trial, ...]
    rates: tuple[float, ...]
    rate: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that a protocol plans with.

    Attributes:
        tier: ``smoke``, ``standard`` or ``full``.
        sizes: of the tier.
        models: the two that are compared, first the one without convolutions (for the question's pair: MLP, CNN).
        data: of all trials, except those of protocols that make their own.
        backend: of Keras.
        facts_of_users: costs of the user's models, by name and shape of a sample.
        refused: why a user's model does not accept samples of a shape, by name and shape.
        faint: names of those of the user's models that hardly see their images; the notes say why.
        known: results of trials that are done, by key. A protocol may plan further ones that depend on them.
        first_seed: the seeds of each arm are this one and those after it.
        notes: what a reader of the record must know.
        supposing: plan as if the largest learning rate had come out best wherever that is not known yet, so that no more are
            trained than are planned.
    """

    tier: str
    sizes: Sizes
    models: tuple[Description, Description]
    data: Source
    backend: str
    facts_of_users: Mapping[tuple[str, tuple[int, ...]], Facts] = dataclasses.field(default_factory=dict)
    refused: Mapping[tuple[str, tuple[int, ...]], str] = dataclasses.field(default_factory=dict)
    faint: tuple[str, ...] = ()
    known: Mapping[str, Result] = dataclasses.field(default_factory=dict)
    first_seed: int = 0
    notes: tuple[str, ...] = ()
    supposing: bool = False

    @property
    def seeds(self) -> range:
        """Seeds of each arm."""
        return self.seeds_of(self.sizes.seeds)

    def seeds_of(self, count: int) -> range:
        """So many seeds."""
        return range(self.first_seed, self.first_seed + count)

    @property
    def of_the_question(self) -> bool:
        """Whether the two models are the question's own."""
        return [model["name"] for model in self.models if "layers" in model] == ["mlp", "cnn"]

    @property
    def chance(self) -> float:
        """Accuracy of guessing, from 0 to 1."""
        return 1 / self.data.classes

    @property
    def enough(self) -> float:
        """Accuracy above which a model has learnt something: twice chance, or a tenth of the way from chance to 1 if less."""
        return self.chance + min(self.chance, (1 - self.chance) / 10)

    def steps(self, epochs: float, samples: int | None = None) -> int:
        """Steps of so many epochs of so many samples (by default all that are trained on)."""
        return round(epochs * steps_in(samples or self.data.training, BATCH))

    def facts(self, model: Description, shape: Sequence[int] | None = None) -> Facts:
        """What a model costs for samples of a shape; by default that of the data."""
        shape = tuple(shape or self.data.shape)
        if "layers" in model:
            return facts_of(model["layers"], shape, self.data.classes)
        return self.facts_of_users[str(model["name"]), shape]

    def trial(
        self,
        model: Description,
        *,
        seed: int,
        steps: int,
        rate: float = RATE,
        samples: int | None = None,
        permutation: int = 0,
        view: Mapping[str, Any] | None = None,
        validate_every: int = 0,
        test_at: Iterable[int] | None = None,
        best: bool = False,
        test_images: int | None = None,
        keep_weights: bool = False,
        positions: Mapping[str, Any] | None = None,
        trainer: str = "engine",
    ) -> Trial:
        """Describe one training run; :mod:`epochwise.experiments.training` says what each argument means.

        Args:
            model: what is trained.
            seed: of weights, split, subset, order and offsets.
            steps: of 32 samples each.
            rate: learning rate.
            samples: to train on; by default all.
            permutation: of the pixels.
            view: a canvas, see :mod:`epochwise.experiments.data`.
            validate_every: so many steps; 0 for never.
            test_at: steps after which the test samples are looked at; by default the last.
            best: whether the weights with the best validation accuracy are tested too.
            test_images: how many; by default all.
            keep_weights: of the beginning and the end.
            positions: at which the object is tested.
            trainer: ``engine`` or ``keras``.
        """
        shape = self.data.shape
        if view is not None:
            shape = (int(view["side"]), int(view["side"]), shape[2])
        tested = [steps] if test_at is None else sorted({int(step) for step in test_at})
        facts = self.facts(model, shape)
        arguments = {
            "model": dict(model),
            "data": self.described(samples=samples, permutation=permutation, view=view),
            "seed": seed,
            "backend": self.backend,
            "trainer": trainer if facts.by_engine else "keras",
            "learning_rate": rate,
            "batch_size": BATCH,
            "steps": steps,
            "validate_every": validate_every,
            "test_at": tested,
            "best": best,
            "test_images": test_images,
            "keep_weights": keep_weights,
            "positions": None if positions is None else dict(positions),
        }
        evaluated = self.data.validation * (steps // validate_every + 1 if validate_every else 0)
        evaluated += (self.data.tests if test_images is None else test_images) * (len(tested) + best)
        if positions is not None:
            evaluated += int(positions["images"]) * len(positions["offsets"])
        cost = seconds(facts, steps, evaluated, by_keras=arguments["trainer"] == "keras")
        if any(layer[0] == "local" for layer in model.get("layers", ())):
            cost *= _LOCAL
        return Trial(run=training.RUN, recipe=training.RECIPE, arguments=arguments, cost=cost)

    def described(
        self, *, samples: int | None = None, permutation: int = 0, view: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The data as they stand in a trial; arguments as of :meth:`trial`."""
        return {
            "source": self.data.source,
            "digest": self.data.digest,
            "validation": self.data.validation,
            "samples": samples,
            "permutation": permutation,
            "view": None if view is None else dict(view),
        }

    def tuning_seeds(self, moving: bool) -> range:
        """Seeds with which a learning rate is chosen: more where the object's place changes, since trainings may fail there."""
        return self.seeds_of(self.sizes.moving_tuning_seeds if moving else 1)

    def tuned(self, make: Tuning, first: Sequence[float] = RATES) -> Tuned:
        """How far the choice of a learning rate is: the first ones, then larger ones, one by one, while the largest does best.

        Args:
            make: gives the trials of a learning rate, which must validate.
            first: those that are tried in any case, the largest one last.
        """
        trials: list[Trial] = []
        accuracies: list[float | None] = []  # of each rate tried; None while a trial of it is not known
        rates = [*first, *(larger for larger in LARGER_RATES if first[-1] < larger <= self.sizes.largest_rate)]
        for place, rate in enumerate(rates):
            if place >= len(first):
                best = _best(accuracies)
                if best != place - 1 and not (best is None and self.supposing):
                    break
            made = make(rate)
            trials += made
            found = [final_validation(result) for trial in made if (result := self.known.get(trial.key)) is not None]
            accuracies.append(float(np.mean(found)) if len(found) == len(made) else None)
        best = _best(accuracies)
        supposed = first[-1] if self.supposing else None
        return Tuned(tuple(trials), tuple(rates[: len(accuracies)]), supposed if best is None else rates[best])


def _best(accuracies: Sequence[float | None]) -> int | None:
    """The place of the largest, ``None`` while some are not known."""
    known = [each for each in accuracies if each is not None]
    return known.index(max(known)) if len(known) == len(accuracies) else None


def seconds(facts: Facts, steps: int, evaluated: int, *, by_keras: bool = False) -> float:
    """How long a trial takes one core, estimated from its MACs and weights.

    Args:
        facts: of the model.
        steps: of training.
        evaluated: samples that run forward only.
        by_keras: whether ``model.fit`` trains.
    """
    macs = steps * BATCH * facts.training_macs + evaluated * facts.forward_macs
    if by_keras:
        return _SECONDS_PER_TRIAL + steps * _KERAS_STEP + macs / _KERAS_MACS_PER_SECOND
    return _SECONDS_PER_TRIAL + macs / _MACS_PER_SECOND + steps * facts.parameters * _SECONDS_PER_UPDATE


def final_validation(result: Result) -> float:
    """Mean of the last three validation accuracies of a run."""
    return float(np.mean(result.numbers["validation"]["accuracy"][-3:]))


def run_accuracy(result: Result, last: int = 3) -> float:
    """Accuracy of a run: the mean over its last tests."""
    return float(np.mean(result.numbers["test"]["accuracy"][-last:]))
