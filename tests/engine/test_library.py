"""Compiled kernels on disk: whatever happens to the files, training goes on with the right code; no file is ever half there."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from epochwise.engine.compiled import CompiledTrainer
from epochwise.engine.kernels import updates
from epochwise.engine.library import Library
from epochwise.engine.target import this_target
from tests.engine.test_compiled import same_bits, small, trained

WORKER = Path(__file__).parent / "compile_worker.py"
VARIANT = updates.update(
    lanes=4, kind="sgd", momentum=False, nesterov=False, clear=False, decays=False, penalties=False, clip="none"
)


def start(cache):
    """A process that trains a small network with this cache."""
    environment = {**os.environ, "EPOCHWISE_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, WORKER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def loss(process):
    """What it printed."""
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return out.strip()


def kept(cache):
    """The files of compiled kernels."""
    return sorted((cache / "kernels").glob("*.o"))


def whole(path):
    """Whether a file is what was written: a checksum, and what agrees with it."""
    content = path.read_bytes()
    return len(content) > 32 and hashlib.sha256(content[32:]).digest() == content[:32]


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """The loss, and a cache with all that it needs."""
    cache = tmp_path_factory.mktemp("cache")
    return loss(start(cache)), cache


@pytest.mark.parametrize("files", [1, 4])
def test_killed_while_compiling(files, right, tmp_path):
    """``kill -9`` between two kernels or within one leaves whole files, and the next process goes on from there."""
    process = start(tmp_path)
    while len(kept(tmp_path)) < files and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = kept(tmp_path)
    assert 0 < len(found) < len(kept(right[1]))
    assert all(whole(path) for path in found)
    before = {path: path.stat().st_mtime_ns for path in found}
    assert loss(start(tmp_path)) == right[0]
    assert all(path.stat().st_mtime_ns == then for path, then in before.items()), "compiled again what was there"


def test_two_processes_fill_one_cache(right, tmp_path):
    """At the same time, from nothing: both train, and what they leave is whole and complete."""
    both = [start(tmp_path), start(tmp_path)]
    assert [loss(process) for process in both] == [right[0]] * 2
    assert [path.name for path in kept(tmp_path)] == [path.name for path in kept(right[1])]
    assert all(whole(path) for path in kept(tmp_path))
    assert not list((tmp_path / "kernels").glob(".*")), "a temporary file was left"


def test_files_that_are_not_what_was_written(right, tmp_path):
    """Empty, cut off, overwritten with something else, or a folder in the place of a file: compiled again."""
    names = [path.name for path in kept(right[1])]
    folder = tmp_path / "kernels"
    folder.mkdir()
    for number, path in enumerate(kept(right[1])):
        content = path.read_bytes()
        spoilt = (b"", content[:20], content[:-1], content[:40] + b"\0" + content[41:], b"\x7fELF" * 100, None)[number % 6]
        if spoilt is None:
            (folder / path.name).mkdir()
        else:
            (folder / path.name).write_bytes(spoilt)
    assert loss(start(tmp_path)) == right[0]
    assert all(whole(path) for path in kept(tmp_path) if path.is_file())
    assert [path.name for path in kept(tmp_path)] == names


def test_a_cache_that_cannot_be_written(right, tmp_path):
    """Everything works, and it is said once that the next process will compile again."""
    (tmp_path / "file").write_text("no folder")
    process = start(tmp_path / "file")
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out.strip()) == (0, right[0])
    assert errors.count("could not be kept") == 1
    assert "EPOCHWISE_CACHE" in errors


def test_what_ends_the_loading_leaves_a_library_that_goes_on(tmp_path, monkeypatch):
    """Ctrl-C is raised between two kernels, or anywhere in the compiler: what is missing is compiled afterwards."""
    monkeypatch.setenv("EPOCHWISE_CACHE", str(tmp_path))
    library = Library(this_target())
    network = small()
    state_before = trained(network)

    def pressed(done, of):
        if done == 2:
            raise KeyboardInterrupt

    variants = [VARIANT, *(updates.update(**{**dict(VARIANT.fixed), "momentum": True, "nesterov": n}) for n in (True, False))]
    with pytest.raises(KeyboardInterrupt):
        library.load(variants, pressed)
    assert [variant in library.missing(variants) for variant in variants] == [False, False, True]
    assert len(library.load(variants)) == 3
    assert same_bits(trained(network), state_before)


def test_threads_compile_one_after_another(tmp_path, monkeypatch):
    """Several threads that need the same kernels get the same addresses, and each kernel is compiled once."""
    monkeypatch.setenv("EPOCHWISE_CACHE", str(tmp_path))
    library, found, compiled = Library(this_target()), [], []
    plain = Library._compile
    monkeypatch.setattr(Library, "_compile", lambda self, text: (compiled.append(text), plain(self, text))[1])
    threads = [threading.Thread(target=lambda: found.append(library.load([VARIANT]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(compiled) == 1
    assert found == [found[0]] * 4
    assert len(found) == 4


def test_forked_while_another_thread_compiles():
    """A lock that a thread held when the process was forked is open in the child."""
    network = small()
    trained(network)
    trainer_library = CompiledTrainer(network, None, 1)._library
    with trainer_library._compiling:
        child = os.fork()
        if child == 0:
            fresh = Library(this_target())
            ok = len(fresh.load([VARIANT])) == 1 and len(trainer_library.load([VARIANT])) == 1
            os._exit(0 if ok else 1)
        signal_at = time.monotonic() + 60
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < signal_at:
            time.sleep(0.01)
        if ended[0] == 0:
            os.kill(child, signal.SIGKILL)
    assert ended == (child, 0)
