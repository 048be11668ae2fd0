"""The real Fashion-MNIST: found, verified, or an error that says everything that was tried. No test here needs a network."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from epochwise.errors import DataCorruptError, DataNotFoundError
from epochwise.subjects import fashion_mnist
from epochwise.subjects.fashion_mnist import DEBIAN_FOLDER, FILES, load, locate

NAMES = [f"{file.name}.gz" for file in FILES.values()]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """None of the usual places has anything; gives the folder that stands for the cache."""
    monkeypatch.delenv("EPOCHWISE_DATA", raising=False)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(fashion_mnist, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path


def no_network(address, known_hash, folder):
    raise ConnectionError("Network is unreachable")


def put_fakes(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(gzip.compress(b"not clothes"))
    return folder


@pytest.mark.fashion_mnist
def test_the_real_data():
    """60,000 and 10,000 images of 28 x 28 between 0 and 1, ten classes alike in number; the contents are the original's."""
    data = load()
    assert (data.x.shape, data.x.dtype, data.y.dtype) == ((60000, 28, 28, 1), np.float32, np.int32)
    assert (data.x_test.shape, data.y_test.shape) == ((10000, 28, 28, 1), (10000,))
    assert (data.x.min(), data.x.max(), data.classes, data.images) == (0.0, 1.0, 10, True)
    assert np.bincount(data.y).tolist() == [6000] * 10
    assert data.channels_first().x_test.shape == (10000, 1, 28, 28)
    assert "c59f468a2f67" in data.provenance


def test_places_in_order(nowhere, monkeypatch):
    """--data-dir comes before EPOCHWISE_DATA, that before Debian's folder, that before the cache; a folder needs all four."""
    put_fakes(nowhere / "cache")
    assert locate()[0] == nowhere / "cache"
    put_fakes(nowhere / "debian")
    assert locate()[0] == nowhere / "debian"
    monkeypatch.setenv("EPOCHWISE_DATA", str(put_fakes(nowhere / "named")))
    assert locate()[0] == nowhere / "named"
    put_fakes(nowhere / "given")
    assert locate(str(nowhere / "given"))[0] == nowhere / "given"
    (nowhere / "given" / NAMES[2]).unlink()
    assert locate(str(nowhere / "given"))[0] == nowhere / "named"


def test_nowhere_and_no_network(nowhere, monkeypatch):
    """Every place tried is listed, with what was wrong there, and the two remedies."""
    monkeypatch.setenv("EPOCHWISE_DATA", str(nowhere / "elsewhere"))
    put_fakes(nowhere / "given")
    (nowhere / "given" / NAMES[0]).unlink()
    with pytest.raises(DataNotFoundError) as caught:
        load(str(nowhere / "given"), download=no_network)
    lines = caught.value.what.splitlines()
    assert lines[1] == f"  --data-dir: {nowhere / 'given'}: not there: train-images-idx3-ubyte.gz"
    assert lines[2] == f"  EPOCHWISE_DATA: {nowhere / 'elsewhere'}: no such folder"
    assert lines[3] == f"  Debian package dataset-fashion-mnist: {nowhere / 'debian'}: no such folder"
    assert lines[4] == f"  cache: {nowhere / 'cache'}: no such folder"
    assert lines[5] == f"  download from {fashion_mnist.HOME}: ConnectionError: Network is unreachable"
    assert "apt-get install dataset-fashion-mnist" in caught.value.remedy
    assert "EPOCHWISE_DATA=FOLDER" in caught.value.remedy
    assert caught.value.exit_code == 4


def test_download_goes_to_the_cache(nowhere):
    """A download asks the official home for the four files, with their checksums, and is found in the cache from then on."""
    asked = []

    def download(address, known_hash, folder):
        asked.append((address, known_hash))
        path = folder / address.rpartition("/")[2]
        path.write_bytes(gzip.compress(b""))
        return path

    folder, paths = locate(download=download)
    assert folder == nowhere / "cache"
    assert asked[0] == (f"{fashion_mnist.HOME}train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d")
    assert len(asked) == 4
    assert locate(download=no_network) == (folder, paths)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_pooch_verifies_what_it_downloads(tmp_path, capsys):
    """The downloader keeps what has its checksum and refuses what has not (a server on this machine stands for the home)."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a.gz").write_bytes(b"clothes")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Quiet(*args, directory=str(tmp_path / "home")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/a.gz"
        good = "md5:" + hashlib.md5(b"clothes").hexdigest()
        assert fashion_mnist._pooch(address, good, tmp_path / "cache").read_bytes() == b"clothes"
        with pytest.raises(ValueError, match="does not match"):
            fashion_mnist._pooch(address, "md5:" + "0" * 32, tmp_path / "other")
        assert not (tmp_path / "other" / "a.gz").exists()
    finally:
        server.shutdown()
        server.server_close()
    assert "downloading http://127.0.0.1" in capsys.readouterr().err


def test_wrong_checksum(nowhere):
    """A file with other contents is named, with the checksum expected and the one it has."""
    folder = put_fakes(nowhere / "given")
    with pytest.raises(DataCorruptError) as caught:
        load(str(folder), download=no_network)
    assert str(folder / NAMES[0]) in caught.value.what
    assert hashlib.sha256(b"not clothes").hexdigest() in caught.value.what
    assert f"expected {FILES['x'].sha256}" in caught.value.what
    assert "make data" in caught.value.remedy


@pytest.mark.fashion_mnist
def test_uncompressed_and_truncated_files(nowhere):
    """Files unpacked by hand are taken as well; a truncated one is said to be cut short."""
    folder = nowhere / "given"
    folder.mkdir()
    _, paths = real_files()
    for key, path in paths.items():
        if key == "y_test":
            (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copy(path, folder)
    assert load(str(folder)).y_test.shape == (10000,)
    whole = (folder / "train-labels-idx1-ubyte.gz").read_bytes()
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataCorruptError, match=r"train-labels-idx1-ubyte\.gz cannot be read") as caught:
        load(str(folder))
    assert "cut short" in caught.value.cause


def test_not_a_gzip_file(nowhere):
    """A page that a proxy sent instead of the file is not gzip."""
    folder = put_fakes(nowhere / "given")
    (folder / NAMES[0]).write_text("<html>")
    with pytest.raises(DataCorruptError, match="cannot be read: Not a gzipped file"):
        load(str(folder))


@pytest.mark.fashion_mnist
def test_command_finds_the_data():
    """The command that `make data` runs says where the data are."""
    done = subprocess.run(
        [sys.executable, "-m", "epochwise.subjects.fashion_mnist"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "60000 images to train on" in done.stdout


def test_command_without_data(nowhere, monkeypatch, capsys):
    """Without data the command ends with the exit code of data errors, and the message."""
    monkeypatch.setattr(fashion_mnist, "_pooch", no_network)
    assert fashion_mnist.main() == 4
    assert "in none of the places tried" in capsys.readouterr().err


def real_files():
    """The real files, wherever this machine has them; not downloaded for a test."""
    return locate(str(DEBIAN_FOLDER), download=no_network)
