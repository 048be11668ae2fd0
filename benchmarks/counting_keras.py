"""How long counting a Keras model on JAX takes, beside tracing its training step once.

    python benchmarks/counting_keras.py
    python benchmarks/counting_keras.py --json benchmarks/results/DATE-counting-keras.json

Both begin with the same compiled model, built for its batch, and with nothing that JAX has kept of earlier traces, as in a
fresh process, and take turns. "tracing" is one ``jax.make_jaxpr`` of the model's own ``train_step``; "epochwise" is the whole
count, which does the same and reads it. Ratios are those of the medians: below 1, counting is faster than tracing.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

import argparse
import datetime
import gc
import importlib.metadata
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import keras

from epochwise.counting import count
from epochwise.tracing.keras import batch_specs, prepare, unchanged

BATCH = 32
TOOLS = ("epochwise", "jax", "keras")


def application(name: str) -> Callable[[], Any]:
    """A model of ``keras.applications`` without weights."""

    def make() -> Any:
        model = getattr(keras.applications, name)(weights=None)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return make


def cnn() -> Any:
    """The question's CNN."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "ResNet50": application("ResNet50"),
    "DenseNet121": application("DenseNet121"),
    "EfficientNetB0": application("EfficientNetB0"),
    "CNN": cnn,
}


def tracing(model: Any) -> Callable[[], object]:
    """One trace of the training step, and nothing else."""
    x_spec, y_spec = batch_specs(model, BATCH)
    prepare(model, x_spec, y_spec)
    lists = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([jax.ShapeDtypeStruct(one.value.shape, one.value.dtype) for one in variables] for variables in lists)
    data = keras.tree.map_structure(lambda spec: jax.ShapeDtypeStruct(spec.shape, spec.dtype), (x_spec, y_spec))

    def trace() -> object:
        with unchanged(model):
            return jax.make_jaxpr(model.train_step)(state, data)

    return trace


def timed(model: Any, rounds: int) -> list[dict[str, Any]]:
    """Both once to warm up, then in turn; seconds of every round."""
    both: dict[str, Callable[[], object]] = {"epochwise": lambda: count(model, BATCH), "tracing": tracing(model)}
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for turn in range(rounds + 1):
        for name, run in both.items():
            jax.clear_caches()
            gc.collect()
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    tracing_alone = statistics.median(seconds["tracing"])
    return [
        {
            "what": name,
            "seconds": seconds[name],
            "median_seconds": statistics.median(seconds[name]),
            "ratio": statistics.median(seconds[name]) / tracing_alone,
        }
        for name in both
    ]


def main() -> None:
    """Time all, print a table, and keep a record if one is asked for; one that is there gets the models added."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds that are timed (7)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--json", type=Path, help="file for the record; to one that is there, models are added")
    options = parser.parse_args()

    results = json.loads(options.json.read_text())["results"] if options.json and options.json.exists() else []
    print(f"{'':<16}{'':<11}{'median':>9}{'ratio':>8}")
    for name in options.models:
        table = timed(MODELS[name](), options.rounds)
        results.append({"model": name, "batch_size": BATCH, "runs": table})
        for row in table:
            print(f"{name:<16}{row['what']:<11}{row['median_seconds']:>8.3f}s{row['ratio']:>8.2f}", flush=True)
    if options.json:
        record = {
            "schema": "epochwise-benchmark/counting-keras/1",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": "python benchmarks/counting_keras.py",
            "machine": {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count()},
            "python": platform.python_version(),
            "versions": {tool: importlib.metadata.version(tool) for tool in TOOLS},
            "rounds": options.rounds,
            "results": results,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
