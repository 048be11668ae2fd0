"""Arrays as users have them: what they become, and what is said of those that cannot be trained on."""

from __future__ import annotations

import numpy as np
import pytest

from epochwise.engine.network import Loss
from epochwise.engine.samples import prepared
from epochwise.engine.sources import Arrays, split
from epochwise.engine.trainer import Data
from epochwise.errors import DataError, ModelDoesNotFitError, UsageError
from tests.engine.networks_by_hand import SPARSE, Builder


def network_for(loss=SPARSE, shape=(4, 4, 1), units=3):
    builder = Builder(shape)
    return builder.network(builder.dense(builder.flatten(0), units), loss)


X, Y = np.random.default_rng(0).normal(size=(6, 4, 4, 1)), np.array([0, 1, 2, 2, 1, 0])


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (X, np.float32),
        (X.astype(np.float32), np.float32),
        (X.tolist(), np.float32),
        (X[..., 0], np.float32),  # without the channel axis, as Keras takes it
        (np.asfortranarray(X), np.float32),
        ((X * 10).astype(np.int64), np.float32),
        (X > 0, np.float32),
        (np.zeros((6, 4, 4, 1), np.uint8), np.uint8),
    ],
)
def test_samples_become_float32_or_stay_bytes(x, dtype):
    """In one piece, in the shape that the network takes."""
    data = prepared(network_for(), x, Y)
    assert data.x.dtype == dtype
    assert data.x.shape == (6, 4, 4, 1)
    assert data.x.flags.c_contiguous
    assert np.array_equal(data.x, np.asarray(x).astype(dtype).reshape(6, 4, 4, 1))


def test_float32_samples_are_not_copied():
    """Data may be as large as memory, or larger and mapped."""
    x = X.astype(np.float32)
    assert np.shares_memory(prepared(network_for(), x, Y).x, x)


def test_whole_numbers_are_cut():
    """A model that takes whole numbers is given them, as Keras casts."""
    assert (prepared(network_for(), X * 3, Y, whole=True).x == np.trunc(X * 3)).all()


@pytest.mark.parametrize(
    ("loss", "y", "shape", "dtype"),
    [
        (SPARSE, Y, (6,), np.int32),
        (SPARSE, Y[:, None], (6,), np.int32),
        (SPARSE, Y.astype(float), (6,), np.int32),
        (Loss("categorical_crossentropy"), np.eye(3)[Y], (6, 3), np.float32),
        (Loss("binary_crossentropy"), np.eye(3, dtype=bool)[Y], (6, 3), np.float32),
        (Loss("mean_squared_error"), np.eye(3)[Y].tolist(), (6, 3), np.float32),
    ],
)
def test_labels_become_what_the_loss_takes(loss, y, shape, dtype):
    """Numbers of classes for the sparse loss, numbers in the output's shape for the others."""
    labels = prepared(network_for(loss), X, y).y
    assert (labels.shape, labels.dtype) == (shape, dtype)
    assert np.array_equal(labels.reshape(-1), np.asarray(y, float).reshape(-1))


def test_one_output_takes_flat_labels():
    """``(N,)`` for an output of 1, as Keras takes it."""
    network = network_for(Loss("mean_squared_error"), units=1)
    assert prepared(network, X, Y).y.shape == (6, 1)


