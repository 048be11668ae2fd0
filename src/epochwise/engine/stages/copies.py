"""Copies of tensors in another form, and their gradients back."""

from __future__ import annotations

from epochwise.engine.forms import Form, padded_form
from epochwise.engine.kernels import moves
from epochwise.engine.stages.planning import Planning, Tensor


def aligned(planning: Planning, number: int, anew: bool = False) -> Tensor:
    """A tensor whose blocks lie along its last axis: itself, or a copy; ``anew``: one with the usual padding."""
    x = planning.tensors[number]
    form = padded_form(planning.network.shapes[number], planning.target)
    if x.form == form or (x.form.has_channels_last and not anew):
        return x
    if number not in planning.copies:
        planning.copies[number] = _copied(planning, x, form)
    return planning.copies[number]


def _copied(planning: Planning, x: Tensor, form: Form) -> Tensor:
    """The tensor again in this form."""
    y = planning.another(x, form)
    if x.form.channels == form.channels:
        plan_copy(planning, x, y, 0, form.blocks, form.channels, x.form.pitch, form.pitch)
        return y
    # Blocks of another length: by way of no padding at all.
    plain = Form(x.form.shape, x.form.blocks, x.form.channels, x.form.channels)
    middle = planning.another(x, plain)
    plan_copy(planning, x, middle, 0, plain.blocks, plain.channels, x.form.pitch, plain.pitch)
    plan_copy(planning, middle, y, 0, form.blocks, form.channels, form.channels, form.pitch)
    return y


def plan_copy(
    planning: Planning, x: Tensor, y: Tensor, first: int, blocks: int, numbers: int, x_block: int, y_block: int
) -> None:
    """Copy blocks of ``x`` into ``y`` from its number ``first`` on, and gradients back."""
    lanes = planning.target.lanes
    common = {"blocks": blocks, "numbers": numbers}
    planning.add_forward(
        moves.join(lanes=lanes, add=False),
        x=x.values,
        y=y.values.reshape(-1)[first:],
        **common,
        x_block=x_block,
        y_block=y_block,
    )

    def backward() -> None:
        if x.gradient is not None and y.gradient is not None and y.arrived:
            planning.add_backward(
                moves.join(lanes=lanes, add=x.arrived),
                x=y.gradient.reshape(-1)[first:],
                y=x.gradient,
                **common,
                x_block=y_block,
                y_block=x_block,
            )
            x.arrived = True

    planning.later(backward)
