"""Maps with a border of zeros: where a convolution reads its input, and where the gradient of it is put together."""

from __future__ import annotations

from dataclasses import dataclass

from epochwise.engine.code import Given
from epochwise.engine.forms import Form
from epochwise.engine.kernels import elementwise, moves
from epochwise.engine.network import Float32, Sides
from epochwise.engine.plan import floats
from epochwise.engine.stages.planning import Planning, Tensor


@dataclass(frozen=True, slots=True)
class Bordered:
    """A tensor's maps with a border; the tensor's own memory where there is none.

    Attributes:
        form: ``(rows, columns, channels)`` with the border.
        values, gradient: of the whole batch.
    """

    form: Form
    values: Float32
    gradient: Float32 | None


def border(planning: Planning, x: Tensor, padding: Sides) -> Bordered:
    """Plan the maps of a tensor with a border."""
    (above, below), (left, right) = padding
    *_, height, width, channels = (1, *x.form.shape)
    rows, columns = height + above + below, width + left + right
    form = Form((rows, columns, channels), rows * columns, channels, x.form.pitch)
    if (rows, columns) == (height, width):
        return Bordered(form, x.values, x.gradient)
    gradient = None if x.gradient is None else planning.passing(form)
    source = Bordered(form, floats(planning.batch, form.size), gradient)
    planning.add_forward(
        moves.border(lanes=planning.target.lanes), x=x.values, y=source.values, **frame(x.form, form, height, above, left)
    )
    return source


def frame(inner: Form, outer: Form, rows: int, above: int, left: int) -> dict[str, Given]:
    """How ``rows`` rows of one map lie in another."""
    return {
        "rows": rows,
        "row": inner.size // rows,
        "above": above,
        "left": left * inner.pitch,
        "y_rows": outer.shape[0],
        "y_row": outer.shape[1] * inner.pitch,
    }


def clear_target(planning: Planning, x: Tensor, source: Bordered) -> Float32:
    """Where the gradient of a tensor is added up, cleared: with its border, or its own memory if nothing is there yet."""
    assert source.gradient is not None
    if source.gradient is not x.gradient or not x.arrived:
        planning.add_backward(
            elementwise.clear(lanes=source.form.flat_lanes(planning.target)), y=source.gradient, size=source.form.size
        )
    return source.gradient


def hand_on(planning: Planning, x: Tensor, source: Bordered, target: Float32, padding: Sides) -> None:
    """From the map with a border to the tensor's gradient."""
    assert x.gradient is not None
    if target is x.gradient:
        return
    (above, _), (left, _) = padding
    height = (1, *x.form.shape)[-3]
    planning.add_backward(
        moves.unborder(lanes=planning.target.lanes, add=x.arrived),
        dy=target,
        dx=x.gradient,
        **frame(x.form, source.form, height, above, left),
    )
