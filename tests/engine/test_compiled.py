"""The compiled trainer does what the plain one does, to the rounding of float32, for every drawn network."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epochwise.engine.compiled import CompiledTrainer
from epochwise.engine.network import Loss, MaxPool, Metric, Optimizer
from epochwise.engine.stages import dense
from epochwise.engine.stages.planning import Planning
from epochwise.engine.target import this_target
from epochwise.engine.trainer import Data
from epochwise.engine.twin import PlainTrainer
from epochwise.errors import NotCoveredError
from tests.engine.drawn_networks import Case, cases
from tests.engine.dropout import masks_of
from tests.engine.networks_by_hand import SPARSE, Builder, data_for, state_for

WIDTHS = [lanes for lanes in (16, 8, 4) if lanes <= this_target().lanes]
DRAWN = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
FACTOR, LEAST = 8, 2e-5
"""How far a result may lie from float64: so many times as far as the plain trainer in float32, or so little."""

NOISE = 1e-6
"""Gradients as small as this are made of rounding."""


def furthest(arrays, exact):
    """The largest difference in some arrays."""
    return max((np.abs(a.astype(np.float64) - b).max(initial=0) for a, b in zip(arrays, exact, strict=True)), default=0.0)


def flat(slots):
    return [array for arrays in slots for array in arrays]


def free(case, slots):
    """How far Adam may move a weight whose gradient is nothing but rounding: it divides by the gradient's size."""
    if case.network.optimizer.kind == "sgd" or not slots:
        return 0.0
    return np.where(np.sqrt(slots[1]) < NOISE, 2 * case.learning_rates().sum(), 0.0)


