"""Prints docs/other-counters.md: what other counters say of 24 models, and where each difference to epochwise comes from.

    .venv/bin/python scripts/other_counters.py > docs/other-counters.md
    .venv/bin/python scripts/other_counters.py cnn vit             # the rows of some models alone

A reason is a figure worked out from epochwise's own trace, not from the other counter. The script fails if the reasons of a
row do not add up to its difference, to the integer.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import math
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("KERAS_BACKEND", "jax")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers

from epochwise.counting import trace_model
from epochwise.counting.assembling import count_trace
from epochwise.counting.flow import Flow
from epochwise.counting.rules import Occurrence
from tests.counting import models_in_torch as small

HEAD = """\
# Other counters

What others say of the same models, and why. All figures are MACs of one batch (for a counter that says FLOPs, half of them).
Each reason has the figure that it explains, worked out from epochwise's own trace of the model; the reasons of a row add up to
its difference exactly. This page is printed by [scripts/other_counters.py](../scripts/other_counters.py), and a test compares
it with what is counted.

- **FlopCounterMode** is PyTorch's own (`torch.utils.flop_counter`): forward and backward of a real step on the CPU.
- **fvcore** (`FlopCountAnalysis`): forward. It calls a MAC a FLOP, and adds normalisations and some pooling to it.
- **torchinfo**: forward. It multiplies a layer's weights by positions (convolutions) or samples (all other layers).
- **XLA** (`jax.jit(f).lower(...).cost_analysis()`, before optimisation): all convolutions and matrix products of the training
  step of a Keras model on JAX. XLA adds element-wise work into the same figure, so each product is asked for alone.

"-" stands for no difference. Small models are those of `tests/counting/models_in_torch.py`, with a batch of 4.

