"""A second network of the same kinds of layers, with other sizes, compiles nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochwise.engine.network import MaxPool, Metric, Optimizer
from epochwise.engine.planner import plan
from epochwise.engine.stages.alike import alike
from epochwise.engine.target import FORCE, this_target
from tests.engine import compile_worker
from tests.engine.networks_by_hand import SPARSE, Builder

WIDTHS = [lanes for lanes in (16, 8, 4) if lanes <= this_target().lanes]


def variants(filters, units, optimizer, lanes, threads, size=20):
    """Kernels of a network with three convolutions and two dense layers."""
    builder = Builder((size, size, 3))
    x = builder.activation(builder.convolution(builder.input, filters[0], (3, 3)), "relu")
    x = builder.batch_normalization(builder.pool(MaxPool, x, (2, 2)))
    x = builder.batch_normalization(builder.convolution(x, filters[1], (3, 3), padding="same"))
    x = builder.activation(builder.convolution(x, filters[1], (3, 3)), "relu")
    x = builder.activation(builder.dense(builder.flatten(x), units), "relu")
    network = builder.network(
        builder.dense(x, 10), SPARSE, [Metric("accuracy", "sparse_categorical_accuracy")], Optimizer(optimizer)
    )
    return plan(network, this_target(lanes), 32, threads, weighted=False, bytes_in=False).variants


@pytest.mark.parametrize("lanes", WIDTHS)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    sizes=st.lists(st.integers(9, 200), min_size=6, max_size=6),
    optimizer=st.sampled_from(["sgd", "adam"]),
    threads=st.integers(1, 2),
    maps=st.lists(st.sampled_from([20, 22]), min_size=2, max_size=2),
)
def test_other_sizes_need_no_other_kernels(lanes, sizes, optimizer, threads, maps):
    """Whatever the numbers of filters and units, from more than half a vector on, and whether maps are even or odd."""
    first, second = (
        variants(sizes[at : at + 2], sizes[at + 2], optimizer, lanes, threads, size)
        for at, size in zip((0, 3), maps, strict=True)
    )
    there = alike(first, this_target(lanes))
    assert set(first) <= set(there)
    assert [str(variant) for variant in second if variant not in there] == []
    assert len(there) == len(set(there)) < 5 * len(first)


@pytest.mark.parametrize("lanes", WIDTHS)
def test_they_are_on_disk_when_the_first_is_trained(tmp_path, lanes):
    """All that could be needed, and the next process with such a network adds no file; one without them compiles them again."""
    environment = {**os.environ, "EPOCHWISE_CACHE": str(tmp_path), FORCE: str(lanes)}

    def files():
        subprocess.run([sys.executable, compile_worker.__file__], env=environment, check=True, capture_output=True)
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "kernels").glob("*.o")}

    once = files()
    assert files() == once
    target = this_target(lanes)
    needed = plan(compile_worker.small_network(), target, compile_worker.BATCH, 1, weighted=False, bytes_in=False).variants
    different = [len({variant.assembly() for variant in those}) for those in (needed, alike(needed, target))]
    assert different[0] < different[1] <= len(once)
