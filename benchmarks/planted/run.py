"""Planted causes: one thing at a time is made slow in a healthy model, and the explanation must name that thing first.

    .venv/bin/python benchmarks/planted/run.py --resume benchmarks/results/DATE-planted-causes.json

Prints the confusion matrix: a row for what was planted, a column for what was named first. Takes about half a minute for each
plant and backend. With ``--resume`` the record grows row by row, and what it has already is not run again, so that a long run
can be taken in pieces.

A plant that costs nothing on this processor must not be named. Where that may be (denormal numbers), the plant has a twin
without it, and both are timed by a plain loop that knows nothing of epochwise; see ``worth.py``.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path

from epochwise.errors import EpochwiseError
from epochwise.explaining.explain import explain_named
from epochwise.explaining.explanation import Cause, Explanation
from epochwise.explaining.loads import loads_for
from epochwise.machines.host import host
from epochwise.subjects.datasets import DataSpec

HERE = Path(__file__).parent
KERAS, PLAIN = ("tensorflow", "jax", "torch"), ("pytorch",)
ALL = (*KERAS, *PLAIN)
GENERIC = (
    "kernel path",
    "per-step overhead",
    "arithmetic",
    "memory traffic",
    "kernel path or per-step overhead",
    "unattributed",
)
"""What a healthy model's epoch is made of."""
HEALTHY = "nothing"
LEAST_WORTH = 1.1
"""Times as long as its twin that a plant must take to be one."""
TOOLS = ("epochwise", "keras", "tensorflow-cpu", "jax", "torch")


@dataclasses.dataclass(frozen=True)
class Plant:
    """One thing that is made slow.

    Attributes:
        name: of the thing.
        model: function in the file of models.
        causes: names that are right.
        place: layer or callback that must be named with it, if any.
        data: function in ``data.py``.
        backends: where it can be planted.
        batch_size: samples in a step.
        twin: function for the same model without the thing, where it depends on the processor whether that costs anything.
    """

    name: str
    model: str
    causes: tuple[str, ...]
    place: str = ""
    data: str = "images"
    backends: tuple[str, ...] = ALL
    batch_size: int = 32
    twin: str = ""


PLANTS = (
    Plant(HEALTHY, "healthy", GENERIC),
    Plant(HEALTHY, "healthy_dense", GENERIC),
    Plant("slow generator", "healthy", ("input pipeline",), data="slow_stream"),
    Plant("slow callback", "healthy", ("callbacks and validation",), "callback Slow", "slow_callback", KERAS),
    Plant("validation", "healthy", ("callbacks and validation",), "validation", "validation", KERAS),
    Plant("Python layer", "python_layer", ("per-step overhead",), "planted"),
    Plant("many threads", "many_threads", ("threads",), backends=("torch", "pytorch")),
    Plant("tiny batch", "healthy_dense", ("number of steps",), batch_size=2),
    Plant("compiling", "compiled", ("lowering",), backends=("tensorflow",)),
    Plant("unfused loop", "unfused_loop", ("lowering",), "planted"),
    Plant("huge embedding", "huge_embedding", ("optimizer sweep", "kernel path", "memory traffic"), "planted", "tokens"),
    Plant("denormal roots", "denormal_roots", ("denormals",), backends=("torch", "pytorch"), twin="normal_roots"),
    Plant("denormal products", "denormal", ("denormals",), backends=("torch", "pytorch"), twin="normal"),
    Plant("much state", "much_state", ("optimizer sweep",), backends=KERAS),
    Plant("copies", "copies", ("memory traffic",), "planted", backends=("tensorflow", "torch", "pytorch")),
    Plant("over-wide layer", "wide", ("kernel path", "arithmetic", "memory traffic", "optimizer sweep"), "planted"),
    Plant("slow pooling", "slow_pooling", ("kernel path",), "planted"),
)


def named(cause: Cause) -> list[str]:
    """The places that a cause names."""
    return [place.name for place in cause.places[:2]]


def is_right(causes: tuple[str, ...], place: str, result: Explanation) -> bool:
    """Whether the first cause is one of these, in this place."""
    first = result.model.causes[0]
    return first.name in causes and (not place or any(place in name for name in named(first)))


