"""Totals of several models: figures, and ratios against the first."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from epochwise.counting.counts import Parameters
from epochwise.counting.side_by_side import side_by_side
from epochwise.reporting.records import from_json
from tests.reporting import samples


def test_the_question():
    """16.5 times fewer weights, 5.40 times the MACs, each weight used 89 times as often."""
    totals = {total.name: total for total in side_by_side([samples.mlp(), samples.cnn()]).totals}
    assert totals["parameters"].values == (55_050, 3_330)
    assert totals["training_macs_per_sample"].values == (114_560, 618_864)
    assert totals["training_macs_per_sample"].ratios == (1.0, pytest.approx(5.4021, abs=1e-4))
    assert totals["training_macs_per_parameter"].ratios[1] == pytest.approx(618_864 / 114_560 * 55_050 / 3_330)
    assert totals["peak_bytes"].values[0] == samples.mlp().memory_bytes.peak


def test_what_is_not_known_has_no_ratio():
    """No weights, no answer about memory: null, never 0 and never infinite; what no model knows is left out."""
    none = replace(samples.cnn(), parameters=Parameters(0, 0))
    totals = {total.name: total for total in side_by_side([none, samples.nested()]).totals}
    assert totals["forward_macs_per_parameter"].values[0] is None
    assert totals["parameters"].ratios == (None, None)
    assert totals["largest_batch_size"].values == (None, 1_234)
    assert "largest_batch_size" not in {total.name for total in side_by_side([none]).totals}


def test_saved_and_read_again():
    """Whole, by its schema."""
    record = side_by_side([samples.mlp(), samples.nested()])
    assert '"schema": "epochwise/counts/1"' in record.to_json()
    assert from_json(record.to_json()) == record
