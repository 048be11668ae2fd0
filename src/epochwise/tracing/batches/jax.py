"""Keeps what JAX remembers of a function apart: what the user's program traced, and what is traced here."""

from __future__ import annotations

import contextlib

from jax.experimental.xla_metadata import set_xla_metadata


def kept_apart(purpose: str) -> contextlib.AbstractContextManager[object]:
    """While it is open, JAX uses nothing that it traced under another purpose, and nothing is used of it afterwards.

    ``jax.checkpoint`` and ``jax.jit`` keep the jaxpr of each function that they have seen, with the arrays that it closes
    over. Keras puts tracers into its variables while it traces, so such a jaxpr holds the weights of another trace, as
    constants: their gradients are gone, and with them the contractions that compute them. JAX looks its jaxprs up under the
    metadata that programs are to carry, too, so metadata of our own hides them, and leaves those of the user in place.
    """
    return set_xla_metadata(epochwise=purpose)
