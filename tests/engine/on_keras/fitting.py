"""``epochwise.fit`` does what ``model.fit`` does: history, callbacks, validation, weights, data of all kinds."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import tempfile
import threading
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import callbacks, layers, optimizers

import epochwise
from epochwise.engine import fit as fit_module
from epochwise.errors import DataError, EpochwiseError, NotAModelError, NotCoveredError, UsageError
from tests.engine.on_keras.parity import same, sequential, shaken

generator = np.random.default_rng(11)
X, Y = generator.normal(size=(45, 6)).astype("float32"), generator.integers(4, size=45).astype("int32")
HELD = generator.normal(size=(19, 6)).astype("float32"), generator.integers(4, size=19).astype("int32")
WEIGHTS = generator.uniform(0, 2, 45).astype("float32")
PLAIN = {"batch_size": 8, "shuffle": False, "verbose": 0}
CLOSE = 2e-6


def model_for(optimizer=None, **options):
    model = sequential(
        (6,), layers.Dense(7, activation="tanh"), layers.BatchNormalization(), layers.Dense(4, activation="softmax")
    )
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **options}
    model.compile(optimizer=optimizer or optimizers.Adam(0.01), **options)
    return shaken(model)


def alike(mine, other, close=CLOSE):
    """The same values of all variables, the optimizer's too."""
    for place, (a, b) in enumerate(zip(mine.variables, other.variables, strict=True)):
        same(keras.ops.convert_to_numpy(a.value), keras.ops.convert_to_numpy(b.value), close, f"variable {place}: {a.path}")
    for a, b in zip(mine.optimizer.variables, other.optimizer.variables, strict=True):
        same(keras.ops.convert_to_numpy(a.value), keras.ops.convert_to_numpy(b.value), close, a.path)


def both(x=X, y=Y, *, made=model_for, close=CLOSE, own=None, **options):
    """Train two models, one with Keras and one with the engine; both histories and all variables must agree."""
    mine, other = made(), made()
    watching = options.pop("callbacks", list)
    told = [watching() for _ in range(2)]
    options = {**PLAIN, **options}
    history = epochwise.fit(mine, *([x] if y is None else [x, y]), callbacks=told[0], **{**options, **(own or {})})
    expected = other.fit(*([x] if y is None else [x, y]), callbacks=told[1], **options)
    assert list(history.history) == list(expected.history), (list(history.history), list(expected.history))
    assert history.epoch == expected.epoch, (history.epoch, expected.epoch)
    for name, values in expected.history.items():
        same(np.array(history.history[name], float), np.array(values, float), 1e-5, name)
    alike(mine, other, close)
    return mine, other, told


def check_history():
    """Names, epochs and values; the last batch is partial, also that of the validation."""
    both(epochs=3, validation_data=HELD)
    both(epochs=2, validation_data=(*HELD, WEIGHTS[:19]), validation_batch_size=5, sample_weight=WEIGHTS)


OPTIONS = {
    "split": {"validation_split": 0.3, "epochs": 2},
    "split_with_weights": {"validation_split": 0.2, "sample_weight": WEIGHTS},
    "split_with_classes": {"validation_split": 0.2, "class_weight": {0: 2.0, 3: 0.5}},
    "class_weight": {"class_weight": {1: 3.0}, "epochs": 2},
    "freq": {"validation_data": HELD, "validation_freq": 2, "epochs": 4},
    "freq_list": {"validation_data": HELD, "validation_freq": [1, 3], "epochs": 4},
    "initial_epoch": {"initial_epoch": 2, "epochs": 4},
    "validation_steps": {"validation_data": HELD, "validation_steps": 2},
    "batch_of_one": {"batch_size": 1},
    "batch_of_all": {"batch_size": 1000},
}


def check_option(option):
    """Each argument means what it means to Keras."""
    both(**OPTIONS[option])


def check_weighted_metrics():
    """Sample weights act on weighted metrics."""
    both(made=lambda: model_for(weighted_metrics=["accuracy"]), sample_weight=WEIGHTS, validation_split=0.2)


def check_going_on():
    """Two epochs here and two in Keras are four in Keras; also the other way round."""
    mine, other, back = model_for(), model_for(), model_for()
    other.fit(X, Y, epochs=4, **PLAIN)
    epochwise.fit(mine, X, Y, epochs=2, **PLAIN)
    mine.fit(X, Y, initial_epoch=2, epochs=4, **PLAIN)
    alike(mine, other, 5e-6)
    back.fit(X, Y, epochs=2, **PLAIN)
    epochwise.fit(back, X, Y, initial_epoch=2, epochs=4, **PLAIN)
    alike(back, other, 5e-6)


