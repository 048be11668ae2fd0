"""The engine beside the frameworks, side by side in one run: seconds per epoch of small networks on this machine's cores.

    python benchmarks/engine.py                                    # the question's two models, batch 32, Fashion-MNIST
    python benchmarks/engine.py --ladder                           # twelve architectures
    python benchmarks/engine.py --batch 1 8 32 256                 # the two models at several batch sizes
    python benchmarks/engine.py --json benchmarks/results/DATE-engine.json

Every contender (``contenders.py``) is a process of its own that waits until it is its turn, and the turns go round, A B C A B
C, each about ``--seconds`` long. Of everybody's turns the third counts in which the machine slowed its own cores least, as it
was measured just before and just after each turn (``quiet.py``); all are kept. A row of the table is a model at a batch size,
with the median of the turns that count in seconds per epoch, and how many times longer than the engine each takes. A setting of
a framework that was more than ``--leave-out`` times slower than the best of them in a trial before the turns has no turns, and
its trial is kept instead.

Rows go into the record when they are done, and one that is there is not measured again (``--again`` does), so a long run can be
taken in pieces of ``--together`` rows: their models are made ready, and then their turns are timed. On a machine that others
use, ``--locks FOLDER`` makes ready while ``FOLDER/machine`` is shared, and times while nobody else has it; who waits for the
latter holds ``FOLDER/turn``.

The roofline is the time of the multiply-accumulates at this machine's measured peak (`epochwise machine`).
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from contenders import SAMPLES, SETTINGS, Contender
from ladder import LADDER
from quiet import Probe

PAIR = ("question CNN", "question MLP")
PAUSE_SECONDS = 0.25
"""Between turns: threads that wait for more work stop looking for it after 0.2 s."""

TRIALS = 0.03, 0.1, 0.3
"""Of a turn's seconds: each tells how many steps the next one takes, less and less disturbed by what a call costs by itself."""

LEAST_ROUNDS = 3
WAIT_SECONDS = 1.0
"""For the cores before a turn."""

PATIENCE_SECONDS = 45.0
"""How long to wait for the machine before others have their turn."""


@contextmanager
def beside(locks: Path | None) -> Iterator[None]:
    """While others may load the machine too, but nobody measures."""
    with ExitStack() as held:
        if locks:
            with (locks / "turn").open("a") as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(held.enter_context((locks / "machine").open("a")), fcntl.LOCK_SH)
        yield


@contextmanager
def alone(locks: Path | None) -> Iterator[None]:
    """While nobody else loads the machine."""
    with ExitStack() as held:
        if locks:
            while not _entered(held, locks):
                time.sleep(PATIENCE_SECONDS / 3)
        yield


def _entered(held: ExitStack, locks: Path) -> bool:
    """Whether the machine was free before patience was out."""
    with ExitStack() as trying:
        fcntl.flock(trying.enter_context((locks / "turn").open("a")), fcntl.LOCK_EX)
        machine_file = trying.enter_context((locks / "machine").open("a"))
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            try:
                fcntl.flock(machine_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.2)
            else:
                held.push(trying.pop_all())
                return True
    return False


