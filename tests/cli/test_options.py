"""Options that verbs share: their text becomes values, or an error that says what works; progress goes to standard error."""

from __future__ import annotations

import io
import sys
import time

import pytest

from epochwise.cli.options import Progress, check_outputs, parse_memory, parse_names, parse_shape, write_output
from epochwise.errors import OutputExistsError, UsageError


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("28,28,1", (28, 28, 1)),
        ("784", (784,)),
        ("28x28x1", (28, 28, 1)),
        (" 28, 28 ,1 ", (28, 28, 1)),
        ("(784,)", (784,)),
    ],
)
def test_shapes(text, shape):
    """Commas, as documented; what else is plain is taken as well."""
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "28,,1", "28 28", "0,3", "-1,28", "28.0", "a", "None,28", "28,28,1e3", "9" * 30])
def test_what_is_no_shape_is_refused(text):
    """With the text that came and a line that works."""
    with pytest.raises(UsageError) as caught:
        parse_shape(text)
    assert repr(text) in caught.value.what
    assert caught.value.remedy == "--input-shape 28,28,1"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 * 2**30),
        ("8gib", 8 * 2**30),
        ("8 GB", 8 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("0.1 kB", 100),
        ("512MiB", 2**29),
        ("80G", 80 * 10**9),
        ("16Gi", 2**34),
        ("1TiB", 2**40),
        ("100", 100),
        ("7b", 7),
    ],
)
def test_sizes_of_memory(text, size):
    """Powers of 1,024 with an i, of 1,000 without; exact."""
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "8 GiBs", "-1GB", "0", "0GiB", "1e3", "8,5GB", "8XB", "a lot", "0.1B"])
def test_what_is_no_size_of_memory_is_refused(text):
    """With the text that came, the units, and a line that works."""
    with pytest.raises(UsageError) as caught:
        parse_memory(text)
    assert repr(text) in caught.value.what
    assert "KiB" in caught.value.cause
    assert caught.value.remedy == "--memory 8GiB"


def test_names_in_a_list():
    """In the order given, with either line between words; a misspelt one is told with what is near."""
    known = ("training-macs", "bytes")
    assert parse_names("--columns", "bytes, Training_MACs", known) == ("bytes", "training-macs")
    with pytest.raises(UsageError) as caught:
        parse_names("--sort", "byte", known)
    assert "'byte'" in caught.value.what
    assert "training-macs, bytes" in caught.value.what
    assert caught.value.cause == "Did you mean bytes?"
    assert caught.value.remedy == "--sort bytes"


def test_each_output_has_a_place_of_its_own(tmp_path):
    """Neither standard output nor a file is given twice; a file that is there needs --force; nothing at all is fine."""
    check_outputs(False, None, None)
    check_outputs(False, "-", str(tmp_path / "a"), None)
    check_outputs(False, "/dev/null", "/dev/null")
    with pytest.raises(UsageError, match="standard output"):
        check_outputs(False, "-", None, "-")
    with pytest.raises(UsageError, match="named twice"):
        check_outputs(True, str(tmp_path / "a"), str(tmp_path / "b" / ".." / "a"))
    (tmp_path / "a").write_text("")
    with pytest.raises(OutputExistsError):
        check_outputs(False, None, str(tmp_path / "a"))
    check_outputs(True, None, str(tmp_path / "a"))


def test_output_goes_to_a_file_or_to_standard_output(tmp_path, capsys):
    """One newline at the end of standard output."""
    write_output("-", "{}")
    assert capsys.readouterr().out == "{}\n"
    write_output(str(tmp_path / "r.json"), "{}")
    assert (tmp_path / "r.json").read_text() == "{}"
    with pytest.raises(OutputExistsError):
        write_output(str(tmp_path / "r.json"), "{}")


def test_progress_in_a_file_is_a_line_now_and_then(capsys, monkeypatch):
    """The first call, then at most one every five seconds; nothing on standard output, no control characters."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress() as progress:
        for done in range(101):
            progress(done, 100, f"piece {done}")
            now[0] = (done + 1) / 10
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["  0%  piece 0", " 50%  piece 50", "100%  piece 100"]


def test_progress_without_a_total_still_says_what_is_done(capsys):
    """No division by zero."""
    with Progress() as progress:
        progress(0, 0, "starting")
    assert "starting" in capsys.readouterr().err


def test_progress_in_a_terminal_is_a_bar_that_vanishes(monkeypatch):
    """Text with square brackets is shown as it is."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Progress() as progress:
        progress(1, 2, "half [of] it")
        progress.say("and [this] stays")
    *_, said = terminal.getvalue().partition("and [this] stays")
    assert said
    assert "half [of] it" in terminal.getvalue()
    assert "50 %" in terminal.getvalue()