class Recorder(callbacks.Callback):
    """What a callback sees after each batch: step, logs, weights."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        weights = np.concatenate([np.ravel(weight) for weight in self.model.get_weights()])
        self.seen.append((batch, dict(logs), weights, int(self.model.optimizer.iterations)))


class Meddler(callbacks.Callback):
    """Changes weights, learning rate and momentum between batches and epochs."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            self.model.layers[0].bias.assign(np.full(7, 0.25, "float32"))

    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            self.model.optimizer.learning_rate = 0.003

    def on_epoch_end(self, epoch, logs=None):
        self.model.layers[-1].kernel.assign(self.model.layers[-1].kernel * 0.5)


class Stopper(callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            self.model.stop_training = True


CALLBACKS = {
    "early_stopping": lambda to: [callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True, min_delta=0.05)],
    "checkpoint": lambda to: [callbacks.ModelCheckpoint(to / "{epoch}.keras", monitor="val_loss")],
    "checkpoint_weights": lambda to: [
        callbacks.ModelCheckpoint(to / "best.weights.h5", monitor="val_accuracy", save_best_only=True, save_weights_only=True)
    ],
    "checkpoint_by_batch": lambda to: [
        callbacks.ModelCheckpoint(to / "b{batch}.weights.h5", save_freq=4, save_weights_only=True)
    ],
    "rate": lambda to: [callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)],
    "plateau": lambda to: [callbacks.ReduceLROnPlateau("val_loss", patience=1, factor=0.1, min_delta=1.0)],
    "csv": lambda to: [callbacks.CSVLogger(to / "log.csv")],
    "nan": lambda to: [callbacks.TerminateOnNaN()],
    "backup": lambda to: [callbacks.BackupAndRestore(to / "backup")],
    "meddler": lambda to: [Meddler()],
    "stopper": lambda to: [Stopper()],
    "recorder": lambda to: [Recorder()],
    "lambda": lambda to: [callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)],
}


