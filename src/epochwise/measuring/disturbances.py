"""What disturbed a measurement from outside: other programs, and a processor that did not keep its speed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOAD_WORTH_SAYING_CORES = 0.15
UNSTEADY = 1.25
"""How many times as long as at best the same piece of work takes, in more than a few blocks, for it to be said."""
AT_BEST, USUAL, AT_WORST = 0.05, 0.5, 0.9
"""Quantiles of its times: a single quick or slow one says nothing."""


def disturbances(load_cores: float | None, load_names: str, paces: Sequence[Sequence[float]]) -> tuple[str, ...]:
    """Notes on a measurement, in plain sentences.

    A virtual machine whose cores are shared with others is not told of it: no steal time is reported, and no other program is
    seen. That the same piece of work takes longer is all there is to see.

    Args:
        load_cores: processor time that other programs used meanwhile, in cores; ``None`` if not known.
        load_names: of these programs, in brackets after a space; may be empty.
        paces: for each process that was measured, seconds of a piece of work that is always the same, done again and again;
            0 where it was not done.
    """
    if load_cores is None:
        return ()
    if load_cores > LOAD_WORTH_SAYING_CORES:
        return (
            f"Other programs used {load_cores:.1f} cores while this was measured{load_names};"
            " intervals are wider than on a quiet machine.",
        )
    relative = [np.asarray(taken) / np.quantile(taken, AT_BEST) for taken in paces if all(taken) and taken]
    usual, worst = np.quantile(np.concatenate(relative), [USUAL, AT_WORST]) if relative else (1.0, 1.0)
    if worst <= UNSTEADY:
        return ()
    return (
        f"The processor did not keep its speed while this was measured: the same piece of work took {usual:.1f} times as long"
        f" as at best, {worst:.1f} times after one block in ten, though no other program was busy. Usual causes: other virtual"
        " machines on the same cores, a processor that is hot or saves power, or this training's own input workers.",
    )
