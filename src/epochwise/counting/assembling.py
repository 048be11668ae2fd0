"""Trace -> Counts: each operation's cost by its rule, put on the row of the layer that it belongs to.

Rows are layers; what a step does outside of layers is on the rows ``(loss)``, ``(metrics)``, ``(optimizer)`` and, if it is in
none of them, ``(step)``. A container, such as the model itself, has a row only if it does work of its own or owns weights. The
totals are the sums of the rows.

Forward and backward work is on the row of the layer call that it belongs to. The optimizer's work is on the row of the layer
whose weight it updates; what concerns no weight, or several layers at once, such as the norm of all gradients, is on
``(optimizer)``.

``activation_elements`` of a row: elements of the tensors that its calls' own forward operations write and that leave the call
(as an output, or into another layer or the loss); see :mod:`epochwise.counting.traffic`. So a layer's output counts once, with
its activation function; a layer that only reshapes has none; a sum that is taken directly in a container (a residual
connection) belongs to the container; the rows outside layers have none.
"""

from __future__ import annotations

from collections import Counter

from epochwise.counting.counts import Container, Counts, LayerCounts, Number, Parameters, PerSample, Uncounted, Work
from epochwise.counting.flow import Flow
from epochwise.counting.memory import memory_bytes
from epochwise.counting.rules import Cost, Occurrence, Role
from epochwise.counting.traffic import backward_bytes, borders, forward_bytes, update_bytes
from epochwise.tracing.trace import Layer, Operation, Phase, Trace

STEP = "(step)"
"""Row for work of the step that is in no layer and no other part."""
_NAMED = 4
"""Layers that a sentence names; of more, it says how many."""
_PHASES: tuple[Phase, ...] = ("forward", "backward", "update")


class _Row:
    """Sums of one row while they are added up; MACs, FLOPs, elements and bytes of the whole batch."""

    def __init__(self) -> None:
        self.macs: Counter[str] = Counter()  # by role
        self.phase_macs: Counter[str] = Counter()
        self.phase_flops: Counter[str] = Counter()
        self.phase_bytes: Counter[str] = Counter()
        self.elements = 0
        self.parameters = 0
        self.weight_macs = 0  # of forward products with weights
        self.weights: dict[int, int] = {}  # elements of these weights, by root

    def add(self, phase: Phase, role: Role, cost: Cost, times: int) -> None:
        """One operation's cost."""
        if phase != "update":  # an optimizer's products are in its phase's work alone
            self.macs[role] += cost.macs * times
        self.macs["weight_gradient"] += cost.weight_gradient_macs * times
        self.macs["input_gradient"] += cost.input_gradient_macs * times
        self.phase_macs[phase] += (cost.macs + cost.weight_gradient_macs + cost.input_gradient_macs) * times
        self.phase_flops[phase] += cost.other_flops * times

    def add_uses(self, macs: int, weights: dict[int, int]) -> None:
        """MACs of a product with weights, and how many these are, by root; weights that are used again count once."""
        self.weight_macs += macs
        self.weights |= weights

    def work(self, phase: Phase) -> Work:
        """What it does in one phase."""
        return Work(self.phase_macs[phase], self.phase_flops[phase], self.phase_bytes[phase])

    def is_empty(self) -> bool:
        """Whether nothing at all is on it."""
        work = (*self.phase_macs.values(), *self.phase_flops.values(), *self.phase_bytes.values())
        return not (self.parameters or self.elements or any(work))


def count_trace(trace: Trace, name: str) -> Counts:
    """What the traced training step costs.

    Args:
        trace: one step, of any framework.
        name: the model's name, for the record.

    Returns:
        The counts; operations without a rule, and loops of unknown length, are listed in ``uncounted``.
    """
    flow = Flow(trace)
    rows = _Rows(trace)
    uncounted = _add_operations(flow, rows)
    again = _run_again(trace, rows)
    _add_borders(flow, rows)
    _add_weights(flow, rows)
    return Counts(
        name=name,
        backend=trace.backend,
        batch_size=trace.batch_size,
        parameters=_parameters(trace),
        per_sample=_totals(rows, trace.batch_size),
        layers=rows.finished(),
        memory_bytes=memory_bytes(flow),
        uncounted=uncounted,
        notes=(*trace.notes, *again),
        input_shape=_without_batch(trace, trace.inputs[0]) if trace.inputs else None,
        containers=rows.containers(),
    )


