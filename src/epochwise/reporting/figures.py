"""How numbers are written in tables, in the terminal and on pages alike."""

from __future__ import annotations

from typing import NamedTuple

from epochwise.explaining.wording import bytes_text

UNKNOWN = "unknown"
NOTHING = "-"
LONGEST_EXACT = 1_000_000
PREFIXES = ((10**18, "E"), (10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"))
UNITS = (("h", 3600.0, 7200.0), ("min", 60.0, 200.0), ("s", 1.0, 1.0), ("ms", 1e-3, 1e-3))
"""Name, seconds, and the least time that it is used for."""
MULTIPLIED, DIVIDED = "×", "÷"


def digits(value: float) -> str:
    """A positive number in three digits: ``1,234``, ``89.3``, ``2.09``, ``0.31``, ``0.0021``."""
    size = abs(value)
    if size >= 100:  # noqa: PLR2004 - a matter of digits
        return f"{value:,.0f}"
    if size >= 10:  # noqa: PLR2004
        return f"{value:.1f}"
    if size >= 0.1 or not size:  # noqa: PLR2004
        return f"{value:.2f}"
    return f"{value:.2g}"


def ratio_text(ratio: float | None) -> str:
    """Second over first: ``2.09``, and ``1/16.5`` below one, as people say it."""
    if ratio is None:
        return UNKNOWN
    return digits(ratio) if ratio >= 0.995 or ratio <= 0 else f"1/{digits(1 / ratio)}"  # noqa: PLR2004 - 0.995 is shown as 1.00


def factor_text(ratio: float | None) -> str:
    """A step in a chain of factors: ``× 89.3`` or ``÷ 16.5``."""
    if ratio is None:
        return UNKNOWN
    if ratio >= 0.995 or ratio <= 0:  # noqa: PLR2004
        return f"{MULTIPLIED} {digits(ratio)}"
    return f"{DIVIDED} {digits(1 / ratio)}"


def count_text(count: float) -> str:
    """A count in a table: exact below a million, then four digits with the SI prefix."""
    if 0 < abs(count) < 0.1:  # noqa: PLR2004 - what one place would show as nothing
        return f"{count:.1g}"
    if abs(count) < LONGEST_EXACT:
        return f"{count:,.0f}" if float(count).is_integer() else f"{count:,.1f}"
    unit, prefix = next((unit, prefix) for unit, prefix in PREFIXES if abs(count) >= unit)
    shown = count / unit
    places = 3 if abs(shown) < 10 else 2 if abs(shown) < 100 else 1  # noqa: PLR2004 - a matter of digits
    return f"{shown:,.{places}f} {prefix}"


def exact_text(count: float) -> str:
    """A count to the last digit; what is not whole to one place."""
    if 0 < abs(count) < 0.1:  # noqa: PLR2004
        return f"{count:.1g}"
    return f"{count:,.0f}" if float(count).is_integer() else f"{count:,.1f}"


def memory_text(count: int) -> str:
    """Bytes in the binary unit that people ask for memory in, where they are whole in it: ``8 GiB``; else ``8.59 GB``."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count and count % (unit // 4) == 0 and count >= unit:
            return f"{count / unit:,g} {name}"
    return bytes_text(count)


def share_text(share: float) -> str:
    """A share as per cent, to a tenth."""
    return f"{share:.1%}".replace("%", " %").replace("-0.0 %", "0.0 %")


def shape_text(shape: tuple[int | None, ...] | None) -> str:
    """Sizes of one sample: the batch, which is unknown, is left out."""
    if shape is None:
        return ""
    sizes = shape[1:] if shape and shape[0] is None else shape
    return "x".join("?" if size is None else str(size) for size in sizes)


class Unit(NamedTuple):
    """A unit and the digits for seconds that stand under each other and add up."""

    name: str
    seconds: float
    places: int

    def text(self, seconds: float | None, sign: bool = False) -> str:
        """Seconds in this unit, without its name."""
        if seconds is None:
            return UNKNOWN
        shown = f"{seconds / self.seconds:{'+' if sign else ''},.{self.places}f}"
        # What is rounded to nothing has no sign.
        return shown if any(digit in shown for digit in "123456789") else shown.lstrip("+-")

    def fitted(self, seconds: float) -> Unit:
        """The same unit with the places that show four digits of these seconds."""
        shown = abs(seconds) / self.seconds
        return self._replace(places=3 if shown < 10 else 2 if shown < 100 else 1 if shown < 1000 else 0)  # noqa: PLR2004

    def named(self, seconds: float | None) -> str:
        """Seconds in this unit, with its name."""
        return UNKNOWN if seconds is None else f"{self.text(seconds)} {self.name}"


def unit_for(seconds: float) -> Unit:
    """The unit that suits these seconds, with four digits of them."""
    size = abs(seconds)
    name, unit = next(
        ((name, unit) for name, unit, least in UNITS if size >= least),
        ("us", 1e-6),
    )
    return Unit(name, unit, 0).fitted(seconds)


def interval_text(low: float, high: float, unit: Unit | None = None) -> str:
    """``1.30 to 1.33 s``, or the ends of a ratio."""
    if unit is None:
        return f"{ratio_text(low)} to {ratio_text(high)}"
    return f"{unit.text(low)} to {unit.text(high)} {unit.name}"


def shortened(text: str, columns: int) -> str:
    """Text that fits: what is too long loses its middle, for both ends of a layer's path tell it from others."""
    if len(text) <= columns:
        return text
    if columns <= 1:
        return "…"[:columns]
    tail = (columns - 1) // 2
    return f"{text[: columns - 1 - tail]}…{text[len(text) - tail :]}" if tail else f"{text[: columns - 1]}…"
