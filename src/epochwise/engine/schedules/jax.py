"""A function of one step over many steps, as one JAX program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from epochwise.engine.network import Float32


def mapped(function: Callable[[Any], Any]) -> Callable[[Any], Float32]:
    """From an array of steps to what the function says of each.

    Args:
        function: from the number of a step to a learning rate; it must be one that JAX can trace.
    """
    many = jax.jit(lambda steps: jax.lax.map(lambda step: jax.numpy.asarray(function(step), "float32"), steps))
    return lambda steps: np.asarray(many(steps.astype("int32")), np.float32)
