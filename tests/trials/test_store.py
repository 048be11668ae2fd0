"""The store: it keeps what it was given, says no in words, and never overwrites what it cannot read."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from epochwise.errors import StoreError
from epochwise.trials import Finished, Store, Trial
from epochwise.trials.execution import execute
from tests.trials import program, toys


def finished(trial: Trial) -> Finished:
    """The trial's outcome, run here."""
    event = execute(trial.key, trial.description)
    assert isinstance(event, Finished), event
    return event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with two results of some pages each."""
    path = tmp_path / "trials.sqlite"
    with Store(path) as store:
        for seed in range(2):
            trial = toys.trial(seed=seed, size=4000)
            store.put(trial, finished(trial))
    return path


def test_what_was_put_is_there_after_opening_again(path):
    """With all that belongs to it; what was not put is not there."""
    with Store(path) as store:
        assert not store.notes
        assert len(store) == 2
        result = store.get(toys.trial(seed=1, size=4000))
        assert toys.trial(seed=2, size=4000) not in store
        assert store.get(toys.trial(seed=2, size=4000)) is None
    expected = np.random.default_rng(1).standard_normal(4000)
    np.testing.assert_array_equal(result.arrays["drawn"], expected)
    assert result.numbers["mean"] == expected.mean()
    assert result.engine == "toy"
    assert result.machine
    assert result.seconds >= result.measured["ended"] - result.measured["began"]
    assert sorted(item.name for item in path.parent.iterdir()) == ["trials.sqlite"]


def test_the_first_result_stays(path):
    """What others have drawn conclusions from is not replaced."""
    trial = toys.trial(seed=0, size=4000)
    with Store(path) as store:
        before = store.get(trial).digest
        store.put(trial, finished(toys.trial(seed=5)))
        assert store.get(trial).digest == before


def test_others_can_look_while_one_writes(path):
    """``--status`` works during a run, and cannot write."""
    trial = toys.trial(seed=2)
    with Store(path) as store, Store(path, writing=False) as reader:
        store.put(trial, finished(trial))
        assert trial in reader
        with pytest.raises(StoreError, match="to look only"):
            reader.put(trial, finished(trial))


def test_looking_at_a_store_that_is_not_there_makes_none(tmp_path):
    """An empty one is seen."""
    with Store(tmp_path / "folder" / "trials.sqlite", writing=False) as store:
        assert len(store) == 0
        assert toys.trial(seed=1) not in store
    assert not list(tmp_path.iterdir())


def test_a_second_process_is_refused_and_told_who_is_there(path):
    """By number; and it may begin as soon as the first has ended, however that happened."""
    log = path.with_name("log")
    first = program.start(store=path, count=50, seconds=0.2, log=log, workers=1)
    try:
        while first.stdout.readline()[:4] != "1 of":
            assert first.poll() is None
        second = program.start(store=path, count=1)
        said, _ = second.communicate(timeout=60)
        assert second.returncode == StoreError.exit_code
        assert f"Another process (number {first.pid}) is adding results" in " ".join(said.split())
    finally:
        program.kill(first)
    assert (path.parent / "trials.sqlite.lock").exists()
    program.finish(store=path, count=1)
    assert not (path.parent / "trials.sqlite.lock").exists()


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_bytes(path: Path) -> None:
    os.truncate(path, 50)


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(10_000))


def other_program(path: Path) -> None:
    change(path, "PRAGMA application_id = 7")


def other_layout(path: Path) -> None:
    change(path, "PRAGMA user_version = 99")


def other_table(path: Path) -> None:
    change(path, "ALTER TABLE trials RENAME TO trial")


def flipped_bit(path: Path) -> None:
    """In the middle of an array, where SQLite itself does not look."""
    content = bytearray(path.read_bytes())
    place = content.index(np.random.default_rng(1).standard_normal(4000)[100:104].tobytes())
    content[place] ^= 1
    path.write_bytes(content)


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "is damaged"),
        (cut_to_bytes, "is damaged"),
        (garbage, "is damaged, or no store of trials"),
        (other_program, "is another program's database"),
        (other_layout, "was written by another version of epochwise (its layout is 99"),
        (other_table, "is damaged (no such table"),
        (flipped_bit, "has other bits than when it was kept"),
    ],
    ids=lambda value: getattr(value, "__name__", "said"),
)
def test_what_is_no_whole_store_is_kept_aside(path, damage, said):
    """Byte for byte, under another name that is told; a second one beside it; and who only looks touches nothing."""
    damage(path)
    content = path.read_bytes()
    with pytest.raises(StoreError, match="the next run keeps it aside"):
        Store(path, writing=False)
    assert path.read_bytes() == content
    (path.parent / "trials.sqlite.aside-1").write_text("an older one")
    with Store(path) as store:
        assert len(store) == 0
        (note,) = store.notes
        assert said in note
        assert "trials.sqlite.aside-2" in note
        trial = toys.trial(seed=0)
        store.put(trial, finished(trial))
    assert (path.parent / "trials.sqlite.aside-1").read_text() == "an older one"
    assert (path.parent / "trials.sqlite.aside-2").read_bytes() == content
    with Store(path) as store:
        assert not store.notes
        assert len(store) == 1


def test_a_folder_or_a_device_is_no_store(tmp_path):
    """Said before anything is run."""
    for place in (tmp_path, Path(os.devnull)):
        with pytest.raises(StoreError, match="is not a file"):
            Store(place)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that other users may enter and read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


AS_NOBODY = """
import os, sys
from epochwise.errors import StoreError
from epochwise.trials import Store
import epochwise.machines.host, shutil
if os.geteuid() == 0:
    os.seteuid(65534)  # the superuser may write anywhere
try:
    Store(sys.argv[1])
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["folder", "file", "missing folder"])
def test_a_place_that_may_not_be_written_to_is_refused_in_words(open_to_all, what):
    """Before anything is run; and reading works there."""
    path = open_to_all / "trials.sqlite"
    Store(path).close()
    path.chmod(0o444)
    open_to_all.chmod(0o777 if what == "file" else 0o555)
    place = path if what != "missing folder" else open_to_all / "new" / "trials.sqlite"
    command = [sys.executable, "-c", AS_NOBODY, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=program.ROOT)
    open_to_all.chmod(0o755)
    assert "What works: " in done.stdout, done.stderr
    expected = {"folder": "cannot be kept in", "file": "cannot be written to", "missing folder": "cannot be made"}
    assert expected[what] in done.stdout
    assert path.stat().st_size
