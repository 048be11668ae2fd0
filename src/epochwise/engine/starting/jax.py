"""Keras on JAX compiles a program for the shape of each weight that it draws, which takes longer than all else."""

from __future__ import annotations

import os

import jax

from epochwise.engine.library import folder


def keep_compiled() -> None:
    """Let JAX keep what it compiles beside the engine's kernels, so that the next process reads it.

    A user's own cache (``JAX_COMPILATION_CACHE_DIR``) stays in use. Where nothing can be written, JAX compiles as always, and
    what it cannot read it compiles again.
    """
    where = folder().parent / "jax"
    if jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(where, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(where))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
