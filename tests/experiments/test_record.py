"""What a record of the experiments can hold."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from epochwise.experiments.record import Chart, Experiment, Finding, Line, recorded


def test_figures_that_json_cannot_hold():
    """Infinite ends are unknown, points at them are left out with their labels, a band with such an end as well."""
    lines = (
        Line(name="a", x=(1.0, 2.0, 3.0), y=(0.5, math.inf, np.float64(0.7)), low=(0.4, 0.1, 0.6), high=(0.6, 0.2, 0.8)),
        Line(name="b", x=(1.0, math.nan), y=(0.5, 0.5), low=(-math.inf, 0.0), high=(1.0, 1.0), labels=("here", "nowhere")),
    )
    finding = {"claim": "c", "falsified_if": "f", "verdict": "undecided"}
    made = recorded(
        Experiment(
            id="P1",
            title="t",
            **finding,
            estimate=np.float64(2.0),
            low=-math.inf,
            high=math.nan,
            further=(Finding(id="P1.a", **finding, estimate=None, low=1.0, high=math.inf),),
            charts=(Chart(id="c", kind="curves", title="t", x="x", y="y", lines=lines),),
        )
    )
    assert (made.estimate, made.low, made.high) == (2.0, None, None)
    assert (made.further[0].low, made.further[0].high) == (1.0, None)
    first, second = made.charts[0].lines
    assert (first.x, first.y, first.low, first.high) == ((1.0, 3.0), (0.5, 0.7), (0.4, 0.6), (0.6, 0.8))
    assert (second.x, second.y, second.low, second.high, second.labels) == ((1.0,), (0.5,), (), (), ("here",))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Experiment) == made
