"""The record: there and back, refusals, interpolation; and the two names of the verb."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import pytest

from epochwise.errors import RecordError
from epochwise.machines.machine import Machine


def test_there_and_back(some_machine):
    """Nothing is lost in JSON."""
    assert Machine.from_json(some_machine.to_json()) == some_machine
    assert json.loads(some_machine.to_json())["schema"] == "epochwise/machine/1"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", b"\xff\xfe\x00", b"\x00" * 64])
def test_what_is_no_record_is_refused(text):
    """Truncated, empty, binary."""
    with pytest.raises(RecordError):
        Machine.from_json(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"schema": "epochwise/machine/2"},
        {"bandwidth": ()},
        {"peak_flops_per_second": {"one_core": 0, "all_cores": 0, "spread": 0}},
        {"peak_flops_per_second": {"one_core": None, "all_cores": None, "spread": 0}},
        {"bandwidth": [{"working_set_bytes": 1, "bytes_per_second": 0}]},
        {"cores": "two"},
    ],
)
def test_a_record_without_figures_is_refused(some_machine, changed):
    """Also one of another schema: nothing is guessed."""
    text = json.dumps(msgspec.to_builtins(some_machine) | changed)
    with pytest.raises(RecordError):
        Machine.from_json(text)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, 4e11), (2**14, 4e11), (2**16, 3e11), (2**18, 2e11), (2**23, 1.2e11), (2**28, 4e10), (2**40, 4e10)],
)
def test_bandwidth_between_points(some_machine, size, expected):
    """Linear in the logarithm of the working set; level beyond the ends."""
    assert some_machine.bandwidth_at(size) == pytest.approx(expected)


@pytest.mark.parametrize(
    "first", ["import epochwise.machines.machine", "import epochwise.machines.measure", "import epochwise.machines"]
)
def test_the_verb_is_a_function_whatever_was_imported_first_and_costs_nothing(first):
    """``machines.machine`` is also a module's name: the function must win. Numba, NumPy and frameworks stay out."""
    code = (
        f"{first}\nimport sys, epochwise.machines as m\nfrom epochwise.machines.machine import Machine\n"
        "assert callable(m.machine) and m.Machine is Machine\n"
        "print(sorted({'numba', 'numpy', 'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n", done.stderr
