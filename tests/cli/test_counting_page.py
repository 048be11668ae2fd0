"""The sessions on docs/counting.md are what the commands print. EPOCHWISE_KEEP=1 writes them anew; read the difference."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from epochwise.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "counting.md"
SESSION = re.compile(r"```console\n\$ epochwise (.*)\n((?:.*\n)*?)```")


def printed(command):
    """What a command prints in a terminal of 80 columns, without spaces at line ends."""
    done = CliRunner().invoke(app, shlex.split(command), env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.stderr
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


@pytest.mark.torch
def test_every_session_is_what_is_printed(monkeypatch):
    """Run again, here and now."""
    monkeypatch.chdir(ROOT)
    text = PAGE.read_text(encoding="utf-8")
    made = SESSION.sub(lambda found: f"```console\n$ epochwise {found[1]}\n{printed(found[1])}```", text)
    assert len(SESSION.findall(text)) >= 5
    if os.environ.get("EPOCHWISE_KEEP"):
        PAGE.write_text(made, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == made
