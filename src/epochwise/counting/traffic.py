"""What crosses the borders of layers: activations, and the bytes that a layer moves at the least.

Only tensors at a border count, so that it makes no difference how many operations a framework uses inside a layer, or which of
them it fuses. A tensor is *at a border* if it goes into or comes out of any layer call (or the loss), or is the batch. For one
call, with its own operations (those of layers inside it are theirs):

* inputs: tensors at a border that its forward operations read and do not make; weights: parameters that they read.
* outputs: tensors at a border that its forward operations make.
* Operations that only give a tensor another shape or order read and make nothing: a ``Flatten`` moves 0 bytes and has no
  activations, whether the framework has views or copies.
* A lookup (``Embedding``) reads of its table as much as it writes, not all of it.

Bytes of a step:

* forward = inputs + weights read + outputs written.
* backward (if the call has a backward operation) = gradients of the outputs read + inputs and outputs read again + weights read
  again, if an input needs a gradient + gradients of those inputs written + gradients of the trainable weights written. An
  input needs a gradient if a trainable weight had a part in making it.
* update, for each trainable weight with a gradient = weight and gradient read, weight written, and each of the optimizer's
  variables of the weight's shape read and written.

A tensor inside a loop counts each time that it is read or made. Gradients have the size of what they are gradients of.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from epochwise.counting.flow import Flow
from epochwise.tracing.trace import Parameter


class Border(NamedTuple):
    """What crosses the border of one call: bytes and elements by root, each already times how often.

    Attributes:
        inputs: bytes read, by root.
        weights: bytes read of parameters, by root.
        outputs: bytes written, by root.
        elements: elements written.
        backward: whether the call has backward operations.
    """

    inputs: dict[int, int]
    weights: dict[int, int]
    outputs: dict[int, int]
    elements: int
    backward: bool


def borders(flow: Flow) -> dict[int | None, Border]:
    """What crosses the border of each call; ``None`` stands for the step outside any call."""
    trace, root = flow.trace, flow.root
    at_border = _at_border(flow)
    made: dict[int | None, Counter[int]] = defaultdict(Counter)
    read: dict[int | None, Counter[int]] = defaultdict(Counter)
    looked_up: dict[int | None, Counter[int]] = defaultdict(Counter)
    backward: set[int | None] = set()
    for place, (operation, rule) in enumerate(zip(trace.operations, flow.rules, strict=True)):
        if operation.phase == "backward":
            backward.add(operation.call)
        if operation.phase != "forward" or flow.is_view(place):
            continue
        times = operation.times or 1
        for value in operation.outputs:
            if root[value] in at_border:
                made[operation.call][root[value]] = max(made[operation.call][root[value]], times)
        for position, value in enumerate(operation.inputs):
            at = root[value]
            if rule is not None and rule.family == "lookup" and position == 0:
                looked_up[operation.call][at] += times * sum(trace.values[output].bytes for output in operation.outputs)
            elif at in at_border or at in flow.parameters:
                read[operation.call][at] = max(read[operation.call][at], times)
    calls: list[int | None] = [*range(len(trace.calls)), None]
    return {call: _border(flow, made[call], read[call], looked_up[call], backward=call in backward) for call in calls}


def _at_border(flow: Flow) -> set[int]:
    """Roots that go into or come out of a call, and the batch.

    A call whose output nobody needed, because the loss reads something inside it (TensorFlow's cross-entropy takes the logits
    and leaves out the softmax), has at its border what other calls read of it.
    """
    trace, root = flow.trace, flow.root
    border = {root[value] for call in trace.calls for value in (*call.inputs, *call.outputs)}
    border.update(root[value] for value in trace.inputs)
    left_out = {
        number
        for number, call in enumerate(trace.calls)
        if call.outputs and not any(root[value] in flow.born or root[value] in flow.given for value in call.outputs)
    }
    for value, place in flow.born.items():
        call = trace.operations[place].call
        if call in left_out and trace.operations[place].phase == "forward":
            readers = (trace.operations[reader] for reader in flow.readers.get(value, ()))
            if any(reader.phase == "forward" and reader.call != call for reader in readers):
                border.add(value)
    return border


def _border(flow: Flow, made: Counter[int], read: Counter[int], looked_up: Counter[int], *, backward: bool) -> Border:
    values = flow.trace.values
    through = {value: values[value].bytes * times for value, times in read.items() if value not in made}
    for value, amount in looked_up.items():
        if value not in made:
            through[value] = min(values[value].bytes, through.get(value, 0) + amount)
    return Border(
        inputs={value: amount for value, amount in through.items() if value not in flow.parameters},
        weights={value: amount for value, amount in through.items() if value in flow.parameters},
        outputs={value: values[value].bytes * times for value, times in made.items()},
        elements=sum(values[value].elements * times for value, times in made.items()),
        backward=backward,
    )


def forward_bytes(border: Border) -> int:
    """Bytes that a call moves in the forward pass."""
    return sum(border.inputs.values()) + sum(border.weights.values()) + sum(border.outputs.values())


def backward_bytes(flow: Flow, border: Border) -> int:
    """Bytes that a call moves in the backward pass."""
    if not border.backward:
        return 0
    trained = {flow.root[p.value] for p in flow.trace.parameters if p.trainable and p.gradient is not None}
    arriving = sum(amount for value, amount in border.outputs.items() if _differentiable(flow, value))
    leaving = sum(amount for value, amount in border.inputs.items() if _differentiable(flow, value))
    again = sum(border.inputs.values()) + sum(border.outputs.values())
    weights = sum(border.weights.values()) if leaving else 0
    written = sum(flow.trace.values[value].bytes for value in border.weights if value in trained)
    return arriving + again + weights + leaving + written


def _differentiable(flow: Flow, value: int) -> bool:
    return value in flow.learned and "float" in flow.trace.values[value].dtype


def update_bytes(flow: Flow) -> dict[int, int]:
    """Bytes that the optimizer moves for each weight that it updates, by the parameter's place in the trace."""
    values = flow.trace.values
    updated = [(place, p) for place, p in enumerate(flow.trace.parameters) if p.trainable and p.gradient is not None]

    def shape(parameter: Parameter) -> tuple[int, ...]:
        return values[parameter.value].shape

    sharing = Counter(shape(parameter) for _, parameter in updated)
    state: Counter[tuple[int, ...]] = Counter()
    for number in flow.trace.optimizer_state:
        if "float" in values[number].dtype:
            state[values[number].shape] += values[number].bytes
    return {
        place: 3 * values[parameter.value].bytes + 2 * (state[shape(parameter)] // sharing[shape(parameter)])
        for place, parameter in updated
    }
