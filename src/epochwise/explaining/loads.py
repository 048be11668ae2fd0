"""Requests to measure models that are given by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from epochwise.errors import UsageError
from epochwise.measuring.messages import Load
from epochwise.subjects.backends import choose_backend
from epochwise.subjects.datasets import DataSpec
from epochwise.subjects.models import parse_model


def loads_for(
    models: Iterable[str],
    data: DataSpec,
    *,
    backend: str | None,
    batch_size: int,
    seed: int,
    names: Sequence[str] | None = None,
) -> list[Load]:
    """Requests for models given by name, checked as far as that goes without running anything.

    Args:
        models: MODEL strings.
        data: to train on.
        backend: of Keras; ``None`` for the one that Keras would take. Files that speak PyTorch alone need none. Several with
            commas between, one for each model.
        batch_size: samples in a step.
        seed: of weights and order.
        names: for the models; by default what the MODEL strings call them.

    Raises:
        ModelNotFoundError: no such file, module or function.
        BackendMissingError: the backend is not installed.
        UsageError: other than one backend, or one for each model.
    """
    specs = [parse_model(text) for text in models]
    given = (backend or "").split(",")
    asked = [None] * len(specs) if backend is None else given * len(specs) if len(given) == 1 else given
    if len(asked) != len(specs):
        raise UsageError(
            f"--backend {backend} names {len(given)} backends for {len(specs)} {'model' if len(specs) == 1 else 'models'}.",
            cause="one backend does for all models; several are taken one for each, in their order",
            remedy="--backend " + ",".join(given[: len(specs)]),
        )
    chosen = [choose_backend(name.strip() if name else None) for name in asked]
    names = distinct(names or [spec.name for spec in specs])
    return [
        Load(model=spec.text, data=data, backend=backend_, batch_size=batch_size, seed=seed, name=name)
        for spec, name, backend_ in zip(specs, names, chosen, strict=True)
    ]


def distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that occur more than once."""
    return [f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name for place, name in enumerate(names)]