class _Rows:
    """The rows of all layers, and the one for the step itself."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.of_layer = [_Row() for _ in trace.layers]
        self.step = _Row()

    def all(self) -> list[_Row]:
        """Every row, also empty ones."""
        return [*self.of_layer, self.step]

    def of(self, layer: int | None) -> _Row:
        """The row of a layer; that of the step outside any."""
        return self.step if layer is None else self.of_layer[layer]

    def layer_of_call(self, call: int | None) -> int | None:
        """The layer that a call is of."""
        return None if call is None else self.trace.calls[call].layer

    def containers(self) -> tuple[Container, ...]:
        """Layers that call others; the model itself is not listed."""
        calls = Counter(call.layer for call in self.trace.calls)
        shapes = _output_shapes(self.trace)
        shown = [calls[number] or not row.is_empty() for number, row in enumerate(self.of_layer)]
        inner = {layer.parent for layer, is_shown in zip(self.trace.layers, shown, strict=True) if is_shown}
        return tuple(
            Container(layer.path, layer.kind, self._parent(layer), shapes.get(number), calls[number])
            for number, layer in enumerate(self.trace.layers)
            if number in inner and layer.parent is not None
        )

    def _parent(self, layer: Layer) -> str | None:
        """Name of the container that a layer is in; ``None`` for the model itself and for what is directly in it."""
        if layer.parent is None or self.trace.layers[layer.parent].parent is None:
            return None
        return self.trace.layers[layer.parent].path

    def finished(self) -> tuple[LayerCounts, ...]:
        """The rows that say something, as records, in the order in which a step comes to them."""
        calls = Counter(call.layer for call in self.trace.calls)
        shapes = _output_shapes(self.trace)
        first = {call.layer: place for place, call in reversed(list(enumerate(self.trace.calls)))}
        made = []
        for number in sorted(range(len(self.of_layer)), key=lambda number: (first.get(number, len(calls)), number)):
            layer, row = self.trace.layers[number], self.of_layer[number]
            if not row.is_empty() or (layer.leaf and calls[number]):
                made.append(self._record(row, layer, shapes.get(number), calls[number]))
        parts = [record for record in made if record.name.startswith("(")]
        made = [record for record in made if not record.name.startswith("(")] + parts
        if not self.step.is_empty():
            made.append(self._record(self.step, Layer(path=STEP, kind="Step", parent=None, leaf=True), None, 1))
        return tuple(made)

    def _record(self, row: _Row, layer: Layer, shape: tuple[int | None, ...] | None, calls: int) -> LayerCounts:
        batch = self.trace.batch_size
        return LayerCounts(
            name=layer.path,
            kind=layer.kind,
            parameters=row.parameters,
            forward_macs=_per_sample(row.macs["forward"], batch),
            weight_gradient_macs=_per_sample(row.macs["weight_gradient"], batch),
            input_gradient_macs=_per_sample(row.macs["input_gradient"], batch),
            output_shape=shape,
            activation_elements=_per_sample(row.elements, batch),
            calls=calls,
            forward=row.work("forward"),
            backward=row.work("backward"),
            update=row.work("update"),
            parent=self._parent(layer),
            uses_per_weight=_per_sample(row.weight_macs, batch * sum(row.weights.values())) if row.weights else None,
        )


def _output_shapes(trace: Trace) -> dict[int, tuple[int | None, ...]]:
    """Shape of the first output of each layer's last call, with ``None`` for the batch."""
    shapes: dict[int, tuple[int | None, ...]] = {}
    for call in trace.calls:
        if call.outputs and not trace.layers[call.layer].path.startswith("("):
            shapes[call.layer] = _without_batch(trace, call.outputs[0])
    return shapes


def _without_batch(trace: Trace, value: int) -> tuple[int | None, ...]:
    """Shape of a value with ``None`` for the batch."""
    shape = trace.values[value].shape
    return (None, *shape[1:]) if shape[:1] == (trace.batch_size,) else shape


def _add_operations(flow: Flow, rows: _Rows) -> tuple[Uncounted, ...]:
    """Put each operation's cost on its row; what has no known cost."""
    trace = flow.trace
    updated = _updated_layers(flow)
    unknown: dict[tuple[str, int | None, str], int | None] = {}
    for place, (operation, rule) in enumerate(zip(trace.operations, flow.rules, strict=True)):
        layer = updated.get(place, rows.layer_of_call(_call(flow, place)))
        if rule is not None and operation.times is not None:
            role = flow.role(place) if rule.family == "contraction" else "forward"
            cost = rule.formula(_occurrence(trace, operation, role))
            rows.of(layer).add(operation.phase, role, cost, operation.times)
            if operation.phase == "forward" and (weights := flow.weights_of(place)):
                rows.of(layer).add_uses(cost.macs * operation.times, {root: trace.values[root].elements for root in weights})
        elif rule is None or rule.formula(_occurrence(trace, operation, "forward")) != Cost():
            key = (operation.name, layer, "no rule" if rule is None else "trip count unknown")
            before = unknown.get(key, 0)
            unknown[key] = None if before is None or operation.times is None else before + operation.times
    return tuple(
        Uncounted(name, times, None if layer is None else trace.layers[layer].path, reason)
        for (name, layer, reason), times in unknown.items()
    )


def _run_again(trace: Trace, rows: _Rows) -> tuple[str, ...]:
    """A sentence about forward work that the backward pass repeats (checkpointing), if there is any."""
    again = [(layer.path, row.macs["recompute"]) for layer, row in zip(trace.layers, rows.of_layer, strict=True)]
    again = [(path, macs) for path, macs in again if macs]
    if not again:
        return ()
    macs = _per_sample(sum(macs for _, macs in again), trace.batch_size)
    named = ", ".join(path for path, _ in again[:_NAMED]) + (f" and {len(again) - _NAMED} more" if len(again) > _NAMED else "")
    return (f"Checkpointing: {macs:,} MACs per sample of the forward pass run again in the backward pass, in {named}.",)


