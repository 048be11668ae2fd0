"""Data of a trial: what a seed decides, and what is shown to a model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochwise.errors import DataError
from epochwise.experiments import data
from epochwise.experiments.data import Images, Task, halved, labelled_images, on_canvas, permuted
from epochwise.subjects.arrays import make_dataset


def drawn_images(samples: int = 240, rows: int = 8, columns: int = 8, classes: int = 4, channels: int = 1) -> Images:
    """Images of noise; each carries its number in its first pixel, so that it is known again."""
    generator = np.random.default_rng(samples)
    x = generator.random((samples, rows, columns, channels), np.float32)
    x[:, 0, 0, 0] = np.arange(samples)
    y = (np.arange(samples) % classes).astype(np.int32)
    return Images(x, y, x[:40], y[:40], classes, "noise", "digest")


def described(**changes) -> dict:
    return {"source": "noise", "digest": "digest", "validation": 20, "samples": None, "permutation": 0, "view": None} | changes


@given(st.integers(0, 5), st.sampled_from([None, 40, 100]), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_an_epoch_shows_each_training_sample_once_and_no_validation_sample(seed, samples, batch_size):
    """Whatever the seed, the subset and the batch; the same seed gives the same order."""
    loaded = drawn_images()
    task = Task(described(samples=samples), seed, loaded)
    steps = data.steps_in(len(task.training), batch_size)
    order = task.order(2 * steps, batch_size)
    for epoch in (order[:steps], order[steps:]):
        assert sorted(np.concatenate(epoch)) == sorted(task.training)
    assert not set(task.training) & set(task.validation)
    assert len(task.training) == (samples or 220)
    again = Task(described(samples=samples), seed, loaded).order(2 * steps, batch_size)
    assert all(np.array_equal(one, other) for one, other in zip(order, again, strict=True))


@given(st.integers(0, 3), st.integers(8, 200), st.lists(st.integers(1, 30), min_size=4, max_size=4))
@settings(max_examples=25, deadline=None)
def test_subsets_hold_the_same_share_of_each_class(seed, samples, sizes):
    """To one sample, also where classes are of different size."""
    y = np.repeat(np.arange(4, dtype=np.int32), np.array(sizes) * 8)
    loaded = dataclasses.replace(drawn_images(len(y)), y=y)
    samples = min(samples, len(y) - 20)
    task = Task(described(samples=samples), seed, loaded)
    left = np.bincount(np.delete(y, task.validation), minlength=4)
    found = np.bincount(y[task.training], minlength=4)
    assert np.abs(found - left * samples / left.sum()).max() < 1


@pytest.mark.parametrize("kind", ["split", "order", "subset"])
def test_another_seed_draws_anew(kind):
    """Split, subset and order all depend on it."""
    one, other = (Task(described(samples=100), seed, drawn_images()) for seed in (0, 1))
    drawn = {
        "split": [task.validation for task in (one, other)],
        "subset": [task.training for task in (one, other)],
        "order": [task.order(1, 32)[0] for task in (one, other)],
    }[kind]
    assert not np.array_equal(*drawn)


def test_a_permutation_is_the_same_in_training_and_test_and_for_each_seed():
    """And it only moves pixels."""
    loaded = drawn_images()
    tasks = [Task(described(permutation=2), seed, loaded) for seed in (0, 7)]
    shown = [task.shown(np.arange(40, dtype=np.int64)) for task in tasks]
    assert np.array_equal(*shown)
    assert np.array_equal(tasks[0].testing()[0], shown[0])
    assert np.array_equal(np.sort(shown[0].reshape(40, -1)), np.sort(loaded.x[:40].reshape(40, -1)))
    assert not np.array_equal(shown[0], loaded.x[:40])
    assert not np.array_equal(permuted(loaded.x[:2], 1), permuted(loaded.x[:2], 2))
    assert permuted(loaded.x, 0) is loaded.x


@given(st.integers(0, 6), st.integers(0, 6), st.sampled_from([1, 3]))
@settings(max_examples=20, deadline=None)
def test_an_object_lies_whole_where_it_was_put_and_nothing_else_is_lit(down, right, channels):
    """At half its size; its pixels are means of four."""
    loaded = drawn_images(channels=channels)
    view = {"side": 10, "offsets": [[down, right]], "fresh": True}
    task = Task(described(view=view), 0, loaded)
    shown = task.shown(np.array([5], np.int64))[0]
    assert task.input_shape == shown.shape == (10, 10, channels)
    object_ = shown[down : down + 4, right : right + 4]
    assert object_[1, 2, 0] == pytest.approx(loaded.x[5, 2:4, 4:6, 0].mean(), rel=1e-6)
    assert np.count_nonzero(shown) == np.count_nonzero(object_)
    x, y = task.testing(count=12, offset=(down, right))
    assert np.count_nonzero(x) == np.count_nonzero(x[:, down : down + 4, right : right + 4])
    assert np.bincount(y).tolist() == [3, 3, 3, 3]


def test_offsets_are_drawn_once_or_each_time_an_image_is_shown():
    """As the view says; whether samples come in one stretch or in several makes no difference."""
    loaded, places = drawn_images(), np.arange(60, dtype=np.int64)
    offsets = [[down, right] for down in range(7) for right in range(7)]
    for fresh in (True, False):
        view = {"side": 10, "offsets": offsets, "fresh": fresh}
        whole, parts = (Task(described(view=view), 3, loaded) for _ in range(2))
        first = whole.shown(places)
        assert np.array_equal(first, np.concatenate([parts.shown(places[:17]), parts.shown(places[17:])]))
        assert np.array_equal(first, whole.shown(places)) is not fresh
        assert np.array_equal(whole.validating()[0], whole.validating()[0])


def test_an_object_beside_its_canvas_is_refused():
    """A mistake in a protocol is not trained on."""
    objects = halved(drawn_images().x[:2])
    with pytest.raises(ValueError, match="does not lie on a canvas of 10"):
        on_canvas(objects, np.array([0, 7]), 10)


def test_other_numbers_than_were_planned_with_are_refused():
    """A file that was changed in between is another data set."""
    with pytest.raises(DataError, match="other numbers than when this trial was planned"):
        Task(described(digest="another"), 0, drawn_images())


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.zeros((30, 12), np.float32), np.arange(30) % 3, "the experiments need images"),
        (np.zeros((30, 8, 8), np.float32), np.linspace(0, 1, 30, dtype=np.float32), "at least two classes"),
        (np.zeros((30, 8, 8), np.float32), np.zeros(30, np.int64), "at least two classes"),
    ],
)
def test_data_that_are_no_labelled_images_are_refused(x, y, said):
    """Rows of numbers, numbers to predict, and a single class."""
    with pytest.raises(DataError, match=said):
        labelled_images(make_dataset("mine", x, y))


def test_data_without_a_test_set_are_split_alike_each_time():
    """A sixth of each class, and no image is in both parts."""
    x = np.arange(120 * 36, dtype=np.float32).reshape(120, 6, 6)
    found = labelled_images(make_dataset("mine", x, np.eye(3)[np.arange(120) % 3]))
    assert found.x.shape == (100, 6, 6, 1)
    assert np.bincount(found.y_test).tolist() in ([7, 7, 6], [7, 6, 7], [6, 7, 7])
    assert len(np.unique(np.concatenate([found.x, found.x_test])[:, 0, 0, 0])) == 120
    assert found.digest == labelled_images(make_dataset("mine", x, np.eye(3)[np.arange(120) % 3])).digest
