"""MODEL strings."""

from __future__ import annotations

import pytest

from epochwise.errors import ModelNotFoundError, UsageError
from epochwise.subjects.models import defined_names, find_module, parse_model

SOURCE = """
import os
raise RuntimeError("parsing must not run this file")

def build_small(): ...

async def later(): ...

class Net: ...

if True:
    def build_large(input_shape, output_shape): ...

made = build_small
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(SOURCE)
    package = tmp_path / "shop"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text('raise RuntimeError("no package may be run to find a module")')
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "nets.py").write_text("def build(): ...")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("function", ["build_small", "build_large", "Net", "made"])
def test_file_and_function(folder, function):
    """A function, class or name in a file is found from the source; the file is not run."""
    spec = parse_model(f"nets.py:{function}")
    assert (spec.file, spec.module, spec.function, spec.arguments) == ("nets.py", None, function, {})
    assert spec.name == function


def test_module_and_function(folder):
    """A dotted module is found in the current folder without running its packages."""
    spec = parse_model("shop.inner.nets:build")
    assert (spec.file, spec.module, spec.function) == (None, "shop.inner.nets", "build")
    assert find_module("shop.inner.nets") == folder / "shop" / "inner" / "nets.py"
    assert find_module("shop.outer") is None
    assert find_module("epochwise.errors").name == "errors.py"


def test_arguments_are_literals(folder):
    """Keyword arguments are read as literals, and are part of the name; colons and brackets inside do not confuse."""
    spec = parse_model("nets.py:build_small(depth=3, kind='a:b (c)', sizes=(1, 2), bias=False)")
    assert spec.arguments == {"depth": 3, "kind": "a:b (c)", "sizes": (1, 2), "bias": False}
    assert spec.name == "build_small(depth=3, kind='a:b (c)', sizes=(1, 2), bias=False)"
    assert parse_model("nets.py:build_small()").name == "build_small"


@pytest.mark.parametrize("call", ["(3)", "(depth=os.sep)", "(**{})", "(depth=)"])
def test_other_arguments_are_refused(folder, call):
    """Positional arguments and expressions are refused, with a line that works."""
    with pytest.raises(UsageError, match="cannot be read") as caught:
        parse_model(f"nets.py:build_small{call}")
    assert "keyword=literal" in caught.value.cause
    assert "nets.py:build_small(depth=3" in caught.value.remedy


def test_keras_file(folder):
    """A .keras file is named by its stem; one that is missing is refused, naming those that are like it."""
    (folder / "mine.keras").write_bytes(b"")
    spec = parse_model("mine.keras")
    assert (spec.keras_file, spec.name, spec.function) == ("mine.keras", "mine", None)
    with pytest.raises(ModelNotFoundError, match=r"'mime\.keras', which does not exist") as caught:
        parse_model("mime.keras")
    assert caught.value.remedy == "mine.keras"


def test_missing_file(folder):
    """A missing file is named, with the current folder and near matches."""
    with pytest.raises(ModelNotFoundError, match=r"'net\.py', which does not exist") as caught:
        parse_model("net.py:build_small")
    assert str(folder) in caught.value.cause
    assert "Near it: nets.py" in caught.value.cause
    with pytest.raises(ModelNotFoundError, match="a folder"):
        parse_model("shop/:build")


def test_missing_function(folder):
    """A missing function is named, with near matches, the functions that are there, and the line that works."""
    with pytest.raises(ModelNotFoundError, match=r"no function 'build_smal' in nets\.py") as caught:
        parse_model("nets.py:build_smal")
    assert "Did you mean build_small" in caught.value.cause
    assert "It defines build_small, later, Net and build_large." in caught.value.cause
    assert caught.value.remedy == "nets.py:build_small"


def test_missing_module(folder):
    """A module that cannot be found is named; a near one in the current folder is offered."""
    with pytest.raises(ModelNotFoundError, match="module 'netz'") as caught:
        parse_model("netz:build")
    assert caught.value.remedy == "nets:build"


def test_file_without_function(folder):
    """A file without a function in the MODEL string is answered with the functions that it has."""
    with pytest.raises(UsageError, match="names a file, but no function") as caught:
        parse_model("nets.py")
    assert "build_small, later, Net" in caught.value.cause
    assert caught.value.remedy == "nets.py:build_small"
    assert "os" not in defined_names(folder / "nets.py")[0]


@pytest.mark.parametrize("text", ["", "nonsense", "a b:c", ":f", "nets.py:1f"])
def test_malformed(folder, text):
    """Anything else is refused with the forms that there are."""
    with pytest.raises(UsageError, match="cannot be understood") as caught:
        parse_model(text)
    assert "file.py:function" in caught.value.cause


def test_names_that_cannot_be_read_off(folder):
    """Where the source does not tell all names, the check is left to running it."""
    for source in ("from os import *", "def __getattr__(name): ...", "def broken(:"):
        (folder / "odd.py").write_text(source)
        assert defined_names(folder / "odd.py")[2]
        assert parse_model("odd.py:anything").function == "anything"
