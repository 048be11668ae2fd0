"""The table of layers as rows: a tree, levels, orders; and CSV. Whatever is shown, all figures are there once."""

from __future__ import annotations

import csv
import io

import pytest
from msgspec.structs import replace

from epochwise.reporting.layers import COLUMNS, ORDERS, View, added, csv_text, lines
from tests.reporting import samples

SHARED_NAMES = [("encoder", 0), ("attention", 1), ("query", 2), ("key", 2), ("ffn", 1), ("wide", 2), ("narrow", 2)]


def test_a_tree_has_containers_in_front_of_their_parts():
    """With the part of the name that the container does not have, and its own level."""
    found = [(line.name, line.level) for line in lines(samples.nested(), View())]
    assert found[1:8] == SHARED_NAMES
    assert [line.state for line in lines(samples.nested(), View())][1:4] == ["open", "open", "row"]


@pytest.mark.parametrize("sort", ORDERS)
@pytest.mark.parametrize("depth", [None, 1, 2, 3, 9])
def test_every_row_is_in_one_line(depth, sort):
    """So that the columns add up to the totals at any depth and in any order."""
    counts = samples.nested()
    shown = [row.name for line in lines(counts, View(sort=sort, depth=depth)) for row in line.rows]
    assert sorted(shown) == sorted(row.name for row in counts.layers)
    column = COLUMNS["training-macs"]
    assert sum(line.figure(column, 32) or 0 for line in lines(counts, View(depth=depth))) == counts.per_sample.training_macs


def test_collapsed_containers_are_sums():
    """Of all that is below them, whatever the level; what does not add up has a figure only if all rows have that one."""
    encoder = lines(samples.nested(), View(depth=1))[1]
    assert (encoder.name, encoder.state, len(encoder.rows)) == ("encoder", "closed", 5)
    assert encoder.figure(COLUMNS["macs"], 32) == 25_600 + 2 * 20_480 + 2 * 81_920
    assert encoder.figure(COLUMNS["parameters"], 32) == 2 * 1_056 + 2_112 + 2_080
    assert encoder.figure(COLUMNS["reuse"], 32) is None
    inner = {line.name: line for line in lines(samples.nested(), View(depth=2))}
    assert inner["ffn"].figure(COLUMNS["reuse"], 32) == 40
    assert inner["ffn"].figure(COLUMNS["calls"], 32) == 1


@pytest.mark.parametrize(("sort", "first"), [("macs", "encoder/ffn/wide"), ("name", "(loss)"), ("parameters", "embedding")])
def test_orders(sort, first):
    """Names upwards, figures downwards, with whole names."""
    assert lines(samples.nested(), View(sort=sort))[0].name == first


def test_a_record_without_containers_is_flat():
    """As those are that were saved before there were any; a parent that is not listed loses no row."""
    counts = samples.nested()
    bare = replace(counts, containers=())
    assert [line.name for line in lines(bare, View())] == [row.name for row in counts.layers]


def test_bytes_and_flops_of_a_row_by_hand():
    """One dense layer, from its phases."""
    row = samples.nested().layers[4]
    assert COLUMNS["bytes"].read(row, 32) == row.forward.bytes + row.backward.bytes + row.update.bytes
    assert COLUMNS["flops"].read(row, 32) == (2 * row.forward.macs + row.forward.other_flops) // 32
    assert COLUMNS["training-flops"].read(row, 32) == pytest.approx(
        (2 * 3 * 81_920 * 32 + row.forward.other_flops + row.backward.other_flops + row.update.other_flops) / 32
    )
    assert added([row, row], COLUMNS["other-flops"], 32) == 2 * COLUMNS["other-flops"].read(row, 32)


def test_csv_has_every_figure_of_every_row():
    """As JSON has them, under names with units, also for names that CSV must quote; unknown is empty."""
    odd = replace(samples.cnn(), name='a, "b"')
    rows = list(csv.DictReader(io.StringIO(csv_text([samples.mlp(), odd]), newline="")))
    assert [row["layer"] for row in rows] == [row.name for counts in (samples.mlp(), odd) for row in counts.layers]
    assert {row["model"] for row in rows} == {"mlp", 'a, "b"'}
    found = rows[4]
    assert (found["uses_per_weight"], found["output_shape"], found["parent"]) == ("676", "26x26x16", "")
    assert int(found["backward_bytes_per_step"]) == odd.layers[0].backward.bytes
    assert int(found["input_gradient_macs_per_sample"]) == 0
    assert rows[5]["uses_per_weight"] == ""
