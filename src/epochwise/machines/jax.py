"""The accelerator that JAX uses by default: its peaks. Exercised on the CPU device only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import psutil

from epochwise.machines import device
from epochwise.machines.machine import Machine
from epochwise.machines.measure import Progress


class JaxProbe:
    """JAX's side of measuring one device, see :class:`epochwise.machines.device.Probe`."""

    def __init__(self, where: jax.Device) -> None:
        self._where = where
        self.framework = f"jax {jax.__version__}"
        self.name = where.device_kind
        self.device = f"{where.platform}:{where.id}"
        facts = where.memory_stats() or {}  # the CPU device keeps none
        self.memory_bytes = int(facts.get("bytes_limit", psutil.virtual_memory().total))
        setting = jax.config.jax_default_matmul_precision or "default"
        self.precision = f"JAX multiplies float32 with precision {setting!r}"
        if where.platform != "cpu" and setting == "default":
            self.precision += ", which may be TF32 (bfloat16 on a TPU)"
        self.precision += "."

    def product(self, side: int) -> device.Runner:
        """The float32 product of two square matrices."""
        a = jax.device_put(jnp.full((side, side), 0.5, jnp.float32), self._where)
        b = jax.device_put(jnp.full((side, side), 0.25, jnp.float32), self._where)
        multiply = jax.jit(jnp.matmul)

        def run(times: int) -> None:
            # Results are dropped as they come; the device works in order, so waiting for the last is waiting for all.
            for _ in range(times):
                result = multiply(a, b)
            result.block_until_ready()

        return run

    def update(self, elements: int) -> device.Runner:
        """``x = x + c`` into the same memory, which is given away and taken back."""
        held = [jax.device_put(jnp.ones(elements, jnp.float32), self._where)]
        add = jax.jit(lambda x: x + 1e-7, donate_argnums=0)

        def run(times: int) -> None:
            x = held.pop()
            for _ in range(times):
                x = add(x)
            x.block_until_ready()
            held.append(x)

        return run


def device_machine(refresh: bool = False, progress: Progress | None = None) -> Machine | None:
    """What JAX's default accelerator can do at best, or ``None`` where its default is the processor."""
    where = jax.devices()[0]
    if where.platform == "cpu":
        return None
    return device.device_machine(JaxProbe(where), refresh, progress)
