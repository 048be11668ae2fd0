"""docs/other-counters.md: what others count, and that every difference to epochwise has reasons that explain it exactly.

The counters themselves are the oracles. ``scripts/other_counters.py`` prints the page, and fails on a difference without one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "other_counters.py"
PAGE = ROOT / "docs" / "other-counters.md"
QUICK = ("cnn", "separable", "lstm", "gpt2", "Keras CNN")
"""One for each known error: groups, unknown operations, fused layers, attention, padding."""

pytestmark = [pytest.mark.jax, pytest.mark.torch]


def kept():
    """The page's rows, as printed."""
    return [line for line in PAGE.read_text().splitlines() if re.match(r"\| [^|]+ \| (Flop|fv|torchi|XLA)", line)]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@cache
def printed(*names):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, SCRIPT, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("line", kept(), ids=lambda line: "-".join(cells(line)[:2]))
def test_the_reasons_of_a_row_add_up_to_its_difference(line):
    """To the integer; a row without a difference has no reason."""
    *_, ours, theirs, ratio, reasons = cells(line)
    ours, theirs = int(ours.replace(",", "")), int(theirs.replace(",", ""))
    amounts = [int(amount.replace(",", "")) for amount in re.findall(r": ([+-][\d,]+)(?:;|$)", reasons)]
    assert sum(amounts) == theirs - ours
    assert bool(amounts) == (reasons != "-")
    assert ratio == f"{theirs / ours:.3f}"


def test_the_page_has_twenty_models_and_four_counters():
    """Models of PyTorch with three counters, Keras on JAX with XLA's."""
    rows = [cells(line) for line in kept()]
    assert len({row[0] for row in rows}) >= 20
    assert {row[1] for row in rows} == {"FlopCounterMode", "fvcore", "torchinfo", "XLA"}


def test_known_errors_of_others_are_on_the_page():
    """Grouped weight gradients, attention on CPUs, fused LSTM, ViT in torchinfo about 90 times too low."""
    rows = {(row[0], row[1]): row for row in map(cells, kept())}
    assert "grouped convolution" in rows["separable", "FlopCounterMode"][-1]
    assert "_scaled_dot_product_flash_attention_for_cpu" in rows["vit", "FlopCounterMode"][-1]
    assert "mkldnn_rnn_layer" in rows["lstm", "FlopCounterMode"][-1]
    ours, theirs = (int(cell.replace(",", "")) for cell in rows["ViT-B/16", "torchinfo"][3:5])
    assert ours > 80 * theirs


def test_what_is_counted_now_is_what_the_page_says():
    """A few models, one for each kind of difference."""
    assert printed(*QUICK).splitlines() == [line for line in kept() if cells(line)[0] in QUICK]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_page_is_what_the_script_prints():
    """All models. Again: .venv/bin/python scripts/other_counters.py > docs/other-counters.md"""
    assert printed() == PAGE.read_text()
