"""Whether a model trained by the engine is as good as one trained by Keras: final test accuracy on Fashion-MNIST.

    python benchmarks/equivalence.py --json benchmarks/results/DATE-equivalence.json
    python benchmarks/equivalence.py --orders same --models build_model_cnn --seeds 0 1      # a piece of it

For each seed both begin with the same weights. ``--orders same`` gives both the samples in the same order in each epoch, so
that they differ in rounding alone; with ``own`` each shuffles as it does, from the same seed, and they see different orders.
Accuracy is what ``model.evaluate`` says of the 10,000 test images after the last epoch, whoever trained.

The test is of equivalence (two one-sided t-tests of the differences of pairs, Schuirmann 1987): "equivalent" means that the
90 % interval of the mean difference lies within half a percentage point of zero, a margin that was set before anything was run.
"Undecided" is no proof of a difference. Seeds are added to the record that ``--json`` names, so a long run can be taken in
pieces.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import Any

from records import facts

MODELS = ("build_model_seq", "build_model_cnn")
FILE = Path(__file__).parents[1] / "examples" / "question.py"
MARGIN, LEVEL = 0.5, 0.05
BATCH = 32


def data() -> Any:
    """The real Fashion-MNIST."""
    from epochwise.subjects.datasets import DataSpec, load_data

    return load_data(DataSpec("fashion-mnist"))


def trained(name: str, seed: int, epochs: int, orders: str, by: str, held: Any, backend: str) -> tuple[float, float]:
    """Test accuracy in percent after training, and the seconds of it."""
    import keras
    import numpy as np

    import epochwise
    from epochwise.subjects.loading import load_subject
    from epochwise.subjects.models import parse_model

    subject = load_subject(parse_model(f"{FILE}:{name}"), held, backend=backend, batch_size=BATCH, seed=seed)
    model, x, y = subject.model, subject.data.x, subject.data.y
    fit = epochwise.fit if by == "engine" else type(model).fit
    options = {"batch_size": BATCH, "verbose": 0}
    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    if orders == "own":
        fit(model, x, y, epochs=epochs, **options)
    else:
        generator = np.random.default_rng(seed)
        for epoch in range(epochs):
            order = generator.permutation(len(x))
            fit(model, x[order], y[order], shuffle=False, initial_epoch=epoch, epochs=epoch + 1, **options)
    seconds = time.perf_counter() - start
    logs = model.evaluate(subject.data.x_test, subject.data.y_test, batch_size=1000, verbose=0, return_dict=True)
    keras.utils.clear_session()
    return 100 * float(logs["accuracy"]), seconds


def verdict(engine: list[float], other: list[float]) -> dict[str, Any]:
    """The paired test of equivalence; accuracies in percent, differences in percentage points."""
    from scipy import stats

    apart = [a - b for a, b in zip(engine, other, strict=True)]
    mean, count = statistics.fmean(apart), len(apart)
    if count < len(("two", "seeds")):
        return {"seeds": count, "mean_difference": mean, "interval_90": None, "p": None, "answer": "undecided: one seed"}
    error = statistics.stdev(apart) / math.sqrt(count)
    free = count - 1
    half = float(stats.t.ppf(1 - LEVEL, free)) * error
    sides = [(mean + MARGIN) / error, (MARGIN - mean) / error] if error else [math.inf, math.inf]
    p = max(float(stats.t.sf(side, free)) for side in sides)
    inside = mean - half > -MARGIN and mean + half < MARGIN
    return {
        "seeds": count,
        "mean_difference": mean,
        "interval_90": [mean - half, mean + half],
        "p": p,
        "answer": "equivalent" if inside else "undecided",
    }


def main() -> None:
    """Train what the record lacks, print the table, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--orders", nargs="*", default=["same", "own"], choices=["same", "own"])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--backend", default="jax", help="of Keras")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = options.backend
    settings = {"epochs": options.epochs, "batch_size": BATCH, "backend": options.backend, "margin_points": MARGIN}
    record: dict[str, Any] = {"settings": settings, "runs": []}
    if options.json and options.json.exists():
        record = json.loads(options.json.read_text())
        if record["settings"] != settings:
            parser.error(f"{options.json} was made with other settings: {record['settings']}")
    held = data()
    for orders in options.orders:
        for name in options.models:
            for seed in options.seeds:
                key = {"model": name, "orders": orders, "seed": seed}
                if any(key.items() <= run.items() for run in record["runs"]):
                    continue
                run: dict[str, Any] = dict(key)
                for by in ("engine", "keras"):
                    accuracy, seconds = trained(name, seed, options.epochs, orders, by, held, options.backend)
                    run |= {f"{by}_accuracy": accuracy, f"{by}_seconds": seconds}
                record["runs"].append(run)
                print(
                    f"{orders:5s}{name:17s} seed {seed}: engine {run['engine_accuracy']:.2f} %, "
                    f"Keras {run['keras_accuracy']:.2f} %",
                    flush=True,
                )
                finish(record, options.json)
    finish(record, options.json)
    show(record)


def finish(record: dict[str, Any], path: Path | None) -> None:
    """Work out the verdicts anew, and keep the record."""
    record |= {**facts(), "note": "Seconds are of these runs, with whatever ran beside them: no measurement of speed."}
    record["verdicts"] = []
    for orders, name in dict.fromkeys((run["orders"], run["model"]) for run in record["runs"]):
        runs = [run for run in record["runs"] if (run["orders"], run["model"]) == (orders, name)]
        found = verdict([run["engine_accuracy"] for run in runs], [run["keras_accuracy"] for run in runs])
        record["verdicts"].append({"model": name, "orders": orders, **found})
    if path:
        path.write_text(json.dumps(record, indent=1) + "\n")


def show(record: dict[str, Any]) -> None:
    """The verdicts."""
    for each in record["verdicts"]:
        low, high = each["interval_90"] or (math.nan, math.nan)
        print(
            f"{each['model']}, {each['orders']} orders, {each['seeds']} seeds: engine - Keras {each['mean_difference']:+.2f} "
            f"points, 90 % interval {low:+.2f} to {high:+.2f}, margin {MARGIN}: {each['answer']}"
        )


if __name__ == "__main__":
    main()
