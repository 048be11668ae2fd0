"""``epochwise.engine.fit_many``: many models at once are each what ``fit`` with one thread makes of it."""

from __future__ import annotations

import os
import signal
import threading

import keras
import numpy as np
import pytest
from keras import callbacks, layers, optimizers

import epochwise
from epochwise.engine import Job, fit_many, many
from epochwise.errors import DataError, JobsFailedError, ModelDoesNotFitError, NotCoveredError, UsageError
from tests.engine.on_keras.fitting import HELD, PLAIN, WEIGHTS, Batches, X, Y, alike, batches, model_for
from tests.engine.on_keras.parity import sequential


def dropping():
    """A model whose dropout has a seed of its own."""
    model = sequential(
        (6,), layers.Dense(9, activation="relu"), layers.Dropout(0.3, seed=5), layers.Dense(4, activation="softmax")
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


JOBS = (
    (model_for, {"epochs": 3, "batch_size": 8, "validation_split": 0.2}),
    (dropping, {"epochs": 2, "batch_size": 16}),
    (lambda: model_for(optimizers.SGD(0.1, momentum=0.9)), {"epochs": 1, "sample_weight": WEIGHTS}),
    (model_for, {"epochs": 2, "validation_data": HELD, "shuffle": "batch", "batch_size": 4}),
    (model_for, {"epochs": 4, "batch_size": 45, "class_weight": {1: 2.0}}),
)


def made():
    """The models of all jobs, with the same weights each time."""
    keras.utils.set_random_seed(1)
    return [make() for make, _ in JOBS]


def equal(mine, other):
    """The same bits of all that is trained, the optimizer's too."""
    for a, b in zip((*mine.variables, *mine.optimizer.variables), (*other.variables, *other.optimizer.variables), strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(a.value), keras.ops.convert_to_numpy(b.value)), a.path


def check_the_bits_of_one_after_another():
    """Weights, the optimizer's arrays and histories, with a seed for each job, and with one for all of them."""
    mine, other = made(), made()
    arguments = [options for _, options in JOBS]
    histories = fit_many(
        [Job(model, X, Y, seed=n, **options) for n, (model, options) in enumerate(zip(mine, arguments, strict=True))]
    )
    for number, (model, options) in enumerate(zip(other, arguments, strict=True)):
        keras.utils.set_random_seed(number)
        expected = epochwise.fit(model, X, Y, threads=1, verbose=0, **options)
        assert histories[number].history == expected.history
        assert histories[number].model is mine[number]
        equal(mine[number], model)
    mine, other = made(), made()
    keras.utils.set_random_seed(4)
    fit_many((Job(model, X, Y, **options) for model, options in zip(mine, arguments, strict=True)), at_once=3)
    keras.utils.set_random_seed(4)
    for a, b, options in zip(mine, other, arguments, strict=True):
        epochwise.fit(b, X, Y, threads=1, verbose=0, **options)
        equal(a, b)


def check_batches_and_threads():
    """Streams and callbacks as in ``fit``; more jobs at once than cores; from a thread that is not the main one."""
    mine, other = [model_for() for _ in range(4)], model_for()
    logs = [callbacks.History() for _ in mine]
    ended = []
    jobs = [Job(model, Batches(), epochs=2, callbacks=[log], shuffle=False) for model, log in zip(mine, logs, strict=True)]
    thread = threading.Thread(target=lambda: fit_many(jobs, at_once=4, on_end=lambda number, _: ended.append(number)))
    thread.start()
    thread.join()
    expected = epochwise.fit(other, Batches(), epochs=2, shuffle=False, threads=1, verbose=0)
    assert sorted(ended) == [0, 1, 2, 3]
    for model, log in zip(mine, logs, strict=True):
        equal(model, other)
        assert log.history == expected.history


def check_what_jobs_share():
    """Arrays that need converting are converted once; nothing is converted that need not be."""
    calls = []

    def noting(*arguments, **options):
        calls.append(many_prepared(*arguments, **options))
        return calls[-1]

    many_prepared, many.prepared = many.prepared, noting
    try:
        wide = X.astype("float64")
        fit_many([Job(model_for(), wide, Y, validation_data=HELD, **PLAIN) for _ in range(6)])
        assert len(calls) == 2
        fit_many([Job(model_for(), X, Y, **PLAIN) for _ in range(3)])
        assert len(calls) == 3
        assert np.shares_memory(calls[-1].x, X)
        assert np.shares_memory(calls[-1].y, Y)
    finally:
        many.prepared = many_prepared


class Raises(callbacks.Callback):
    """Raises in its second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise ConnectionError("no network")


def check_one_failing_job_does_not_lose_the_others():
    """Whatever is wrong with it: the others are trained, and the error at the end says which failed, and why."""
    mine, other = [model_for() for _ in range(5)], model_for()
    mine[1] = keras.Sequential([keras.Input((6,)), layers.Dense(4, activation="silu")], name="odd")
    mine[1].compile("sgd", "mse")
    jobs = [Job(model, X, Y, epochs=4, **PLAIN) for model in mine]
    jobs[2] = Job(mine[2], X[:, :5], Y)
    jobs[3] = Job(mine[3], X, Y, epochs=4, callbacks=[Raises()], **PLAIN)
    with pytest.raises(JobsFailedError) as caught:
        fit_many(jobs)
    error = caught.value
    assert {number: type(each) for number, each in error.failures.items()} == {
        1: NotCoveredError,
        2: ModelDoesNotFitError,
        3: ConnectionError,
    }
    assert str(error).startswith("3 of 5 jobs were not trained:\n  job 1 (odd): NotCoveredError: The engine does not train odd")
    assert "no network" in str(error)
    assert [history is None for history in error.histories] == [False, True, True, True, False]
    epochwise.fit(other, X, Y, epochs=4, threads=1, **PLAIN)
    equal(mine[0], other)
    equal(mine[4], other)
    assert int(mine[2].optimizer.iterations) == 0
    assert int(mine[3].optimizer.iterations) == 12  # two epochs, as far as it came


def check_what_may_not_be_shared():
    """Two threads must not write to the same weights, nor tell the same callback of two models."""
    model, shared, callback, stream = model_for(), layers.Dense(4, activation="softmax"), Raises(), batches(2)
    two = [sequential((6,), shared) for _ in range(2)]
    for each in two:
        each.compile("sgd", "sparse_categorical_crossentropy")
    both = {
        "the model": [Job(model, X, Y), Job(model, X, Y)],
        "a weight": [Job(each, X, Y) for each in two],
        "a callback": [Job(model_for(), X, Y, callbacks=[callback]) for _ in range(2)],
        "a generator": [Job(model_for(), stream, steps_per_epoch=6) for _ in range(2)],
    }
    for what, jobs in both.items():
        with pytest.raises(JobsFailedError, match=f"Job 1 and job 0 share {what}") as caught:
            fit_many(jobs)
        assert list(caught.value.failures) == [1]
        assert caught.value.histories[0] is not None


def check_bad_input():
    """Said at once, or as the failure of the job."""
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'batchsize'; it takes seed, x, y, batch_size"):
        Job(model_for(), X, Y, batchsize=3)
    with pytest.raises(TypeError, match="'threads'"):
        Job(model_for(), X, Y, threads=3)
    with pytest.raises(UsageError, match="at_once is 0"):
        fit_many([], at_once=0)
    assert fit_many([]) == []
    with pytest.raises(JobsFailedError) as caught:
        fit_many([Job(model_for(), X, Y, epochs=-1), Job(model_for(), X, Y + 4)])
    assert [type(each) for each in caught.value.failures.values()] == [UsageError, DataError]


def check_interrupting():
    """Ctrl-C leaves every model as of its last finished step; jobs that had not begun are untouched."""
    mine = [model_for() for _ in range(4)]
    before = mine[3].get_weights()
    epochwise.fit(model_for(), X, Y, threads=1, **PLAIN)  # so that nothing is compiled meanwhile
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    jobs = [Job(model, X, Y, epochs=1_000_000, **PLAIN) for model in mine]
    jobs[1].given["callbacks"] = [callbacks.LambdaCallback(on_train_begin=lambda logs: timer.start())]
    with pytest.raises(KeyboardInterrupt):
        fit_many(jobs, at_once=2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert all(np.array_equal(a, b) for a, b in zip(before, mine[3].get_weights(), strict=True))
    for model in mine[:2]:
        steps, again = int(model.optimizer.iterations), model_for()
        assert steps > 0
        epochwise.fit(again, X, Y, epochs=steps // 6, threads=1, **PLAIN)
        if steps % 6:
            left = slice(None, steps % 6 * 8)
            epochwise.fit(again, X[left], Y[left], threads=1, **PLAIN)
        alike(model, again, 1e-6)
