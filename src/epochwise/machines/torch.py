"""The accelerator that PyTorch sees (CUDA, ROCm, Apple's): its peaks. Exercised on the CPU device only."""

from __future__ import annotations

import psutil
import torch

from epochwise.machines import device
from epochwise.machines.machine import Machine
from epochwise.machines.measure import Progress


class TorchProbe:
    """PyTorch's side of measuring one device, see :class:`epochwise.machines.device.Probe`."""

    def __init__(self, where: torch.device) -> None:
        self._where = where
        self.framework = f"torch {torch.__version__}"
        self.device = str(where)
        self.name, self.memory_bytes = self.device, psutil.virtual_memory().total
        if where.type == "cuda":
            properties = torch.cuda.get_device_properties(where)
            self.name, self.memory_bytes = properties.name, properties.total_memory
        setting = torch.get_float32_matmul_precision()
        self.precision = f"PyTorch multiplies float32 matrices with precision {setting!r}"
        if where.type == "cuda" and setting == "highest":
            self.precision += " (no TF32); its convolutions may use TF32 and go beyond this peak"
        self.precision += "."

    def product(self, side: int) -> device.Runner:
        """The float32 product of two square matrices."""
        a = torch.full((side, side), 0.5, device=self._where)
        b = torch.full((side, side), 0.25, device=self._where)
        result = torch.empty_like(a)

        def run(times: int) -> None:
            with torch.no_grad():
                for _ in range(times):
                    torch.mm(a, b, out=result)
            self._wait()

        return run

    def update(self, elements: int) -> device.Runner:
        """``x += c``, in place."""
        x = torch.ones(elements, device=self._where)

        def run(times: int) -> None:
            with torch.no_grad():
                for _ in range(times):
                    x.add_(1e-7)
            self._wait()

        return run

    def _wait(self) -> None:
        if self._where.type != "cpu":
            torch.accelerator.synchronize(self._where)


def device_machine(refresh: bool = False, progress: Progress | None = None) -> Machine | None:
    """What PyTorch's accelerator can do at best, or ``None`` where it sees none."""
    if not torch.accelerator.is_available():
        return None
    kind = torch.accelerator.current_accelerator()
    where = torch.device(kind.type, torch.accelerator.current_device_index())
    return device.device_machine(TorchProbe(where), refresh, progress)