| model | counter | of | epochwise | other | ratio | reasons |
|---|---|---|---|---|---|---|
"""

GROUPED = "the weight gradient of a grouped convolution counted once for each group, as if it were not grouped"
UNKNOWN = "counts as 0 what it does not know: {}"
NORMS = "normalisations, 5 for each element, in the same figure"
POOLS = "adaptive pooling, 1 for each element, in the same figure"
ENLARGED = "upsampling, 1 for each element, in the same figure"
PADDING = "products with padding are not counted"
ONCE = "linear layers counted once for each sample, not for each token"
MISNAMED = "linear layers of a class called Conv1D counted as convolutions, once for each feature that comes out"
SPREAD = "transposed convolutions counted for each position that comes out, not for each that goes in"
EXTRAS = "biases and the weights of other layers (normalisations, embeddings) counted as MACs"
OUTSIDE = "products outside of the layers that it looks at (attention)"


MATRIX = 2  # axes


class Model(NamedTuple):
    """A model with its batch; ``loss`` and ``optimizer`` are those of a module of PyTorch."""

    model: Any
    x: Any
    y: Any
    loss: Any = None
    batch: int = 4


class Row(NamedTuple):
    """What another counter says of a model; reasons are (text, MACs)."""

    model: str
    counter: str
    of: str
    ours: int
    theirs: int
    reasons: list[tuple[str, int]]

    def __str__(self) -> str:
        reasons = "; ".join(f"{text}: {amount:+,}" for text, amount in self.reasons) or "-"
        ratio = f"{self.theirs / self.ours:.3f}"
        return f"| {self.model} | {self.counter} | {self.of} | {self.ours:,} | {self.theirs:,} | {ratio} | {reasons} |"


# --- models ----------------------------------------------------------------------------------------------------------


def resnet50() -> Model:
    """ResNet-50 of transformers, one image of 224 x 224."""
    module = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000))
    return Model(module, torch.zeros(1, 3, 224, 224), torch.zeros(1, dtype=torch.long), small.of_logits, 1)


def vit_b16() -> Model:
    """ViT-B/16, one image."""
    module = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000))
    return Model(module, torch.zeros(1, 3, 224, 224), torch.zeros(1, dtype=torch.long), small.of_logits, 1)


def gpt2() -> Model:
    """GPT-2 with 124 million parameters, 64 tokens."""
    module = transformers.GPT2LMHeadModel(transformers.GPT2Config(use_cache=False))
    tokens = torch.zeros(1, 64, dtype=torch.long)
    return Model(module, tokens, tokens, small.of_logits, 1)


def _keras(model: Any, batch: int = 4) -> Model:
    model.compile("sgd", "mse")
    return Model(model, None, None, None, batch)


def keras_cnn() -> Model:
    """Convolutions with padding, strides, dilation and groups."""
    from keras import Input, Sequential, layers

    convolutions = [
        layers.Conv2D(8, 3, padding="same"),
        layers.Conv2D(8, 3, strides=2, padding="same", groups=2),
        layers.DepthwiseConv2D(3),
        layers.Conv2DTranspose(6, 3, strides=2),
    ]
    return _keras(Sequential([Input((14, 14, 3)), *convolutions, layers.GlobalAveragePooling2D(), layers.Dense(10)]))


def keras_transformer() -> Model:
    """One block of self-attention."""
    from keras import Input, layers
    from keras import Model as KerasModel

    given = Input((10, 16))
    mixed = layers.MultiHeadAttention(4, 4)(given, given)
    return _keras(KerasModel(given, layers.Dense(16)(layers.Dense(32, "gelu")(layers.LayerNormalization()(given + mixed)))))


def keras_application(name: str, size: int = 224) -> Model:
    """One of keras.applications, one image."""
    import keras

    return _keras(getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3)), 1)


LARGE = {"ResNet-50": resnet50, "ViT-B/16": vit_b16, "GPT-2": gpt2}
KERAS = {
    "Keras CNN": keras_cnn,
    "Keras transformer": keras_transformer,
    "Keras ResNet50": lambda: keras_application("ResNet50"),
    "Keras MobileNetV2": lambda: keras_application("MobileNetV2"),
    "Keras EfficientNetB0": lambda: keras_application("EfficientNetB0"),
}
QUICK = [*small.MODELS, "Keras CNN", "Keras transformer"]
NOT_TRACEABLE = ("checkpointed",)
"""Of which TorchScript, and so fvcore, makes no graph."""


def made(name: str) -> Model:
    """The model of this name."""
    if name in small.MODELS:
        module, x, y, loss, _ = small.made(name)
        return Model(module, x, y, loss)
    return {**LARGE, **KERAS}[name]()


# --- what ours says ----------------------------------------------------------------------------------------------------


class Ours:
    """epochwise's trace of a model, and its MACs by operation."""

    def __init__(self, subject: Model) -> None:
        self.trace = trace_model(subject.model, subject.batch, subject.x, subject.y, loss=subject.loss)
        self.flow = Flow(self.trace)
        self.counts = count_trace(self.trace, "")
        assert not self.counts.uncounted, self.counts.uncounted
        self.batch = subject.batch

    def total(self, field: str) -> int:
        """MACs of a batch."""
        return round(getattr(self.counts.per_sample, field) * self.batch)

    def operations(self) -> Any:
        """Each contraction as (operation, its values in, its cost)."""
        for place, (operation, rule) in enumerate(zip(self.trace.operations, self.flow.rules, strict=True)):
            if rule is not None and rule.family == "contraction" and operation.phase != "update":
                given = tuple(self.trace.values[value] for value in operation.inputs)
                made = tuple(self.trace.values[value] for value in operation.outputs)
                at = Occurrence(operation, given, made, self.flow.role(place))
                yield at, rule.formula(at)

    def elements(self, names: str, *, given: bool = True, kinds: bool = False) -> int:
        """Elements of the first tensor into (or out of) forward operations of these names, or calls of such layers."""
        values = self.trace.values
        if kinds:
            calls = [call for call in self.trace.calls if self.trace.layers[call.layer].kind in names.split()]
            return sum(values[(call.inputs if given else call.outputs)[0]].elements for call in calls)
        found = (at for at in self.trace.operations if at.phase == "forward" and at.name in names.split())
        return sum(values[(at.inputs if given else at.outputs)[0]].elements for at in found)


def _reasons(*given: tuple[str, int]) -> list[tuple[str, int]]:
    return [(text, amount) for text, amount in given if amount]


def _macs(cost: Any) -> int:
    return int(cost.macs + cost.weight_gradient_macs + cost.input_gradient_macs)


# --- the others --------------------------------------------------------------------------------------------------------


def flop_counter_mode(name: str, subject: Model, ours: Ours) -> Row:
    """Forward and backward. Its register says which operations it knows."""
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

    with FlopCounterMode(display=False) as counter:
        subject.loss(small.called(subject.model, subject.x), subject.y).backward()
    known = {str(operation) for operation in flop_registry}
    grouped, unknown = 0, {}
    for at, cost in ours.operations():
        if at.operation.name not in known:
            unknown[at.operation.name] = unknown.get(at.operation.name, 0) - _macs(cost)
        elif at.operation.name == "aten.convolution_backward":
            grouped += cost.weight_gradient_macs * (at.attribute("groups", 1) - 1)
    reasons = [(UNKNOWN.format(f"`{operation}`"), amount) for operation, amount in unknown.items()]
    return Row(
        name,
        "FlopCounterMode",
        "forward, backward",
        ours.total("training_macs"),
        counter.get_total_flops() // 2,
        _reasons((GROUPED, grouped), *reasons),
    )


