"""Toy trials: quick pure functions, and some that misbehave on purpose. A file that is only added to counts what was begun."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from epochwise.trials import Outcome, Trial

HERE = "tests.trials.toys"


def trial(function: str = "draw", cost: float = 1.0, recipe: int = 1, cores: int = 1, **arguments: Any) -> Trial:
    """A trial of a function of this file."""
    return Trial(run=f"{HERE}:{function}", arguments=arguments, recipe=recipe, cores=cores, cost=cost)


def executions(log: Path) -> list[str]:
    """The seeds of the trials that were begun, in order."""
    return log.read_text().split() if log.exists() else []


def _note(arguments: Mapping[str, Any]) -> None:
    """One line, written at once: lines of several processes do not mix."""
    if "log" in arguments:
        descriptor = os.open(arguments["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{arguments['seed']}\n".encode())
        os.close(descriptor)


def draw(arguments: Mapping[str, Any]) -> Outcome:
    """Random numbers of a seed; ``seconds`` to wait, ``size`` of the array."""
    _note(arguments)
    began = time.time()
    time.sleep(arguments.get("seconds", 0.0))
    drawn = np.random.default_rng(arguments["seed"]).standard_normal(arguments.get("size", 8))
    return Outcome(
        numbers={"mean": float(drawn.mean()), "never": float("nan"), "seed": arguments["seed"], "curve": drawn[:3].tolist()},
        arrays={"drawn": drawn, "signs": drawn > 0},
        measured={"began": began, "ended": time.time()},
        engine="toy",
    )


def burn(arguments: Mapping[str, Any]) -> Outcome:
    """Keeps one core busy: so many rounds of SHA-256."""
    _note(arguments)
    state = str(arguments["seed"]).encode()
    for _ in range(arguments["rounds"]):
        state = hashlib.sha256(state).digest()
    return Outcome(numbers={"state": state.hex()})


def surroundings(arguments: Mapping[str, Any]) -> Outcome:
    """What a trial finds around it."""
    names = arguments["names"]
    return Outcome(numbers={"pid": os.getpid(), "parent": os.getppid(), **{name: os.environ.get(name) for name in names}})


def once_killed(arguments: Mapping[str, Any]) -> Outcome:
    """Kills its own process the first time it is run, or every time."""
    _note(arguments)
    first = len(executions(Path(arguments["log"]))) == 1
    if first or arguments.get("always"):
        os.kill(os.getpid(), signal.SIGKILL)
    return draw({"seed": arguments["seed"]})


def broken(arguments: Mapping[str, Any]) -> Outcome:
    """Raises."""
    raise ValueError(f"no luck with seed {arguments['seed']}")


def leaves(arguments: Mapping[str, Any]) -> Outcome:
    """Ends Python politely."""
    sys.exit(arguments["code"])


def wrong(arguments: Mapping[str, Any]) -> Any:
    """Gives what is no outcome."""
    return {"array": Outcome(numbers={"x": np.zeros(2)}), "object": Outcome(arrays={"x": np.array([object()])}), "number": 3}[
        arguments["kind"]
    ]