@pytest.mark.parametrize(
    ("x", "y", "kind", "said"),
    [
        (X[:, :3], Y, ModelDoesNotFitError, r"x has samples of shape \(3, 4, 1\); by_hand takes \(4, 4, 1\)"),
        (X, Y[:5], DataError, "6 samples and y has 5 labels"),
        (X, None, DataError, "no labels"),
        (X[:0], Y[:0], DataError, r"x is empty; its shape is \(0, 4, 4, 1\)"),
        (X, Y + 1, DataError, r"y holds the label 3 \(at index 2\), outside the 3 classes 0 to 2"),
        (X, Y - 1, DataError, r"y holds the label -1 \(at index 0\)"),
        (X, np.eye(3)[Y], ModelDoesNotFitError, r"(?s)takes the number of a class.*categorical_crossentropy"),
        (X, Y + 0.5, ModelDoesNotFitError, "and 0.5 at index 0; .* takes the number of a class"),
        (X, np.where(Y == 2, np.nan, Y), ModelDoesNotFitError, "(?s)nan at index 2.*isfinite"),
        (X.reshape(6, 2, 8, 1), Y, ModelDoesNotFitError, r"(?s)\(2, 8, 1\).*reshape\(-1, 4, 4, 1\)"),
        (np.moveaxis(X, -1, 1), Y, ModelDoesNotFitError, "(?s)moveaxis"),
        (X[:, :3], Y, ModelDoesNotFitError, r"(?s)keras.Input\(\(3, 4, 1\)\)"),
        (np.array(["a"] * 6), Y, DataError, "dtype <U1"),
        (np.array([None] * 6), Y, DataError, "object"),
        (X, np.array(["a"] * 6), DataError, "dtype <U1"),
        (X.astype(complex), Y, DataError, "complex128"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(x, y, kind, said):
    """With what was received, where, and the line that works."""
    with pytest.raises(kind, match=said) as caught:
        prepared(network_for(), x, y)
    assert caught.value.remedy


def test_numbers_of_classes_with_the_loss_for_one_hot_labels():
    """The two losses are often confused."""
    with pytest.raises(ModelDoesNotFitError, match=r"(?s)y has one number per sample.*sparse_categorical_crossentropy"):
        prepared(network_for(Loss("categorical_crossentropy")), X, Y)


def test_tokens_outside_the_table_are_refused():
    """An Embedding has so many rows and no more."""
    builder = Builder((5,))
    network = builder.network(builder.dense(builder.flatten(builder.embedding(0, 7, 2)), 3), SPARSE)
    with pytest.raises(DataError, match=r"token 7 \(at index \(1, 2\)\), outside the 7 rows of the Embedding"):
        prepared(network, np.array([[0, 1, 2, 3, 4], [0, 1, 7, 3, 4]]), Y[:2])


def test_weights():
    """One for each sample, or by class; classes that are not named weigh 1."""
    network = network_for()
    assert prepared(network, X, Y, np.arange(6.0)[:, None]).weight.tolist() == [0, 1, 2, 3, 4, 5]
    assert prepared(network, X, Y, class_weight={2: 5.0, 0: 0.5}).weight.tolist() == [0.5, 1, 5, 5, 1, 0.5]
    one_hot = network_for(Loss("categorical_crossentropy"))
    assert prepared(one_hot, X, np.eye(3)[Y], class_weight={1: 3.0}).weight.tolist() == [1, 3, 1, 1, 3, 1]
    with pytest.raises(ModelDoesNotFitError, match=r"sample_weight has shape \(5,\)"):
        prepared(network, X, Y, np.ones(5))


def test_the_last_share_is_held_back():
    """As Keras cuts: the samples in front are trained on."""
    data = prepared(network_for(), X, Y, np.arange(6.0))
    first, second = split(data, 0.3)
    assert (len(first.x), len(second.x)) == (4, 2)
    assert second.weight.tolist() == [4, 5]
    with pytest.raises(UsageError, match="leaves 0 to train on and 6"):
        split(data, 0.99)


@pytest.mark.parametrize("shuffle", [False, True, "batch"])
def test_orders_hold_every_sample_once(shuffle):
    """In another order each time when shuffled; with "batch" the samples of a batch stay together, the partial one last."""
    source = Arrays(Data(np.zeros((10, 1), np.float32), np.zeros(10, np.int32)), 4, shuffle, np.random.default_rng(0))
    orders = [source.order().tolist() for _ in range(6)]
    assert source.steps == 3
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert (len({tuple(order) for order in orders}) > 1) == bool(shuffle)
    if shuffle == "batch":
        assert {tuple(order[:4]) for order in orders} == {(0, 1, 2, 3), (4, 5, 6, 7)}
        assert all(order[8:] == [8, 9] for order in orders)
