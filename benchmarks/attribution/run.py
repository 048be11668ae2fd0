"""How much of an epoch cannot be attributed, whether the parts add up, what profiling costs, and whether two runs agree.

    python benchmarks/attribution/run.py --resume benchmarks/results/DATE-attribution.json

The question's two models, ResNet-50 and a small transformer, on Keras with each backend (TensorFlow also operation by
operation, and compiled by XLA) and in plain PyTorch, eager and compiled. Each is explained twice, in runs of their own. With
``--resume`` the record grows, and what it has is not run again.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import math
import platform
import sys
from pathlib import Path
from typing import Any

from epochwise.errors import EpochwiseError
from epochwise.explaining.explain import explain_named
from epochwise.explaining.loads import loads_for
from epochwise.machines.host import host
from epochwise.subjects.datasets import DataSpec

HERE = Path(__file__).parent
ON = {
    "tensorflow": ("keras_models.py:", "tensorflow"),
    "tf-eager": ("keras_models.py:eager_", "tensorflow"),
    "tf-xla": ("keras_models.py:xla_", "tensorflow"),
    "jax": ("keras_models.py:", "jax"),
    "torch": ("keras_models.py:", "torch"),
    "pytorch": ("torch_models.py:", "torch"),
    "torch.compile": ("torch_models.py:compiled_", "torch"),
}
"""Beginning of MODEL, and the backend."""
MODELS = {"mlp": ("digits", 32), "cnn": ("digits", 32), "resnet50": ("pictures", 4), "transformer": ("words", 32)}
ROUNDS = 2
TOOLS = ("epochwise", "keras", "tensorflow-cpu", "jax", "torch")


def run(model: str, on: str, seconds: float) -> dict[str, Any]:
    """Explain one model."""
    data, batch = MODELS[model]
    spec = DataSpec(f"{HERE / 'data.py'}:{data}")
    named, backend = ON[on]
    (load,) = loads_for([f"{HERE / named}{model}"], spec, backend=backend, batch_size=batch, seed=0)
    row: dict[str, Any] = {"model": model, "on": on, "batch_size": batch}
    try:
        result = explain_named(load, seconds)
    except EpochwiseError as error:
        return {**row, "error": str(error)}
    found, epoch = result.model, result.model.epoch_seconds.median
    profile = found.measurement.profile
    return {
        **row,
        "epoch_seconds": epoch,
        "unattributed": math.fsum(part.share for part in found.where if part.name == "unattributed"),
        "parts_over_epoch": math.fsum(part.seconds for part in found.where) / epoch,
        "causes_over_epoch": math.fsum(cause.seconds for cause in found.causes) / epoch,
        "profiler_overhead": None if profile is None else profile.overhead,
        "causes": {cause.name: cause.seconds / epoch for cause in found.causes[:4]},
        "other_load_cores": result.measurement.other_load_cores,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The runs as text."""
    lines = [f"{'on':<15}{'model':<13}{'unattributed':>13}{'sum of parts':>14}{'profiling':>11}  first cause"]
    for row in rows:
        if "error" in row:
            lines.append(f"{row['on']:<15}{row['model']:<13}{row['error']}")
            continue
        cost = "-" if row["profiler_overhead"] is None else f"{row['profiler_overhead']:+.0%}"
        first, share = next(iter(row["causes"].items()))
        parts = f"{row['unattributed']:>13.1%}{row['parts_over_epoch']:>14.6f}{cost:>11}"
        lines.append(f"{row['on']:<15}{row['model']:<13}{parts}  {first} ({share:.0%})")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and print all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--on", nargs="+", choices=ON, default=list(ON))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=6.0, help="to measure each for (6)")
    parser.add_argument("--resume", type=Path, help="record that grows; what it has already is not run again")
    parser.add_argument("--most", type=int, default=sys.maxsize, help="runs to make now; the next call goes on")
    asked = parser.parse_args()
    rows = json.loads(asked.resume.read_text())["rows"] if asked.resume and asked.resume.exists() else []
    wanted = [(model, on) for _ in range(ROUNDS) for model in asked.models for on in asked.on]
    left = [
        pair
        for number, pair in enumerate(wanted)
        if sum((row["model"], row["on"]) == pair for row in rows) <= wanted[:number].count(pair)
    ]
    for model, on in left[: asked.most]:
        rows.append(run(model, on, asked.seconds))
        print(table(rows[-1:]), flush=True)
        if asked.resume:
            record = {
                "schema": "epochwise-benchmark/attribution/1",
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "command": "python benchmarks/attribution/run.py",
                "machine": {"processor": host().name, "cores": host().cores},
                "python": platform.python_version(),
                "versions": {tool: importlib.metadata.version(tool) for tool in TOOLS},
                "seconds": asked.seconds,
                "rows": rows,
            }
            asked.resume.write_text(json.dumps(record, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
