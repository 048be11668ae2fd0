"""``epochwise report``: a saved result again, in every form, and what it says of files that it cannot draw."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.reporting import samples
from tests.reporting.keeping import KEPT


@pytest.fixture
def result(tmp_path):
    """A saved comparison."""
    path = tmp_path / "result.json"
    path.write_text(samples.question().to_json())
    return path


def run(*arguments, **options):
    command = [sys.executable, "-m", "epochwise", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_as_when_it_was_measured(result, monkeypatch):
    """The same text as kept for that record, nothing on standard error."""
    monkeypatch.setenv("COLUMNS", "80")
    done = run(result)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.rstrip() for line in done.stdout.splitlines()] == (KEPT / "comparison_question.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (samples.demo(), "If not speed, what is the benefit?"),
        (samples.cnn(), "618,864 MACs"),
        (samples.several(), "1/16.5"),
        (samples.MACHINE, "Some processor"),
    ],
)
def test_every_kind_of_record(tmp_path, record, shown):
    """Drawn by its schema."""
    path = tmp_path / "result.json"
    path.write_text(record.to_json())
    done = run(path)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_page_and_picture(result, tmp_path):
    """Beside the terminal's; refused where they exist, unless forced."""
    page, picture = tmp_path / "report.html", tmp_path / "answer.svg"
    done = run(result, "--report", page, "--picture", picture)
    assert done.returncode == 0, done.stderr
    assert "the ratio" in done.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert "<svg" in picture.read_text()
    done = run(result, "--report", page)
    assert (done.returncode, done.stdout) == (2, "")
    assert "exists already" in " ".join(done.stderr.split())
    assert run(result, "--picture", picture).returncode == 2
    assert run(result, "--report", page, "--picture", picture, "--force").returncode == 0


def test_the_page_alone_on_standard_output(result):
    """To be piped on."""
    done = run(result, "--report", "-")
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.endswith("</html>\n")


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 2, "There is no file"),
        ("text", 8, "not JSON"),
        ('{"schema": "epochwise/compare/2"}', 8, "newer epochwise"),
        ('{"schema": "other"}', 8, "is not known"),
        ('{"schema": "epochwise/compare/1"}', 8, "missing required field"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, content, code, message):
    """Each with a code and a message; nothing is written."""
    path = tmp_path / "result.json"
    if content is not None:
        path.write_text(content)
    done = run(path, "--report", tmp_path / "report.html")
    assert (done.returncode, done.stdout) == (code, "")
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "report.html").exists()


def test_pictures_of_another_kind_or_of_no_factors(result, tmp_path):
    """Usage errors."""
    done = run(result, "--picture", tmp_path / "answer.gif")
    assert done.returncode == 2
    assert "neither .svg nor .png" in " ".join(done.stderr.split())
    result.write_text(samples.cnn().to_json())
    done = run(result, "--picture", tmp_path / "answer.png")
    assert done.returncode == 2
    assert "no factors to draw" in done.stderr


def test_the_result_is_never_written_over(result):
    """Not even with --force."""
    before = result.read_text()
    done = run(result, "--report", result, "--force")
    assert done.returncode == 2
    assert "named twice" in done.stderr
    assert result.read_text() == before


def test_it_imports_no_framework_and_no_picture_library(result):
    """Drawing in the terminal answers at once."""
    code = (
        "import sys\nfrom epochwise.cli.report import report\n"
        f"report({str(result)!r})\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'altair', 'jinja2', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "[]\n"


def test_a_count_with_other_columns_and_another_order(tmp_path):
    """As ``epochwise count`` would have shown it; of another kind of record they are refused."""
    path = tmp_path / "count.json"
    path.write_text(samples.cnn().to_json())
    done = run(path, "--columns", "bytes", "--sort", "bytes", "--depth", "1")
    assert done.returncode == 0, done.stderr
    assert "Layers  by bytes" in done.stdout
    path.write_text(samples.MACHINE.to_json())
    refused = run(path, "--columns", "bytes")
    assert refused.returncode != 0
    assert "no table of layers" in refused.stderr
