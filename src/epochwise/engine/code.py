"""A small language for kernels: ordinary Python that runs once, when a kernel is built, and leaves straight LLVM code behind.

What is a Python number or loop in it (the size of a register tile, say) is fixed when the kernel is built, so a Python ``for``
unrolls. What is an ``Int``, a ``Pointer`` or a ``Vector`` (``simd.py``) exists when the kernel runs, and so does a loop that
``with code.loop(...)`` makes::

    @kernel
    def double(code: Code, x: Floats, y: Floats, floats: Int, *, lanes: int) -> None:
        with code.loop(0, floats, lanes) as i:
            value = (x + i).load(lanes)
            (y + i).store(value + value)

``double(lanes=16)`` is a :class:`Variant`: a kernel with what is fixed in it. ``library.py`` compiles it.

Each kernel is a C function of two arrays of 64-bit words: its arguments in the order in which it names them, and the
:class:`Place` of the call: which part of the work this thread is to do now. Arguments stay the same while a network is trained;
what changes from run to run is found through the words of :class:`Run`.

What it does *not* do: choose vector lengths (``target.py`` and the planner do), vectorise loops by itself, or check bounds.
"""

from __future__ import annotations

import inspect
import platform
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from epochwise.engine.simd import FLOAT, INT, Bool, Bytes, Doubles, Floats, Indices, Int, Longs, Vector, Whole, Words

_POINTER = ir.PointerType()
_FLUSH_TO_ZERO, _DENORMALS_ARE_ZERO = 1 << 15, 1 << 6
"""Bits of the SSE control word MXCSR (Intel 64 manual, volume 1, 10.2.3)."""
_KINDS: dict[str, type] = {"Floats": Floats, "Longs": Longs, "Words": Words, "Bytes": Bytes, "Doubles": Doubles}

Held = TypeVar("Held", Int, Vector)
Kind = TypeVar("Kind", Bytes, Doubles, Floats, Longs, Words)


class Place(IntEnum):
    """The words that tell a kernel its part of the work."""

    FIRST = 0
    """First of the samples (or other items) of this call."""
    LAST = 1
    """One after the last of them."""
    THREAD = 2
    THREADS = 3
    BATCH = 4
    """Samples in this step, of all threads."""
    STEP = 5
    """Number of the step within this run."""
    START = 6
    """How many samples of the run came before this step."""


class Run(IntEnum):
    """The words that say where the data of a run lie; kernels that need them have an argument ``run``."""

    SAMPLES = 0
    """``x`` of all samples."""
    ORDER = 1
    """Which sample comes when: one word each."""
    ANSWERS = 2
    """``y`` of all samples."""
    WEIGHTS = 3
    """The weight of each sample."""
    RATES = 4
    """The learning rate of each step."""
    STRIDES = 5
    """Adam's learning rate of each step, with its correction for the start: rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)."""
    FIRST_STEP = 6
    """Steps that the model did before this run."""


class Variable(Generic[Held]):
    """A number that changes while the kernel runs; the compiler keeps it in a register."""

    def __init__(self, code: Code, first: Held) -> None:
        self._code: Code = code
        self._kind: type[Held] = type(first)
        with code.builder.goto_entry_block():
            self._slot = code.builder.alloca(first.value.type)
        self.value = first

    @property
    def value(self) -> Held:
        """The number as it is now."""
        return self._kind(self._code, self._code.builder.load(self._slot, typ=self._slot.allocated_type))

    @value.setter
    def value(self, number: Held) -> None:
        self._code.builder.store(number.value, self._slot)


