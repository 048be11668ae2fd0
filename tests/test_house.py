"""How the house is built: who may import a framework, what the root shows, and how long files may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import epochwise

SOURCE = Path(epochwise.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
FRAMEWORKS = ("keras", "tensorflow", "jax", "torch")
BESIDE = {"jaxlib": "jax"}
"""Packages that belong to a framework under another name."""

ALLOWED = {
    "keras": {"keras", "tensorflow", "jax", "torch"},  # Keras runs on each, so a file about a backend may speak to it
    "tensorflow": {"tensorflow"},
    "jax": {"jax"},
    "torch": {"torch"},
}
"""For each framework, the names of the files that may import it."""

USERS_OWN_CODE = Path("subjects/question.py")
"""The exception: the asker's file, kept as data. Nothing imports it; it is loaded as any user's file is."""

LONGEST_FILE = 600
MOST_NAMES = 30

PUBLIC = [
    "Comparison",
    "Counts",
    "Demo",
    "EpochwiseError",
    "Evidence",
    "Explanation",
    "Machine",
    "callbacks",
    "compare",
    "count",
    "demo",
    "evidence",
    "explain",
    "fit",
    "load",
    "machine",
    "watch",
]


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_framework_is_imported_only_in_files_named_after_it(path):
    """Everything else can be read and tested without any framework."""
    if path.relative_to(SOURCE) == USERS_OWN_CODE:
        pytest.skip("the asker's own file, kept as data")
    for package in imported(path):
        framework = BESIDE.get(package, package)
        if framework in FRAMEWORKS:
            assert path.stem in ALLOWED[framework], (
                f"{path.relative_to(SOURCE)} imports {package}; that belongs into a file named {framework}.py"
            )


def test_the_askers_file_is_imported_by_none():
    """It is loaded by its name as a user's file is, so that the exception stays one."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            else:
                continue
            assert "epochwise.subjects.question" not in names, path


@pytest.mark.parametrize("module", ["epochwise", "epochwise.cli.app"])
def test_importing_it_imports_nothing_heavy(module):
    """No framework, no compiler, no drawing library, no SciPy: in a process that imports nothing else."""
    heavy = (*FRAMEWORKS, "numba", "altair", "scipy")
    code = f"import sys, {module}; print(*sorted(sys.modules.keys() & set({heavy!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_root_shows_these_names_and_no_others():
    """Sorted, few, and changed only on purpose."""
    assert epochwise.__all__ == PUBLIC
    assert sorted(epochwise.__all__) == PUBLIC
    assert len(PUBLIC) <= MOST_NAMES


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name):
    """Looked up when it is first used, and listed by ``dir``."""
    assert getattr(epochwise, name).__doc__
    assert name in dir(epochwise)


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    """A misspelt verb is told what there is."""
    with pytest.raises(AttributeError, match=r"'comparison'; it has Comparison, .*, machine"):
        epochwise.comparison  # noqa: B018 - looking it up is the point


def test_no_file_is_long():
    """A file that one cannot read in one go has two subjects."""
    long = {
        str(path.relative_to(SOURCE)): lines for path in FILES if (lines := len(path.read_text().splitlines())) > LONGEST_FILE
    }
    assert not long
