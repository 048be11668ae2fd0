"""From a trace to counts, on traces written by hand: no framework is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochwise.counting.assembling import count_trace
from epochwise.counting.counts import Uncounted
from epochwise.counting.flow import Flow
from epochwise.counting.models import count
from epochwise.errors import NotAModelError, UsageError
from epochwise.tracing.recorder import LOSS, OPTIMIZER, LayerRecorder, TraceBuilder

MATRIX = {"dimension_numbers": (((1,), (0,)), ((), ()))}
BATCH = 4


class Step:
    """A step of dense layers without bias, built by hand: x W, its loss, gradients and updates."""

    def __init__(self, widths=(3, 5, 2), trainable=None):
        self.recorder = LayerRecorder()
        self.builder = TraceBuilder("jax", "jax", BATCH, self.recorder)
        self.widths = widths
        self.trainable = trainable or [True] * (len(widths) - 1)
        self.x = self.builder.value((BATCH, widths[0]), "float32")
        self.builder.inputs = [self.x]

    def add(self, name, inputs, shape, phase="forward", call=None, **options):
        output = self.builder.value(shape, "float32")
        self.builder.operation(name, inputs, [output], phase=phase, call=call, **options)
        return output

    def trace(self, extra=()):
        weights = [self.builder.value(pair, "float32") for pair in zip(self.widths, self.widths[1:], strict=False)]
        calls, values = [], [self.x]
        for number, weight in enumerate(weights):
            call = self.recorder.enter(number, f"dense{number}", "Dense")
            values.append(
                self.add("dot_general", [values[-1], weight], (BATCH, self.widths[number + 1]), call=call, attributes=MATRIX)
            )
            for name, options in extra:
                values[-1] = self.add(name, [values[-1]], (BATCH, self.widths[number + 1]), call=call, **options)
            self.recorder.exit(call)
            self.recorder.set_inputs(call, [values[number]])
            self.recorder.set_outputs(call, [values[-1]])
            calls.append(call)
        loss = self.recorder.enter_part(LOSS)
        self.recorder.set_inputs(loss, [values[-1]])
        self.add("reduce_sum", [values[-1]], (), call=loss)
        gradient = self.add("neg", [values[-1]], (BATCH, self.widths[-1]), "backward", loss)
        self.recorder.exit(loss)
        gradients = {}
        for number in reversed(range(len(weights))):
            shape = (self.widths[number], self.widths[number + 1])
            if self.trainable[number]:
                swapped = self.add("transpose", [values[number]], (shape[0], BATCH), "backward", calls[number])
                gradients[number] = self.add(
                    "dot_general", [swapped, gradient], shape, "backward", calls[number], attributes=MATRIX
                )
            if any(self.trainable[:number]):
                swapped = self.add("transpose", [weights[number]], shape[::-1], "backward", calls[number])
                gradient = self.add(
                    "dot_general", [gradient, swapped], (BATCH, shape[0]), "backward", calls[number], attributes=MATRIX
                )
        optimizer = self.recorder.enter_part(OPTIMIZER)
        for number, found in gradients.items():
            self.add("sub", [weights[number], found], self.builder.shape_of(found).shape, "update", optimizer)
        self.recorder.exit(optimizer)
        for number, weight in enumerate(weights):
            self.builder.parameter(
                f"w{number}", weight, trainable=self.trainable[number], layer=number, gradient=gradients.get(number)
            )
        return self.builder.finish()


@given(widths=st.lists(st.integers(1, 9), min_size=2, max_size=5), data=st.data())
def test_totals_are_the_sums_of_the_rows_and_rows_follow_the_closed_form(widths, data):
    """Any chain of dense layers, any of them frozen: each product is charged where and only where it is needed."""
    trainable = data.draw(st.lists(st.booleans(), min_size=len(widths) - 1, max_size=len(widths) - 1))
    trainable[data.draw(st.integers(0, len(trainable) - 1))] = True
    counts = count_trace(Step(tuple(widths), trainable).trace(), "chain")
    rows = {row.name: row for row in counts.layers}
    for number, learns in enumerate(trainable):
        product = widths[number] * widths[number + 1]
        row = rows[f"dense{number}"]
        assert row.forward_macs == product
        assert row.weight_gradient_macs == product * learns
        assert row.input_gradient_macs == product * any(trainable[:number])
        assert row.update.other_flops == product * learns
        assert row.activation_elements == widths[number + 1]
    total = counts.per_sample
    assert total.forward_macs == sum(row.forward_macs for row in counts.layers)
    assert total.training_macs * BATCH == sum(
        work.macs for row in counts.layers for work in (row.forward, row.backward, row.update)
    )
    assert total.activation_elements == sum(row.activation_elements for row in counts.layers)
    assert counts.parameters.total == sum(row.parameters for row in counts.layers)


def test_an_operation_without_a_rule_is_listed_with_its_layer_and_number():
    """Twice in two layers: two entries of one each, and the figures without it are unchanged."""
    plain = count_trace(Step().trace(), "plain")
    counts = count_trace(Step().trace(extra=[("mystery", {})]), "with")
    assert counts.uncounted == (Uncounted("mystery", 1, "dense0"), Uncounted("mystery", 1, "dense1"))
    assert counts.per_sample.forward_flops == plain.per_sample.forward_flops


def test_a_loop_of_unknown_length_is_listed_as_such():
    """Its work is in no figure; an operation that costs nothing anyway is not listed."""
    extra = [("tanh", {"times": None}), ("reshape", {"times": None})]
    counts = count_trace(Step().trace(extra), "loop")
    assert {(entry.operation, entry.times, entry.reason) for entry in counts.uncounted} == {
        ("tanh", None, "trip count unknown")
    }


def test_the_body_of_a_loop_counts_as_often_as_it_runs():
    """Seven times the element-wise operation: seven times its FLOPs."""
    once = count_trace(Step((3, 5)).trace([("tanh", {})]), "once").per_sample.forward_flops
    seven = count_trace(Step((3, 5)).trace([("tanh", {"times": 7})]), "seven").per_sample.forward_flops
    assert seven - once == 6 * 5


def test_a_count_that_is_no_multiple_of_the_batch_is_a_float():
    """The sum of the loss takes 4 x 2 - 1 additions, which is no whole number for each of 4 samples."""
    counts = count_trace(Step().trace(), "step")
    assert isinstance(counts.per_sample.forward_macs, int)
    assert isinstance(counts.per_sample.forward_flops, float)


def test_roles_without_a_forward_partner_come_from_where_the_result_goes():
    """A product of two tensors that no forward product has: a weight gradient if it ends in a parameter's gradient."""
    builder = TraceBuilder("jax", "jax", BATCH, LayerRecorder())
    left, right, weight = (builder.value((3, 3), "float32") for _ in range(3))
    made = [builder.value((3, 3), "float32") for _ in range(3)]
    places = [
        builder.operation("dot_general", [left, right], [output], phase="backward", attributes=MATRIX) for output in made[:2]
    ]
    builder.operation("transpose", [made[0]], [made[2]], phase="backward")
    builder.parameter("w", weight, trainable=True, layer=None, gradient=made[2])
    flow = Flow(builder.finish())
    assert [flow.role(place) for place in places] == ["weight_gradient", "input_gradient"]


