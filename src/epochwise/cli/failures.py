"""What the command line says and returns when something ends it: one place for messages and exit codes.

==  ====================================================================
 0  done
2+  an :class:`~epochwise.errors.EpochwiseError`, each kind with its own
70  a defect of epochwise
130 interrupted (Ctrl-C)
141 nobody reads the output any more (a closed pipe); nothing is printed
==  ====================================================================
"""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from epochwise.errors import EpochwiseError

DEFECT, INTERRUPTED, PIPE_CLOSED = 70, 130, 141
DEBUG_VARIABLE = "EPOCHWISE_DEBUG"
WIDTH = 80


def debugging() -> bool:
    """Whether tracebacks are wanted: ``--debug``, or ``EPOCHWISE_DEBUG`` set to anything but 0."""
    return os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")


@contextmanager
def told() -> Iterator[None]:
    """Turns what ends a verb into a message on standard error and an exit code. Also a decorator.

    Raises:
        SystemExit: with the exit code, after saying why.
    """
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nInterrupted." if sys.stderr.isatty() else "Interrupted.", file=sys.stderr)  # noqa: T201
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # What is still buffered goes nowhere, so that Python's own last flush does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(PIPE_CLOSED) from None
    except EpochwiseError as error:
        print(message(error), file=sys.stderr)  # noqa: T201
        if debugging():
            traceback.print_exc()
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        print(defect(error), file=sys.stderr)  # noqa: T201
        if debugging():
            traceback.print_exc()
        raise SystemExit(DEFECT) from None


def message(error: EpochwiseError) -> str:
    """The text for an error made on purpose, in lines of at most 80 columns where words allow."""
    parts = [_lines("error: ", error.what)]
    if error.cause:
        parts.append(_lines("  usual cause: ", error.cause))
    if error.remedy:
        parts.append(_lines("  what works: ", error.remedy))
    return "\n".join(parts)


def defect(error: BaseException) -> str:
    """The text for an error that nobody foresaw."""
    again = f"{DEBUG_VARIABLE}=1 {shlex.join(['epochwise', *sys.argv[1:]])}"
    return "\n".join(
        [
            _lines("error: ", f"This is a defect of epochwise: {type(error).__name__}: {error}"),
            _lines("  what helps: ", "a report with the whole output of"),
            f"    {again}",
        ]
    )


def _lines(label: str, text: str) -> str:
    """``text`` wrapped behind ``label``. Lines that are indented already (code, tracebacks, commands) are left alone."""
    indent = "  " if not label.startswith(" ") else "    "
    lines: list[str] = []
    for number, line in enumerate(text.splitlines() or [""]):
        start = label if number == 0 else indent
        if line[:1].isspace():
            lines.append(start + line)
        else:
            lines += textwrap.wrap(
                line, WIDTH, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            ) or [start.rstrip()]
    return "\n".join(lines)
