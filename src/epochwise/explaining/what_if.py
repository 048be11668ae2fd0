"""What an epoch would take if one thing were otherwise: predictions from what was measured."""

from __future__ import annotations

from epochwise.explaining.explanation import ModelExplanation, WhatIf
from epochwise.explaining.places import steps_seconds, turn_seconds
from epochwise.measuring.measurement import Interval

NO_WAITING = "no waiting"
AT_ROOFLINE = "kernels at the roofline"


def what_ifs(model: ModelExplanation) -> tuple[WhatIf, ...]:
    """Predicted epochs, shortest first; none where no profile tells kernels and waiting apart.

    Kernels that are no slower than the roofline already have nothing to gain by it.
    """
    busy = model.busy_seconds
    if busy is None:
        return ()
    steps, turn = steps_seconds(model.measurement), turn_seconds(model.measurement)
    found = [
        WhatIf(
            NO_WAITING,
            Interval(busy.median + turn, busy.low + turn, busy.high + turn),
            "a kernel always runs during a step; kernels and the turn between epochs stay as they are",
        )
    ]
    if 0 < model.roofline_seconds < busy.median:
        rest = turn + model.roofline_seconds + steps
        found.append(
            WhatIf(
                AT_ROOFLINE,
                Interval(rest - busy.median, rest - busy.high, rest - busy.low),
                "every layer as fast as this machine's peak and bandwidth allow; waiting stays as it is",
            )
        )
    return tuple(sorted(found, key=lambda item: item.epoch_seconds.median))
