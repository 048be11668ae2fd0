"""The stack of layer calls, the paths that layers get, and the numbering of tensors."""

from __future__ import annotations

from epochwise.tracing.recorder import LOSS, METRICS, OPTIMIZER, LayerRecorder, TraceBuilder


def call(recorder, key, *inside):
    """Call a layer, and inside it those given as tuples of the same form."""
    number = recorder.enter(key, key, key.capitalize())
    for inner in inside:
        call(recorder, *inner)
    recorder.exit(number)
    return number


def paths(recorder):
    return [layer.path for layer in recorder.layers()]


def test_paths_are_the_names_that_the_user_gave_without_the_model_itself():
    """``encoder/dense``, not ``model/encoder/dense``; the model keeps its own name."""
    recorder = LayerRecorder(top="model")
    call(recorder, "model", ("encoder", ("dense",)), ("head",))
    assert paths(recorder) == ["model", "encoder", "encoder/dense", "head"]
    assert [layer.parent for layer in recorder.layers()] == [None, 0, 1, 0]
    assert [layer.leaf for layer in recorder.layers()] == [False, False, True, True]


def test_a_shared_layer_is_one_layer_with_several_calls():
    """Its path is that of its first call."""
    recorder = LayerRecorder()
    call(recorder, "a", ("shared",))
    call(recorder, "b", ("shared",))
    assert paths(recorder) == ["a", "a/shared", "b"]
    assert [made.layer for made in recorder.calls()] == [0, 1, 2, 1]


def test_two_layers_of_one_name_stay_apart():
    """The second is told by a number behind its name."""
    recorder = LayerRecorder()
    for key in (1, 2, 3):
        recorder.exit(recorder.enter(key, "dense", "Dense"))
    assert paths(recorder) == ["dense", "dense#2", "dense#3"]


def test_a_layer_that_calls_itself_is_not_its_own_parent():
    """A recursive layer has one row, at its first place."""
    recorder = LayerRecorder()
    call(recorder, "tree", ("tree", ("leaf",)))
    assert paths(recorder) == ["tree", "tree/leaf"]
    assert recorder.layers()[0].parent is None


def test_the_parts_of_a_step_outside_layers():
    """They have paths in brackets; what is called inside one is known to be."""
    recorder = LayerRecorder()
    loss = recorder.enter_part(LOSS)
    features = recorder.enter("features", "features", "Sequential")
    recorder.exit(features)
    recorder.exit(loss)
    recorder.exit(recorder.enter_part(METRICS))
    assert recorder.is_part(features, LOSS)
    assert not recorder.is_part(features, OPTIMIZER)
    assert paths(recorder) == ["(loss)", "(loss)/features", "(metrics)"]


def test_an_exception_inside_a_call_leaves_no_call_open():
    """Closing the outer call closes the inner one."""
    recorder = LayerRecorder()
    outer = recorder.enter("a", "a", "A")
    recorder.enter("b", "b", "B")
    recorder.exit(outer)
    assert recorder.current is None


def test_calls_that_the_framework_threw_away_are_forgotten():
    """The others keep their order, their layers and their surroundings."""
    recorder = LayerRecorder()
    part = recorder.enter_part(OPTIMIZER)
    call(recorder, "lost")
    kept = call(recorder, "kept")
    recorder.exit(part)
    recorder.set_outputs(kept, [7])
    assert recorder.retain({part, kept}) == {part: 0, kept: 1}
    assert recorder.calls()[1].outputs == (7,)
    assert recorder.is_part(1, OPTIMIZER)


def test_a_builder_numbers_tensors_by_key_and_follows_aliases():
    """The same key is the same tensor; an alias is the tensor it is given."""
    builder = TraceBuilder("jax", "jax", 1, LayerRecorder())
    first = builder.number("a", (2,), "float32")
    assert builder.number("a", (2,), "float32") == first
    builder.alias("b", first)
    assert (builder.known("b"), builder.known("c")) == (first, None)


def test_what_no_result_needs_is_left_out():
    """An operation that feeds nothing goes; with no results named, all stay."""
    builder = TraceBuilder("jax", "jax", 1, LayerRecorder())
    a, b, c = (builder.value((), "float32") for _ in range(3))
    builder.operation("used", [a], [b], phase="forward")
    builder.operation("unused", [a], [c], phase="forward")
    assert [operation.name for operation in builder.finish([b]).operations] == ["used"]
    assert len(builder.finish().operations) == 2


def test_a_note_is_said_once():
    """However often it applies."""
    builder = TraceBuilder("jax", "jax", 1, LayerRecorder())
    builder.note("Mind this.")
    builder.note("Mind this.")
    assert builder.finish().notes == ("Mind this.",)
