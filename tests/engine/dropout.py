"""The compiled trainer's dropout masks, worked out once more, for the plain trainer."""

from __future__ import annotations

import numpy as np

WORD = (1 << 64) - 1


def hashed(numbers):
    """splitmix64 (S. Vigna 2015)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def masks_of(trainer, data, batch_size):
    """What a :class:`PlainTrainer` takes for ``keep``: the masks that this compiled trainer makes."""
    tensors = trainer.plan_for(data, batch_size).planning.tensors

    def keep(operation, step, shape):
        form = tensors[operation.inputs[0]].form
        start = np.array([(step + operation.seed * 0x2545F491) & WORD], np.uint64)
        with np.errstate(over="ignore"):
            numbers = hashed(hashed(start) + np.arange(shape[0] * form.size, dtype=np.uint64))
        uniform = (numbers >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        kept = (uniform >= np.float32(operation.rate)).reshape(shape[0], form.blocks, form.pitch)
        return kept[:, :, : form.channels].reshape(shape)

    return keep
