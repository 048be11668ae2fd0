"""Tests that need a Keras backend run in a process of their own: a process has one backend, and may import anything."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PRELUDE = """
import sys
import numpy as np
from epochwise.errors import *
from epochwise.subjects.models import parse_model, ModelSpec
from epochwise.subjects.datasets import Dataset, DataSpec, load_data, make_dataset
from epochwise.subjects.loading import load_subject, subject_of
import epochwise.errors as errors

BACKEND = {backend!r}
IMAGES = load_data(DataSpec(source="random", input_shape=(28, 28, 1), classes=10, samples=64))

def load(model, data=IMAGES, backend=BACKEND, seed=0):
    return load_subject(parse_model(model), data, backend=backend, batch_size=32, seed=seed)

def refused(kind, model, *parts, data=IMAGES, **options):
    try:
        load(model, data, **options)
    except errors.EpochwiseError as problem:
        assert type(problem) is kind, (type(problem), str(problem))
        for part in parts:
            assert part in str(problem), (part, str(problem))
    else:
        raise AssertionError(model + " was not refused")
"""


@pytest.fixture
def run_with(tmp_path: Path):
    """Runs Python code with a Keras backend in ``tmp_path``; fails with what it printed when it does not end well."""

    def run(backend: str, code: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE.format(backend=backend) + textwrap.dedent(code)],
            cwd=tmp_path,
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
