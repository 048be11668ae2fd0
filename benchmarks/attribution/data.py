"""Random data for models whose epoch is taken apart."""

import numpy as np

SAMPLES, CLASSES, WORDS, LENGTH = 3200, 10, 2000, 64


def _labels(samples):
    return np.random.default_rng(0).integers(CLASSES, size=samples).astype("int32")


def digits():
    """Images as the question's."""
    return np.random.default_rng(0).random((SAMPLES, 28, 28, 1), dtype=np.float32), _labels(SAMPLES)


def pictures():
    """A few coloured images."""
    return np.random.default_rng(0).random((160, 64, 64, 3), dtype=np.float32), _labels(160)


def words():
    """Sequences of word numbers."""
    return np.random.default_rng(0).integers(WORDS, size=(SAMPLES, LENGTH)).astype("int32"), _labels(SAMPLES)
