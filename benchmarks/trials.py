"""How much faster two workers complete the same trials than one, on this machine's cores and on a cluster of Ray.

    python benchmarks/trials.py
    python benchmarks/trials.py --real P1 --runners 1 2 --json benchmarks/results/DATE-trials.json

Every runner gets the same trials and a new store, so each trains all of them; the digests of the results are compared, trial
by trial. Trials are a toy that keeps one core busy, or with ``--real`` those of an experiment's smoke tier. Seconds are of the
whole call, of which ``start`` is what a cluster takes to start; the speed-up leaves that out. Nothing else should run on the
machine.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import platform
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from epochwise.machines.host import host
from epochwise.trials import Cluster, Local, Outcome, Runner, Store, Trial, complete


def burn(arguments: Mapping[str, Any]) -> Outcome:
    """Keep one core busy: so many rounds of SHA-256."""
    state = str(arguments["seed"]).encode()
    for _ in range(arguments["rounds"]):
        state = hashlib.sha256(state).digest()
    return Outcome(numbers={"state": state.hex()})


def toys(count: int, rounds: int) -> list[Trial]:
    """Trials of about equal length."""
    return [Trial(run="trials:burn", arguments={"seed": seed, "rounds": rounds}) for seed in range(count)]


def real(experiment: str, count: int, backend: str) -> list[Trial]:
    """The first trials of an experiment of the question's models, smoke tier."""
    from epochwise.experiments.evidence import chosen
    from epochwise.experiments.preparing import informed, prepare
    from epochwise.experiments.request import Request

    request = Request(experiments=(experiment,), tier="smoke", backend=backend)
    study = informed(prepare(request, lambda study: []), {})
    module = next(module for module in chosen(request) if experiment == module.ID)
    return module.plan(study)[:count]


def timed(name: str, runner: Runner, trials: list[Trial]) -> tuple[dict[str, Any], dict[str, str]]:
    """Complete all of them in a new store; a row of the table, and the digests."""
    told: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "trials.sqlite") as store:
        begun = time.perf_counter()
        results = complete(trials, store, runner, lambda done, total, text: told.append(time.perf_counter()))
        seconds = time.perf_counter() - begun
    start = told[1] - begun  # told first before the runner begins, then when it has
    inside = sum(result.seconds for result in results.values())
    row = {"runner": name, "seconds": seconds, "start_seconds": start, "seconds_in_trials": inside}
    return row, {key: result.digest for key, result in results.items()}


def working(row: dict[str, Any]) -> float:
    """Seconds of a row without the start."""
    return float(row["seconds"] - row["start_seconds"])


def main() -> None:
    """Time every runner once, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12, help="trials (default: 12)")
    parser.add_argument("--rounds", type=int, default=1_500_000, help="of SHA-256, for a toy (default: about a second)")
    parser.add_argument("--real", metavar="P1", help="trials of this experiment instead of toys")
    parser.add_argument("--backend", default="torch", help="of Keras, for real ones (default: torch)")
    parser.add_argument("--runners", nargs="+", default=["1", "2"], metavar="NAME", help="1, 2, ... workers; ray1, ray2, ...")
    parser.add_argument("--json", type=Path, help="write a record to this file")
    options = parser.parse_args()
    trials = real(options.real, options.count, options.backend) if options.real else toys(options.count, options.rounds)
    backend = options.backend if options.real else None
    rows: list[dict[str, Any]] = []
    known: dict[str, str] = {}
    print(f"{len(trials)} trials\n{'runner':<8}{'seconds':>9}{'start':>8}{'in trials':>11}{'speed-up':>10}  same bits")
    for name in options.runners:
        workers = int(name.removeprefix("ray"))
        runner = Cluster(workers=workers, backend=backend) if name.startswith("ray") else Local(workers, backend)
        row, digests = timed(name, runner, trials)
        rows.append(row)
        row["speed_up"] = working(rows[0]) / working(row)
        row["same_bits"] = digests == (known or digests)
        known = known or digests
        figures = f"{row['seconds']:>9.2f}{row['start_seconds']:>8.2f}{row['seconds_in_trials']:>11.2f}{row['speed_up']:>10.2f}"
        print(f"{name:<8}{figures}  {row['same_bits']}", flush=True)
    if options.json:
        record = {
            "schema": "epochwise-benchmark/trials/1",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": "python benchmarks/trials.py" + (f" --real {options.real}" if options.real else ""),
            "machine": {"processor": host().name, "cores": host().cores},
            "python": platform.python_version(),
            "versions": {package: importlib.metadata.version(package) for package in ("epochwise", "numpy", "ray")},
            "trials": len(trials),
            "results": rows,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
