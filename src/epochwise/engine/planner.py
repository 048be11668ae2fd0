"""Network -> plan: which kernels run on which arrays, for one batch size and number of threads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from epochwise.engine.code import Call, Variant
from epochwise.engine.kernels import moves
from epochwise.engine.network import (
    Activation,
    AveragePool,
    BatchNormalization,
    Combine,
    Concatenate,
    Convolution,
    Dense,
    DepthwiseConvolution,
    Dropout,
    Embedding,
    LayerNormalization,
    MaxPool,
    Network,
    Operation,
    Pad,
    Rescale,
    Reshape,
    UpSample,
)
from epochwise.engine.plan import Part
from epochwise.engine.stages.convolution import plan_convolution
from epochwise.engine.stages.dense import plan_dense
from epochwise.engine.stages.depthwise import plan_depthwise
from epochwise.engine.stages.joining import (
    plan_combine,
    plan_concatenate,
    plan_embedding,
    plan_pad,
    plan_rescale,
    plan_up_sample,
)
from epochwise.engine.stages.losses import plan_loss
from epochwise.engine.stages.normalization import plan_batch_normalization, plan_layer_normalization
from epochwise.engine.stages.planning import Planning
from epochwise.engine.stages.sharing import shared
from epochwise.engine.stages.simple import plan_activation, plan_dropout, plan_pool, plan_reshape
from epochwise.engine.target import Target

_ALL_SAMPLES = 1 << 40
_POOL = (2, 2)


@dataclass(slots=True)
class Plan:
    """What runs.

    Attributes:
        planning: the arrays.
        training: a whole step.
        evaluating: forward, loss and metrics.
        predicting: forward.
    """

    planning: Planning
    training: list[Part]
    evaluating: list[Part]
    predicting: list[Part]

    @property
    def variants(self) -> list[Variant]:
        """All kernels, those of a training step first."""
        parts = (*self.training, *self.evaluating, *self.predicting)
        return list(dict.fromkeys(call.variant for part in parts for call in part.calls))


def plan(network: Network, target: Target, batch: int, threads: int, *, weighted: bool, bytes_in: bool) -> Plan:
    """Plan a network.

    Args:
        network: what is trained.
        target: the processor.
        batch: samples of a step, at most.
        threads: how many share a step.
        weighted: whether samples have weights.
        bytes_in: whether samples are uint8 (else float32).
    """
    planning = Planning(network, target, batch, threads)
    operations = list(network.operations)
    first = operations[0]
    rescale = isinstance(first, Rescale) and _alone_reads(network, network.input)
    x = planning.raw(first.output if rescale else network.input)
    if rescale:
        operations.pop(0)
    planning.add_forward(
        moves.take(lanes=target.lanes, bytes_in=bytes_in, rescale=rescale),
        run=planning.run,
        x=x.values,
        size=x.form.size,
        scale=float(first.scale) if isinstance(first, Rescale) else 1.0,
        offset=float(first.offset) if isinstance(first, Rescale) else 0.0,
    )
    while operations:
        for _ in range(_plan_first(planning, operations)):
            operations.pop(0)
    plan_loss(planning, weighted)
    planning.plan_backward()
    training = [*_over_samples([*planning.forward, *planning.judging, *planning.backward])]
    training = [*_slices_of(planning.preparing), *_waiting(training), *_slices_of(planning.folded)]
    if planning.gathers:
        training.append(Part((*planning.slice_gradients, *planning.gathers), 0, wait=True))
        planning.slice_gradients.clear()
    slices = (*planning.slice_gradients, *planning.updates, *planning.refreshes)
    training = shared([*training, Part(slices, 0, wait=True)], planning.passed)
    before = _slices_of(planning.preparing_to_predict)
    evaluating = [*before, *_waiting(_over_samples([*planning.predicting, *planning.judging]))]
    return Plan(planning, training, evaluating, [*before, *_waiting(_over_samples(planning.predicting))])


def _slices_of(calls: list[Call]) -> list[Part]:
    """A part over slices, after which threads wait for each other; none if there is nothing to do."""
    return [Part(tuple(calls), 0, wait=True)] if calls else []


def _plan_first(planning: Planning, operations: list[Operation]) -> int:
    """Plan the first operation, with those after it that are done in one with it; how many that were."""
    first = operations[0]
    match first:
        case Convolution():
            relu, pooled = _followers(planning.network, operations)
            plan_convolution(planning, first, operations[relu + pooled].output, bool(relu), bool(pooled))
            return 1 + relu + pooled
        case Dense():
            relu, _ = _followers(planning.network, operations)
            plan_dense(planning, first, operations[relu].output, bool(relu))
            return 1 + relu
        case DepthwiseConvolution():
            relu, _ = _followers(planning.network, operations)
            plan_depthwise(planning, first, operations[relu].output, bool(relu))
            return 1 + relu
        case Activation():
            plan_activation(planning, first)
        case MaxPool() | AveragePool():
            plan_pool(planning, first)
        case Dropout():
            plan_dropout(planning, first)
        case Reshape():
            plan_reshape(planning, first)
        case BatchNormalization():
            relu, _ = _followers(planning.network, operations)
            plan_batch_normalization(planning, first, operations[relu].output, bool(relu))
            return 1 + relu
        case LayerNormalization():
            plan_layer_normalization(planning, first)
        case Combine():
            plan_combine(planning, first)
        case Concatenate():
            plan_concatenate(planning, first)
        case Pad():
            plan_pad(planning, first)
        case UpSample():
            plan_up_sample(planning, first)
        case Rescale():
            plan_rescale(planning, first)
        case Embedding():
            plan_embedding(planning, first)
        case _:
            raise TypeError(f"no plan for {type(first).__name__}")
    return 1


def _followers(network: Network, operations: list[Operation]) -> tuple[int, int]:
    """Whether relu, and then a 2x2 max-pool, alone read what the first operation makes: each 1 or 0."""
    relu = pooled = 0
    if _alone(network, operations, 0) and isinstance(operations[1], Activation) and operations[1].kind == "relu":
        relu = 1
    if isinstance(operations[0], Convolution) and operations[0].groups == 1 and _alone(network, operations, relu):
        pool = operations[relu + 1]
        if isinstance(pool, MaxPool) and pool.size == pool.strides == _POOL and pool.padding == ((0, 0), (0, 0)):
            pooled = int(_used_once(network, operations[0]))
    return relu, pooled


def _alone(network: Network, operations: list[Operation], place: int) -> bool:
    """Whether the operation at ``place`` is read by the next one and by nothing else."""
    if place + 1 >= len(operations):
        return False
    output = operations[place].output
    return output in operations[place + 1].inputs and _alone_reads(network, output)


def _alone_reads(network: Network, number: int) -> bool:
    """Whether a tensor is read once, and neither by the loss nor as the model's answer."""
    readers = sum(operation.inputs.count(number) for operation in network.operations)
    return readers == 1 and number not in {network.output, network.loss.logits}


