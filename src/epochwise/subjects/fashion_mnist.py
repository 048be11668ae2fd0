"""The real Fashion-MNIST: found on this machine, or downloaded from its official home, and verified wherever it came from.

What is verified is the *content*: packagers compress the four files anew, so the checksum of the compressed file depends on
where it came from (Debian's differs from the original's), that of the numbers inside does not.

``python -m epochwise.subjects.fashion_mnist`` says where the data are, or everything that was tried.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from epochwise.errors import DataCorruptError, DataError, DataNotFoundError
from epochwise.subjects.arrays import Array, Dataset

HOME = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
"""The address that the data set's own README gives for the files."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package ``dataset-fashion-mnist`` puts the files."""

CLASSES = 10
CLASS_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


class _File(NamedTuple):
    """One of the four files: its name, the MD5 of the original ``.gz``, and the SHA-256 of what is inside."""

    name: str
    md5_of_gz: str
    sha256: str


FILES = {
    "x": _File(
        "train-images-idx3-ubyte",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "y": _File(
        "train-labels-idx1-ubyte",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "x_test": _File(
        "t10k-images-idx3-ubyte",
        "bef4ecab320f06d8554ea6380940ec79",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "y_test": _File(
        "t10k-labels-idx1-ubyte",
        "bb300cfdad3c16e7a12a480ee83cd310",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
"""The four files by the name of the array that they hold."""

Download = Callable[[str, str, Path], Path]
"""``(address, "md5:...", folder) -> path`` of the verified file; raises on any failure."""

_HEADER_BYTES = {"idx3": 16, "idx1": 8}
_DOWNLOAD_SECONDS = 20  # without an answer


def load(data_dir: str | None = None, *, download: Download | None = None) -> Dataset:
    """Fashion-MNIST as float32 images in [0, 1], ``(N, 28, 28, 1)``, and int32 labels; 60,000 to train on, 10,000 to test.

    Args:
        data_dir: folder to look in first; then ``EPOCHWISE_DATA``, the Debian package's folder, the cache, the official home.
        download: fetches one file; pooch unless a test says otherwise.

    Raises:
        DataNotFoundError: it is nowhere; lists every place tried.
        DataCorruptError: a file is truncated or does not hold what it should; names the file and both checksums.
    """
    folder, paths = locate(data_dir, download=download)
    arrays = {key: _array(paths[key], file) for key, file in FILES.items()}
    return Dataset(
        name="fashion-mnist",
        x=_images(arrays["x"]),
        y=arrays["y"].astype(np.int32),
        x_test=_images(arrays["x_test"]),
        y_test=arrays["y_test"].astype(np.int32),
        classes=CLASSES,
        provenance=f"Fashion-MNIST from {folder}, contents verified (SHA-256 of the training images {FILES['x'].sha256[:12]}); "
        "pixels divided by 255",
        images=True,
    )


def locate(data_dir: str | None = None, *, download: Download | None = None) -> tuple[Path, dict[str, Path]]:
    """The folder that holds the four files, and their paths by the name of the array; downloads them if they are nowhere.

    The contents are not read here, except that a download is verified.

    Raises:
        DataNotFoundError: no folder has all four, and the download failed.
    """
    tried: list[str] = []
    for label, folder in _places(data_dir):
        if folder is None:
            tried.append(f"{label}: not set")
            continue
        paths = {key: path for key, file in FILES.items() if (path := _present(folder, file)) is not None}
        if len(paths) == len(FILES):
            return folder, paths
        missing = [f"{file.name}.gz" for key, file in FILES.items() if key not in paths]
        state = "no such folder" if not folder.is_dir() else f"not there: {', '.join(missing)}"
        tried.append(f"{label}: {folder}: {state}")
    cache = cache_folder()
    fetch = download or _pooch
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return cache, {key: fetch(f"{HOME}{file.name}.gz", f"md5:{file.md5_of_gz}", cache) for key, file in FILES.items()}
    except Exception as problem:  # whatever a network, a proxy or a full disk can raise
        tried.append(f"download from {HOME}: {_reason(problem)}")
        raise DataNotFoundError(
            "Fashion-MNIST is in none of the places tried:\n" + "\n".join(f"  {line}" for line in tried),
            cause="No network, and the data have not been put on this machine.",
            remedy="apt-get install dataset-fashion-mnist   (Debian, Ubuntu), or EPOCHWISE_DATA=FOLDER with the four .gz files",
        ) from problem


def cache_folder() -> Path:
    """Where a download is kept."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("epochwise")) / "fashion-mnist"


def _places(data_dir: str | None) -> list[tuple[str, Path | None]]:
    environment = os.environ.get("EPOCHWISE_DATA")
    return [
        ("--data-dir", Path(data_dir).expanduser() if data_dir else None),
        ("EPOCHWISE_DATA", Path(environment).expanduser() if environment else None),
        ("Debian package dataset-fashion-mnist", DEBIAN_FOLDER),
        ("cache", cache_folder()),
    ]


def _present(folder: Path, file: _File) -> Path | None:
    return next((path for path in (folder / f"{file.name}.gz", folder / file.name) if path.is_file()), None)


def _pooch(address: str, known_hash: str, folder: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    print(f"epochwise: downloading {address}", file=sys.stderr)  # noqa: T201  minutes may pass here; silence would look dead
    fetched = pooch.retrieve(
        address,
        known_hash=known_hash,
        fname=address.rpartition("/")[2],
        path=folder,
        downloader=pooch.HTTPDownloader(timeout=_DOWNLOAD_SECONDS),
    )
    return Path(fetched)


def _reason(problem: Exception) -> str:
    """A network error's text in one line, without the nest of objects that it usually names."""
    return f"{type(problem).__name__}: " + textwrap.shorten(str(problem), width=160, placeholder=" ...")


def _array(path: Path, file: _File) -> Array:
    """The numbers in one file, verified."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, OSError) as problem:  # gzip.BadGzipFile is an OSError
        raise DataCorruptError(
            f"{path} cannot be read: {problem}",
            cause="The file was cut short while it was copied or downloaded, or it is not a gzip file.",
            remedy=f"remove it (rm {path}) and fetch the data again: make data",
        ) from problem
    got = hashlib.sha256(content).hexdigest()
    if got != file.sha256:
        raise DataCorruptError(
            f"{path} is not Fashion-MNIST's {file.name}: the SHA-256 of its content is {got}, expected {file.sha256}.",
            cause="The file was changed or damaged, or belongs to another data set (MNIST's files have the same names).",
            remedy=f"remove it (rm {path}) and fetch the data again: make data",
        )
    header = _HEADER_BYTES["idx3" if "idx3" in file.name else "idx1"]
    numbers = np.frombuffer(content, dtype=np.uint8, offset=header)
    return numbers.reshape(-1, 28, 28, 1) if "idx3" in file.name else numbers


def _images(pixels: Array) -> Array:
    return np.divide(pixels, np.float32(255.0), dtype=np.float32)


def main() -> int:
    """Say where the data are; the exit code is 0, or that of the error."""
    try:
        dataset = load()
    except DataError as problem:
        print(f"epochwise: {problem}", file=sys.stderr)  # noqa: T201  this is a command
        return problem.exit_code
    print(f"{dataset.provenance}; {len(dataset.x)} images to train on")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
