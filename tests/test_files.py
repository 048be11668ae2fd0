"""Files are written whole or not at all, and never over what was there, unless told to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from epochwise.errors import OutputExistsError, UsageError
from epochwise.files import check_output, write_text


def test_a_new_file(tmp_path):
    """UTF-8, with the permissions that any new file gets."""
    path = tmp_path / "result.json"
    check_output(path)
    write_text(path, "×\n")
    assert path.read_bytes() == "×\n".encode()
    other = tmp_path / "other"
    other.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_an_existing_file_is_left_alone_without_force(tmp_path):
    """And the message names it and the way out."""
    path = tmp_path / "result.json"
    path.write_text("precious")
    for write in (lambda: check_output(path), lambda: write_text(path, "new")):
        with pytest.raises(OutputExistsError, match=r"result\.json exists already") as caught:
            write()
        assert "--force" in caught.value.remedy
    assert path.read_text() == "precious"


def test_force_replaces(tmp_path):
    """Nothing else is left in the folder."""
    path = tmp_path / "result.json"
    path.write_text("old and longer")
    check_output(path, force=True)
    write_text(path, "new", force=True)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    """A full disk: the old file stays, the temporary one does not."""
    path = tmp_path / "result.json"
    path.write_text("old")
    real = Path.write_bytes

    def full(self, content):
        real(self, content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new", force=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_through_a_symbolic_link(tmp_path):
    """The link stays a link."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new", force=True)
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_device_is_written_to_and_not_replaced():
    """Renaming over /dev/null would be remembered."""
    before = Path("/dev/null").stat().st_mode
    check_output("/dev/null")
    write_text("/dev/null", "text")
    assert Path("/dev/null").stat().st_mode == before


def test_standard_output_is_always_there():
    """A dash is not a file."""
    check_output("-")


def test_a_folder_or_a_missing_folder_is_a_usage_error(tmp_path):
    """Said before any work is done."""
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        check_output(tmp_path / "no" / "result.json")


def test_a_folder_without_permission_is_a_usage_error(tmp_path):
    """Root may write anywhere, and is not asked."""
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("root may write anywhere")
        with pytest.raises(UsageError, match="cannot be written"):
            check_output(tmp_path / "result.json")
    finally:
        tmp_path.chmod(0o700)
