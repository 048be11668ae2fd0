"""MNIST-1D, made here from its published description: a task on which a CNN, an MLP and a linear model are known to differ.

Each sample begins as one of ten templates of 12 points that look like digits. It is stretched, scaled, moved, laid over
correlated noise, sheared, and read off at 40 points. Figures that others published for it tell whether our trainings, taken
together, do what they should (protocol P0).

Source: Greydanus and Kobak, "Scaling Down Deep Learning with MNIST-1D", ICML 2024, arXiv 2011.14439, and the code of the
authors (github.com/greydanus/mnist1d, Apache License 2.0), from which the templates and the constants are. The random numbers
are our own, so samples are not the authors', though drawn in the same way.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

CLASSES = 10
LENGTH = 40
SAMPLES = 5000
TRAINING_SHARE = 0.8

# One digit a row, drawn from left to right; a digit's height is what varies.
_DIGITS = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
_TEMPLATE_SCALE = 6.0
_FEWEST_PADDING, _MOST_PADDING = 36, 60
_FULL_LENGTH = len(_DIGITS[0]) + _MOST_PADDING
_SCALE_SPREAD = 0.4
_MOST_TRANSLATION = 48
_CORRELATED_NOISE, _CORRELATION_LENGTH = 0.25, 2.0
_INDEPENDENT_NOISE = 0.02
_SHEAR = 0.75
_BARELY_ANYTHING = 1e-8
"""Added to a template, so that its own zeros can be told from the padding's, where the correlated noise goes."""


class Arrays(NamedTuple):
    """Samples for training and for testing, in the order in which they are to be used.

    Attributes:
        x_train: ``(4000, 40)`` float32.
        y_train: ``(4000,)`` int32, from 0 to 9, 400 to 500 of each at most.
        x_test: ``(1000, 40)`` float32.
        y_test: ``(1000,)`` int32.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int32]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int32]


def templates() -> Floats:
    """The ten digits ``(10, 12)``, each of the same spread, beginning and ending at 0."""
    x = np.array(_DIGITS, np.float64)
    x -= x.mean(axis=1, keepdims=True)
    x /= x.std(axis=1, keepdims=True)
    x -= x[:, :1]
    return x / _TEMPLATE_SCALE


@lru_cache(maxsize=8)
def mnist1d(seed: int = 0, shuffled: bool = False) -> Arrays:
    """The data set: 4,000 samples to train on and 1,000 to test on, of mean 0 and standard deviation 1.

    Args:
        seed: of everything that is drawn.
        shuffled: whether the 40 places stand in another order, the same in all samples: what is next to each other then
            means nothing, while nothing is lost.
    """
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES, dtype=np.int32), SAMPLES // CLASSES)
    digits = templates()
    x = np.stack([_drawn(digits[label], generator) for label in labels])
    order = generator.permutation(SAMPLES)
    places = generator.permutation(LENGTH)  # drawn in any case: shuffled or not, the samples are the same
    x, labels = x[order], labels[order]
    x = ((x - x.mean()) / x.std()).astype(np.float32)
    if shuffled:
        x = x[:, places]
    split = int(SAMPLES * TRAINING_SHARE)
    return Arrays(*(np.ascontiguousarray(part) for part in (x[:split], labels[:split], x[split:], labels[split:])))


def _drawn(template: Floats, generator: np.random.Generator) -> Floats:
    """One sample ``(40,)`` of a digit."""
    padding = int(generator.integers(_FEWEST_PADDING, _MOST_PADDING + 1))
    x = np.concatenate([template + _BARELY_ANYTHING, np.zeros(padding)])
    x = _read_off(x, _FULL_LENGTH)  # less padding makes a longer digit
    x *= 1 + _SCALE_SPREAD * (generator.random() - 0.5)
    x = np.roll(x, int(generator.integers(_MOST_TRANSLATION)))
    from scipy.ndimage import gaussian_filter1d  # here, since whoever only plans does without

    noise = gaussian_filter1d(_CORRELATED_NOISE * generator.standard_normal(_FULL_LENGTH), _CORRELATION_LENGTH)
    x = np.where(x != 0, x, noise)
    x += _INDEPENDENT_NOISE * generator.standard_normal(_FULL_LENGTH)
    x -= _SHEAR * (generator.random() - 0.5) * np.linspace(-0.5, 0.5, _FULL_LENGTH)
    return _read_off(x, LENGTH)


def _read_off(x: Floats, count: int) -> Floats:
    """The line through the points, at so many places at equal distances."""
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, x.size), x)
