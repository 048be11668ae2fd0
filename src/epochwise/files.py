"""Writing files so that a reader, or a crash, never meets half of one; and never over what was there, unless told to."""

from __future__ import annotations

import os
from pathlib import Path

from epochwise.errors import OutputExistsError, UsageError


def check_output(path: str | Path, force: bool = False) -> None:
    """Look, before any work is done, whether ``path`` can be written. ``-`` (standard output) always can.

    Raises:
        OutputExistsError: the file exists and ``force`` is false.
        UsageError: it is a folder, or its folder does not exist or cannot be written to.
    """
    if str(path) == "-":
        return
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{target} is a folder; the name of a file is needed.", remedy=f"{target / 'result.json'}")
    if target.exists() and not target.is_file():  # /dev/null, a pipe: nothing there to lose
        return
    if target.exists() and not force:
        raise OutputExistsError(
            f"{target} exists already and was left as it is.",
            cause="the same command was run before",
            remedy="another name, or --force to replace it",
        )
    folder = target.resolve().parent
    if not folder.is_dir():
        raise UsageError(f"The folder of {target} does not exist.", cause="a misspelt path", remedy=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"The folder of {target} cannot be written to.", remedy="a name in a folder of your own")


def write_text(path: str | Path, text: str, force: bool = False) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all: to a temporary file beside it, then renamed.

    Raises:
        OutputExistsError: the file exists and ``force`` is false.
        UsageError: it cannot be written, see :func:`check_output`.
        OSError: the disk is full, and the like; what was there before is left.
    """
    write_bytes(path, text.encode("utf-8"), force)


def write_bytes(path: str | Path, content: bytes, force: bool = False) -> None:
    """Write ``content`` to ``path``, whole or not at all, as :func:`write_text` does.

    Raises:
        OutputExistsError, UsageError, OSError: see :func:`write_text`.
    """
    check_output(path, force)
    target = Path(path)
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    target = target.resolve()  # through a symbolic link: the link stays
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