def check(case, threads, lanes):
    """Train an epoch in an order of its own with both, and evaluate."""
    data, rates = case.data(), case.learning_rates()
    order = np.random.default_rng(case.seed).permutation(case.samples)
    state, plain_state = case.state(), case.state()
    compiled = CompiledTrainer(case.network, state, threads, lanes)
    keep = masks_of(compiled, data, case.batch_size)
    narrow = PlainTrainer(case.network, plain_state, keep=keep)
    exact = PlainTrainer(case.network, case.state(), np.float64, keep=keep)
    sums, narrow_sums, exact_sums = (
        trainer.train(data, order, case.batch_size, rates) for trainer in (compiled, narrow, exact)
    )
    assert (sums.samples, state.iterations) == (case.samples, case.steps)
    assert sums.weight == pytest.approx(exact_sums.weight)
    least = LEAST * max(1.0, abs(exact_sums.loss))
    assert abs(sums.loss - exact_sums.loss) <= FACTOR * abs(narrow_sums.loss - exact_sums.loss) + least
    assert furthest(flat(state.slots), flat(exact.state.slots)) <= (
        FACTOR * furthest(flat(plain_state.slots), flat(exact.state.slots)) + LEAST
    )
    most = FACTOR * furthest(plain_state.weights, exact.state.weights) + LEAST
    for place, (mine, right) in enumerate(zip(state.weights, exact.state.weights, strict=True)):
        assert (np.abs(mine - right) <= most + free(case, exact.state.slots[place])).all()
    judged, right = compiled.evaluate(data, case.batch_size), PlainTrainer(case.network, state, np.float64)
    assert judged.loss == pytest.approx(right.evaluate(data, case.batch_size).loss, rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(
        compiled.predict(data.x, case.batch_size), right.predict(data.x, case.batch_size), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("lanes", WIDTHS)
def test_drawn_networks(lanes):
    """Weights, the optimizer's arrays, losses and outputs, for each width of vectors that this processor has."""

    @settings(max_examples=60, derandomize=True, **DRAWN)
    @given(cases())
    def draw(case):
        check(case, 2, lanes)

    draw()


def test_drawn_networks_with_dense_layers_split(monkeypatch):
    """The same where each thread does the products of rows of its own of every dense layer, which is meant for large ones."""
    monkeypatch.setattr(dense, "SPLIT_FIRST", 0)
    monkeypatch.setattr(dense, "SPLIT_INNER", 0)

    @settings(max_examples=60, derandomize=True, **DRAWN)
    @given(cases(), st.integers(2, 3))
    def draw(case, threads):
        check(case, threads, None)

    draw()


def test_nothing_is_read_that_the_step_did_not_write(monkeypatch):
    """Tensors and gradients share memory, so they begin with whatever was there: with NaN, here, and nothing becomes NaN."""
    room = Planning.passing

    def spoilt(planning, form):
        made = room(planning, form)
        made.reshape(planning.batch, form.blocks, form.pitch)[:, :, : form.channels] = np.nan
        return made

    monkeypatch.setattr(Planning, "passing", spoilt)

    @settings(max_examples=100, derandomize=True, **DRAWN)
    @given(cases())
    def draw(case):
        check(case, 2, None)

    draw()


@pytest.mark.long
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_many_drawn_networks(threads):
    """600 networks in all, new ones each time: `make test-drawn`."""

    @settings(max_examples=200, derandomize=False, **DRAWN)
    @given(cases())
    def draw(case):
        check(case, threads, None)

    draw()


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize(
    ("channels", "size", "strides", "padding"), [(1, 3, 1, "valid"), (3, 3, 1, "same"), (1, 5, 2, "valid")]
)
@pytest.mark.parametrize("filters", [6, 16, 20])
def test_pooled_convolutions_of_few_channels(lanes, channels, size, strides, padding, filters):
    """The first layer of most networks on images: wherever the largest of a window is, its pixels make the gradient."""
    builder = Builder((13, 15, channels))
    x = builder.convolution(builder.input, filters, (size, size), (strides, strides), padding=padding)
    x = builder.pool(MaxPool, builder.activation(x, "relu"), (2, 2))
    network = builder.network(builder.dense(builder.flatten(x), 4), SPARSE, optimizer=Optimizer("sgd"))
    assert any("pooled_gradient" in str(variant) for variant in variants_of(network, lanes))
    check(Case(network, samples=11, batch_size=4, seed=5), 2, lanes)


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize(("channels", "groups", "filters"), [(12, 1, 20), (12, 3, 21), (36, 4, 32), (64, 2, 34)])
def test_convolutions_of_single_points(lanes, channels, groups, filters):
    """As after global pooling, or with a group for each place; their input is read by another layer, too."""
    builder = Builder((channels,))
    x = builder.reshape(builder.activation(builder.dense(builder.input, channels), "relu"), (1, 1, channels))
    one = builder.activation(builder.convolution(x, filters, (1, 1), groups=groups), "relu")
    other = builder.convolution(x, filters, (1, 1), (2, 2), groups=groups, bias=False)
    made = builder.combine("add", [one, other])
    network = builder.network(builder.dense(builder.flatten(made), 5), SPARSE, optimizer=Optimizer("adam"))
    assert any("point_gradient" in str(variant) for variant in variants_of(network, lanes))
    for threads in (1, 3):
        check(Case(network, samples=11, batch_size=4, seed=5), threads, lanes)


@pytest.mark.parametrize("lanes", WIDTHS)
@pytest.mark.parametrize(
    ("shape", "filters", "padding", "threads"),
    [
        ((8, 8, 16), 16, "same", 1),
        ((8, 10, 31), 47, "valid", 2),
        ((12, 6, 40), 64, "same", 3),
        ((4, 4, 64), 20, "same", 2),
        ((32, 32, 16), 16, "same", 2),
    ],
)
def test_convolutions_with_fewer_multiplications(lanes, shape, filters, padding, threads):
    """Winograd's algorithm forward and for both gradients, which are added to others in a residual block, and with Adam."""
    builder = Builder(shape)
    x = builder.convolution(builder.input, shape[-1], (3, 3), padding=padding)
    x = builder.activation(builder.batch_normalization(x), "relu")
    inside = builder.batch_normalization(builder.convolution(x, shape[-1], (3, 3), padding="same", bias=False))
    x = builder.activation(builder.combine("add", [x, inside]), "relu")
    x = builder.activation(builder.convolution(x, filters, (3, 3), padding="same"), "relu")
    network = builder.network(builder.dense(builder.flatten(x), 4), SPARSE, optimizer=Optimizer("adam"))
    used = {variant.kernel.name for variant in variants_of(network, lanes)}
    assert {"winograd_kernel", "winograd_convolution", "winograd_gradient", "winograd_kernel_gradient"} <= used
    check(Case(network, samples=11, batch_size=4, seed=5), threads, lanes)


def test_what_is_zero_stays_zero_before_a_relu():
    """A sum of zeros must not become rounding where relu asks whether it is above zero: such a layer is done as it is
    written."""
    builder = Builder((8, 8, 16))
    x = builder.activation(builder.convolution(builder.input, 16, (3, 3), padding="same"), "relu")
    network = builder.network(builder.dense(builder.flatten(x), 4), SPARSE, optimizer=Optimizer("sgd"))
    used = {variant.kernel.name for variant in variants_of(network, None)}
    assert "winograd_convolution" not in used
    assert "winograd_gradient" in used
    case = Case(network, samples=4, batch_size=4, seed=5)
    data, state = case.data(), case.state()
    data.x[:, :, 4:] = 0.0
    before = PlainTrainer(network, case.state(), np.float64)
    CompiledTrainer(network, state, 2).train(data, np.arange(4), 4, case.learning_rates())
    before.train(data, np.arange(4), 4, case.learning_rates())
    assert furthest(state.weights, before.state.weights) < LEAST


def variants_of(network, lanes):
    """The kernels of a training."""
    case = Case(network, samples=11, batch_size=4, seed=5)
    return CompiledTrainer(network, case.state(), 2, lanes).plan_for(case.data(), 4).variants


def small(kind="adam"):
    """A network with all that threads share: convolutions, statistics of the batch, dense layers."""
    builder = Builder((9, 9, 3))
    x = builder.activation(builder.convolution(builder.input, 12, (3, 3)), "relu")
    x = builder.batch_normalization(builder.pool(MaxPool, x, (2, 2)))
    x = builder.dropout(builder.flatten(x), 0.25, 7)
    logits = builder.dense(x, 10)
    return builder.network(logits, SPARSE, [Metric("accuracy", "sparse_categorical_accuracy")], Optimizer(kind))


def trained(network, threads=2, epochs=2, batch_size=8, samples=37, stretches=1):
    """The state after some epochs, which may be done in several calls."""
    state, data = state_for(network, 3), data_for(network, samples, 4)
    trainer = CompiledTrainer(network, state, threads)
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(samples)
        batches = np.array_split(np.arange(-(-samples // batch_size)), stretches)
        for batch in batches:
            part = order[batch[0] * batch_size : (batch[-1] + 1) * batch_size]
            trainer.train(data, part, batch_size, np.full(len(batch), 0.01, np.float32))
    return state


def same_bits(one, other):
    return all(
        np.array_equal(a, b)
        for a, b in zip((*one.weights, *flat(one.slots)), (*other.weights, *flat(other.slots)), strict=True)
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_same_every_time(threads):
    """Bit for bit, for the same number of threads, also with more threads than cores."""
    assert same_bits(trained(small(), threads), trained(small(), threads))


def test_the_same_every_time_with_dense_layers_split(monkeypatch):
    """Sums that threads exchange are added in the order of the threads, whoever worked them out."""
    monkeypatch.setattr(dense, "SPLIT_FIRST", 0)
    monkeypatch.setattr(dense, "SPLIT_INNER", 0)
    assert same_bits(trained(small(), 3), trained(small(), 3))


def test_going_on_is_the_same_as_not_stopping():
    """Training in stretches gives the bits that one call gives."""
    assert same_bits(trained(small(), stretches=3), trained(small()))


def test_numbers_of_threads_differ_by_rounding_only():
    """What threads share is a sum in another order."""
    one, two = trained(small("sgd"), 1), trained(small("sgd"), 2)
    assert furthest(one.weights, [array.astype(np.float64) for array in two.weights]) < 1e-5


def test_nan_goes_on():
    """A NaN among the data makes the loss and the weights NaN, as in Keras."""
    network = small("sgd")
    state, data = state_for(network, 0), data_for(network, 16, 0)
    data.x[3] = np.nan
    sums = CompiledTrainer(network, state, 2).train(data, np.arange(16), 16, np.full(1, 0.01, np.float32))
    assert np.isnan(sums.loss)
    assert all(np.isnan(array).any() for weight, array in zip(network.weights, state.weights, strict=True) if weight.trained)


def test_a_forked_process_trains_as_well():
    """Threads do not come along into a fork; new ones are started there."""
    network = small()
    state, data = state_for(network, 3), data_for(network, 16, 4)
    trainer = CompiledTrainer(network, state, 2)
    rates = np.full(2, 0.01, np.float32)
    trainer.train(data, np.arange(16), 8, rates)
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        sending.send(trainer.train(data, np.arange(16), 8, rates).loss)
        os._exit(0)
    assert receiving.poll(30)
    assert receiving.recv() == trainer.train(data, np.arange(16), 8, rates).loss
    assert os.waitpid(child, 0)[1] == 0


def test_losses_at_their_bounds():
    """Probabilities of exactly 0 and 1, and logits far beyond what e^x can hold, are finite and as in the plain trainer."""
    for loss, metric in (
        (Loss("sparse_categorical_crossentropy", from_logits=True), "sparse_categorical_accuracy"),
        (Loss("categorical_crossentropy", from_logits=True), "categorical_accuracy"),
        (Loss("binary_crossentropy", from_logits=True), "binary_accuracy"),
    ):
        builder = Builder((4,))
        network = builder.network(builder.dense(builder.input, 5), loss, [Metric("accuracy", metric)])
        state, data = state_for(network, 0), data_for(network, 12, 0)
        data = dataclasses.replace(data, x=data.x * np.float32(1000))
        sums = CompiledTrainer(network, state, 2).evaluate(data, 5)
        plain = PlainTrainer(network, state, np.float64).evaluate(data, 5)
        assert sums.loss == pytest.approx(plain.loss, rel=1e-5)
        assert sums.metrics == pytest.approx(plain.metrics)


def test_data_of_bytes():
    """uint8 samples train as the same numbers in float32."""
    network = small("sgd")
    data = data_for(network, 16, 0)
    whole = np.random.default_rng(0).integers(0, 256, data.x.shape).astype(np.uint8)
    rates = np.full(2, 1e-4, np.float32)
    one, other = state_for(network, 0), state_for(network, 0)
    CompiledTrainer(network, one, 2).train(Data(whole, data.y), np.arange(16), 8, rates)
    CompiledTrainer(network, other, 2).train(Data(whole.astype(np.float32), data.y), np.arange(16), 8, rates)
    assert same_bits(one, other)


def test_many_metrics():
    """More metrics than fit into a cache line are each as in the plain trainer; more than there is room for are refused."""
    builder = Builder((4,))
    logits = builder.dense(builder.input, 5)
    metrics = [Metric(f"above {n}", "binary_accuracy", threshold=n / 10 - 0.6) for n in range(12)]
    network = builder.network(logits, Loss("binary_crossentropy", from_logits=True), metrics)
    state, data = state_for(network, 0), data_for(network, 23, 0)
    found = CompiledTrainer(network, state, 3).evaluate(data, 7).metrics
    assert found == pytest.approx(PlainTrainer(network, state, np.float64).evaluate(data, 7).metrics)
    assert len(set(found)) > 3
    crowded = dataclasses.replace(network, metrics=(metrics[0],) * 40)
    with pytest.raises(NotCoveredError, match="at most 31 metrics"):
        CompiledTrainer(crowded, state, 1).evaluate(data, 7)


def test_data_that_do_not_lie_side_by_side():
    """Every other sample of an array trains as a copy of these does."""
    network = small("sgd")
    data, rates = data_for(network, 32, 0), np.full(2, 0.01, np.float32)
    spread, copied = Data(data.x[::2], data.y[::2]), Data(data.x[::2].copy(), data.y[::2].copy())
    one, other = state_for(network, 0), state_for(network, 0)
    CompiledTrainer(network, one, 2).train(spread, np.arange(16), 8, rates)
    CompiledTrainer(network, other, 2).train(copied, np.arange(16), 8, rates)
    assert same_bits(one, other)
