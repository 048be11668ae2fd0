"""Optimizers by name: capitals do not matter, momentum is SGD's, what there is not is told with what there is."""

from __future__ import annotations

import pytest

from epochwise.errors import UsageError
from epochwise.subjects.optimizers import kind_named

KINDS = {"SGD": "the class SGD", "AdamW": "the class AdamW"}


def test_names():
    """The class, and the arguments that the name stands for."""
    assert kind_named("adamw", KINDS, "Some") == ("the class AdamW", {})
    assert kind_named(" SGD ", KINDS, "Some") == ("the class SGD", {})
    assert kind_named("momentum", KINDS, "Some") == ("the class SGD", {"momentum": 0.9})


def test_what_there_is_not():
    """Near names are suggested; otherwise one that works."""
    with pytest.raises(UsageError) as caught:
        kind_named("adam", KINDS, "Some")
    assert caught.value.what == "Some has no optimizer 'adam'. It has adamw, momentum, sgd."
    assert caught.value.remedy == "--optimizer adamw"
    with pytest.raises(UsageError, match="It has adamw, momentum, sgd"):
        kind_named("zzz", KINDS, "Some")