class Code:
    """The body of one kernel, while it is being written."""

    def __init__(self, function: ir.Function) -> None:
        entry = function.append_basic_block("entry")
        body = function.append_basic_block("body")
        self.builder = ir.IRBuilder(entry)
        self.builder.branch(body)
        self.builder.position_at_end(body)
        self._function = function

    def end(self) -> None:
        """Finish the kernel."""
        self.builder.ret_void()

    # Numbers

    def whole(self, number: Whole) -> Int:
        """A whole number, of the kernel or of Python."""
        return number if isinstance(number, Int) else Int(self, ir.Constant(INT, number))

    def constant(self, number: float, lanes: int = 1) -> Vector:
        """The same number in every lane."""
        return Vector(
            self, ir.Constant(FLOAT, number) if lanes == 1 else ir.Constant(ir.VectorType(FLOAT, lanes), [number] * lanes)
        )

    def numbers(self, values: list[float]) -> Vector:
        """A vector of these numbers."""
        return Vector(self, ir.Constant(ir.VectorType(FLOAT, len(values)), values))

    def pointer(self, address: Int, kind: type[Kind]) -> Kind:
        """Where such elements lie, of an address."""
        return kind(self, self.builder.inttoptr(address.value, _POINTER))

    def zero(self, lanes: int) -> Vector:
        """Zero in every lane."""
        return self.constant(0.0, lanes)

    def variable(self, first: Held) -> Variable[Held]:
        """A number that changes, and what it is at first."""
        return Variable(self, first)

    # Course

    @contextmanager
    def loop(self, first: Whole, last: Whole, step: Whole = 1) -> Iterator[Int]:
        """For each number from ``first`` on, below ``last``."""
        builder, function = self.builder, self._function
        before = builder.block
        start, end = self.whole(first), self.whole(last)
        head, body, after = (function.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        number = builder.phi(INT)
        number.add_incoming(start.value, before)
        builder.cbranch(builder.icmp_signed("<", number, end.value), body, after)
        builder.position_at_end(body)
        yield Int(self, number)
        following = builder.add(number, self.whole(step).value)
        number.add_incoming(following, builder.block)
        builder.branch(head)
        builder.position_at_end(after)

    @contextmanager
    def when(self, condition: Bool) -> Iterator[None]:
        """Only if it holds."""
        with self.builder.if_then(condition.value):
            yield

    @contextmanager
    def until(self, condition: Callable[[], Bool]) -> Iterator[None]:
        """Over and over until it holds; it is looked at before each time."""
        builder, function = self.builder, self._function
        head, body, after = (function.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        builder.cbranch(condition().value, after, body)
        builder.position_at_end(body)
        yield
        builder.branch(head)
        builder.position_at_end(after)

    def call(self, function: Int, arguments: Int, place: Longs) -> None:
        """Call a kernel by its address."""
        kind = ir.FunctionType(ir.VoidType(), [_POINTER, _POINTER])
        target = self.builder.inttoptr(function.value, kind.as_pointer())
        self.builder.call(target, [self.builder.inttoptr(arguments.value, _POINTER), place.value])

    def call_plain(self, function: Int) -> None:
        """Call a C function that takes nothing, such as ``sched_yield``."""
        kind = ir.FunctionType(ir.IntType(32), [])
        self.builder.call(self.builder.inttoptr(function.value, kind.as_pointer()), [])

    def pause(self) -> None:
        """A short breath while waiting, kind to the other thread of a core."""
        if on_x86():
            self._processor("llvm.x86.sse2.pause")

    # What threads share

    def atomic_add(self, at: Longs, number: int) -> Int:
        """Add to a word that threads share; what was there before."""
        return Int(self, self.builder.atomic_rmw("add", at.value, ir.Constant(INT, number), "acq_rel"))

    def atomic_load(self, at: Longs) -> Int:
        """A word that threads share, and all that was written before it."""
        return Int(self, self.builder.load_atomic(at.value, "acquire", 8, typ=INT))

    def atomic_max(self, at: Longs, number: Int) -> Int:
        """Raise a word that threads share to this number, if it is less; what was there before."""
        return Int(self, self.builder.atomic_rmw("max", at.value, number.value, "acq_rel"))

    # How denormal numbers are treated (x86 only)

    def flush_denormals(self) -> ir.Value:
        """From now on, in this thread, numbers too small to be normal are zero; what to restore afterwards."""
        slot = self._control_word()
        now = self.builder.load(slot, typ=ir.IntType(32))
        flushed = self.builder.or_(now, ir.Constant(ir.IntType(32), _FLUSH_TO_ZERO | _DENORMALS_ARE_ZERO))
        self._set_control_word(slot, flushed)
        return now

    def restore_denormals(self, saved: ir.Value) -> None:
        """As it was before :meth:`flush_denormals`."""
        self._set_control_word(self._control_word(), saved)

    def _control_word(self) -> ir.Value:
        with self.builder.goto_entry_block():
            slot = self.builder.alloca(ir.IntType(32))
        self._processor("llvm.x86.sse.stmxcsr", slot)
        return slot

    def _set_control_word(self, slot: ir.Value, word: ir.Value) -> None:
        self.builder.store(word, slot)
        self._processor("llvm.x86.sse.ldmxcsr", slot)

    def _processor(self, name: str, *pointers: ir.Value) -> None:
        """One of the processor's own instructions that give nothing back."""
        self._instruction(name, ir.VoidType(), pointers)

    def _instruction(self, name: str, gives: ir.Type, operands: Sequence[ir.Value]) -> ir.Value:
        module = self._function.module
        kind = ir.FunctionType(gives, [operand.type for operand in operands])
        return self.builder.call(module.globals.get(name) or ir.Function(module, kind, name), operands)

    # Operations that are not operators

    def instruction(self, name: str, first: Vector, *others: Vector | Indices) -> Vector:
        """One of the processor's own instructions, which gives what is like the first operand."""
        return Vector(self, self._instruction(name, first.value.type, [first.value, *(other.value for other in others)]))

    def apply(self, name: str, *numbers: Vector) -> Vector:
        """One of LLVM's own functions, lane by lane."""
        kind = numbers[0].value.type
        suffix = f"v{kind.count}f32" if isinstance(kind, ir.VectorType) else "f32"
        return self.instruction(f"{name}.{suffix}", *numbers)

    def power_of_two(self, exponent: Vector) -> Vector:
        """2 to each of these whole numbers, which lie between -126 and 127."""
        integer = self._integers(exponent.lanes)
        whole = self.builder.fptosi(exponent.value, integer)
        bits = self.builder.shl(self.builder.add(whole, self._words(127, exponent.lanes)), self._words(23, exponent.lanes))
        return Vector(self, self.builder.bitcast(bits, exponent.value.type))

    def split(self, number: Vector) -> tuple[Vector, Vector]:
        """Exponent e and fraction f of each positive, normal number: f * 2^e with 1 <= f < 2."""
        lanes = number.lanes
        bits = self.builder.bitcast(number.value, self._integers(lanes))
        exponent = self.builder.sub(self.builder.lshr(bits, self._words(23, lanes)), self._words(127, lanes))
        fraction = self.builder.or_(self.builder.and_(bits, self._words(0x007FFFFF, lanes)), self._words(0x3F800000, lanes))
        kind = number.value.type
        return Vector(self, self.builder.sitofp(exponent, kind)), Vector(self, self.builder.bitcast(fraction, kind))

    def _integers(self, lanes: int) -> ir.Type:
        return ir.IntType(32) if lanes == 1 else ir.VectorType(ir.IntType(32), lanes)

    def _words(self, number: int, lanes: int) -> ir.Constant:
        return ir.Constant(self._integers(lanes), number if lanes == 1 else [number] * lanes)


def on_x86() -> bool:
    """Whether this machine has an x86-64 processor."""
    return platform.machine().lower() in {"x86_64", "amd64"}


@dataclass(frozen=True)
class Kernel:
    """A function that writes a kernel.

    Attributes:
        name: of the kernel.
        arguments: the names of its arguments, in their order, with their kinds.
        write: writes its body.
        many: whether it wants many samples at once (dense layers), or one after another (what stays in cache).
        waits: whether all threads wait for each other after it.
    """

    name: str
    arguments: tuple[tuple[str, str], ...]
    write: Callable[..., None]
    many: bool = False
    waits: bool = False

    def __call__(self, **fixed: Any) -> Variant:
        """The variant in which these are fixed."""
        return Variant(self, tuple(sorted(fixed.items())))


@dataclass(frozen=True)
class Variant:
    """A kernel, and what is fixed in it."""

    kernel: Kernel
    fixed: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        return f"{self.kernel.name}({', '.join(f'{name}={value}' for name, value in self.fixed)})"

    def assembly(self) -> str:
        """The variant as LLVM assembly: a module with one function, ``kernel``."""
        module = ir.Module(self.kernel.name)
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_POINTER, _POINTER]), "kernel")
        code = Code(function)
        words, place = (Longs(code, argument) for argument in function.args)
        given = [_argument(code, words, number, kind) for number, (_, kind) in enumerate(self.kernel.arguments)]
        self.kernel.write(code, *given, **dict(self.fixed), **({"place": Places(place)} if self._wants_place() else {}))
        code.end()
        return str(module)

    def _wants_place(self) -> bool:
        return "place" in inspect.signature(self.kernel.write).parameters