class _Plain(torch.nn.Module):
    """A module that takes tensors and gives one, as TorchScript wants it."""

    def __init__(self, module: Any, keys: list[str]) -> None:
        super().__init__()
        self.module, self.keys = module, keys

    def forward(self, *tensors: Any) -> Any:
        given = dict(zip(self.keys, tensors, strict=True)) if self.keys else tensors[0]
        outputs = small.called(self.module, given)
        return getattr(outputs, "logits", outputs)


def fvcore(name: str, subject: Model, ours: Ours) -> Row:
    """Forward, of a module in training mode."""
    from fvcore.nn import FlopCountAnalysis

    keys = list(subject.x) if isinstance(subject.x, dict) else []
    tensors = tuple(subject.x.values()) if keys else (subject.x,)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(_Plain(subject.model, keys), tensors)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        theirs = int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())
    products = 0
    attention = torch.nn.functional.scaled_dot_product_attention

    def seen(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal products
        products += math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        return attention(query, key, value, *args, **kwargs)

    with mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", seen):
        small.called(subject.model, subject.x)
    fused = {"scaled_dot_product_attention": -products}
    for kind in ("LSTM", "GRU"):
        fused[kind.lower()] = -sum(row.forward.macs for row in ours.counts.layers if row.kind == kind)
    norms = "aten.native_batch_norm aten.native_layer_norm aten.native_group_norm"
    return Row(
        name,
        "fvcore",
        "forward",
        ours.total("forward_macs"),
        theirs,
        _reasons(
            *((UNKNOWN.format(f"`aten::{operation}`"), amount) for operation, amount in fused.items()),
            (NORMS, 5 * ours.elements(norms)),
            (POOLS, ours.elements("AdaptiveAvgPool2d", kinds=True)),
            (ENLARGED, ours.elements("aten.upsample_nearest2d", given=False)),
        ),
    )


def torchinfo(name: str, subject: Model, ours: Ours) -> Row:
    """Forward. It sees layers without layers inside, and of each its weights and the shape of its output."""
    import torchinfo as other

    data = {"input_data": subject.x if isinstance(subject.x, dict) else [subject.x]}
    theirs = other.summary(subject.model, **data, verbose=0, mode="train").total_mult_adds
    calls = [call for call in ours.trace.calls if call.outputs]
    shapes = {ours.trace.layers[call.layer].path: ours.trace.values[call.outputs[0]].shape for call in calls}
    rows = {row.name: row for row in ours.counts.layers if not row.name.startswith("(")}
    once = spread = extras = misnamed = 0
    outside = -sum(row.forward.macs for row in rows.values())
    for path, module in subject.model.named_modules():
        if path not in rows or any(True for _ in module.children()):
            continue
        macs, shape = rows[path].forward.macs, shapes[path]
        outside += macs if list(module.parameters()) else 0
        for label, parameter in module.named_parameters():
            if label not in ("weight", "bias"):  # of a recurrent layer
                times = math.prod(shape[:2])
            else:
                times = shape[0] * math.prod(shape[2:]) if "Conv" in type(module).__name__ else shape[0]
            theirs_of_it = parameter.numel() * times * rows[path].calls
            if parameter.dim() < MATRIX or not macs:
                extras += theirs_of_it
            elif "ConvTranspose" in type(module).__name__:
                spread += theirs_of_it - macs
            elif "Conv" in type(module).__name__ and not isinstance(module, torch.nn.modules.conv._ConvNd):
                misnamed += theirs_of_it - macs
            elif label == "weight":
                once += theirs_of_it - macs
    return Row(
        name,
        "torchinfo",
        "forward",
        ours.total("forward_macs"),
        int(theirs),
        _reasons((ONCE, once), (MISNAMED, misnamed), (SPREAD, spread), (EXTRAS, extras), (OUTSIDE, outside)),
    )


def xla(name: str, subject: Model, ours: Ours) -> Row:
    """Convolutions and products of the whole training step."""
    import jax
    import keras
    from jax.interpreters import partial_eval

    from epochwise.tracing.keras import batch_specs

    model = subject.model
    x, y = batch_specs(model, subject.batch, None, None)
    lists = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables)
    state = tuple([jax.ShapeDtypeStruct(each.shape, each.dtype) for each in variables] for variables in lists)
    data = keras.tree.map_structure(lambda spec: jax.ShapeDtypeStruct(spec.shape, spec.dtype), (x, y))
    closed = jax.make_jaxpr(model.train_step)(state, data)
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    asked: dict[str, int] = {}
    padding = sum(_without_padding(at, _macs(cost)) - _macs(cost) for at, cost in ours.operations())
    theirs = _asked_of_xla(jaxpr, asked)
    return Row(name, "XLA", "forward, backward", ours.total("training_macs"), theirs // 2, _reasons((PADDING, padding)))


def _asked_of_xla(jaxpr: Any, asked: dict[str, int]) -> int:
    """FLOPs that XLA sees in the contractions of a jaxpr and of those inside it; ``asked`` keeps its answers."""
    import jax

    flops = 0
    for equation in jaxpr.eqns:
        for inner in itertools.chain.from_iterable(map(_jaxprs_in, equation.params.values())):
            flops += _asked_of_xla(inner, asked)
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            given = [jax.ShapeDtypeStruct(variable.aval.shape, variable.aval.dtype) for variable in equation.invars]
            key = f"{equation.primitive} {given} {equation.params}"
            if key not in asked:
                lowered = jax.jit(lambda *each, at=equation: at.primitive.bind(*each, **at.params)).lower(*given)
                asked[key] = round(lowered.cost_analysis().get("flops", 0))
            flops += asked[key]
    return flops


def _jaxprs_in(parameter: Any) -> list[Any]:
    """The jaxprs that an equation's parameter holds."""
    if isinstance(parameter, (tuple, list)):
        return [found for each in parameter for found in _jaxprs_in(each)]
    inner = getattr(parameter, "jaxpr", parameter)
    return [inner] if hasattr(inner, "eqns") else []


def _without_padding(at: Any, macs: int) -> int:
    """MACs of an operation less those in which one factor is a zero of the padding.

    Along each axis, how many of all pairs of an output and a tap of the operation's window meet a value of the input. What
    two neighbouring positions of a strided gradient have between them is no value either, and is charged by nobody.
    """
    if at.operation.name != "conv_general_dilated":
        return macs
    numbers = at.attribute("dimension_numbers")
    left, right, out = at.inputs[0].shape, at.inputs[1].shape, at.outputs[0].shape
    axes = zip(
        *(
            [shape[axis] for axis in numbers[spec][2:]]
            for shape, spec in ((left, "lhs_spec"), (right, "rhs_spec"), (out, "out_spec"))
        ),
        *(at.attribute(name) for name in ("window_strides", "padding", "lhs_dilation", "rhs_dilation")),
        strict=True,
    )
    pairs = 1
    for given, taps, made, stride, (before, _), spread, gap in axes:
        reached = (place * stride - before + tap * gap for place in range(made) for tap in range(taps))
        pairs *= sum(0 <= at < (given - 1) * spread + 1 and at % spread == 0 for at in reached)
    samples = left[numbers["lhs_spec"][0]] // at.attribute("batch_group_count", 1)
    channels = right[numbers["rhs_spec"][1]]
    return int(samples * channels * out[numbers["out_spec"][1]] * pairs)


# --- the page ------------------------------------------------------------------------------------------------------------


def rows(name: str) -> list[Row]:
    """What each counter that can look at this model says of it."""
    subject = made(name)
    ours = Ours(subject)
    if name in KERAS:
        return [xla(name, subject, ours)]
    counters = [flop_counter_mode, torchinfo] if name in NOT_TRACEABLE else [flop_counter_mode, fvcore, torchinfo]
    return [counter(name, subject, ours) for counter in counters]


def unexplained(row: Row) -> int:
    """MACs of the difference that no reason explains."""
    return row.theirs - row.ours - sum(amount for _, amount in row.reasons)


def main() -> None:
    """Print the page, or the rows of the models named."""
    warnings.simplefilter("ignore")
    names = sys.argv[1:] or [*QUICK[:-2], *LARGE, *KERAS]
    if not sys.argv[1:]:
        sys.stdout.write(HEAD)
    failed = []
    for name in names:
        for row in rows(name):
            sys.stdout.write(f"{row}\n")
            if unexplained(row):
                failed.append(f"{row.model}, {row.counter}: {unexplained(row):+,} MACs have no reason")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
