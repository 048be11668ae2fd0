"""The environment of a process that runs trials: one thread, no accelerator, one backend, and quiet."""

from __future__ import annotations

from epochwise.measuring.workers import QUIET

ONE_THREAD = {
    # OpenMP (PyTorch), OpenBLAS, MKL and Apple's library behind NumPy.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    # XLA takes the size of its pool from here.
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
"""As many trials run at once as there are cores, so each has one; and sums are then added in one order on every machine."""

PROCESSORS_ONLY = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
"""An accelerator would give other bits, and is not shared between trials."""


def environment(backend: str | None) -> dict[str, str]:
    """Variables to be set in a process before it starts. Those of the user stay, except where these contradict them.

    Args:
        backend: of Keras; ``None`` leaves the choice to the environment.
    """
    return {**QUIET, **ONE_THREAD, **PROCESSORS_ONLY, **({"KERAS_BACKEND": backend} if backend else {})}