def test_work_done_again_in_the_backward_pass_is_training_work_but_no_gradient():
    """Checkpointing: a product marked as recomputed is in the backward work and in the total, in neither gradient."""
    step = Step((3, 5))
    call = step.recorder.call_count
    trace_without = count_trace(Step((3, 5)).trace(), "without")
    trace = step.trace()
    again = step.add(
        "dot_general",
        [step.x, trace.parameters[0].value],
        (BATCH, 5),
        "backward",
        call,
        attributes=MATRIX | {"recomputed": True},
    )
    assert again
    counts = count_trace(step.builder.finish(), "again")
    row, plain = counts.layers[0], trace_without.layers[0]
    assert (row.weight_gradient_macs, row.input_gradient_macs) == (plain.weight_gradient_macs, plain.input_gradient_macs)
    assert row.backward.macs - plain.backward.macs == BATCH * 15
    assert counts.per_sample.training_macs - trace_without.per_sample.training_macs == 15


def test_memory_of_a_step():
    """Parameters, gradients, what is kept for backward, and a peak that is no less than what is always there."""
    counts = count_trace(Step().trace(), "step")
    weights = (3 * 5 + 5 * 2) * 4
    assert counts.memory_bytes.parameters == counts.memory_bytes.gradients == weights
    assert counts.memory_bytes.activations == BATCH * (5 + 2) * 4  # both outputs are read backward; the batch is not one
    assert counts.memory_bytes.peak >= weights + BATCH * (3 + 5 + 2) * 4


def test_what_is_not_a_model_is_refused_by_name():
    """With what was received."""
    with pytest.raises(NotAModelError, match="dict"):
        count({})


def test_a_batch_without_samples_is_refused():
    """Zero or fewer samples."""
    with pytest.raises(UsageError, match="batch of 0"):
        count(object(), batch_size=0)


def test_counting_imports_no_framework():
    """The room can be imported without Keras, JAX, PyTorch or TensorFlow."""
    code = "import sys, epochwise.counting; print([m for m in ('keras', 'jax', 'torch', 'tensorflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
