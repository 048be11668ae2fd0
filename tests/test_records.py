"""What all records have in common: JSON that holds only numbers, and drawing found by name."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from epochwise.errors import RecordError
from epochwise.records import Record


class Sample(Record, frozen=True, kw_only=True):
    """A record with floats in every kind of place."""

    schema: str = "epochwise/sample/1"
    value: float = 1.0
    rows: tuple[dict[str, float], ...] = ()


def test_fields_stand_in_their_order_indented():
    """So that two results can be compared line by line."""
    text = Sample(rows=({"loss": 0.5},)).to_json()
    assert list(json.loads(text)) == ["schema", "value", "rows"]
    assert text.startswith('{\n  "schema": "epochwise/sample/1",\n')
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused_with_its_place(value):
    """Msgspec would write null, which nothing could read back."""
    with pytest.raises(RecordError, match=r"rows\[1\]\.loss is"):
        Sample(rows=({"loss": 0.5}, {"loss": value})).to_json()
    with pytest.raises(RecordError, match="value is"):
        Sample(value=value).to_json()


def test_a_record_costs_no_drawing_until_a_notebook_asks():
    """Importing records imports neither reports nor pictures."""
    code = (
        "import sys, epochwise.explaining.explanation\n"
        "print(sorted(name for name in sys.modules if name.startswith(('epochwise.reporting', 'altair', 'jinja2', 'rich'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
