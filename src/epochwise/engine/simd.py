"""Numbers in kernels: whole numbers, pointers, vectors of explicit length and masks, as they exist when a kernel runs.

Each wraps a value of LLVM's, and each operator leaves one instruction behind. How kernels are put together from them, with
loops and an example, is in ``code.py``.

A multiplication followed by an addition may become one fused instruction where the CPU has it (``contract``). Nothing else may
be reordered: sums keep their order, and NaN and infinity stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeAlias, Union

from llvmlite import ir

if TYPE_CHECKING:
    from epochwise.engine.code import Code

INT = ir.IntType(64)
FLOAT = ir.FloatType()
FUSED = ("contract",)

Whole: TypeAlias = Union["Int", int]
Number: TypeAlias = Union["Vector", float]


class _Value:
    """Something that exists when the kernel runs."""

    def __init__(self, code: Code, value: ir.Value) -> None:
        self.code, self.value = code, value


class Bool(_Value):
    """A truth."""

    def __and__(self, other: Bool) -> Bool:
        return Bool(self.code, self.code.builder.and_(self.value, other.value))

    def __or__(self, other: Bool) -> Bool:
        return Bool(self.code, self.code.builder.or_(self.value, other.value))

    def as_mask(self, lanes: int) -> Mask:
        """The same truth in every lane."""
        if lanes == 1:
            return Mask(self.code, self.value)
        vector = ir.VectorType(ir.IntType(1), lanes)
        first = self.code.builder.insert_element(ir.Constant(vector, ir.Undefined), self.value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        return Mask(self.code, self.code.builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros))

    def choose(self, yes: Whole, no: Whole) -> Int:
        """``yes`` if it holds, else ``no``; both are worked out."""
        return Int(self.code, self.code.builder.select(self.value, self.code.whole(yes).value, self.code.whole(no).value))


class Int(_Value):
    """A whole number: 64 bits, with sign."""

    def _with(self, operation: str, other: Whole) -> Int:
        return Int(self.code, getattr(self.code.builder, operation)(self.value, self.code.whole(other).value))

    def __add__(self, other: Whole) -> Int:
        return self if isinstance(other, int) and other == 0 else self._with("add", other)

    def __sub__(self, other: Whole) -> Int:
        return self._with("sub", other)

    def __mul__(self, other: Whole) -> Int:
        return self if isinstance(other, int) and other == 1 else self._with("mul", other)

    def __floordiv__(self, other: Whole) -> Int:
        """Towards zero."""
        return self._with("sdiv", other)

    def __mod__(self, other: Whole) -> Int:
        return self._with("srem", other)

    def __and__(self, other: Whole) -> Int:
        return self._with("and_", other)

    def __xor__(self, other: Whole) -> Int:
        return self._with("xor", other)

    def __rshift__(self, other: Whole) -> Int:
        """Zeros come in from the left."""
        return self._with("lshr", other)

    def __radd__(self, other: int) -> Int:
        return self + other

    def __rmul__(self, other: int) -> Int:
        return self * other

    def _compare(self, sign: str, other: Whole) -> Bool:
        return Bool(self.code, self.code.builder.icmp_signed(sign, self.value, self.code.whole(other).value))

    def __lt__(self, other: Whole) -> Bool:
        return self._compare("<", other)

    def __le__(self, other: Whole) -> Bool:
        return self._compare("<=", other)

    def __gt__(self, other: Whole) -> Bool:
        return self._compare(">", other)

    def __ge__(self, other: Whole) -> Bool:
        return self._compare(">=", other)

    def equals(self, other: Whole) -> Bool:
        """Whether the two are the same."""
        return self._compare("==", other)

    def min(self, other: Whole) -> Int:
        """The smaller."""
        return (self < other).choose(self, other)

    def max(self, other: Whole) -> Int:
        """The greater."""
        return (self > other).choose(self, other)

    def as_float(self) -> Vector:
        """The nearest float32."""
        return Vector(self.code, self.code.builder.sitofp(self.value, FLOAT))


class Mask(_Value):
    """A truth for each lane."""

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.code, self.code.builder.and_(self.value, other.value))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.code, self.code.builder.or_(self.value, other.value))

    def choose(self, yes: Number, no: Number) -> Vector:
        """In each lane ``yes`` where it holds, else ``no``."""
        lanes = self.value.type.count if isinstance(self.value.type, ir.VectorType) else 1
        picked = [number if isinstance(number, Vector) else self.code.constant(number, lanes) for number in (yes, no)]
        return Vector(self.code, self.code.builder.select(self.value, picked[0].value, picked[1].value))

    def single(self) -> Bool:
        """The truth of the only lane."""
        return Bool(self.code, self.value)

    def as_int(self) -> Int:
        """1 if it holds, else 0; for a single lane."""
        return Int(self.code, self.code.builder.zext(self.value, INT))


class Indices(_Value):
    """A whole number for each lane: places in a table, see :meth:`Vector.picked`."""

    def __and__(self, other: int) -> Indices:
        return Indices(self.code, self.code.builder.and_(self.value, self._of(self.code.whole(other))))

    def __add__(self, other: Indices | Whole) -> Indices:
        return Indices(self.code, self.code.builder.add(self.value, self._of(other)))

    def __mul__(self, other: Whole) -> Indices:
        return Indices(self.code, self.code.builder.mul(self.value, self._of(other)))

    def _of(self, other: Indices | Whole) -> ir.Value:
        if isinstance(other, Indices):
            return other.value
        kind = self.value.type
        word = self.code.builder.trunc(self.code.whole(other).value, kind.element)
        first = self.code.builder.insert_element(ir.Constant(kind, ir.Undefined), word, ir.Constant(ir.IntType(32), 0))
        return self.code.builder.shuffle_vector(
            first, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        )


class Vector(_Value):
    """Some float32 numbers side by side; a single one is a vector of one lane."""

    @property
    def lanes(self) -> int:
        """How many numbers."""
        return int(self.value.type.count) if isinstance(self.value.type, ir.VectorType) else 1

    def _of(self, other: Number) -> ir.Value:
        return other.value if isinstance(other, Vector) else self.code.constant(other, self.lanes).value

    def __add__(self, other: Number) -> Vector:
        return Vector(self.code, self.code.builder.fadd(self.value, self._of(other), flags=FUSED))

    def __sub__(self, other: Number) -> Vector:
        return Vector(self.code, self.code.builder.fsub(self.value, self._of(other), flags=FUSED))

    def __mul__(self, other: Number) -> Vector:
        return Vector(self.code, self.code.builder.fmul(self.value, self._of(other), flags=FUSED))

    def __truediv__(self, other: Number) -> Vector:
        return Vector(self.code, self.code.builder.fdiv(self.value, self._of(other)))

    def __neg__(self) -> Vector:
        return Vector(self.code, self.code.builder.fneg(self.value))

    def __radd__(self, other: float) -> Vector:
        return self + other

    def __rmul__(self, other: float) -> Vector:
        return self * other

    def __rsub__(self, other: float) -> Vector:
        return self.code.constant(other, self.lanes) - self

    def __rtruediv__(self, other: float) -> Vector:
        return self.code.constant(other, self.lanes) / self

    def _compare(self, sign: str, other: Number) -> Mask:
        return Mask(self.code, self.code.builder.fcmp_ordered(sign, self.value, self._of(other)))

    def __lt__(self, other: Number) -> Mask:
        """False where one of the two is NaN, as for all comparisons but :meth:`not_within`."""
        return self._compare("<", other)

    def __le__(self, other: Number) -> Mask:
        return self._compare("<=", other)

    def __gt__(self, other: Number) -> Mask:
        return self._compare(">", other)

    def __ge__(self, other: Number) -> Mask:
        return self._compare(">=", other)

    def equals(self, other: Number) -> Mask:
        """The same number."""
        return self._compare("==", other)

    def above_or_nan(self, other: Number) -> Mask:
        """Greater, or one of the two is NaN."""
        return Mask(self.code, self.code.builder.fcmp_unordered(">", self.value, self._of(other)))

    def max(self, other: Number) -> Vector:
        """The greater; ``self`` where one of the two is NaN."""
        return (self < other).choose(other, self)

    def min(self, other: Number) -> Vector:
        """The smaller; ``self`` where one of the two is NaN."""
        return (self > other).choose(other, self)

    def as_int(self) -> Int:
        """A single number without what stands behind its point."""
        return Int(self.code, self.code.builder.fptosi(self.value, INT))

    def as_indices(self) -> Indices:
        """The numbers, which are whole."""
        wanted = ir.VectorType(ir.IntType(32), self.lanes)
        return Indices(self.code, self.code.builder.fptosi(self.value, wanted))

    def picked(self, indices: Indices) -> Vector:
        """In each lane, the number of this vector that the lane's index names. For 16 lanes (AVX-512) and 8 (AVX2)."""
        name = {16: "llvm.x86.avx512.permvar.sf.512", 8: "llvm.x86.avx2.permps"}[self.lanes]
        return self.code.instruction(name, self, indices)

    def followed_by(self, other: Vector, lanes: int) -> Vector:
        """The numbers of both, one after another, in a vector of so many; what is behind them is anything."""
        both = [*range(2 * self.lanes)]
        return self.mixed(other, both + [0] * (lanes - len(both)))

    def sqrt(self) -> Vector:
        """The square root, rounded correctly."""
        return self.code.apply("llvm.sqrt", self)

    def floor(self) -> Vector:
        """The greatest whole number that is not above."""
        return self.code.apply("llvm.floor", self)

    def abs(self) -> Vector:
        """Without sign."""
        return self.code.apply("llvm.fabs", self)

    def sum(self) -> Vector:
        """Of all lanes: the upper half is added to the lower until one number is left."""
        return self._fold(Vector.__add__)

    def largest(self) -> Vector:
        """Of all lanes."""
        return self._fold(Vector.max)

    def _fold(self, join: Callable[[Vector, Vector], Vector]) -> Vector:
        folded = self
        while folded.lanes > 1:
            half = folded.lanes // 2
            folded = join(folded.lanes_of(range(half)), folded.lanes_of(range(half, 2 * half)))
        return folded

    def lanes_of(self, places: range) -> Vector:
        """The lanes at these places."""
        undefined = ir.Constant(self.value.type, ir.Undefined)
        if len(places) == 1:
            return Vector(self.code, self.code.builder.extract_element(self.value, ir.Constant(ir.IntType(32), places[0])))
        chosen = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), list(places))
        return Vector(self.code, self.code.builder.shuffle_vector(self.value, undefined, chosen))

    def mixed(self, other: Vector, places: list[int]) -> Vector:
        """Lanes of the two at these places: those of ``other`` are counted on after its own."""
        chosen = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
        return Vector(self.code, self.code.builder.shuffle_vector(self.value, other.value, chosen))

    def spread(self, lanes: int) -> Vector:
        """One number in every lane."""
        if lanes == self.lanes:
            return self
        vector = ir.VectorType(FLOAT, lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.code.builder.insert_element(undefined, self.value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        return Vector(self.code, self.code.builder.shuffle_vector(first, undefined, zeros))


class Pointer(_Value):
    """Where elements of one type lie, one after another; the subclasses say which type."""

    element: ClassVar[ir.Type]

    def __add__(self, elements: Whole) -> Pointer:
        """So many elements further on."""
        if isinstance(elements, int) and elements == 0:
            return self
        place = self.code.builder.gep(self.value, [self.code.whole(elements).value], source_etype=self.element)
        return type(self)(self.code, place)


class Floats(Pointer):
    """Of float32 numbers."""

    element = FLOAT

    def __add__(self, elements: Whole) -> Floats:
        moved = super().__add__(elements)
        assert isinstance(moved, Floats)
        return moved

    def load(self, lanes: int = 1) -> Vector:
        """The numbers from here on."""
        kind = ir.VectorType(FLOAT, lanes) if lanes > 1 else FLOAT
        return Vector(self.code, self.code.builder.load(self.value, typ=kind, align=4))

    def spread(self, lanes: int) -> Vector:
        """The number here, in every lane."""
        return self.load().spread(lanes)

    def store(self, numbers: Vector) -> None:
        """Write numbers from here on."""
        self.code.builder.store(numbers.value, self.value, align=4)


class Longs(Pointer):
    """Of whole numbers of 64 bits."""

    element = INT

    def __add__(self, elements: Whole) -> Longs:
        moved = super().__add__(elements)
        assert isinstance(moved, Longs)
        return moved

    def load(self) -> Int:
        """The number here."""
        return Int(self.code, self.code.builder.load(self.value, typ=INT, align=8))

    def store(self, number: Whole) -> None:
        """Write a number here."""
        self.code.builder.store(self.code.whole(number).value, self.value, align=8)


class Words(Pointer):
    """Of whole numbers of 32 bits, with sign."""

    element = ir.IntType(32)

    def __add__(self, elements: Whole) -> Words:
        moved = super().__add__(elements)
        assert isinstance(moved, Words)
        return moved

    def load(self) -> Int:
        """The number here."""
        word = self.code.builder.load(self.value, typ=self.element, align=4)
        return Int(self.code, self.code.builder.sext(word, INT))

    def store(self, number: Int) -> None:
        """Write a number here, which fits."""
        self.code.builder.store(self.code.builder.trunc(number.value, self.element), self.value, align=4)


class Bytes(Pointer):
    """Of whole numbers of 8 bits, without sign."""

    element = ir.IntType(8)

    def __add__(self, elements: Whole) -> Bytes:
        moved = super().__add__(elements)
        assert isinstance(moved, Bytes)
        return moved

    def load(self, lanes: int = 1) -> Vector:
        """The numbers from here on, as floats."""
        kind = ir.VectorType(self.element, lanes) if lanes > 1 else self.element
        wanted = ir.VectorType(FLOAT, lanes) if lanes > 1 else FLOAT
        return Vector(self.code, self.code.builder.uitofp(self.code.builder.load(self.value, typ=kind, align=1), wanted))


class Doubles(Pointer):
    """Of float64 numbers; for sums over an epoch."""

    element = ir.DoubleType()

    def add(self, number: Vector) -> None:
        """Add one float32 number to the one here."""
        here = self.code.builder.load(self.value, typ=self.element, align=8)
        self.code.builder.store(
            self.code.builder.fadd(here, self.code.builder.fpext(number.value, self.element)), self.value, align=8
        )

    def __add__(self, elements: Whole) -> Doubles:
        moved = super().__add__(elements)
        assert isinstance(moved, Doubles)
        return moved

    def load(self) -> Vector:
        """The number here, as float32."""
        here = self.code.builder.load(self.value, typ=self.element, align=8)
        return Vector(self.code, self.code.builder.fptrunc(here, FLOAT))

    def store(self, number: Vector) -> None:
        """A float32 number."""
        self.code.builder.store(self.code.builder.fpext(number.value, self.element), self.value, align=8)