def _used_once(network: Network, operation: Convolution) -> bool:
    """Whether no other operation has its kernel."""
    return [getattr(other, "kernel", None) for other in network.operations].count(operation.kernel) == 1


def _over_samples(calls: list[Call]) -> list[Part]:
    """Parts of calls that want one sample after another, of those that want many at once, and of those over slices.

    Threads wait for each other where one needs what the others did: before and after slices, and after kernels that say so.
    """
    waits = [call.variant.kernel.waits or _slices(call) != _slices(following) for call, following in pairwise(calls)]
    rounds = [0, *accumulate(map(int, waits))]
    parts: list[Part] = []
    for (_, many), run in groupby(zip(rounds, calls, strict=True), key=lambda one: (one[0], one[1].variant.kernel.many)):
        part = tuple(call for _, call in run)
        group = 0 if part[0].items else _ALL_SAMPLES if many else 1
        ended = sum(len(other.calls) for other in parts) + len(part)
        parts.append(Part(part, group, ended <= len(waits) and waits[ended - 1]))
    return parts


def _slices(call: Call) -> tuple[int, int]:
    """How a call over slices is shared out; those alike have the same slices. ``(0, 1)`` for one over samples."""
    return call.items, call.unit


def _waiting(parts: list[Part]) -> list[Part]:
    """The same parts, with threads waiting for each other at the end: in another step, they have other samples."""
    return [*parts[:-1], Part(parts[-1].calls, parts[-1].group, wait=True)]
