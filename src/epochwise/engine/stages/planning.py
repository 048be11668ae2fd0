"""What stages plan with: tensors and weights in memory, and the lists that their calls go to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epochwise.engine.code import Call, Given, Run, Variant
from epochwise.engine.forms import Form, Packed, padded_form, raw_form, table_between
from epochwise.engine.kernels import elementwise, gradients, moves, updates
from epochwise.engine.kernels.rows import SUMS
from epochwise.engine.network import Float32, Network, Operation, Optimizer, Shape, Weight
from epochwise.engine.plan import floats
from epochwise.engine.stages.alike import forward_rows
from epochwise.engine.target import Target


@dataclass(slots=True)
class Arrival:
    """Whether something was planned that writes a gradient; what comes later is added."""

    yet: bool = False


@dataclass(slots=True)
class Tensor:
    """A tensor of the whole batch, and its gradient.

    Attributes:
        form: how a sample lies in memory.
        values: ``(batch, form.size)``.
        gradient: likewise, or ``None`` if nothing needs it.
        arrival: shared by all tensors that lie in the same memory.
    """

    form: Form
    values: Float32
    gradient: Float32 | None = None
    arrival: Arrival = field(default_factory=Arrival)

    @property
    def arrived(self) -> bool:
        """Whether something was planned that writes the gradient."""
        return self.arrival.yet

    @arrived.setter
    def arrived(self, yet: bool) -> None:
        self.arrival.yet = yet


@dataclass(slots=True)
class Planning:
    """A plan in the making.

    Attributes:
        network: what is planned.
        target: the processor.
        batch: samples of a step, at most.
        threads: how many share it.
        forward, judging, backward: calls over samples; judging is loss and metrics.
        predicting: calls over samples where nothing is trained.
        slice_gradients, gathers, updates, refreshes: calls over slices, one list after the other: gradients that are worked out
            slice by slice, gradients put together before they are clipped, optimizer steps, and other forms of weights.
        preparing, preparing_to_predict: calls over slices before all others: forms of weights that are not kept, and those of
            them that are needed where nothing is trained.
        folded: calls over slices after the backward pass: gradients made of what was summed up in another form.
        norms: sums of squares of each weight's gradient, of each thread's slice.
        copies: tensors again with the usual padding.
        passed: rooms of :meth:`passing`, with their forms; see ``sharing.py``.
        trained: weights whose update is planned.
        run: the words of :class:`Run`.
        sums: what each thread adds up.
    """

    network: Network
    target: Target
    batch: int
    threads: int
    tensors: dict[int, Tensor] = field(default_factory=dict)
    weights: dict[int, Packed] = field(default_factory=dict)
    twins: dict[int, list[Packed]] = field(default_factory=dict)
    forward: list[Call] = field(default_factory=list)
    predicting: list[Call] = field(default_factory=list)
    judging: list[Call] = field(default_factory=list)
    backward: list[Call] = field(default_factory=list)
    slice_gradients: list[Call] = field(default_factory=list)
    gathers: list[Call] = field(default_factory=list)
    updates: list[Call] = field(default_factory=list)
    refreshes: list[Call] = field(default_factory=list)
    preparing: list[Call] = field(default_factory=list)
    preparing_to_predict: list[Call] = field(default_factory=list)
    folded: list[Call] = field(default_factory=list)
    run: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Run), np.int64))
    sums: NDArray[np.float64] = field(init=False)
    norms: NDArray[np.float64] = field(init=False)
    _zeros: dict[int, Float32] = field(default_factory=dict)
    _scratch: dict[tuple[str, int], Float32] = field(default_factory=dict)
    copies: dict[int, Tensor] = field(default_factory=dict)
    passed: list[tuple[Form, Float32]] = field(default_factory=list)
    trained: set[int] = field(default_factory=set)
    _later: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.threads, SUMS), np.float64)
        self.norms = np.zeros((self.threads, len(self.network.weights)), np.float64)

    # Tensors

    def new(self, number: int, form: Form, bordered: bool = False) -> Tensor:
        """Room for a tensor, and for its gradient if something before it learns; ``bordered``: among zeros that stay."""
        gradient = self.passing(form) if self.learns(number) else None
        values = floats(self.batch, form.size) if bordered else self.passing(form)
        self.tensors[number] = Tensor(form, values, gradient)
        return self.tensors[number]

    def padded(self, number: int) -> Tensor:
        """Room for a tensor with padding."""
        return self.new(number, padded_form(self.network.shapes[number], self.target))

    def raw(self, number: int) -> Tensor:
        """Room for a tensor without padding."""
        return self.new(number, raw_form(self.network.shapes[number]))

    def form_like(self, number: int, pitch: int) -> Form:
        """A form for a tensor with this pitch."""
        shape = self.network.shapes[number]
        return Form(shape, prod(shape[:-1]), shape[-1], pitch)

    def another(self, x: Tensor, form: Form) -> Tensor:
        """Room for a tensor again, in another form."""
        return Tensor(form, self.passing(form), None if x.gradient is None else self.passing(form))

    def passing(self, form: Form) -> Float32:
        """Room for what each step writes, all real numbers of it, before it reads any. Others may lie there at other times."""
        self.passed.append((form, floats(self.batch, form.size)))
        return self.passed[-1][1]

    def learns(self, number: int) -> bool:
        """Whether a trained weight has a part in making this tensor."""
        return number in learning(self.network)

    def plan_backward(self) -> None:
        """Plan what :meth:`later` was given, the last first."""
        for plan in reversed(self._later):
            plan()

    # Calls

    def add_forward(self, variant: Variant, **given: Given) -> None:
        """In training, evaluation and prediction."""
        self.add_training(variant, **given)
        self.add_predicting(variant, **given)

    def add_training(self, variant: Variant, **given: Given) -> None:
        """Forward, in training only."""
        self.forward.append(Call(variant, given))

    def add_predicting(self, variant: Variant, **given: Given) -> None:
        """Forward, where nothing is trained."""
        self.predicting.append(Call(variant, given))

    def add_forward_slices(self, items: int, unit: int, variant: Variant, **given: Given) -> None:
        """Forward, over slices of so many items; see :class:`Call`."""
        call = Call(variant, given, items, unit)
        self.forward.append(call)
        self.predicting.append(call)

    def add_judging(self, variant: Variant, **given: Given) -> None:
        """Loss or a metric."""
        self.judging.append(Call(variant, given))

    def add_backward(self, variant: Variant, **given: Given) -> None:
        """Backward."""
        self.backward.append(Call(variant, given))

    def add_backward_slices(self, items: int, unit: int, variant: Variant, **given: Given) -> None:
        """Backward, over slices of so many items."""
        self.backward.append(Call(variant, given, items, unit))

    def add_preparing(self, call: Call, *, predicting: bool) -> None:
        """Over slices, before all others; also where nothing is trained, if ``predicting``."""
        self.preparing.append(call)
        if predicting:
            self.preparing_to_predict.append(call)

    def later(self, plan: Callable[[], None]) -> None:
        """Plan the backward pass of an operation when all that comes after it is planned."""
        self._later.append(plan)

    def add_relu_gradient(self, y: Tensor) -> None:
        """The gradient of a result with relu becomes that of the result before it, in place."""
        assert y.gradient is not None
        self.add_backward(
            elementwise.activation_gradient(lanes=y.form.lanes(self.target), kind="relu", add=False),
            x=y.values,
            y=y.values,
            dy=y.gradient,
            dx=y.gradient,
            size=y.form.size,
            slope=0.0,
        )

    def add_bias_gradient(self, number: int | None, y: Tensor) -> None:
        """The gradient of a bias, and its update."""
        if number is None or not self.network.weights[number].trained:
            return
        assert y.gradient is not None
        self.add_backward(
            gradients.bias_gradient(lanes=y.form.lanes(self.target)),
            dy=y.gradient,
            gradient=self.weights[number].gradient,
            outputs=y.form.pitch,
            positions_in_all=y.form.blocks,
            gradient_thread=self.weights[number].size,
        )
        self.train(number)

    # Weights

    def pack(
        self, number: int, room: Shape, axes: tuple[int, ...] | None = None, split: Shape | None = None, copied: bool = True
    ) -> Packed:
        """Lay out a weight (see :class:`Packed`); the gradient has a copy for each thread, or one in all."""
        weight = self.network.weights[number]
        if number in self.weights:
            return self.weights[number]
        split = split or weight.shape
        self.weights[number] = Packed(
            split,
            room,
            axes or tuple(range(len(split))),
            (self.threads if copied else 1) if weight.trained else 0,
            self.network.optimizer.slots if weight.trained else 0,
        )
        return self.weights[number]

    def zeros(self, count: int) -> Float32:
        """Numbers that nobody writes to."""
        return self._zeros.setdefault(count, floats(count))

    def scratch(self, purpose: str, count: int) -> Float32:
        """So many floats for each thread that nobody reads after the call that wrote them."""
        return self._scratch.setdefault((purpose, count), floats(self.threads, count))

    def bias(self, number: int | None, outputs: int) -> Float32:
        """A bias of ``outputs`` numbers with padding, or zeros where a layer has none."""
        return self.zeros(outputs) if number is None else self.pack(number, (outputs,)).values

    def tile(self, vectors_in_all: int, rows_of_sample: int) -> tuple[int, int]:
        """Vectors and rows of a register tile: as many accumulators as hide a multiplication's delay, few loads for each."""
        share = -(-self.batch // self.threads) * rows_of_sample
        rows = forward_rows(self.target)
        vectors = next(v for v in rows if vectors_in_all % v == 0)
        return vectors, min(rows[vectors], share)

    def slices_of(self, packed: Packed) -> int:
        """Floats of a weight that stay together when it is updated: whole vectors, and some for each thread."""
        lanes = self._lanes_over(packed)
        return lanes * max(1, packed.size // lanes // self.threads // 8)

    def _lanes_over(self, packed: Packed) -> int:
        return next(lanes for lanes in (16, 8, 4, 2, 1) if lanes <= self.target.lanes and packed.size % lanes == 0)

    def train(self, number: int, unit: int | None = None, copied: bool = True) -> None:
        """Plan the update of a weight: slices of ``unit`` floats, whose gradient is in copies or in one place."""
        weight, packed = self.network.weights[number], self.weights[number]
        if not weight.trained or number in self.trained:
            return
        optimizer = self.network.optimizer
        lanes = self._lanes_over(packed)
        slots = [*packed.slots, packed.values, packed.values][:2]
        self.trained.add(number)
        by_length = optimizer.clip_norm is not None or optimizer.global_clip_norm is not None
        shared: dict[str, Given] = {
            "weights": packed.values,
            "gradient": packed.gradient,
            "copy": packed.size,
            "sums": self.sums,
            "norms_thread": self.norms.shape[1],
            "l1": float(weight.l1),
            "l2": float(weight.l2),
        }
        items, together = packed.size, unit or self.slices_of(packed)
        penalties = bool(weight.l1 or weight.l2)
        if by_length:
            variant = updates.gather_gradient(lanes=lanes, clear=copied, penalties=penalties)
            given = shared | {"copies": len(packed.gradient), "norm": self.norms.reshape(-1)[number:]}
            self.gathers.append(Call(variant, given, items, together))
        variant = updates.update(
            **self._rule(weight),
            lanes=lanes,
            clear=copied,
            penalties=penalties and not by_length,
            clip="norm" if by_length else "value" if optimizer.clip_value is not None else "none",
        )
        alone = optimizer.clip_norm is not None
        given = shared | {
            "run": self.run,
            "first_slot": slots[0],
            "second_slot": slots[1],
            "copies": 1 if by_length else len(packed.gradient),
            "norms": self.norms.reshape(-1)[number if alone else 0 :],
            "norms_in_all": 1 if alone else self.norms.shape[1],
            **_numbers(optimizer),
        }
        self.updates.append(Call(variant, given, items, together))

    def train_at_once(self, number: int, gradient: Variant, given: dict[str, Given], items: int, unit: int) -> bool:
        """Plan gradient and update of a dense layer's kernel in one, where nothing has to be done to the gradient in between.

        Args:
            number: of the kernel.
            gradient: the kernel that would work out the gradient; its tile is taken over.
            given: its arguments.
            items: rows.
            unit: how many of them stay together.

        Returns:
            Whether that is so, and it was planned.
        """
        weight, packed, optimizer = self.network.weights[number], self.weights[number], self.network.optimizer
        limits = (optimizer.clip_norm, optimizer.global_clip_norm, optimizer.clip_value)
        tile = {name: value for name, value in gradient.fixed if name != "add"}
        if weight.l1 or weight.l2 or any(limit is not None for limit in limits) or items % tile["inputs"]:
            return False
        slots = [*packed.slots, packed.values, packed.values][:2]
        numbers = {name: value for name, value in _numbers(optimizer).items() if name != "limit"}
        self.updates.append(
            Call(
                gradients.dense_update(**tile, **self._rule(weight)),
                {
                    **{name: value for name, value in given.items() if name != "gradient"},
                    "run": self.run,
                    "weights": packed.values,
                    "first_slot": slots[0],
                    "second_slot": slots[1],
                    **numbers,
                },
                items,
                unit,
            )
        )
        self.trained.add(number)
        return True

    def _rule(self, weight: Weight) -> dict[str, Any]:
        """What is fixed in a kernel about the optimizer."""
        optimizer = self.network.optimizer
        return {
            "kind": "sgd" if optimizer.kind == "sgd" else "adam",
            "momentum": bool(optimizer.momentum),
            "nesterov": optimizer.nesterov,
            "decays": bool(optimizer.weight_decay) and weight.decays,
        }

    def turned(self, number: int, rows: int, columns: int, room: Shape, axes: tuple[int, ...], together: int) -> Packed:
        """A kernel of rows and columns with its columns first, brought up to date after its update, so many rows at a time."""
        packed = self.weights[number]
        other = Packed(packed.split, room, axes)
        self.twins.setdefault(number, []).append(other)
        if self.network.weights[number].trained:
            block = next(n for n in (16, 8, 4, 2, 1) if n <= self.target.lanes and rows % n == columns % n == 0)
            given: dict[str, Given] = {"source": packed.values, "target": other.values, "rows": rows, "columns": columns}
            self.refreshes.append(Call(moves.turn(block=block), given, rows, together))
        return other

    def twin(self, number: int, room: Shape, axes: tuple[int, ...], unit: int | None = None, mirrored: int = 0) -> Packed:
        """Another form of a weight, brought up to date after its update, in the same slices."""
        packed = self.weights[number]
        other = Packed(packed.split, room, axes, mirrored=mirrored)
        self.twins.setdefault(number, []).append(other)
        if self.network.weights[number].trained:
            self.refreshes.append(
                Call(
                    moves.scatter(),
                    {"source": packed.values, "target": other.values, "table": table_between(packed, other)},
                    packed.size,
                    unit or self.slices_of(packed),
                )
            )
        return other


def _numbers(optimizer: Optimizer) -> dict[str, float]:
    adam = optimizer.kind != "sgd"
    return {
        "first_rate": 1.0 - float(optimizer.beta_1) if adam else float(optimizer.momentum),
        "second_rate": 1.0 - float(optimizer.beta_2),
        "epsilon": float(optimizer.epsilon),
        "decay": float(optimizer.weight_decay or 0.0),
        "limit": float(optimizer.clip_value or optimizer.clip_norm or optimizer.global_clip_norm or 0.0),
    }


@cache
def learning(network: Network) -> frozenset[int]:
    """The tensors in whose making a trained weight had a part."""
    found: set[int] = set()
    for operation in network.operations:
        trained = any(network.weights[number].trained for number in weights_of(operation))
        if trained or found.intersection(operation.inputs):
            found.add(operation.output)
    return frozenset(found)


def weights_of(operation: Operation) -> list[int]:
    """The weights that an operation reads."""
    names = ("kernel", "bias", "gamma", "beta", "table")
    return [number for name in names if (number := getattr(operation, name, None)) is not None]