def _call(flow: Flow, place: int) -> int | None:
    """The call that an operation belongs to; a gradient that the tracer could not place belongs where its product was taken."""
    operation, rule = flow.trace.operations[place], flow.rules[place]
    if operation.call is None and operation.phase == "backward" and rule is not None and rule.family == "contraction":
        partner = flow.partner(place)
        return None if partner is None else flow.trace.operations[partner[0]].call
    return flow.calls[place]


def _occurrence(trace: Trace, operation: Operation, role: Role) -> Occurrence:
    return Occurrence(
        operation,
        tuple(trace.values[value] for value in operation.inputs),
        tuple(trace.values[value] for value in operation.outputs),
        role,
    )


def _updated_layers(flow: Flow) -> dict[int, int]:
    """By place of an operation of the update: the layer whose weights it works on, where it is one layer's alone."""
    about: dict[int, set[int | None]] = {}
    for parameter in flow.trace.parameters:
        about[flow.root[parameter.value]] = {parameter.layer}
        if parameter.gradient is not None:
            about[flow.root[parameter.gradient]] = {parameter.layer}
    at: dict[int, set[int | None]] = {}
    for place, operation in enumerate(flow.trace.operations):
        if operation.phase != "update":
            continue
        layers = _layers_read(flow, operation, about)
        for output in operation.outputs:
            about[flow.root[output]] = layers
        if layers:
            at[place] = layers
    _add_state(flow, at)
    return {place: only for place, layers in at.items() if len(layers) == 1 and (only := next(iter(layers))) is not None}


def _add_state(flow: Flow, at: dict[int, set[int | None]]) -> None:
    """Add the operations that see the optimizer's variables alone, before these meet a gradient: by what reads their results.

    Single numbers, such as a learning rate, stay the optimizer's, though it may have the weights of but one layer.
    """
    operations, values = flow.trace.operations, flow.trace.values
    for place in reversed(range(len(operations))):
        made = [flow.root[output] for output in operations[place].outputs]
        if operations[place].phase != "update" or place in at or not any(values[root].shape for root in made):
            continue
        readers = {reader for root in made for reader in flow.readers.get(root, ()) if reader > place}
        if readers and all(reader in at for reader in readers):
            at[place] = {layer for reader in readers for layer in at[reader]}


def _layers_read(flow: Flow, operation: Operation, about: dict[int, set[int | None]]) -> set[int | None]:
    """The layers whose weights an operation of the update works on.

    A single number, such as the norm of all gradients that they are clipped by, only scales what it meets.
    """
    roots = [flow.root[value] for value in operation.inputs]
    arrays = {layer for root in roots if flow.trace.values[root].shape for layer in about.get(root, ())}
    return arrays or {layer for root in roots for layer in about.get(root, ())}


def _add_borders(flow: Flow, rows: _Rows) -> None:
    """Bytes of forward and backward, and activations."""
    for call, border in borders(flow).items():
        layer = rows.layer_of_call(call)
        row = rows.of(layer)
        row.phase_bytes["forward"] += forward_bytes(border)
        row.phase_bytes["backward"] += backward_bytes(flow, border)
        if layer is not None and not flow.trace.layers[layer].path.startswith("("):
            row.elements += border.elements


def _add_weights(flow: Flow, rows: _Rows) -> None:
    """Weights, and bytes of their updates."""
    for parameter in flow.trace.parameters:
        rows.of(parameter.layer).parameters += flow.trace.values[parameter.value].elements
    for place, amount in update_bytes(flow).items():
        rows.of(flow.trace.parameters[place].layer).phase_bytes["update"] += amount


def _parameters(trace: Trace) -> Parameters:
    trainable = sum(trace.values[parameter.value].elements for parameter in trace.parameters if parameter.trainable)
    total = sum(trace.values[parameter.value].elements for parameter in trace.parameters)
    return Parameters(trainable=trainable, frozen=total - trainable)


def _totals(rows: _Rows, batch: int) -> PerSample:
    macs = {phase: sum(row.phase_macs[phase] for row in rows.all()) for phase in _PHASES}
    flops = {phase: sum(row.phase_flops[phase] for row in rows.all()) for phase in _PHASES}
    return PerSample(
        forward_macs=_per_sample(macs["forward"], batch),
        training_macs=_per_sample(sum(macs.values()), batch),
        forward_flops=_per_sample(2 * macs["forward"] + flops["forward"], batch),
        training_flops=_per_sample(2 * sum(macs.values()) + sum(flops.values()), batch),
        activation_elements=_per_sample(sum(row.elements for row in rows.all()), batch),
    )


def _per_sample(amount: int, batch: int) -> Number:
    """A step's amount for one sample: an ``int`` where that is exact."""
    return amount // batch if amount % batch == 0 else amount / batch
