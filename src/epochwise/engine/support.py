"""What the engine covers of a model, and what it does not, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing of a model that the engine does not do.

    Attributes:
        where: the layer's name, or ``loss``, ``metrics``, ``optimizer``, ``model``, ``data``.
        what: what it is, in words.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Support:
    """Whether the engine trains a model; true or false itself.

    Attributes:
        reasons: all that it does not do, layer by layer; empty if it trains the model.
    """

    reasons: tuple[Reason, ...] = ()

    @property
    def covered(self) -> bool:
        """Whether the engine trains the model."""
        return not self.reasons

    def __bool__(self) -> bool:
        return self.covered

    def __str__(self) -> str:
        if self.covered:
            return "The engine trains this model."
        return "\n".join(["The engine does not train this model:", *(f"  {reason}" for reason in self.reasons)])