def check_callback(callback):
    """Each has the effect that it has in Keras, and leaves the same files."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in ("mine", "other")]
        for place in places:
            place.mkdir()
        following = iter(places)
        made = lambda: CALLBACKS[callback](next(following))  # noqa: E731 - called once for each model
        _, _, (mine, other) = both(callbacks=made, epochs=5, validation_data=HELD)
        names = [sorted(path.name for path in place.iterdir()) for place in places]
        assert names[0] == names[1], names
        if callback == "csv":
            first, second = ((place / "log.csv").read_text().splitlines() for place in places)
            assert first[0] == second[0]
            assert len(first) == len(second) == 6
        if callback == "recorder":
            for (step, logs, weights, count), (step_2, logs_2, weights_2, count_2) in zip(
                mine[0].seen, other[0].seen, strict=True
            ):
                assert (step, count) == (step_2, count_2)
                assert set(logs) == set(logs_2)
                same(logs["loss"], logs_2["loss"], 1e-5, f"loss at step {step}")
                same(weights, weights_2, CLOSE, f"weights after step {step}")
        if callback.startswith("checkpoint") and "3.keras" in names[0]:
            loaded = [keras.saving.load_model(place / "3.keras") for place in places]
            alike(*loaded)


def check_backup_is_taken_up():
    """A run that was killed in its third epoch goes on there, with optimizer and all."""

    class Killed(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise ConnectionError("killed")

    whole, cut = model_for(), model_for()
    epochwise.fit(whole, X, Y, epochs=4, **PLAIN)
    with tempfile.TemporaryDirectory() as folder:
        backup = Path(folder) / "backup"
        with contextlib.suppress(ConnectionError):
            epochwise.fit(cut, X, Y, epochs=4, callbacks=[callbacks.BackupAndRestore(backup), Killed()], **PLAIN)
        again = model_for()
        history = epochwise.fit(again, X, Y, epochs=4, callbacks=[callbacks.BackupAndRestore(backup)], **PLAIN)
    assert history.epoch == [2, 3]
    alike(again, whole)


def check_a_callback_that_raises():
    """The model has the weights as of the last finished step, and so has the optimizer."""

    class Raises(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise ValueError("mine")

    mine, other = model_for(), model_for()
    with contextlib.suppress(ValueError):
        epochwise.fit(mine, X, Y, epochs=2, callbacks=[Raises()], **PLAIN)
    other.fit(X[:24], Y[:24], **PLAIN)
    alike(mine, other)


class Noting:
    """A trainer that notes the steps and the order of each stretch, whichever trainer does the work."""

    def __init__(self, trainer, steps, order):
        self._trainer, self._steps, self._order = trainer, steps, order

    def __getattr__(self, name):
        return getattr(self._trainer, name)

    def train(self, data, order, batch_size, rates):
        self._steps.append(len(rates))
        self._order.extend(order.tolist())
        return self._trainer.train(data, order, batch_size, rates)


@contextlib.contextmanager
def noted():
    """The steps of each stretch, and the places of samples, of the training within."""
    steps, order = [], []
    before = fit_module.trainer_for
    fit_module.trainer_for = lambda *arguments: Noting(before(*arguments), steps, order)
    try:
        yield steps, order
    finally:
        fit_module.trainer_for = before


def check_interrupting():
    """Ctrl-C ends training between two steps, with all finished steps in the model, long before its epochs are over."""
    mine, other = model_for(), model_for()
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    with noted() as (counted, _):
        begun = callbacks.LambdaCallback(on_train_begin=lambda logs: timer.start())  # on a busy machine, that may take long
        with pytest.raises(KeyboardInterrupt):
            epochwise.fit(mine, X, Y, epochs=1_000_000, callbacks=[begun], **PLAIN)
    steps = int(mine.optimizer.iterations)
    assert steps == sum(counted), (steps, sum(counted))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    trained = epochwise.fit(other, X, Y, epochs=steps // 6, **PLAIN)
    assert len(trained.epoch) == steps // 6
    if steps % 6:
        left = slice(None, steps % 6 * 8)
        epochwise.fit(other, X[left], Y[left], **PLAIN)
    alike(mine, other, 1e-6)


def check_interrupting_while_compiling():
    """Ctrl-C does not wait for a compiler that has seconds of work; the model is untouched, and trains afterwards."""

    class Compiling(Noting):
        def prepare(self, data, batch_size):
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("went on")

    mine, other, before = model_for(), model_for(), fit_module.trainer_for
    fit_module.trainer_for = lambda *arguments: Compiling(before(*arguments), [], [])
    try:
        with pytest.raises(KeyboardInterrupt):
            epochwise.fit(mine, X, Y, **PLAIN)
    finally:
        fit_module.trainer_for = before
    assert all(np.array_equal(a, b) for a, b in zip(mine.get_weights(), other.get_weights(), strict=True))
    assert int(mine.optimizer.iterations) == 0
    epochwise.fit(mine, X, Y, **PLAIN)
    other.fit(X, Y, **PLAIN)
    alike(mine, other)


def check_long_stretches():
    """Without callbacks that watch batches, most steps run many at a time; with one, one at a time."""
    with noted() as (several, _):
        epochwise.fit(model_for(), X, Y, epochs=30, **PLAIN)
    with noted() as (counted, _):
        epochwise.fit(model_for(), X, Y, epochs=2, callbacks=[Recorder()], **PLAIN)
    assert max(several) > 1
    assert set(counted) == {1}
    assert sum(several) == 180
    assert sum(counted) == 12


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, at):
        part = slice(at * 8, at * 8 + 8)
        return X[part], Y[part], WEIGHTS[part]


def batches(times=1):
    for _ in range(times):
        for at in range(6):
            yield X[at * 8 : at * 8 + 8], Y[at * 8 : at * 8 + 8]


def tf_data():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


def data_loader():
    import torch

    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=8)


STREAMS = {"py_dataset": Batches, "generator": lambda: batches(3), "tf_data": tf_data, "data_loader": data_loader}


def check_stream(stream):
    """Data that come in batches, read in chunks: the same steps as in Keras."""
    mine, other = model_for(), model_for()
    options = {"epochs": 3, "verbose": 0, "shuffle": False}
    if stream == "generator":
        options["steps_per_epoch"] = 6
    held = (lambda: {"validation_data": STREAMS[stream](), "validation_steps": 6}) if stream != "generator" else dict
    history = epochwise.fit(mine, STREAMS[stream](), **held(), **options)
    expected = other.fit(STREAMS[stream](), **held(), **options)
    for name, values in expected.history.items():
        same(np.array(history.history[name], float), np.array(values, float), 1e-5, name)
    alike(mine, other)


ARRAYS = {
    "float64": lambda: (X.astype("float64"), Y.astype("int64")),
    "lists": lambda: (X.tolist(), Y.tolist()),
    "column_labels": lambda: (X, Y[:, None]),
    "float_labels": lambda: (X, Y.astype("float32")),
    "tensors": lambda: (keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y)),
    "read_only": lambda: (np.frombuffer(X.tobytes(), "float32").reshape(X.shape), Y),
    "fortran": lambda: (np.asfortranarray(X), Y),
    "in_a_list": lambda: ([X], [Y]),
}


def check_array(array):
    """Arrays as users have them."""
    mine, other = model_for(), model_for()
    epochwise.fit(mine, *ARRAYS[array](), **PLAIN)
    other.fit(X, Y, **PLAIN)
    alike(mine, other)


def check_shuffling():
    """All samples once an epoch, in an order that the seed decides."""
    orders = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        with noted() as (_, order):
            epochwise.fit(model_for(), X, Y, batch_size=8, epochs=2, verbose=0)
        orders.append(order)
    first, second = orders[0][:45], orders[0][45:]
    assert sorted(first) == sorted(second) == list(range(45))
    assert first != second
    assert orders[0] == orders[1]


def check_nan():
    """NaN in, NaN out, and a note; TerminateOnNaN stops it at the batch where Keras stops."""
    x = X.copy()
    x[20, 1] = np.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = epochwise.fit(model_for(), x, Y, epochs=2, **PLAIN)
    assert all(np.isnan(history.history["loss"]))
    assert sum("not a number" in str(each.message) for each in caught) == 1
    mine, other = model_for(), model_for()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        epochwise.fit(mine, x, Y, callbacks=[callbacks.TerminateOnNaN()], **PLAIN)
    with contextlib.redirect_stdout(io.StringIO()):
        other.fit(x, Y, callbacks=[callbacks.TerminateOnNaN()], **PLAIN)
    assert int(mine.optimizer.iterations) == int(other.optimizer.iterations) == 3


def check_progress():
    """The lines that Keras prints, but for the times."""

    def printed(train):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            train(X, Y, batch_size=8, shuffle=False, epochs=2, verbose=2, validation_data=HELD)
        return re.sub(r"\d+[mu]?s(/\w+)?", "T", out.getvalue())

    mine, other = model_for(), model_for()
    text = printed(lambda *args, **options: epochwise.fit(mine, *args, **options))
    assert text == printed(other.fit), text
    assert "val_accuracy" in text


def check_fallback():
    """What is not covered is refused by name, or trained by Keras, which is said."""

    def made():
        model = sequential((6,), layers.Dense(5, activation="silu"), layers.Dense(4, activation="softmax"))
        model.compile("sgd", "sparse_categorical_crossentropy")
        return shaken(model)

    mine, other = made(), made()
    refused(NotCoveredError, "(?s)dense.*silu.*fallback=True", mine, X, Y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        epochwise.fit(mine, X, Y, fallback=True, **PLAIN)
    assert any("Keras trains this model" in str(each.message) for each in caught)
    other.fit(X, Y, **PLAIN)
    alike(mine, other)


def refused(kind, text, model, *data, **options):
    with pytest.raises(kind, match=text):
        epochwise.fit(model, *data, verbose=0, **options)
    assert not model.compiled or int(model.optimizer.iterations) == 0


def check_bad_input():
    """Refused before any work, with what was received."""
    refused(UsageError, "not compiled", sequential((6,), layers.Dense(4)), X, Y)
    refused(UsageError, "batch_size is 0", model_for(), X, Y, batch_size=0)
    refused(UsageError, "class_weight and sample_weight", model_for(), X, Y, class_weight={0: 1.0}, sample_weight=WEIGHTS)
    refused(UsageError, "validation_split=", model_for(), X, Y, validation_split=0.999)
    refused(UsageError, "y was given beside a Batches", model_for(), Batches(), Y)
    refused(UsageError, "validation_data is of type", model_for(), X, Y, validation_data=X)
    refused(EpochwiseError, "shape \\(5,\\)", model_for(), X[:, :5], Y)
    refused(EpochwiseError, "validation x has samples of shape", model_for(), X, Y, validation_data=(X[:, :5], Y))
    refused(EpochwiseError, "holds the label 4", model_for(), X, np.full(45, 4))
    refused(UsageError, "epochs is 1.5", model_for(), X, Y, epochs=1.5)
    refused(UsageError, "threads is 'two'", model_for(), X, Y, threads="two")
    refused(UsageError, "validation_freq is 0", model_for(), X, Y, validation_freq=0)
    refused(UsageError, "class_weight is of type list", model_for(), X, Y, class_weight=[1.0, 2.0])
    refused(
        UsageError,
        r"callbacks\[1\] is no keras.callbacks.Callback, but of type function",
        model_for(),
        X,
        Y,
        callbacks=[Meddler(), print_nothing],
    )
    refused(DataError, "(?s)Keras cannot read batches from this generator.*yield x, y", model_for(), (x for x in [X]))
    refused(DataError, "(?s)Keras cannot read batches from this generator.*at least one", model_for(), (x for x in ()))
    with pytest.raises(NotAModelError, match="of type str"):
        epochwise.fit("model", X, Y)


def print_nothing(epoch, logs):
    """What a user who does not know callbacks might give."""


def check_unbuilt_sequential():
    """A model without an Input learns the shape from the data, as in Keras."""
    model = keras.Sequential([layers.Dense(5, activation="relu"), layers.Dense(4, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert len(epochwise.fit(model, X, Y, epochs=2, verbose=0).history["loss"]) == 2
