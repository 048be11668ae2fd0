"""MNIST-1D: its shape and spread, and that its parts are what the description says."""

from __future__ import annotations

import numpy as np
import pytest

from epochwise.experiments.mnist1d import LENGTH, mnist1d, templates


def test_it_has_the_size_and_the_spread_of_the_published_one():
    """4,000 and 1,000 samples of 40 points, 500 of each digit, mean 0 and standard deviation 1."""
    data = mnist1d(0)
    assert (data.x_train.shape, data.x_test.shape) == ((4000, LENGTH), (1000, LENGTH))
    both = np.concatenate([data.x_train, data.x_test])
    assert (both.mean(), both.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))
    assert np.bincount(np.concatenate([data.y_train, data.y_test])).tolist() == [500] * 10


def test_a_seed_says_everything():
    """The same seed gives the same bits; another one gives other samples."""
    kept = mnist1d(3).x_train.copy()
    mnist1d.cache_clear()
    assert np.array_equal(mnist1d(3).x_train, kept)
    assert not np.array_equal(mnist1d(4).x_train, kept)


def test_shuffling_moves_places_and_nothing_else():
    """One order for all samples: sorted columns are the same set, and labels stay."""
    plain, shuffled = mnist1d(1), mnist1d(1, shuffled=True)
    assert np.array_equal(plain.y_train, shuffled.y_train)
    places = [int(np.flatnonzero((plain.x_train == column[:, None]).all(axis=0))[0]) for column in shuffled.x_train.T]
    assert sorted(places) == list(range(LENGTH))
    assert places != sorted(places)
    assert np.array_equal(plain.x_test[:, places], shuffled.x_test)


def test_templates_begin_and_end_alike_and_are_told_apart():
    """All have the same spread and stand on one line at both ends; no two are alike."""
    digits = templates()
    assert digits[:, 0] == pytest.approx(np.zeros(10))
    assert digits[:, -1] == pytest.approx(np.zeros(10))
    assert digits.std(axis=1) == pytest.approx(np.full(10, 1 / 6))
    distances = np.abs(digits[:, None] - digits[None]).max(axis=-1)
    assert distances[~np.eye(10, dtype=bool)].min() > 0.05


def test_a_digit_can_be_anywhere():
    """The place of the largest step of a sample is spread over the whole length, so a place alone tells no digit."""
    data = mnist1d(0)
    steps = np.abs(np.diff(data.x_train[data.y_train == 4], axis=1)).argmax(axis=1)
    assert np.unique(steps).size > LENGTH / 2
