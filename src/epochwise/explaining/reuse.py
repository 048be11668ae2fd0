"""How often each weight is used, in a sentence: what makes a small model slow, or a large one quick."""

from __future__ import annotations

from epochwise.counting.counts import Counts, LayerCounts
from epochwise.explaining.wording import listed

LEAST_SHARE = 0.05
"""Of the model's forward MACs, or of its weights: layers used equally often that have less of both are not named."""
_MOST_NAMED = 2
_IMAGE_AXES, _IMAGE_CHANNELS = 3, (1, 3, 4)


def sample_word(counts: Counts) -> str:
    """What one sample is: ``image`` where it has two sides and 1, 3 or 4 channels, else ``sample``."""
    sizes = (counts.input_shape or ())[1:]
    image = len(sizes) == _IMAGE_AXES and (sizes[0] in _IMAGE_CHANNELS or sizes[-1] in _IMAGE_CHANNELS)
    return "image" if image else "sample"


def reuse_sentence(counts: Counts) -> str | None:
    """How often the forward pass uses each weight of the layers that matter, for one sample; ``None`` without any.

    Layers whose weights are used equally often are taken together. Those are named that hold :data:`LEAST_SHARE` of the
    model's MACs or of its weights.
    """
    groups: dict[float, list[LayerCounts]] = {}
    for row in counts.layers:
        if row.uses_per_weight:
            groups.setdefault(row.uses_per_weight, []).append(row)
    macs = sum(row.forward_macs for row in counts.layers) or 1
    weights = counts.parameters.total or 1
    told = [
        (uses, rows)
        for uses, rows in groups.items()
        if sum(row.forward_macs for row in rows) >= LEAST_SHARE * macs
        or sum(row.parameters for row in rows) >= LEAST_SHARE * weights
    ]
    if not told:
        return None
    word = sample_word(counts)
    if len(groups) == 1:
        return f"The forward pass uses each weight {_often(told[0][0])} per {word}."
    parts = [f"of {_named(rows)} {_often(uses)}" for uses, rows in told]
    return f"Per {word}, the forward pass uses each weight {listed(parts)}."


def _often(uses: float) -> str:
    if uses == 1:
        return "once"
    return f"{uses:,} times" if isinstance(uses, int) else f"{uses:,.3g} times on average"


def _named(rows: list[LayerCounts]) -> str:
    if len(rows) <= _MOST_NAMED:
        return " and ".join(_name(row) for row in rows)
    return f"{_name(rows[0])} and {len(rows) - 1} other layers"


def _name(row: LayerCounts) -> str:
    """Its name; with its kind where the name is a mere number, as in a ``torch.nn.Sequential``."""
    return f"{row.name} ({row.kind})" if row.name.replace(".", "").isdigit() else row.name
