"""The GPU that TensorFlow sees first: its peaks. Exercised on the CPU device only."""

from __future__ import annotations

import psutil
import tensorflow as tf
from tensorflow.python.client import device_lib  # the one place where TensorFlow tells a device's memory

from epochwise.machines import device
from epochwise.machines.machine import Machine
from epochwise.machines.measure import Progress


class TensorflowProbe:
    """TensorFlow's side of measuring one device, see :class:`epochwise.machines.device.Probe`.

    Args:
        where: the logical device, ``GPU:0``.
        name: the device's own name, where it is known.
        memory_bytes: what TensorFlow may take of the device's memory; main memory where it is not given.
    """

    def __init__(self, where: str, name: str = "", memory_bytes: int = 0) -> None:
        self._where = where
        self.framework = f"tensorflow {tf.__version__}"
        self.device = where.lower()
        self.name = name or self.device
        self.memory_bytes = memory_bytes or psutil.virtual_memory().total
        tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
        self.precision = f"TensorFlow multiplies float32 {'with TF32 where the device has it' if tf32 else 'without TF32'}."

    def product(self, side: int) -> device.Runner:
        """The float32 product of two square matrices."""
        with tf.device(self._where):
            a = tf.fill((side, side), 0.5)
            b = tf.fill((side, side), 0.25)

            def run(times: int) -> None:
                with tf.device(self._where):
                    for _ in range(times):
                        result = tf.linalg.matmul(a, b)
                    result[0, 0].numpy()  # waits for the device, which works in order

        return run

    def update(self, elements: int) -> device.Runner:
        """``x += c`` on a variable."""
        with tf.device(self._where):
            x = tf.Variable(tf.ones(elements))
            c = tf.constant(1e-7)

        def run(times: int) -> None:
            with tf.device(self._where):
                for _ in range(times):
                    x.assign(x + c)
                x[0].numpy()

        return run


def device_machine(refresh: bool = False, progress: Progress | None = None) -> Machine | None:
    """What TensorFlow's first GPU can do at best, or ``None`` where it sees none."""
    found = tf.config.list_physical_devices("GPU")
    if not found:
        return None
    name = tf.config.experimental.get_device_details(found[0]).get("device_name", "")
    limits = [local.memory_limit for local in device_lib.list_local_devices() if local.device_type == "GPU"]
    return device.device_machine(TensorflowProbe("GPU:0", name, limits[0]), refresh, progress)