Given: TypeAlias = int | float | np.ndarray
"""An argument of a kernel: a whole number, a float, or an array, which is passed as its address."""


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel, with its arguments.

    Attributes:
        variant: the kernel.
        given: its arguments by name.
        items: in a part over slices, how many items are shared out among the threads.
        unit: items that stay together.
    """

    variant: Variant
    given: dict[str, Given]
    items: int = 0
    unit: int = 1

    def words(self) -> NDArray[np.int64]:
        """The arguments as the kernel reads them.

        Raises:
            TypeError: an argument is missing, or there is one too many.
        """
        names = [name for name, _ in self.variant.kernel.arguments]
        if set(names) != set(self.given):
            raise TypeError(f"{self.variant.kernel.name} takes {names}, and was given {sorted(self.given)}")
        return np.array([_word(self.given[name]) for name in names] or [0], np.int64)


def _word(given: Given) -> int:
    if isinstance(given, np.ndarray):
        return int(given.ctypes.data)
    if isinstance(given, float):
        return int.from_bytes(struct.pack("<f", given), "little")
    return int(given)


class Places:
    """The part of the work that this call is to do."""

    def __init__(self, words: Longs) -> None:
        self.words = words

    def __getitem__(self, place: Place) -> Int:
        return (self.words + int(place)).load()

    @property
    def first(self) -> Int:
        """The first of the samples, or other items, of this call."""
        return self[Place.FIRST]

    @property
    def last(self) -> Int:
        """One after the last of them."""
        return self[Place.LAST]


def kernel(write: Callable[..., None]) -> Kernel:
    """A kernel of a function: positional parameters are arguments, keyword-only ones are fixed when it is built."""
    return _kernel(write, many=False, waits=False)


def kernel_of_many(write: Callable[..., None]) -> Kernel:
    """A kernel that wants many samples at once."""
    return _kernel(write, many=True, waits=False)


def kernel_of_all(write: Callable[..., None]) -> Kernel:
    """A kernel after which all threads wait for each other, since all go on with what each of them found."""
    return _kernel(write, many=False, waits=True)


def _kernel(write: Callable[..., None], *, many: bool, waits: bool) -> Kernel:
    parameters = inspect.signature(write).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    return Kernel(write.__name__, tuple((p.name, str(p.annotation)) for p in positional), write, many, waits)


def _argument(code: Code, words: Longs, number: int, kind: str) -> Any:
    word = (words + number).load()
    if kind == "Int":
        return word
    if kind == "Vector":
        bits = code.builder.trunc(word.value, ir.IntType(32))
        return Vector(code, code.builder.bitcast(bits, FLOAT))
    return code.pointer(word, _KINDS[kind])
