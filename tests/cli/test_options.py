"""Options that verbs share: their text becomes values, or an error that says what works; progress goes to standard error."""

from __future__ import annotations

import io
import sys
import time

import pytest

from epochwise.cli.options import Progress, parse_shape, write_output
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
    assert "half [of] it" in terminal.getvalue()
    assert "50 %" in terminal.getvalue()
