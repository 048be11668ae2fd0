"""Measured once, kept, re-used; nothing that goes wrong with keeping it stops anybody."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from epochwise import machines
from epochwise.machines import measure, store
from epochwise.machines.host import host
from epochwise.machines.machine import Machine


@pytest.fixture
def measured(monkeypatch, some_machine):
    """Measuring replaced by a made-up machine; the list of measurements made."""
    made = []

    def pretend(here, progress):
        made.append(here)
        progress(1, 1, "measured")
        return replace(some_machine, fingerprint=here.fingerprint, measuring_seconds=float(len(made))), True

    monkeypatch.setattr(measure, "_measured", pretend)
    return made


def test_the_second_call_does_not_measure(cache, measured):
    """It returns the same record from the file."""
    first = machines.machine()
    assert machines.machine() == first
    assert len(measured) == 1
    assert [file.name for file in (cache / "machine").iterdir()] == [f"{first.fingerprint}.json"]


def test_refresh_measures_again_and_keeps_that(cache, measured):
    """The newer one is what the next call returns."""
    machines.machine()
    again = machines.machine(refresh=True)
    assert len(measured) == 2
    assert machines.machine() == again


def test_progress_is_handed_on(cache, measured):
    """And not called when nothing is measured."""
    calls = []
    machines.machine(progress=lambda *call: calls.append(call))
    machines.machine(progress=lambda *call: calls.append(call))
    assert calls == [(1, 1, "measured")]


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": "epochwise/machine/1"}', b"\xff\x00", b"[1, 2]"])
def test_a_corrupt_file_is_measured_again_with_a_note(cache, measured, content):
    """The note is in what is returned, not in what is kept."""
    path = store.path_of(host().fingerprint)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    found = machines.machine()
    assert any("could not be read" in note and str(path) in note for note in found.notes)
    kept = machines.machine()
    assert kept.notes == ("A note.",)
    assert len(measured) == 1


def test_the_record_of_another_machine_is_measured_again(cache, measured, some_machine):
    """A file copied from elsewhere under this machine's name."""
    path = store.path_of(host().fingerprint)
    path.parent.mkdir(parents=True)
    path.write_text(some_machine.to_json())
    assert any("another machine" in note for note in machines.machine().notes)
    assert len(measured) == 1


def test_a_folder_in_the_files_place_is_measured_again_with_notes(cache, measured):
    """It can neither be read nor replaced."""
    store.path_of(host().fingerprint).mkdir(parents=True)
    notes = " ".join(machines.machine().notes)
    assert "could not be read" in notes
    assert "could not be kept" in notes


def test_a_cache_folder_that_cannot_be_made_is_a_note(tmp_path, monkeypatch, measured):
    """A file stands where the folder should be, which stops root as well."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EPOCHWISE_CACHE", str(tmp_path / "file"))
    assert any("could not be kept" in note for note in machines.machine().notes)
    machines.machine()
    assert len(measured) == 2


def test_a_full_disk_is_a_note_and_leaves_nothing_behind(cache, measured, monkeypatch):
    """Neither half a record nor a temporary file."""

    def full(self, *_, **__):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert any("No space left" in note for note in machines.machine().notes)
    assert list((cache / "machine").iterdir()) == []


def test_figures_of_a_busy_computer_are_not_kept(cache, monkeypatch, some_machine):
    """They would be believed for months."""
    monkeypatch.setattr(measure, "_measured", lambda here, _: (replace(some_machine, fingerprint=here.fingerprint), False))
    assert machines.machine().name == "Some processor"
    assert not (cache / "machine").exists()


def _write_many(machine: Machine, times: int) -> None:
    for number in range(times):
        assert store.save(replace(machine, measuring_seconds=float(number), notes=("x" * 5000 * (number % 3),))) == []


def test_processes_that_write_at_once_never_show_half_a_record(cache, some_machine):
    """Two write, this one reads all the while."""
    assert store.save(some_machine) == []
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_many, args=(some_machine, 200)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found, notes = store.load(some_machine.fingerprint)
        assert found is not None, notes
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [file.suffix for file in (cache / "machine").iterdir()] == [".json"]


def test_threads_may_ask_at_once(cache, measured):
    """All get a machine."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(machines.machine())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8


def test_without_the_variable_it_is_the_users_cache_folder(monkeypatch):
    """As the platform has it."""
    monkeypatch.delenv("EPOCHWISE_CACHE", raising=False)
    assert store.path_of("f").parts[-3:] == ("epochwise", "machine", "f.json")