def worth(plant: Plant, backend: str, seconds: float) -> float:
    """How many times as long as its twin a step of the plant takes, timed in a process of its own."""
    command = [sys.executable, str(HERE / "worth.py"), backend, plant.model, plant.twin, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def commit() -> str:
    """The state of the code, as git calls it; a record that grew over a day may hold several."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def run(plant: Plant, backend: str, seconds: float) -> dict[str, object]:
    """Plant, explain, and see."""
    models = "torch_models.py" if backend == "pytorch" else "keras_models.py"
    first = "_channels_first" if backend == "pytorch" and plant.data == "slow_stream" else ""
    data = DataSpec(f"{HERE / 'data.py'}:{plant.data}{first}")
    on = "torch" if backend == "pytorch" else backend
    (load,) = loads_for([f"{HERE / models}:{plant.model}"], data, backend=on, batch_size=plant.batch_size, seed=0)
    row: dict[str, object] = {"planted": plant.name, "model": plant.model, "backend": backend, "commit": commit()}
    right = plant.causes
    if plant.twin:
        row["times_its_twin"] = slower = round(worth(plant, backend, seconds / 2), 3)
        if slower < LEAST_WORTH:
            row["planted"], right = f"{plant.name} (no cost here)", GENERIC
    try:
        result = explain_named(load, seconds)
    except EpochwiseError as error:
        return {**row, "named": "failed", "right": False, "error": str(error)}
    causes = [
        {"name": cause.name, "share": round(cause.seconds / result.model.epoch_seconds.median, 4), "places": named(cause)}
        for cause in result.model.causes[:4]
    ]
    unattributed = sum(part.share for part in result.model.where if part.name == "unattributed")
    profile = result.model.measurement.profile
    return {
        **row,
        "named": result.model.causes[0].name,
        "right": is_right(right, plant.place, result),
        "causes": causes,
        "epoch_seconds": round(result.model.epoch_seconds.median, 4),
        "unattributed": round(unattributed, 4),
        "profiler_overhead": None if profile is None else round(profile.overhead, 4),
        "other_load_cores": result.measurement.other_load_cores,
    }


def matrix(rows: list[dict[str, object]]) -> str:
    """The confusion matrix as text."""
    counts = collections.Counter((str(row["planted"]), str(row["named"])) for row in rows)
    columns = sorted({name for _, name in counts})
    planted = list(dict.fromkeys(str(row["planted"]) for row in rows))
    width = max(map(len, planted))
    lines = [" " * width + "  " + "  ".join(columns) + "  right"]
    for name in planted:
        cells = [str(counts[name, column] or ".").rjust(len(column)) for column in columns]
        mine = [row for row in rows if row["planted"] == name]
        lines.append(f"{name.ljust(width)}  {'  '.join(cells)}  {sum(bool(row['right']) for row in mine)}/{len(mine)}")
    right = sum(bool(row["right"]) for row in rows)
    lines.append(f"{right} of {len(rows)} right ({right / max(1, len(rows)):.0%})")
    return "\n".join(lines)


def record(rows: list[dict[str, object]], seconds: float) -> dict[str, object]:
    """The dated record of a run, with what it was run on."""
    return {
        "schema": "epochwise-benchmark/planted/1",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": "python benchmarks/planted/run.py",
        "machine": {"processor": host().name, "cores": host().cores},
        "python": platform.python_version(),
        "versions": {tool: importlib.metadata.version(tool) for tool in TOOLS},
        "seconds": seconds,
        "right": sum(bool(row["right"]) for row in rows),
        "of": len(rows),
        "matrix": matrix(rows).splitlines(),
        "rows": rows,
    }


def main() -> None:
    """Run all plants, or those that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backends", default=",".join(ALL))
    parser.add_argument("--plants", default="", help="names, with commas between; by default all")
    parser.add_argument("--seconds", type=float, default=6.0, help="to measure each for (6)")
    parser.add_argument("--resume", type=Path, help="record that grows; what it has already is not run again")
    parser.add_argument("--most", type=int, default=sys.maxsize, help="plants to run now; the next call goes on")
    asked = parser.parse_args()
    wanted = {name for name in asked.plants.split(",") if name}
    rows = json.loads(asked.resume.read_text())["rows"] if asked.resume and asked.resume.exists() else []
    known = {(row["model"], row["backend"], row["planted"].partition(" (")[0]) for row in rows}
    left = [
        (plant, backend)
        for plant in PLANTS
        for backend in asked.backends.split(",")
        if backend in plant.backends and (not wanted or plant.name in wanted)
        if (plant.model, backend, plant.name) not in known
    ]
    for plant, backend in left[: asked.most]:
        rows.append(run(plant, backend, asked.seconds))
        print(json.dumps(rows[-1]), flush=True)
        if asked.resume:
            asked.resume.write_text(json.dumps(record(rows, asked.seconds), indent=1) + "\n")
    print(matrix(rows))
    sys.exit(0 if all(row["right"] for row in rows) else 1)


if __name__ == "__main__":
    main()
