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
    layers = {name: shares[0][0][0] for name, shares in places.items()}
    assert all(len(shares) == 1 for shares in places.values())
    assert layers["named"] == "conv"
    assert layers["fusion"] == "dense"
    assert layers["indices"] == layers["part"] == layers["scatter"] == "pool"
    assert layers["gradient"] == "conv"
    assert layers["update"] == "optimizer"


def test_what_belongs_nowhere_is_left_out() -> None:
    """Without any name in the module no place is invented."""
    assert places_of_instructions(MODULE, lambda operation: (None, None)) == {}


FUSED = """\
HloModule step

%fused (p: f32[8,10], w: f32[10,4]) -> f32[8,4] {
  %p = f32[8,10]{1,0} parameter(0)
  %w = f32[10,4]{1,0} parameter(1)
  %product = f32[8,4]{1,0} dot(%p, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}, metadata={op_name="s/dense/dot"}
  %zero = f32[] constant(0), metadata={op_name="s/relu/zero"}
  %many = f32[8,4]{1,0} broadcast(%zero), dimensions={}, metadata={op_name="s/relu/broadcast"}
  ROOT %relu = f32[8,4]{1,0} maximum(%product, %many), metadata={op_name="s/relu/max"}
}

ENTRY %main (x: f32[8,10], v: f32[10,4]) -> f32[8,4] {
  %x = f32[8,10]{1,0} parameter(0)
  %v = f32[10,4]{1,0} parameter(1)
  ROOT %fusion = f32[8,4]{1,0} fusion(%x, %v), kind=kOutput, calls=%fused, metadata={op_name="s/relu/max"}
}
"""


def test_a_fused_instruction_is_shared_out_by_its_work() -> None:
    """8 x 4 products of length 10 for one layer, 8 x 4 maxima for the other; what costs nothing has no share."""
    shares = places_of_instructions(FUSED, place_of)["fusion"]
    assert dict(shares) == {("dense", "forward"): 320 / 352, ("relu", "forward"): 32 / 352}
