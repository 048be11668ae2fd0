"""Bytes that a training step holds, and the most that it holds at once.

Conventions, the same for every framework:

* A view takes no room of its own.
* activations: tensors made in the forward pass, parameters and the batch itself not among them, that a backward operation
  reads.
* peak: parameters, the optimizer's variables and the batch are there all the time; any other tensor from the operation that
  makes it to the last one that reads it. A tensor that the update makes and nothing reads is a new weight or state, written in
  the place of the old one.
* The trace's operations are taken one by one. A compiler that fuses several needs less; workspace inside a kernel is not known.
"""

from __future__ import annotations

from itertools import accumulate

from epochwise.counting.counts import MemoryBytes
from epochwise.counting.flow import Flow


def memory_bytes(flow: Flow) -> MemoryBytes:
    """Memory of the step that the flow is of."""
    trace = flow.trace
    gradients = [trace.values[p.value].bytes for p in trace.parameters if p.trainable and p.gradient is not None]
    return MemoryBytes(
        parameters=sum(trace.values[parameter.value].bytes for parameter in trace.parameters),
        gradients=sum(gradients),
        optimizer=sum(trace.values[value].bytes for value in trace.optimizer_state),
        activations=sum(trace.values[value].bytes for value in _kept(flow)),
        peak=peak_of(flow),
    )


def _kept(flow: Flow) -> set[int]:
    """Roots made forward and read backward."""
    operations = flow.trace.operations
    made = {value for value, place in flow.born.items() if operations[place].phase == "forward"}
    read: set[int] = set()
    for place, operation in enumerate(operations):
        if operation.phase == "backward" and not flow.is_alias(place):
            read.update(flow.root[value] for value in operation.inputs)
    return (made & read) - flow.given


def peak_of(flow: Flow) -> int:
    """Largest sum of the bytes alive over the operations of a step."""
    trace = flow.trace
    base = sum(trace.values[value].bytes for value in flow.given)
    changes = [0] * (len(trace.operations) + 1)
    for value, born in flow.born.items():
        last = max(flow.readers.get(value, [born])[-1], flow.maker[value])
        overwrites = value not in flow.readers and trace.operations[born].phase == "update"
        if value not in flow.given and not overwrites:
            changes[born] += trace.values[value].bytes
            changes[last + 1] -= trace.values[value].bytes
    return base + max(accumulate(changes), default=0)
