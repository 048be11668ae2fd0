"""Objects somewhere on an empty canvas: where they may lie, and the trainings with them that P6, P7 and P8 share.

The object is an image at half its size. The canvas is three times as large, so that two places of the object can be disjoint,
and its side leaves a remainder of 2 when divided by 4: two convolutions of 3 x 3 and poolings of 2 then use every pixel (on
28 x 28 they never see the last two rows and columns).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from epochwise.experiments.models import Description
from epochwise.experiments.study import Study, Tuned
from epochwise.trials.trial import Result, Trial

STRIDE = 4
"""Pixels for one step of the last map of the question's CNN, and of ours."""
_STEP = 2
_STEPS = 14
"""Between the first place of a row and the last; a few more for some sizes of images."""
_TUNING_IMAGES = 1000

Place = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Where objects may lie.

    Attributes:
        side: of the canvas in pixels.
        size: ``(rows, columns)`` of the object.
        offsets: places of its upper left corner along either axis.
    """

    side: int
    size: tuple[int, int]
    offsets: tuple[int, ...]

    @property
    def corner(self) -> Place:
        """The upper left one."""
        return (0, 0)

    @property
    def centre(self) -> Place:
        """As near to the middle as one of the offsets that is a multiple of the last map's stride can be."""
        middles = ((self.side - length) // 2 for length in self.size)
        down, right = (max(each for each in self.offsets if each <= middle and not each % STRIDE) for middle in middles)
        return (down, right)

    @property
    def places(self) -> list[Place]:
        """All places, row by row."""
        return [(down, right) for down in self.offsets for right in self.offsets]

    def spread(self, per_side: int) -> list[Place]:
        """So many places per side at even distances; a single one is the centre."""
        if per_side == 1:
            return [self.centre]
        chosen = [self.offsets[int((number + 0.5) * len(self.offsets) / per_side)] for number in range(per_side)]
        return [(down, right) for down in chosen for right in chosen]

    def disjoint(self, place: Place) -> np.ndarray:
        """Which places have no pixel in common with the object at this one: ``[down][right]``, truths."""
        offsets = np.array(self.offsets)
        apart = [np.abs(offsets - at) >= length for at, length in zip(place, self.size, strict=True)]
        found: np.ndarray = apart[0][:, None] | apart[1][None, :]
        return found


def large(study: Study) -> Canvas:
    """The canvas that most is measured on: 42 x 42 for images of 28 x 28, with 225 places two pixels apart."""
    size = _object(study)
    side = 3 * max(size)
    side += (_STEP - side) % STRIDE
    step = _STEP * max(1, (side - max(size)) // (_STEP * _STEPS))
    return Canvas(side, size, tuple(range(0, side - max(size) + 1, step)))


def small(study: Study) -> Canvas:
    """A canvas as large as the images themselves, for the models just as they are; 225 places one pixel apart on 28 x 28."""
    size, side = _object(study), max(study.data.shape[:2])
    step = max(1, (side - max(size)) // _STEPS)
    return Canvas(side, size, tuple(range(0, side - max(size) + 1, step)))


def _object(study: Study) -> tuple[int, int]:
    return study.data.shape[0] // 2, study.data.shape[1] // 2


def shape(study: Study, canvas: Canvas) -> tuple[int, int, int]:
    """Of a sample."""
    return canvas.side, canvas.side, study.data.shape[2]


def samples(study: Study) -> int:
    """How many images are trained on."""
    return min(study.sizes.canvas_samples, study.data.training)


def training(
    study: Study,
    model: Description,
    canvas: Canvas,
    places: Sequence[Place],
    seed: int,
    rate: float,
    *,
    keep_weights: bool = False,
) -> Trial:
    """A training with objects at these places, drawn anew for each image shown, and tested at all places of the canvas."""
    images = study.sizes.position_images
    positions = {"offsets": [list(place) for place in canvas.places], "images": images}
    return _shown(study, model, canvas, places)(
        seed=seed, rate=rate, test_images=images, keep_weights=keep_weights, positions=positions
    )


def tuned(study: Study, model: Description, canvas: Canvas, places: Sequence[Place]) -> Tuned:
    """The same training at each learning rate, only to see how it does on validation images, and which does best."""
    return study.tuned(partial(_tuning, study, model, canvas, places), study.sizes.canvas_rates)


def _tuning(study: Study, model: Description, canvas: Canvas, places: Sequence[Place], rate: float) -> list[Trial]:
    made = _shown(study, model, canvas, places)
    every = max(1, _steps(study) // 5)
    seeds = study.tuning_seeds(moving=len(places) > 1)
    return [made(seed=seed, rate=rate, validate_every=every, test_images=_TUNING_IMAGES) for seed in seeds]


def _shown(study: Study, model: Description, canvas: Canvas, places: Sequence[Place]) -> Callable[..., Trial]:
    """What all trainings have in common: images, how long, where the object lies. The rest of :meth:`Study.trial` is open."""
    return partial(study.trial, model, steps=_steps(study), samples=samples(study), view=_view(canvas, places))


def _steps(study: Study) -> int:
    return study.steps(study.sizes.canvas_epochs, samples(study))


def accuracy_map(result: Result, canvas: Canvas) -> np.ndarray:
    """Accuracy at each place, ``[down][right]``."""
    count = len(canvas.offsets)
    return np.array(result.numbers["positions"]).reshape(count, count)


def at(values: np.ndarray, canvas: Canvas, place: Place) -> np.ndarray:
    """Values of maps ``(..., down, right)`` at one place."""
    down, right = (canvas.offsets.index(each) for each in place)
    found: np.ndarray = values[..., down, right]
    return found


def _view(canvas: Canvas, places: Sequence[Place]) -> dict[str, object]:
    return {"side": canvas.side, "offsets": [list(place) for place in places], "fresh": True}
