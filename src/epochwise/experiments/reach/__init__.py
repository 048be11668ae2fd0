"""What reaches a model's first layer with weights. Keras's learning rates are for numbers of about 1.

A model may divide its images by 255 although that was done to them already. Nothing fails then: the first layer has gradients
of a few thousandths of the usual ones, and the model hardly learns. Imports no framework.
"""

from __future__ import annotations

import dataclasses

FAINT = 0.02
"""Images whose numbers all lie this close together are hardly learnt from. Divided by 255 twice, they are within 0.004."""
LOUD = 20.0
"""Numbers that lie further apart than this make plain SGD diverge: pixels from 0 to 255 that nothing divides."""
USUAL = 'x = x.astype("float32") / 255'


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a model's first layer with weights sees of images.

    Attributes:
        layer: its name.
        span: the largest number that reaches it, minus the smallest.
        faded_by: the layer before it that makes the numbers so small; empty where none does, or the model's own code.
    """

    layer: str
    span: float
    faded_by: str


def of_model(name: str, span: float, reach: Reach) -> str:
    """What to tell of a model that makes its images too faint; empty of one that does not.

    Args:
        name: of the model.
        span: of the images it is given: their largest number minus the smallest.
        reach: what is left of it.
    """
    if span < FAINT or reach.span >= FAINT:
        return ""
    by = f"its layer '{reach.faded_by}' scales" if reach.faded_by else "code of its own scales"
    remedy = f"without the layer '{reach.faded_by}'" if reach.faded_by else "without that"
    return (
        f"{name} will hardly learn: {by} images that are scaled already, and what reaches its first layer with weights, "
        f"'{reach.layer}', lies within {reach.span:.2g}. Images arrive as in the data, here within {span:.3g} (uint8 is "
        f"divided by 255); {name} works {remedy}."
    )


def of_images(low: float, high: float) -> str:
    """What to tell of images whose numbers are far from 1; empty of others.

    Args:
        low: the smallest number in them.
        high: the largest.
    """
    if FAINT <= high - low <= LOUD:
        return ""
    remedy = USUAL if high - low > LOUD else "x = x / x.max()"
    return (
        f"The images' numbers lie between {low:.3g} and {high:.3g}. Plain SGD needs numbers of about 1, also for the models "
        f"that the two are compared with here: {remedy}"
    )
