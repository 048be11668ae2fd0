"""The models of the experiments, as lists of layers: what they are, and what they cost. Imports no framework.

A description is JSON, so that it can stand in a trial. One of ours::

    {"name": "cnn", "layers": [["conv", 16, "valid"], ["pool"], ["conv", 8, "valid"], ["pool"], ["flatten"], ["classes"]]}

and one of the user's: ``{"name": "my_cnn", "text": "models.py:my_cnn", "digest": "..."}``, whose costs
:func:`epochwise.experiments.models.keras.facts` finds. ``keras.py`` beside this builds either.

Layers: ``["conv", filters, padding]`` is a convolution of 3 x 3 with relu, ``padding`` being ``valid``, ``same`` or ``full``
(two rows of zeros on each side); ``["local", filters]`` the same without sharing weights between places, and
``["dense-map", filters]`` the same map from a dense layer; ``["pool"]`` takes the largest of 2 x 2; ``["blur-pool"]`` takes
the largest of 2 x 2 at each place and then each second value of a blurred map; ``["gap"]`` and ``["gmp"]`` are the mean and
the largest over a map; ``["dense", units]`` has relu, ``["classes"]`` softmax.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from epochwise.subjects.models import find_module, parse_model

Description: TypeAlias = Mapping[str, Any]
"""A model as it stands in a trial."""

_CONV, _BORDER = 3, {"valid": -2, "same": 0, "full": 2}
_TAPS = 9  # of a kernel of 3 x 3


def _cnn(first: int, second: int, head: str, padding: str = "valid", pool: str = "pool") -> list[list[Any]]:
    return [["conv", first, padding], [pool], ["conv", second, padding], [pool], [head], ["classes"]]


def _mlp(*units: int) -> list[list[Any]]:
    return [["flatten"], *(["dense", count] for count in units), ["classes"]]


LAYERS: dict[str, list[list[Any]]] = {
    "mlp": _mlp(64, 64),
    "cnn": _cnn(16, 8, "flatten"),
    "linear": _mlp(),
    "mlp_4": _mlp(4),
    "mlp_233": _mlp(233, 233),
    "cnn_4_6": _cnn(4, 6, "flatten"),
    "cnn_64_64": _cnn(64, 64, "flatten"),
    "cnn_16_64_flatten": _cnn(16, 64, "flatten"),
    "cnn_16_64_gap": _cnn(16, 64, "gap"),
    "cnn_16_64_gmp": _cnn(16, 64, "gmp"),
    "cnn_16_64_gap_same": _cnn(16, 64, "gap", "same"),
    "cnn_16_64_gmp_same": _cnn(16, 64, "gmp", "same"),
    "cnn_16_64_gap_full": _cnn(16, 64, "gap", "full"),
    "cnn_16_64_gmp_full": _cnn(16, 64, "gmp", "full"),
    "cnn_blur": _cnn(16, 8, "flatten", pool="blur-pool"),
    "lcn": [["local", 16], ["pool"], ["local", 8], ["pool"], ["flatten"], ["classes"]],
    "efcn": [["dense-map", 16], ["pool"], ["dense-map", 8], ["pool"], ["flatten"], ["classes"]],
}
"""Our models by name. ``mlp`` and ``cnn`` are the question's; ``mlp_4``, ``cnn_64_64``, ``mlp_233`` and ``cnn_4_6`` match the
parameters or the MACs of the other one; ``lcn`` and ``efcn`` are ``cnn`` without sharing weights, and without locality."""

TITLES: dict[str, str] = {
    "mlp": "MLP 64-64",
    "cnn": "CNN 16-8",
    "linear": "linear",
    "mlp_4": "MLP 4",
    "mlp_233": "MLP 233-233",
    "cnn_4_6": "CNN 4-6",
    "cnn_64_64": "CNN 64-64",
    "cnn_16_64_flatten": "CNN 16-64, Flatten",
    "cnn_16_64_gap": "CNN 16-64, global mean",
    "cnn_16_64_gmp": "CNN 16-64, global max",
    "cnn_16_64_gap_same": "CNN 16-64, global mean, same padding",
    "cnn_16_64_gmp_same": "CNN 16-64, global max, same padding",
    "cnn_16_64_gap_full": "CNN 16-64, global mean, full padding",
    "cnn_16_64_gmp_full": "CNN 16-64, global max, full padding",
    "cnn_blur": "CNN 16-8, blurred pooling",
    "lcn": "locally connected 16-8",
    "efcn": "dense layers in the CNN's place",
}
"""What charts and tables call them."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a model costs, per sample.

    Attributes:
        parameters: weights, trained or not.
        forward_macs: multiply-accumulates of a forward pass.
        training_macs: of forward and backward together, without the gradient of the input.
        activations: elements that the forward pass writes.
        by_engine: whether the engine trains it; otherwise Keras does, which is slower.
    """

    parameters: int
    forward_macs: int
    training_macs: int
    activations: int
    by_engine: bool = True


def ours(name: str) -> Description:
    """The description of one of our models."""
    return {"name": name, "layers": LAYERS[name]}


def users(text: str) -> Description:
    """The description of a user's model: its MODEL string, and a hash of the file that it names.

    Raises:
        UsageError, ModelNotFoundError: as :func:`epochwise.subjects.models.parse_model`.
    """
    spec = parse_model(text)
    written = spec.keras_file or spec.file
    path = Path(written).expanduser() if written else find_module(str(spec.module))
    content = path.read_bytes() if path is not None and path.is_file() else b""
    full = text.replace(written, str(Path(written).expanduser().absolute()), 1) if written else text
    return {"name": spec.name, "text": full, "digest": hashlib.sha256(content).hexdigest()}


def title(model: Description) -> str:
    """What charts and tables call a model."""
    name = str(model["name"])
    return TITLES.get(name, name) if "layers" in model else name


def facts(layers: Sequence[Sequence[Any]], input_shape: Sequence[int], classes: int) -> Facts:
    """Count one of our models by arithmetic (the tests compare this with :func:`epochwise.count`).

    Of a ``local`` layer only its own weights and products count, not the frozen ones by which neighbours are gathered.

    Args:
        layers: of the description.
        input_shape: ``(rows, columns, channels)`` of a sample.
        classes: outputs.
    """
    shape: tuple[int, ...] = tuple(input_shape)
    total = Facts(0, 0, 0, 0)
    first = True  # nobody needs the gradient of the input
    for layer in layers:
        shape, weights, macs, frozen, written = _cost(layer, shape, classes)
        backward = (0 if frozen else macs) + (0 if first else macs)
        total = dataclasses.replace(
            total,
            parameters=total.parameters + weights,
            forward_macs=total.forward_macs + macs,
            training_macs=total.training_macs + macs + backward,
            activations=total.activations + written,
        )
        first = first and not macs
    return total


def _cost(layer: Sequence[Any], shape: tuple[int, ...], classes: int) -> tuple[tuple[int, ...], int, int, bool, int]:
    """Shape after a layer, its weights, MACs, whether it is frozen, and the elements that it writes."""
    kind = layer[0]
    if kind == "flatten":
        return (math.prod(shape),), 0, 0, False, 0
    if kind in ("dense", "classes"):
        units = classes if kind == "classes" else int(layer[1])
        return (units,), (shape[0] + 1) * units, shape[0] * units, False, units
    rows, columns, channels = shape
    if kind in ("gap", "gmp"):
        return (channels,), 0, 0, False, channels
    if kind == "pool":
        made = (rows // 2, columns // 2, channels)
        return made, 0, 0, False, math.prod(made)
    if kind == "blur-pool":
        large = (rows - 1) * (columns - 1) * channels
        made = (rows // 2, columns // 2, channels)
        return made, _TAPS * channels, math.prod(made) * _TAPS, True, large + math.prod(made)
    filters = int(layer[1])
    border = _BORDER[layer[2]] if kind == "conv" else _BORDER["valid"]
    made = (rows + border, columns + border, filters)
    taps, places = _TAPS * channels, made[0] * made[1]
    if kind == "conv":
        padded = (rows + 4) * (columns + 4) * channels if layer[2] == "full" else 0
        return made, (taps + 1) * filters, places * taps * filters, False, math.prod(made) + padded
    if kind == "local":
        return made, (taps + 1) * filters * places, places * taps * filters, False, math.prod(made)
    if kind == "dense-map":
        macs = math.prod(shape) * math.prod(made)
        return made, macs + math.prod(made), macs, False, math.prod(made)
    raise ValueError(f"no such layer: {kind}")