def measure(
    work: str, batch: int, contenders: dict[str, Contender], probe: Probe, options: argparse.Namespace
) -> dict[str, Any]:
    """Trials and turns of a model that was made ready, in seconds per epoch."""
    epoch = -(-SAMPLES // batch)

    def each(who: str, seconds: float) -> tuple[int, float]:
        """About so many seconds of steps, at least one: how many, and the seconds of one."""
        at_once = contenders[who].setting.at_once(batch)
        steps = at_once * max(1, round(seconds / trials[who] / at_once))
        return steps, contenders[who].run(work, batch, steps) / steps

    trials = dict.fromkeys(contenders, 1e-2)
    for share in TRIALS:
        probe.wait(WAIT_SECONDS)
        trials = {who: each(who, options.seconds * share)[1] for who in contenders}
    best = min((seconds for who, seconds in trials.items() if who != "engine"), default=0.0)
    turns: dict[str, list[tuple[float, float]]] = {
        who: [] for who, seconds in trials.items() if who == "engine" or seconds <= options.leave_out * best
    }
    start = time.monotonic()
    for number in range(options.rounds):
        passed = time.monotonic() - start
        if number >= LEAST_ROUNDS and passed * (number + 1) / number > options.most:
            break
        for who, taken in turns.items():
            time.sleep(PAUSE_SECONDS)
            before = probe.wait(WAIT_SECONDS)
            seconds = each(who, options.seconds)[1] * epoch
            taken.append((seconds, max(before, probe.slowdown())))
    counted = {who: least_disturbed(taken) for who, taken in turns.items()}
    return {
        "epoch_seconds": {who: [seconds for seconds, _ in taken] for who, taken in counted.items()},
        "slowdown": {who: [slowdown for _, slowdown in taken] for who, taken in counted.items()},
        "all_turns": turns,
        "trial_epoch_seconds": {who: seconds * epoch for who, seconds in trials.items() if who not in turns},
    }


def least_disturbed(turns: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of turns and how much slower the cores were around each: the third in which they were least so, three at least."""
    return sorted(turns, key=lambda turn: turn[1])[: max(LEAST_ROUNDS, len(turns) // 3)]


def make_ready(work: str, batch: int, contenders: dict[str, Contender], settings: list[str]) -> dict[str, float]:
    """Load a model everywhere; the seconds of everybody's first steps."""
    for who in settings:
        if who not in contenders:
            contenders[who] = Contender(who)
    return {who: contenders[who].load(work, batch) for who in settings}


def roofline(name: str) -> float:
    """Seconds of an epoch's multiply-accumulates at the peak of this machine."""
    code = (
        "import sys, epochwise, ladder\n"
        f"counts = epochwise.count(ladder.in_keras(ladder.LADDER[{name!r}]), batch_size=32)\n"
        f"print({2 * SAMPLES} * counts.per_sample.training_macs / epochwise.machine().peak)"
    )
    quiet = {"KERAS_BACKEND": "jax", "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | quiet)
    return float(done.stdout.split()[-1])


def machine() -> dict[str, Any]:
    """What this is measured on."""
    import importlib.metadata

    import epochwise

    facts = epochwise.machine()
    names = ("epochwise", "keras", "tensorflow-cpu", "jax", "torch", "llvmlite", "numpy")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"name": facts.name, "cores": facts.cores, "peak_flops_per_second": facts.peak, "versions": versions}


def now() -> str:
    """The time, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Record:
    """The rows measured so far, in a file or nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []
        if path is not None and path.exists():
            self._rows = json.loads(path.read_text())["rows"]

    def has(self, name: str, batch: int) -> bool:
        """Whether this row is there."""
        return any((row["work"], row["batch"]) == (name, batch) for row in self._rows)

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, in the place of one of the same model and batch size."""
        key = (row["work"], row["batch"])
        self._rows = [other for other in self._rows if (other["work"], other["batch"]) != key] + [row]
        self._rows.sort(key=lambda row: (list(LADDER).index(row["work"]), row["batch"]))
        if self._path is not None:
            self._path.write_text(json.dumps({"date": now(), "machine": machine(), "rows": self._rows}, indent=1) + "\n")


def show(row: dict[str, Any]) -> None:
    """One comparison."""
    medians = {who: statistics.median(turns) for who, turns in row["epoch_seconds"].items()}
    engine = medians["engine"]
    above = engine / row["roofline_seconds"]
    print(f"\n{row['work']}, batch {row['batch']}: engine {engine:.3f} s an epoch, {above:.2f} times the roofline")
    for who, seconds in medians.items():
        turns = row["epoch_seconds"][who]
        slow = statistics.median(row["slowdown"][who])
        counted = f"{min(turns):.3f}-{max(turns):.3f}, cores {slow:.2f} x"
        print(f"  {who:52s} {seconds:8.3f} s  ({counted})  {seconds / engine:6.2f} x")
    for who, seconds in row["trial_epoch_seconds"].items():
        print(f"  {who:52s} {seconds:8.3f} s  (trial)          {seconds / engine:6.2f} x")
    others = [seconds for who, seconds in medians.items() if who != "engine"]
    if others:
        print(f"  best setting of a framework: {min(others) / engine:.2f} times the engine's time", flush=True)


def main() -> None:
    """Compare, print a table, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ladder", action="store_true", help="all architectures, not the question's two alone")
    parser.add_argument("--only", nargs="*", help="these architectures")
    parser.add_argument("--settings", nargs="*", choices=list(SETTINGS), default=list(SETTINGS), help="these contenders")
    parser.add_argument("--batch", type=int, nargs="*", default=[32])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--most", type=float, default=120.0, help="seconds of all turns of a row, after three rounds")
    parser.add_argument("--together", type=int, default=1, help="rows timed together")
    parser.add_argument("--leave-out", type=float, default=2.0, help="times slower than the best of the frameworks")
    parser.add_argument("--again", action="store_true", help="rows that are in the record already, too")
    parser.add_argument("--locks", type=Path, help="a folder with the files 'turn' and 'machine'")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # contenders are let go
    names = options.only or (list(LADDER) if options.ladder else list(PAIR))
    record = Record(options.json)
    wanted = [(name, batch) for name in names for batch in options.batch if options.again or not record.has(name, batch)]
    contenders: dict[str, Contender] = {}
    try:
        with Probe() as probe:
            for first in range(0, len(wanted), options.together):
                rows = [{"work": name, "batch": batch} for name, batch in wanted[first : first + options.together]]
                with beside(options.locks):
                    for row in rows:
                        row["roofline_seconds"] = roofline(row["work"])
                        row["first_seconds"] = make_ready(row["work"], row["batch"], contenders, options.settings)
                with alone(options.locks):
                    for row in rows:
                        row |= {"date": now(), **measure(row["work"], row["batch"], contenders, probe, options)}
                        record.add(row)
                        show(row)
                for contender in contenders.values():
                    contender.forget()
    finally:
        for contender in contenders.values():
            contender.end()


if __name__ == "__main__":
    main()
