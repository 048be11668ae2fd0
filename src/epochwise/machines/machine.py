"""The record of what this computer can do at best."""

from __future__ import annotations

import bisect
import math

import msgspec

from epochwise.errors import RecordError
from epochwise.records import Record

SCHEMA = "epochwise/machine/1"


class Cache(msgspec.Struct, frozen=True):
    """One level of cache: ``level`` 1, 2, 3; ``bytes`` that one instance holds; ``cores`` that share an instance."""

    level: int
    bytes: int
    cores: int


class Peak(msgspec.Struct, frozen=True):
    """Peak float32 FLOP/s, measured: the best seen, and the spread (interquartile range over median) of the repeats."""

    one_core: float
    all_cores: float
    spread: float


class BandwidthPoint(msgspec.Struct, frozen=True):
    """Bytes read and written per second, all cores together, while cycling through a working set of so many bytes."""

    working_set_bytes: int
    bytes_per_second: float


class Machine(Record, frozen=True, kw_only=True):
    """What this computer can do at best, measured.

    Attributes:
        schema: ``epochwise/machine/1``.
        name: the processor's or device's own name.
        device: ``cpu``, or the framework's name of an accelerator (``cuda:0``).
        cores: cores that this process may use (affinity and cgroup limits considered).
        caches: from the operating system; empty where it does not tell, and on accelerators.
        memory_bytes: main memory (or the device's).
        peak_flops_per_second: float32.
        bandwidth: points in order of working set.
        measured_at: ISO 8601, UTC.
        measuring_seconds: how long measuring took.
        fingerprint: what the record was measured for; another value means another machine.
        notes: load while measuring, frequency, limits, in plain sentences.
    """

    schema: str = SCHEMA
    name: str
    device: str
    cores: int
    caches: tuple[Cache, ...]
    memory_bytes: int
    peak_flops_per_second: Peak
    bandwidth: tuple[BandwidthPoint, ...]
    measured_at: str
    measuring_seconds: float
    fingerprint: str
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str | bytes) -> Machine:
        """The record that :meth:`to_json` wrote.

        Raises:
            RecordError: not JSON, not this schema, or without figures.
        """
        try:
            found = msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordError(f"This is not the record of a machine: {error}.") from error
        if found.schema != SCHEMA:
            raise RecordError(f"This record has the schema {found.schema!r}; {SCHEMA!r} is what can be read.")
        if not (found.bandwidth and found.peak > 0 and all(point.bytes_per_second > 0 for point in found.bandwidth)):
            raise RecordError("This record of a machine holds no peak or no bandwidth.")
        return found

    @property
    def peak(self) -> float:
        """Peak float32 FLOP/s of all cores."""
        return self.peak_flops_per_second.all_cores

    def bandwidth_at(self, working_set_bytes: float) -> float:
        """Bytes per second for a working set of this size, interpolated in its logarithm between the measured points."""
        points = self.bandwidth
        sizes = [point.working_set_bytes for point in points]
        place = bisect.bisect_left(sizes, working_set_bytes)
        if place == 0:
            return points[0].bytes_per_second
        if place == len(points):
            return points[-1].bytes_per_second
        low, high = points[place - 1], points[place]
        share = math.log(working_set_bytes / low.working_set_bytes) / math.log(high.working_set_bytes / low.working_set_bytes)
        return low.bytes_per_second + share * (high.bytes_per_second - low.bytes_per_second)
