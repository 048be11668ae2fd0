"""Saved results come back as they were, and what cannot be read says why."""

from __future__ import annotations

import json

import pytest

from epochwise.errors import RecordError, UsageError
from epochwise.reporting.records import KINDS, from_json, load, to_json
from tests.reporting import evidence_samples, samples

RECORDS = {
    **samples.COMPARISONS,
    "demo": samples.demo,
    "counts": samples.nested,
    "several": samples.several,
    "machine": lambda: samples.MACHINE,
    **samples.FITS,
    "evidence": evidence_samples.evidence,
}


@pytest.mark.parametrize("name", RECORDS)
def test_there_and_back(name):
    """To the last bit."""
    record = RECORDS[name]()
    assert from_json(to_json(record)) == record
    assert from_json(to_json(record).encode()) == record


def test_the_fields_that_users_may_rely_on():
    """Those of the design, by their names."""
    found = json.loads(to_json(samples.question()))
    assert found["schema"] == "epochwise/compare/1"
    assert {"ratio", "factors", "machine", "backend", "answer"} <= set(found)
    assert [factor["name"] for factor in found["factors"]] == ["parameters", "reuse", "memory", "kernels", "waiting"]
    model = found["models"][0]
    assert {"name", "counts", "epoch_seconds", "first_epoch_seconds", "factors", "where", "causes"} <= set(model)
    assert set(model["epoch_seconds"]) == {"median", "low", "high"}
    layer = json.loads(to_json(samples.cnn()))["layers"][0]
    assert {"weight_gradient_macs", "input_gradient_macs", "output_shape", "activation_elements"} <= set(layer)


def changed(**fields):
    return json.dumps({**json.loads(to_json(samples.cnn())), **fields})


def without(name):
    found = json.loads(to_json(samples.cnn()))
    del found[name]
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("no JSON", "not JSON"),
        (to_json(samples.cnn())[:500], "not JSON: Input data was truncated"),
        (b"\xff\xfe{}", "not JSON"),
        ("[]", "no schema"),
        ("{}", "no schema"),
        ('{"schema": 3}', "no schema"),
        ('{"schema": "other/1"}', "'other/1' is not known. Known are epochwise/count/1"),
        ('{"schema": "epochwise/unheard/1"}', "is not known"),
        ('{"schema": "epochwise/compare/2"}', "made by a newer epochwise.*epochwise/compare/2.*reads epochwise/compare/1"),
        ('{"schema": "epochwise/compare/0"}', "made by an older epochwise"),
        (without("layers"), "missing required field `layers`"),
        (changed(batch_size="many"), "batch_size: expected `int`, got `str`"),
        (changed(parameters={"trainable": 1}), "parameters: object missing required field `frozen`"),
        ('{"schema": "epochwise/machine/1"}', "not the record of a machine"),
    ],
)
def test_what_cannot_be_read(text, message):
    """Each with its own reason."""
    with pytest.raises(RecordError, match=message):
        from_json(text)


def test_a_newer_version_says_update():
    """The line that works."""
    with pytest.raises(RecordError) as caught:
        from_json('{"schema": "epochwise/demo/3"}')
    assert caught.value.remedy == "pip install --upgrade epochwise"


def test_every_schema_belongs_to_its_record():
    """The table and the records agree."""
    for name, kind in KINDS.items():
        field = next(field for field in kind.__struct_fields__ if field == "schema")
        default = kind.__struct_defaults__
        assert field
        assert f"epochwise/{name}/1" in default


def test_files(tmp_path):
    """A file that is read; one that is missing; a folder; one with something else in it."""
    path = tmp_path / "result.json"
    path.write_text(to_json(samples.cnn()))
    assert load(path) == samples.cnn()
    with pytest.raises(UsageError, match="no file"):
        load(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)
    path.write_text("text")
    with pytest.raises(RecordError, match=r"result\.json: The result is not JSON"):
        load(path)


def test_counts_that_were_saved_before_there_were_trees_are_read():
    """Version 1 only grows: fields that came later have what stands for not known."""
    old = json.loads(to_json(samples.cnn()))
    for name in ("input_shape", "containers", "largest_batch"):
        del old[name]
    for row in old["layers"]:
        del row["parent"], row["uses_per_weight"]
    found = from_json(json.dumps(old))
    assert (found.input_shape, found.containers, found.largest_batch) == (None, (), None)
    assert {(row.parent, row.uses_per_weight) for row in found.layers} == {(None, None)}
    assert found.per_sample == samples.cnn().per_sample
