"""Layers of compiled instructions, those that the compiler made up included."""

from __future__ import annotations

from epochwise.measuring.hlo import places_of_instructions
from epochwise.measuring.xplane import Place

MODULE = """\
HloModule jit_train_step

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %inner = f32[4]{0} multiply(%p, %p), metadata={op_name="jit(step)/dense/mul"}
}

ENTRY %main (x: f32[4], w: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %w = f32[4]{0} parameter(1)
  %named = f32[4]{0} add(%x, %w), metadata={op_name="jit(step)/conv/add" stack_frame_id=7}
  %fusion = f32[4]{0} fusion(%named), kind=kLoop, calls=%fused
  %indices = (f32[4]{0}, s32[4]{0}) reduce-window(%fusion, %x)
  %part = s32[4]{0} get-tuple-element(%indices), index=1
  %scatter = f32[4]{0} scatter(%part, %fusion), metadata={op_name="jit(step)/pool/select_and_scatter"}
  %gradient = f32[4]{0} dot(%named, %named)
  ROOT %update = f32[4]{0} subtract(%w, %gradient), metadata={op_name="jit(step)/optimizer/sub"}
}
"""


def place_of(operation: str) -> Place:
    layer = operation.split("/")[1]
    return layer, "update" if layer == "optimizer" else "forward"


def test_every_instruction_finds_its_layer() -> None:
    """By its own name, by what it calls, by those that use it, and, where only the optimizer does, by what it uses."""
    places = places_of_instructions(MODULE, place_of)
    layers = {name: place[0] for name, place in places.items()}
    assert layers["named"] == "conv"
    assert layers["fusion"] == "dense"
    assert layers["indices"] == layers["part"] == layers["scatter"] == "pool"
    assert layers["gradient"] == "conv"
    assert layers["update"] == "optimizer"


def test_what_belongs_nowhere_is_left_out() -> None:
    """Without any name in the module no place is invented."""
    assert places_of_instructions(MODULE, lambda operation: (None, None)) == {}
