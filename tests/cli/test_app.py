"""The command as a whole: how fast it answers, what it imports, what it says and returns when something ends it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from epochwise.cli import app as module
from epochwise.cli import failures
from epochwise.errors import EpochwiseError, ModelFailedError, OutputExistsError, all_errors

COMMAND = [sys.executable, "-m", "epochwise"]


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, **options)


def run_raising(raised, *, environment=None, argv=("epochwise", "verb")):
    """A process whose verb raises the Python expression ``raised``."""
    code = (
        "import sys\n"
        f"sys.argv = {list(argv)!r}\n"
        "from epochwise.cli.app import app, main\n"
        "from epochwise.cli.failures import told\n"
        "from epochwise import errors\n"
        "@app.command('verb')\n"
        "@told()\n"
        "def verb():\n"
        "    print('some data')\n"
        f"    raise {raised}\n"
        "main()\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != failures.DEBUG_VARIABLE} | (environment or {})
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_names_every_verb():
    """In the order of the list, each with a line of help, within 80 columns."""
    done = run("--help", env=os.environ | {"COLUMNS": "80", "NO_COLOR": "1"})
    assert done.returncode == 0
    places = [re.search(rf"^\W*{verb} +\w", done.stdout, re.MULTILINE) for verb in module.VERBS]
    assert all(places)
    assert [place.start() for place in places] == sorted(place.start() for place in places)
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_help_is_quick():
    """Under 0.3 s on a quiet computer; the best of five under a second on any."""
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        run("--help")
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 1.0


def test_help_imports_nothing_heavy():
    """No framework, no Numba, no NumPy: a verb's function imports what it needs."""
    code = (
        "import sys, contextlib, io\n"
        "from epochwise.cli.app import main\n"
        "sys.argv = ['epochwise', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'numba', 'numpy', 'scipy', 'altair', 'psutil', 'msgspec'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_version():
    """The installed one."""
    assert run("--version").stdout == f"epochwise {version('epochwise')}\n"


def test_every_verb_is_a_function_of_its_file():
    """One verb, one file."""
    folder = Path(module.__file__).parent
    assert all((folder / f"{verb}.py").is_file() for verb in module.VERBS)
    assert len(set(module.VERBS)) == len(module.VERBS)


@pytest.mark.parametrize("arguments", [["nonsense"], ["machine", "--nonsense"], ["machine", "--json"]])
def test_a_wrong_command_line_is_a_usage_error(arguments):
    """Exit code 2, on standard error alone, and no traceback."""
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", sorted(all_errors()))
def test_every_error_gives_its_exit_code_and_its_message(name, capsys):
    """What, usual cause, what works; on standard error."""
    kind = all_errors()[name]
    with pytest.raises(SystemExit) as ended, failures.told():
        raise kind("It broke.", cause="wear", remedy="epochwise machine")
    assert ended.value.code == kind.exit_code
    assert capsys.readouterr() == ("", "error: It broke.\n  usual cause: wear\n  what works: epochwise machine\n")


def test_an_error_ends_the_process_with_its_code():
    """No traceback, data before it kept."""
    done = run_raising("errors.DataNotFoundError('No data.', remedy='--data random')")
    assert done.returncode == 4
    assert done.stdout == "some data\n"
    assert done.stderr == "error: No data.\n  what works: --data random\n"


def test_an_unforeseen_error_is_called_a_defect():
    """Short, exit code 70, and the line that shows more; a traceback is not shown."""
    done = run_raising("ZeroDivisionError('nought')")
    assert done.returncode == 70
    assert "defect of epochwise: ZeroDivisionError: nought" in done.stderr
    assert "EPOCHWISE_DEBUG=1 epochwise verb" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [{"environment": {"EPOCHWISE_DEBUG": "1"}}, {"argv": ("epochwise", "--debug", "verb")}])
@pytest.mark.parametrize(("raised", "code"), [("ZeroDivisionError('x')", 70), ("errors.DataError('x')", 4)])
def test_debugging_shows_the_traceback(how, raised, code):
    """By the environment or by the option, for both kinds; the exit code is the same."""
    done = run_raising(raised, **how)
    assert done.returncode == code
    assert "Traceback" in done.stderr
    assert "in verb" in done.stderr


def test_debugging_is_off_with_zero():
    """As one writes it in a shell."""
    assert "Traceback" not in run_raising("ZeroDivisionError", environment={"EPOCHWISE_DEBUG": "0"}).stderr


def test_ctrl_c_is_one_line_and_130():
    """The shell's code for it."""
    done = run_raising("KeyboardInterrupt")
    assert done.returncode == 130
    assert done.stderr == "Interrupted.\n"


def test_a_closed_pipe_is_quiet():
    """``epochwise ... | head -1``: no traceback, no message of Python's last flush."""
    code = "from epochwise.cli.failures import told\nwith told():\n    for _ in range(3000): print('x' * 100)"
    shell = f'{sys.executable} -c "$CODE" | head -1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", shell], env=os.environ | {"CODE": code}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == str(failures.PIPE_CLOSED)


def test_messages_are_readable_at_80_columns():
    """Words are kept whole, so that paths and commands can be copied; indented lines (code) are left alone."""
    path = "/a/very/long/path/" + "x" * 90
    error = ModelFailedError(
        f"The function build of {path} raised a ValueError, which is an error of that function and not of epochwise:\n"
        f'    File "model.py", line 3, in build\n      return {"f" * 100}',
        cause="an argument that the function does not expect, given in parentheses after the function's name in MODEL",
        remedy="epochwise count 'model.py:build(units=64)'",
    )
    lines = failures.message(error).splitlines()
    assert all(len(line) <= 80 for line in lines if "xxx" not in line and "fff" not in line)
    assert any(line.strip() == path for line in lines)
    assert any(line.endswith("return " + "f" * 100) for line in lines)
    assert lines[-1] == "  what works: epochwise count 'model.py:build(units=64)'"


def test_output_without_unicode_is_not_an_error():
    """A bar becomes question marks in an ASCII terminal."""
    code = "import sys\nfrom epochwise.cli.app import main\nsys.argv=['epochwise']\ntry: main()\nexcept SystemExit: print('█')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.endswith("?\n")
    assert "Traceback" not in done.stderr


def test_usage_errors_share_a_code():
    """2, which shells and typer use as well."""
    assert OutputExistsError.exit_code == 2
    assert EpochwiseError.exit_code == 1
