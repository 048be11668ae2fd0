"""``epochwise machine``, on a kept measurement, and once interrupted while it measures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from epochwise.machines import store
from epochwise.machines.host import host
from epochwise.machines.machine import BandwidthPoint, Cache, Machine, Peak

COMMAND = [sys.executable, "-m", "epochwise", "machine"]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A made-up measurement, kept for this computer."""
    monkeypatch.setenv("EPOCHWISE_CACHE", str(tmp_path / "cache"))
    found = Machine(
        name="Some processor",
        device="cpu",
        cores=2,
        caches=(Cache(1, 2**15, 1),),
        memory_bytes=2**34,
        peak_flops_per_second=Peak(1e11, 2e11, 0.01),
        bandwidth=(BandwidthPoint(2**14, 4e11), BandwidthPoint(2**28, 4e10)),
        measured_at="2026-01-02T03:04:05+00:00",
        measuring_seconds=2.5,
        fingerprint=host().fingerprint,
    )
    assert store.save(found) == []
    return found


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_table_of_a_kept_machine(kept):
    """At 80 columns, nothing on standard error."""
    done = run()
    assert done.returncode == 0, done.stderr
    assert "Some processor" in done.stdout
    assert "200.0 GFLOP/s" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert done.stderr == ""


def test_json_stands_alone_on_standard_output(kept):
    """One document, the record."""
    done = run("--json", "-")
    assert Machine.from_json(done.stdout) == kept
    assert json.loads(done.stdout)["schema"] == "epochwise/machine/1"


def test_json_to_a_file_beside_the_table(kept, tmp_path):
    """The table is still shown; a file that exists is refused, before anything else, without --force."""
    path = tmp_path / "machine.json"
    done = run("--json", str(path))
    assert "Some processor" in done.stdout
    assert Machine.from_json(path.read_text()) == kept
    path.write_text("precious")
    done = run("--json", str(path))
    assert (done.returncode, done.stdout, path.read_text()) == (2, "", "precious")
    assert "--force" in done.stderr
    assert run("--json", str(path), "--force").returncode == 0
    assert Machine.from_json(path.read_text()) == kept


def test_no_colour_where_nobody_wants_it(kept, monkeypatch):
    """Neither in a file nor with NO_COLOR, even where colours are forced."""
    assert "\x1b" not in run().stdout
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[3" not in run().stdout


def test_a_kept_machine_needs_no_numba(kept):
    """That is what makes the second call quick."""
    code = (
        "import sys\nfrom epochwise.cli.machine import machine\nmachine(json='-')\n"
        "print(sorted({'numba', 'numpy', 'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "[]\n"


def test_measuring_shows_progress_on_standard_error_and_is_kept(tmp_path, monkeypatch):
    """With --json -, standard output is JSON to the last character."""
    monkeypatch.setenv("EPOCHWISE_CACHE", str(tmp_path))
    done = run("--refresh", "--json", "-")
    assert done.returncode == 0, done.stderr
    found = Machine.from_json(done.stdout)
    assert "loading the kernels" in done.stderr
    if not any("not kept" in note for note in found.notes):
        assert Machine.from_json(store.path_of(found.fingerprint).read_text()) == found


def test_ctrl_c_while_measuring(tmp_path, monkeypatch):
    """One line, 130, nothing on standard output, no file, and no thread that keeps the process alive."""
    monkeypatch.setenv("EPOCHWISE_CACHE", str(tmp_path / "cache"))
    process = subprocess.Popen([*COMMAND, "--refresh"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "loading" in process.stderr.readline()
    time.sleep(1.2)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in err
    assert not (tmp_path / "cache" / "machine").exists()
