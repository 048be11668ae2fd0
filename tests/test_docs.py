"""What the texts say is so: fields of the JSON, make targets, links, verbs, and every figure in docs/conventions.md."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from epochwise.cli.app import VERBS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
BACKENDS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("jax", "torch", "tensorflow")]

NOT_ALIKE = "looped"
"""The variant whose activations differ between backends, as the page says."""

CODE = """
import json, sys
import epochwise
from epochwise.subjects.loading import load_alone
from epochwise.subjects.models import parse_model

counted = {}
for text in sys.argv[2:]:
    subject = load_alone(parse_model(text), backend=sys.argv[1], batch_size=32, seed=0)
    counted[text] = json.loads(epochwise.count(subject.model, 32, subject.data.x, subject.data.y).to_json())
print(json.dumps(counted))
"""


def module_of(path):
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = module_of(ROOT / "scripts" / "json_reference.py")
DESCRIBED = {kind.__name__: kind for kinds in REFERENCE.kinds().values() for kind in kinds}


def table(page, name):
    """The rows of a marked table, as lists of cells; the first row is the head."""
    text = (ROOT / page).read_text().partition(f"<!-- table: {name} -->")[2].partition("<!-- /table -->")[0]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in text.strip().splitlines()]
    assert len(rows) > 2, f"{page} has no table {name}"
    return [rows[0], *rows[2:]]


ANSWER = module_of(ROOT / "scripts" / "answer.py")


@pytest.mark.parametrize("page", ANSWER.PAGES, ids=lambda page: page.name)
def test_what_experiments_found_is_told_as_the_newest_record_has_it(page):
    """Every marked finding and the table of verdicts; `python scripts/answer.py --write` puts them in order."""
    text = page.read_text()
    record = ANSWER.kept().record
    assert ANSWER.filled(text, record) == text
    assert all(answer.claim in text for answer in record.verdicts)
    assert ANSWER.filled("<!-- P1 -->\nold\n<!-- /P1 -->", record).count("P1, 10 seeds") == 1


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_field_of_a_record_is_described_with_its_type(name):
    """docs/json.md has a section for the class and a row for each field. Again: scripts/json_reference.py > docs/json.md"""
    section = (ROOT / "docs" / "json.md").read_text().partition(f"\n### {name}\n")[2].partition("\n##")[0]
    for field, text, unit, meaning in REFERENCE.fields(DESCRIBED[name]):
        assert f"| `{field}` | {text} | {unit} |" in section, f"{name}.{field} is not in docs/json.md, or has another type"
        assert meaning, f"{name}.{field} has no meaning in its class, nor in scripts/json_reference.py"


def test_no_field_is_described_that_is_gone():
    """docs/json.md has no rows beyond those of the classes."""
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "json.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(row[0] for kind in DESCRIBED.values() for row in REFERENCE.fields(kind))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_a_page_names_is_there(page):
    """And has a line of help."""
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^    )make (?:[A-Z]+=\S+ )*([a-z][a-z-]*)", (ROOT / page).read_text(), re.MULTILINE))
    assert named
    assert named <= targets


def test_contributing_names_every_make_target():
    """The table of targets is whole."""
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets == set(re.findall(r"^\| `make ([a-z-]+)`", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    """Files exist, and headings that links point to."""
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name} links to {link}"


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/conventions.md"])
def test_every_file_that_a_page_names_is_there(page):
    """Paths in code marks: from the checkout, or from the package. A file name alone stands for one named before it."""
    names = {path.name for folder in ("src", "examples") for path in (ROOT / folder).rglob("*.py")}
    for name in re.findall(r"`([\w/.*]+/?[\w*]+\.py)(?::[^`]*)?`", (ROOT / page).read_text()):
        if "/" in name:
            found = any(next(iter(folder.glob(name)), None) for folder in (ROOT, ROOT / "src" / "epochwise"))
        else:
            found = name in names or "*" in name
        assert found, f"{page} names {name}"


def test_the_readme_names_every_verb():
    """In the table of verbs, in the order of ``--help``."""
    named = re.findall(r"^\| `epochwise (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert named == list(VERBS)


@cache
def told(backend):
    """Counts of the question's CNN and all variants of the page, in one process, by the name on the page."""
    names = [row[0] for row in table("docs/conventions.md", "variants")[1:]]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", CODE, backend, *(f"examples/{name}" for name in names)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counted = json.loads(done.stdout.splitlines()[-1])
    return {name: counted[f"examples/{name}"] for name in names}


