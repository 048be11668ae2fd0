"""The accelerators' routine, on a made-up device and on the frameworks' CPU devices (no accelerator was at hand)."""

from __future__ import annotations

import time

import pytest

from epochwise.machines import device
from epochwise.machines.machine import Machine

SIDES, SIZES = (128, 256), (2**16, 2**20)


class PretendProbe:
    """A device of 1 TFLOP/s and 100 GB/s, on which starting any kernel takes 50 microseconds; its time is made up."""

    framework, name, device, precision = "pretend 1.0", "Pretend 9000", "pretend:0", "Exactly."
    memory_bytes = 2**30

    def __init__(self, monkeypatch) -> None:
        self.now = 0.0
        self.asked = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def _runner(self, seconds):
        def run(times):
            self.now += times * (50e-6 + seconds)

        return run

    def product(self, side):
        self.asked.append(side)
        return self._runner(2 * side**3 / 1e12)

    def update(self, elements):
        self.asked.append(elements * 4)
        return self._runner(8 * elements / 1e11)


def test_peak_and_bandwidth_of_a_known_device(monkeypatch):
    """To a few per cent, which the start of a kernel takes."""
    found = device.measure_device(PretendProbe(monkeypatch))
    assert found.peak == pytest.approx(1e12, rel=0.01)
    assert found.bandwidth_at(2**27) == pytest.approx(1e11, rel=0.03)
    assert found.device == "pretend:0"
    assert "Exactly." in found.notes


def test_starting_kernels_is_not_taken_for_bandwidth(monkeypatch):
    """A small array takes 50 microseconds to start and 1 to update: no point is below those of larger arrays."""
    found = device.measure_device(PretendProbe(monkeypatch))
    rates = [point.bytes_per_second for point in found.bandwidth]
    assert rates[0] == pytest.approx(1e11, rel=0.03)
    assert rates == sorted(rates, reverse=True)


def test_arrays_fit_the_device(monkeypatch):
    """An eighth of its memory at most."""
    probe = PretendProbe(monkeypatch)
    device.measure_device(probe)
    assert max(asked for asked in probe.asked if asked > 8192) == 2**27


def test_a_slow_device_is_not_given_matrices_for_minutes(monkeypatch):
    """At 1 TFLOP/s a side of 8192 takes 1.1 seconds: left out."""
    probe = PretendProbe(monkeypatch)
    device.measure_device(probe)
    assert [asked for asked in probe.asked if asked <= 8192] == [1024, 2048, 4096]


def test_progress_counts_to_its_total(monkeypatch):
    """Also where a product is left out."""
    calls = []
    device.measure_device(PretendProbe(monkeypatch), progress=lambda *call: calls.append(call))
    assert [call[0] for call in calls] == list(range(len(calls)))
    assert calls[-1][0] == calls[-1][1]


def test_a_device_is_kept_like_a_processor(cache, monkeypatch):
    """Measured once; another precision is another machine."""
    probe = PretendProbe(monkeypatch)
    first = device.device_machine(probe)
    probe.asked.clear()
    assert device.device_machine(probe) == first
    assert probe.asked == []
    probe.precision = "Roughly."
    assert device.device_machine(probe).fingerprint != first.fingerprint


def plausible(found: Machine) -> None:
    assert 1e8 < found.peak < 1e14
    assert len(found.bandwidth) == len(SIZES)
    assert all(1e7 < point.bytes_per_second < 1e14 for point in found.bandwidth)
    assert Machine.from_json(found.to_json()) == found


@pytest.mark.torch
def test_torch_on_its_cpu_device():
    """The framework's side does what it says: the update adds, the product runs."""
    import torch

    from epochwise.machines.torch import TorchProbe, device_machine

    probe = TorchProbe(torch.device("cpu"))
    plausible(device.measure_device(probe, sides=SIDES, working_sets=SIZES))
    assert "precision 'highest'" in probe.precision
    if not torch.accelerator.is_available():
        assert device_machine() is None


@pytest.mark.jax
def test_jax_on_its_cpu_device():
    """Memory that was given away is taken back, over and over, without a warning."""
    import jax

    from epochwise.machines.jax import JaxProbe, device_machine

    probe = JaxProbe(jax.devices("cpu")[0])
    plausible(device.measure_device(probe, sides=SIDES, working_sets=SIZES))
    assert "precision 'default'" in probe.precision
    if jax.default_backend() == "cpu":
        assert device_machine() is None


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("default")  # TensorFlow's own import warns
def test_tensorflow_on_its_cpu_device():
    """The variable is updated, the product runs."""
    import tensorflow as tf

    from epochwise.machines.tensorflow import TensorflowProbe, device_machine

    probe = TensorflowProbe("CPU:0")
    plausible(device.measure_device(probe, sides=SIDES, working_sets=SIZES))
    assert "TF32" in probe.precision
    if not tf.config.list_physical_devices("GPU"):
        assert device_machine() is None
