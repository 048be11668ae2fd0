"""Counts both sides of each question in examples/cases on Keras's active backend; prints them as JSON."""

import json
import os
import sys
from pathlib import Path

import msgspec

from epochwise.counting import count
from epochwise.subjects.datasets import DataSpec, load_data
from epochwise.subjects.loading import load_subject
from epochwise.subjects.models import parse_model

FOLDER = Path(__file__).parents[2] / "examples" / "cases"
BACKEND = os.environ["KERAS_BACKEND"]
CASES = {
    "cnn_and_mlp": (("mlp", "cnn"), (28, 28, 1), 32),
    "depthwise": (("dense", "depthwise"), (64, 64, 3), 2),
    "grouped": (("dense", "grouped"), (32, 32, 64), 32),
    "recurrent_dropout": (("plain", "with_dropout"), (64, 32), 32),
}
found = {}
for case, (names, shape, batch) in CASES.items():
    data = load_data(DataSpec("random", shape, 10, samples=batch), BACKEND)
    for name in names:
        subject = load_subject(parse_model(f"{FOLDER / case}.py:{name}"), data, backend=BACKEND, batch_size=batch, seed=0)
        found[f"{case}:{name}"] = msgspec.to_builtins(count(subject.model, batch, data.x, data.y))
sys.stdout.write(json.dumps(found) + "\n")