def cnn(backend):
    return told(backend)["question.py:build_model_cnn"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_layers_of_the_page_are_what_is_counted(backend):
    """MACs, weights and activations of each layer of the CNN, and its bytes, on every backend."""
    rows = {row["name"]: row for row in cnn(backend)["layers"]}
    fields = ("parameters", "forward_macs", "weight_gradient_macs", "input_gradient_macs", "activation_elements")
    for name, *cells in table("docs/conventions.md", "layers")[1:]:
        assert cells == [f"{rows[name][field]:,}" for field in fields]
    for name, *cells in table("docs/conventions.md", "bytes")[1:]:
        assert cells == [f"{rows[name][phase]['bytes']:,}" for phase in ("forward", "backward", "update")]


@pytest.mark.parametrize("backend", BACKENDS)
def test_totals_of_the_page_are_what_is_counted(backend):
    """Every variant, on every backend; nothing is uncounted."""
    for name, weights, forward, training, elements in table("docs/conventions.md", "variants")[1:]:
        counts = told(backend)[name]
        sample = counts["per_sample"]
        assert [weights, forward, training] == [
            f"{sum(counts['parameters'].values()):,}",
            f"{sample['forward_macs']:,}",
            f"{sample['training_macs']:,}",
        ], name
        assert NOT_ALIKE in name or elements == f"{sample['activation_elements']:,}", name
        assert counts["uncounted"] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_differs_between_backends_is_what_the_page_says(backend):
    """FLOPs and memory of the CNN."""
    head, *rows = table("docs/conventions.md", "backends")
    sample, memory = cnn(backend)["per_sample"], cnn(backend)["memory_bytes"]
    figures = [f"{sample['forward_flops']:,.1f}", f"{sample['training_flops']:,.1f}"]
    figures += [f"{memory[name]:,}" for name in ("optimizer", "activations", "peak")]
    assert [row[head.index(backend)] for row in rows] == figures


def resnet50():
    """The table for ResNet-50: by convention, the figure here and the one with the other convention."""
    rows = table("docs/conventions.md", "resnet50")[1:]
    return {name: (float(here.replace(",", "")), float(then.replace(",", ""))) for name, _, here, _, then in rows}


def test_conventions_on_resnet50_are_those_of_the_closed_forms():
    """First layer 112 x 112 x 49 x 3 x 64; last layer 2048 x 1000; the rest follows from forward and training."""
    first, last = 112 * 112 * 7 * 7 * 3 * 64, 2048 * 1000
    rows = resnet50()
    forward, training = rows["MAC or FLOP"][0], rows["gradients as computed"][0]
    assert training == 3 * forward - first
    assert rows["MAC or FLOP"][1] == 2 * forward
    assert rows["no input gradient for the first layer"] == (training, training + first)
    assert rows["no weight gradient for frozen layers"] == (forward + last, training)
    assert rows["recomputation counts"] == (training, training + forward)
    assert rows["padding counts"][1] < forward == rows["causal masks count full"][1]
    assert set(rows) >= {"biases are additions", "optimizer counts", "work once a step is shared out"}


@pytest.mark.long
@pytest.mark.jax
def test_conventions_on_resnet50_are_what_is_counted():
    """Again: KERAS_BACKEND=jax .venv/bin/python scripts/conventions_on_resnet50.py --write"""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "scripts/conventions_on_resnet50.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    text = (ROOT / "docs" / "conventions.md").read_text()
    assert done.stdout in text


def test_tables_of_the_engine():
    """The README's tables of the engine are what its records say."""
    tables = module_of(ROOT / "benchmarks" / "tables.py")
    text = (ROOT / "README.md").read_text()
    assert tables.MARKED.search(text)
    assert tables.filled(text) == text, "python benchmarks/tables.py --write"
