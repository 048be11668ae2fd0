"""The trace: the operations of one training step, in the framework's own terms, with shapes. Nothing is run to make one.

A trace is a flat list of operations in the order of execution. Functions that the framework nests (``pjit``, custom
gradients, TensorFlow's ``PartitionedCall``) are inlined; the body of a loop is listed once, with ``times`` saying how often it
runs. Values are numbered; two operations that name the same number share a tensor.

Who makes what: a tracer (one file per framework) fills in everything here and decides nothing about cost; ``counting`` gives
operations their cost and never looks at a framework.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

Backend = Literal["tensorflow", "jax", "torch", "pytorch"]
"""``tensorflow``, ``jax`` and ``torch`` are Keras backends; ``pytorch`` is a plain ``torch.nn.Module`` without Keras."""

Phase = Literal["forward", "backward", "update"]
"""Forward ends with the loss; backward is what automatic differentiation adds; update is the optimizer."""

_DTYPES_OF_SIZE = {
    1: "bool int4 uint4 int8 uint8 float8_e4m3fn float8_e5m2",
    2: "int16 uint16 bfloat16 float16",
    4: "int32 uint32 float32",
    8: "int64 uint64 float64 complex64",
    16: "complex128",
}
DTYPE_BYTES = {dtype: size for size, dtypes in _DTYPES_OF_SIZE.items() for dtype in dtypes.split()}
"""Bytes of one element by dtype."""


class Value(msgspec.Struct, frozen=True):
    """A tensor that an operation reads or writes.

    Attributes:
        shape: its sizes, in the framework's own order of axes; scalars have ``()``.
        dtype: its element type, in NumPy's spelling (``float32``, ``bfloat16``, ``int32``, ``bool``).
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Its size in memory; 0 for types without numbers (resources, keys of random generators)."""
        return self.elements * DTYPE_BYTES.get(self.dtype, 0)


class Operation(msgspec.Struct, frozen=True):
    """One operation of the step.

    Attributes:
        name: as the framework calls it: ``conv_general_dilated``, ``aten.convolution``, ``Conv2DBackpropFilter``.
        inputs: numbers of the values it reads, in the framework's order.
        outputs: numbers of the values it writes.
        phase: forward, backward or update.
        call: number of the innermost layer call that it belongs to (for backward operations, the call whose gradient they
            compute), or ``None`` outside any.
        attributes: what its cost depends on besides shapes (strides, groups, dimension numbers, axes), in plain Python
            values, named as the framework names them.
        times: how often it runs in one step; ``None`` where the trip count of its loop is unknown.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    phase: Phase
    call: int | None = None
    attributes: dict[str, object] = {}
    times: int | None = 1


class Layer(msgspec.Struct, frozen=True):
    """A layer or module, or a part of the step outside any layer.

    Attributes:
        path: its place as the user named it, ``conv2d`` or ``encoder/dense``; ``(loss)``, ``(metrics)`` and ``(optimizer)`` are
            the parts of the step outside any layer.
        kind: its class, ``Conv2D``.
        parent: number of the layer that contains it, ``None`` at the top.
        leaf: whether it called no other layer.
    """

    path: str
    kind: str
    parent: int | None
    leaf: bool


class Call(msgspec.Struct, frozen=True):
    """One call of a layer in the forward pass; a shared layer has several.

    Attributes:
        layer: number of the layer.
        inputs: numbers of the tensors that went in.
        outputs: numbers of the tensors that came out.
    """

    layer: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Parameter(msgspec.Struct, frozen=True):
    """A weight of the model.

    Attributes:
        path: its name within the model.
        value: number of its value as the step reads it.
        trainable: whether the step computes a gradient for it; other weights (moving averages, frozen ones) are frozen.
        layer: number of the layer that owns it, ``None`` if none does.
        gradient: number of the value that the optimizer receives for it; ``None`` if it gets none.
    """

    path: str
    value: int
    trainable: bool
    layer: int | None
    gradient: int | None = None


class Storage(msgspec.Struct, frozen=True):
    """Memory that a tensor and its views share, in a framework that makes and frees it while the step runs.

    Attributes:
        bytes: its size.
        born: how many operations have run when it is made; ``None`` if it is there before the step. Operations whose results
            nothing needs, which the trace leaves out, run and count here as well.
        freed: how many operations have run when the last one who holds it lets it go; ``None`` if it outlives the step.
        kept: whether automatic differentiation keeps it from the forward pass for the backward pass.
    """

    bytes: int
    born: int | None
    freed: int | None
    kept: bool


class Trace(msgspec.Struct, frozen=True):
    """One training step of one model, as its framework would run it.

    Attributes:
        backend: which framework, see :data:`Backend`.
        dialect: whose names the operations carry: ``jax``, ``aten`` or ``tensorflow``.
        batch_size: samples in the traced step.
        values: all tensors; a value's number is its place here.
        operations: in order of execution; operations whose results the step does not need are left out.
        layers: the layer tree, parents before children.
        calls: in the order in which they were made.
        parameters: the model's weights; each once, however often it is used.
        inputs: numbers of the batch's tensors (features first, then labels).
        optimizer_state: numbers of the optimizer's variables (momenta, step counters).
        notes: what a reader must know to trust the figures, in plain sentences.
        storages: what memory the step makes and frees, as seen while it ran (PyTorch); empty where the framework's program
            says nothing of memory (JAX, TensorFlow).
    """

    backend: Backend
    dialect: Literal["jax", "aten", "tensorflow"]
    batch_size: int
    values: tuple[Value, ...]
    operations: tuple[Operation, ...]
    layers: tuple[Layer, ...]
    calls: tuple[Call, ...]
    parameters: tuple[Parameter, ...]
    inputs: tuple[int, ...]
    optimizer_state: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    storages: tuple[Storage, ...] = ()
