"""How numbers are written in sentences: as sure as they are, and no surer."""

from __future__ import annotations

FRAMEWORKS = {
    "tensorflow": "Keras on TensorFlow",
    "jax": "Keras on JAX",
    "torch": "Keras on PyTorch",
    "pytorch": "plain PyTorch",
}
"""Backends as sentences name them."""


def times(value: float) -> str:
    """A factor: three digits above 100, two or three below."""
    if value >= 100:  # noqa: PLR2004 - a matter of digits
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004


def seconds_text(seconds: float) -> str:
    """Seconds with their unit, three digits."""
    size = abs(seconds)
    if size >= 60:  # noqa: PLR2004
        return f"{seconds / 60:.3g} min"
    if size >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if size >= 1e-3 else f"{seconds * 1e6:.3g} us"  # noqa: PLR2004


def percent(share: float) -> str:
    """A share as per cent."""
    return f"{share:.0%}".replace("%", " %")


def bytes_text(count: float) -> str:
    """Bytes with a decimal unit, three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def listed(items: list[str]) -> str:
    """Items with commas and a final "and"."""
    if len(items) <= 1:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
