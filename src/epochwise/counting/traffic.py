"""What crosses the borders of layers: activations, and the bytes that a layer moves at the least.

Only tensors at a border count, so that it makes no difference how many operations a framework uses inside a layer, or which of
them it fuses. A tensor is *at a border* if it goes into or comes out of any layer call (or the loss), or is the batch. For one
call, with its own operations (those of layers inside it are theirs):

* inputs: tensors at a border that its forward operations read and do not make; weights: parameters that they read.
* outputs: tensors at a border that its forward operations make.
* Operations that only give a tensor another shape or order read and make nothing: a ``Flatten`` moves 0 bytes and has no
  activations, whether the framework has views or copies.
* A lookup (``Embedding``) reads of its table as much as it writes, not all of it. So does what reads a part of a tensor through
  a view: as much as the parts are together, and at most the whole.

Bytes of a step:

* forward = inputs + weights read + outputs written.
* backward (if the call has a backward operation) = gradients of the outputs read + inputs and outputs read again + weights read
  again, if an input needs a gradient + gradients of those inputs written + gradients of the trainable weights written. An
  input needs a gradient if a trainable weight had a part in making it.
* update, for each trainable weight with a gradient = weight and gradient read, weight written, and each of the optimizer's
  variables of the weight's shape read and written.

A layer that is called inside a loop moves its tensors each time. A loop inside a layer (a recurrent one) moves what crosses the
layer's border once, however often it turns. Gradients have the size of what they are gradients of.
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
    times_of = _times_of_calls(flow)
    parts, at_or_weight = _parts(flow), at_border | flow.parameters
    made: dict[int | None, Counter[int]] = defaultdict(Counter)
    read: dict[int | None, Counter[int]] = defaultdict(Counter)
    partly_read: dict[int | None, dict[int, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    backward: set[int | None] = set()
    for place, (operation, rule) in enumerate(zip(trace.operations, flow.rules, strict=True)):
        if operation.phase == "backward":
            backward.add(operation.call)
        if operation.phase != "forward" or flow.is_view(place):
            continue
        times, call = operation.times or 1, flow.calls[place]
        for value in operation.outputs:
            if root[value] in at_border:
                made[call][root[value]] = times_of[call]
        for position, value in enumerate(operation.inputs):
            at = root[value]
            if at in at_or_weight:
                if rule is not None and rule.family == "lookup" and position == 0:
                    partly_read[call][at][place] = times * sum(trace.values[output].bytes for output in operation.outputs)
                else:
                    read[call][at] = times_of[call]
            elif parts.get(at) in at_or_weight:
                partly_read[call][parts[at]][at] = times * trace.values[at].bytes
    calls: list[int | None] = [*range(len(trace.calls)), None]
    return {
        call: _border(flow, made[call], read[call], partly_read[call], times_of[call], backward=call in backward)
        for call in calls
    }


def _times_of_calls(flow: Flow) -> Counter[int | None]:
    """How often each call runs in a step: as often as the operation of it that runs least."""
    least: Counter[int | None] = Counter()
    for place, operation in enumerate(flow.trace.operations):
        if operation.phase == "forward" and not flow.is_view(place):
            call, times = flow.calls[place], operation.times or 1
            least[call] = min(least.get(call, times), times)
    return least


def _parts(flow: Flow) -> dict[int, int]:
    """By root of a view of a part: the root of the whole."""
    whole: dict[int, int] = {}
    for place, operation in enumerate(flow.trace.operations):
        if flow.is_view(place) and not flow.is_alias(place) and operation.inputs:
            source = flow.root[operation.inputs[0]]
            for output in operation.outputs:
                if flow.root[output] == output:
                    whole[output] = whole.get(source, source)
    return whole


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


def _border(
    flow: Flow, made: Counter[int], read: Counter[int], partly_read: dict[int, Counter[int]], times: int, *, backward: bool
) -> Border:
    values = flow.trace.values
    through = {value: values[value].bytes * often for value, often in read.items() if value not in made}
    for value, amounts in partly_read.items():
        if value not in made:
            through.setdefault(value, min(values[value].bytes * times, amounts.total()))
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
    arriving = sum(amount for value, amount in border.outputs.items() if _differentiable(flow, value))
    leaving = sum(amount for value, amount in border.inputs.items() if _differentiable(flow, value))
    again = sum(border.inputs.values()) + sum(border.outputs.values())
    weights = sum(border.weights.values()) if leaving else 0
    written = sum(flow.trace.values[value].bytes for value in border.weights if value in flow.trained)
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
