"""A function of one step over many steps, as one TensorFlow graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from epochwise.engine.network import Float32


def mapped(function: Callable[[Any], Any]) -> Callable[[Any], Float32]:
    """From an array of steps to what the function says of each.

    Args:
        function: from the number of a step to a learning rate; it must be one that TensorFlow can trace.
    """

    @tf.function
    def many(steps: Any) -> Any:
        return tf.map_fn(lambda step: tf.cast(function(step), tf.float32), steps, fn_output_signature=tf.float32)

    return lambda steps: np.asarray(many(tf.constant(steps, tf.int64)), np.float32)
