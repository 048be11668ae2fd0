"""The plain trainer: its gradients are those of its loss, its arithmetic is that of the formulas, and states are kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from epochwise.engine import network as net
from epochwise.engine.network import Loss, Metric, Operation, Optimizer, State
from epochwise.engine.trainer import Data
from epochwise.engine.twin import PlainTrainer
from epochwise.engine.twin.operations import known
from tests.engine.drawn_networks import cases
from tests.engine.networks_by_hand import SGD, SPARSE, Builder, copied, data_for, state_for

DRAWN = settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
NUDGE = 1e-6
"""Of finite differences. Their error is about NUDGE^2 of the third derivative, and 1e-16 / NUDGE of the loss."""


def epoch(trainer, data, batch_size, rate=0.01):
    """One epoch in order."""
    steps = -(-len(data.x) // batch_size)
    return trainer.train(data, np.arange(len(data.x)), batch_size, np.full(steps, rate, np.float32))


def mlp(optimizer=SGD, loss=SPARSE, metrics=(), **penalty):
    builder = Builder((5,))
    hidden = builder.activation(builder.dense(0, 7, **penalty), "tanh")
    return builder.network(builder.dense(hidden, 3), loss, metrics, optimizer)


def test_there_is_a_rule_for_every_operation():
    """A network can hold nothing that the plain trainer does not know."""
    named = {kind for kind in vars(net).values() if isinstance(kind, type) and issubclass(kind, Operation)}
    assert known() == named - {Operation}


@DRAWN
@given(cases())
def test_gradients_are_those_of_the_loss(case):
    """Along a random direction in the space of all trained weights, the loss changes as the gradient says."""
    trainer = PlainTrainer(case.network, case.state(), np.float64)
    data = case.data()
    some = slice(0, case.batch_size)
    batch = Data(data.x[some], data.y[some], None if data.weight is None else data.weight[some])
    sums, gradients, _ = trainer.step(batch)
    generator = np.random.default_rng(0)
    directions = {place: generator.normal(size=gradient.shape) for place, gradient in gradients.items()}

    def loss_at(distance):
        moved = [
            w + distance * directions[place] if place in directions else w for place, w in enumerate(trainer.state.weights)
        ]
        return PlainTrainer(case.network, State(moved, trainer.state.slots), np.float64).step(batch)[0].loss / sums.samples

    predicted = sum((gradients[place] * direction).sum() for place, direction in directions.items())
    measured = (loss_at(NUDGE) - loss_at(-NUDGE)) / (2 * NUDGE)
    scale = sum(np.abs(gradients[place] * direction).sum() for place, direction in directions.items())
    assert measured == pytest.approx(predicted, abs=1e-4 * scale + 1e-8)


@DRAWN
@given(cases())
def test_float32_is_float64_to_rounding(case):
    """Both kinds of numbers make the same losses; what is trained in float32 are the arrays of the given state."""
    state = case.state()
    given_arrays = [id(array) for array in state.weights]
    narrow, wide = PlainTrainer(case.network, state), PlainTrainer(case.network, case.state(), np.float64)
    data, rates = case.data(), case.learning_rates()
    order = np.random.default_rng(case.seed).permutation(case.samples)
    first, second = (trainer.train(data, order, case.batch_size, rates) for trainer in (narrow, wide))
    assert first.samples == second.samples == case.samples
    assert first.loss == pytest.approx(second.loss, rel=1e-3, abs=1e-4)
    assert [id(array) for array in state.weights] == given_arrays
    assert all(array.dtype == np.float32 for array in state.weights)
    assert state.iterations == case.steps


def test_a_convolution_is_what_four_loops_say():
    """Strides, dilation, uneven padding and groups at once, against the sum written out."""
    builder = Builder((6, 7, 4))
    made = builder.convolution(0, 6, (3, 2), (1, 2), dilation=(2, 1), padding=((1, 2), (0, 1)), groups=2)
    network = builder.network(made, Loss("mean_squared_error"))
    state, data = state_for(network), data_for(network, 2)
    kernel, bias = (array.astype(np.float64) for array in state.weights)
    x = np.zeros((2, 9, 8, 4))
    x[:, 1:7, 0:7] = data.x
    expected = np.zeros((2, *network.shapes[made]))
    for b, i, j, k in np.ndindex(*expected.shape):
        group = k // 3
        expected[b, i, j, k] = bias[k] + sum(
            x[b, i + 2 * r, 2 * j + s, group * 2 + c] * kernel[r, s, c, k] for r, s, c in np.ndindex(3, 2, 2)
        )
    assert PlainTrainer(network, state, np.float64).predict(data.x, 2) == pytest.approx(expected, abs=1e-12)


def test_of_equal_maxima_the_first_has_the_gradient():
    """Row by row, as Keras has it."""
    builder = Builder((2, 2, 1))
    kept = builder.convolution(0, 1, (1, 1), bias=False)
    network = builder.network(builder.pool(net.MaxPool, kept, (2, 2)), Loss("mean_squared_error"))
    trainer = PlainTrainer(network, State([np.ones((1, 1, 1, 1), np.float32)], [[]]))
    x = np.array([[[[0.0], [3.0]], [[3.0], [3.0]]]], np.float32)
    _, gradients, _ = trainer.step(Data(x, np.zeros((1, 1, 1, 1), np.float32)))
    assert gradients[0].item() == 2 * 3 * 3  # one window, one pixel: not 3 pixels of them


def test_dropout_uses_the_masks_that_it_is_given():
    """What a mask keeps grows by 1 / (1 - rate), the rest is 0; without training nothing happens."""
    builder = Builder((4,))
    network = builder.network(builder.dropout(builder.dense(0, 4, bias=False), 0.5), Loss("mean_squared_error"))
    asked = []

    def keep(operation, step, shape):
        asked.append((operation.layer, step, shape))
        return np.array([[True, False, True, False]])

    trainer = PlainTrainer(network, State([np.eye(4, dtype=np.float32)], [[]]), keep=keep)
    x = np.ones((1, 4), np.float32)
    sums = trainer.train(Data(x, np.zeros((1, 4), np.float32)), np.arange(1), 1, np.zeros(1, np.float32))
    assert sums.loss == pytest.approx((4 + 0 + 4 + 0) / 4)
    assert asked == [("layer_1", 0, (1, 4))]
    assert trainer.predict(x, 1) == pytest.approx(x)


def test_own_masks_of_dropout_depend_on_step_and_seed_only():
    """A run that was interrupted goes on with the masks that it would have had."""
    builder = Builder((6,))
    network = builder.network(builder.dropout(builder.dense(0, 8), 0.5, seed=3), Loss("mean_squared_error"))
    data = data_for(network, 12)
    whole, parts = PlainTrainer(network, state_for(network)), PlainTrainer(network, state_for(network))
    epoch(whole, data, 4)
    for start in (0, 4, 8):
        parts.train(data, np.arange(start, start + 4), 4, np.full(1, 0.01, np.float32))
    assert all((a == b).all() for a, b in zip(whole.state.weights, parts.state.weights, strict=True))


def test_a_partial_batch_counts_for_its_samples():
    """The loss is the mean over samples, not over batches; so are metrics."""
    metrics = [Metric("accuracy", "sparse_categorical_accuracy")]
    network = mlp(metrics=metrics)
    data = data_for(network, 10)
    trainer = PlainTrainer(network, state_for(network), np.float64)
    whole, parted = trainer.evaluate(data, 10), trainer.evaluate(data, 4)
    assert parted.loss == pytest.approx(whole.loss)
    assert parted.metrics == pytest.approx(whole.metrics)
    assert whole.samples == parted.samples == 10


def test_sample_weights_scale_the_loss_and_weighted_metrics_alone():
    """A weight of 0 takes a sample out of both; plain metrics still count it."""
    kind = "sparse_categorical_accuracy"
    network = mlp(metrics=[Metric("plain", kind), Metric("weighted", kind, weighted=True)])
    data = data_for(network, 6)
    trainer = PlainTrainer(network, state_for(network), np.float64)
    half = np.array([1, 1, 1, 0, 0, 0], np.float32)
    sums = trainer.evaluate(Data(data.x, data.y, half), 6)
    first = trainer.evaluate(Data(data.x[:3], data.y[:3]), 3)
    assert sums.loss == pytest.approx(first.loss)  # mean over 6 of which 3 are 0, times 6
    assert sums.weight == 3
    assert sums.metrics == pytest.approx([trainer.evaluate(data, 6).metrics[0], first.metrics[1]])


def test_nan_goes_on_into_loss_and_weights():
    """Nothing is hidden: as in Keras, one NaN makes the loss NaN."""
    network = mlp()
    data = data_for(network, 4)
    data.x[1, 2] = np.nan
    trainer = PlainTrainer(network, state_for(network))
    assert np.isnan(epoch(trainer, data, 4).loss)
    assert np.isnan(trainer.state.weights[0]).any()


@pytest.mark.parametrize(
    ("loss", "ending"),
    [
        (Loss("categorical_crossentropy"), "softmax"),
        (Loss("binary_crossentropy"), "sigmoid"),
    ],
)
def test_clipped_probabilities_have_no_gradient(loss, ending):
    """Where the backend clips, a sample that is wrong beyond the border teaches nothing."""
    builder = Builder((2,))
    dense = builder.dense(0, 2, bias=False)
    network = builder.network(builder.activation(dense, ending), loss)
    trainer = PlainTrainer(network, State([np.diag([60.0, -60.0]).astype(np.float32)], [[]]))
    wrong = Data(np.ones((1, 2), np.float32), np.array([[0.0, 1.0]], np.float32))
    assert not trainer.step(wrong)[1][0].any()
    behind = dataclasses.replace(network, loss=dataclasses.replace(loss, logits=dense))
    assert PlainTrainer(behind, trainer.state).step(wrong)[1][0].any()


def test_a_frozen_weight_stays_and_others_move():
    """Running statistics of a frozen normalization stay as well."""
    builder = Builder((3, 3, 2))
    conv = builder.convolution(0, 4, (2, 2), trained=False)
    normal = builder.batch_normalization(conv, frozen=True)
    network = builder.network(builder.dense(builder.flatten(normal), 2), SPARSE)
    state = state_for(network)
    before = copied(state)
    epoch(PlainTrainer(network, state), data_for(network, 8), 4)
    moved = [bool((old != new).any()) for old, new in zip(before.weights, state.weights, strict=True)]
    names = [f"{weight.layer} {weight.name}" for weight in network.weights]
    assert dict(zip(names, moved, strict=True)) == {
        "layer_0 kernel": False,
        "layer_0 bias": True,
        "layer_1 gamma": False,
        "layer_1 beta": False,
        "layer_1 moving_mean": False,
        "layer_1 moving_variance": False,
        "layer_3 kernel": True,
        "layer_3 bias": True,
    }


def test_weight_decay_leaves_out_what_does_not_decay():
    """With a gradient of 0, what decays shrinks by rate * decay, and nothing else moves."""
    builder = Builder((2,))
    dense = builder.dense(0, 2, decays=True)
    network = builder.network(dense, Loss("mean_squared_error"), optimizer=Optimizer("sgd", weight_decay=0.5))
    network = dataclasses.replace(network, weights=(network.weights[0], dataclasses.replace(network.weights[1], decays=False)))
    trainer = PlainTrainer(network, State([np.eye(2, dtype=np.float32), np.ones(2, np.float32)], [[], []]))
    zero = Data(np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32))
    trainer.train(zero, np.arange(1), 1, np.full(1, 0.1, np.float32))
    assert trainer.state.weights[0] == pytest.approx(np.eye(2) * 0.95)
    assert trainer.state.weights[1] == pytest.approx(np.ones(2))
