"""Bytes that a training step holds, and the most that it holds at once.

Where the framework makes and frees memory while the step runs (PyTorch), the trace has each storage with its life, and:

* activations: storages made in the forward pass that autograd keeps for the backward pass. Views share one storage, which is
  kept whole; parameters, buffers and the batch itself, which are there before the step, are not among them.
* peak: the largest sum of the storages that are there at once. A gradient stays to the end of the step.

Where a compiler manages memory (JAX, TensorFlow), its program says only who makes and reads what, and:

* A view takes no room of its own.
* activations: tensors made in the forward pass, parameters and the batch itself not among them, that a backward operation
  reads.
* peak: parameters, the optimizer's variables and the batch are there all the time; any other tensor from the operation that
  makes it to the last one that reads it. A tensor that the update makes and nothing reads is a new weight or state, written in
  the place of the old one.

The operations are taken one by one. A compiler that fuses several needs less; workspace inside a kernel is not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

from epochwise.counting.counts import MemoryBytes
from epochwise.counting.flow import Flow

Life = tuple[int, int | None, int | None]
"""Bytes; place of the operation that makes it (``None``: before the step); operations that have run when it is freed."""


def memory_bytes(flow: Flow) -> MemoryBytes:
    """Memory of the step that the flow is of."""
    trace = flow.trace
    gradients = [trace.values[p.value].bytes for p in trace.parameters if p.trainable and p.gradient is not None]
    return MemoryBytes(
        parameters=sum(trace.values[parameter.value].bytes for parameter in trace.parameters),
        gradients=sum(gradients),
        optimizer=sum(trace.values[value].bytes for value in trace.optimizer_state),
        activations=_kept(flow),
        peak=peak_of(flow),
    )


def _kept(flow: Flow) -> int:
    """Bytes of forward values that are kept for the backward pass."""
    trace = flow.trace
    if trace.storages:
        return sum(storage.bytes for storage in trace.storages if storage.kept and storage.born is not None)
    return sum(trace.values[value].bytes for value in _read_backward(flow))


def _read_backward(flow: Flow) -> set[int]:
    """Roots made forward and read backward."""
    operations = flow.trace.operations
    made = {value for value, place in flow.born.items() if operations[place].phase == "forward"}
    read: set[int] = set()
    for place, operation in enumerate(operations):
        if operation.phase == "backward" and not flow.is_alias(place):
            read.update(flow.root[value] for value in operation.inputs)
    return (made & read) - flow.given


def _lives(flow: Flow) -> Iterable[Life]:
    """What the step holds: as it was seen, or else as far as it shows in who makes and reads what."""
    trace = flow.trace
    if trace.storages:
        yield from ((storage.bytes, storage.born, storage.freed) for storage in trace.storages)
        return
    for value in flow.given:
        yield trace.values[value].bytes, None, None
    for value, born in flow.born.items():
        last = max(flow.readers.get(value, [born])[-1], flow.maker[value])
        overwrites = value not in flow.readers and trace.operations[born].phase == "update"
        if value not in flow.given and not overwrites:
            yield trace.values[value].bytes, born, last + 1


def peak_of(flow: Flow) -> int:
    """Largest sum of the bytes alive over the operations of a step."""
    changes: Counter[int] = Counter()
    for size, born, freed in _lives(flow):
        changes[born or 0] += size
        if freed is not None:
            changes[max(freed, (born or 0) + 1)] -= size
    return max(accumulate(changes[place] for place in sorted(changes)), default=0)
