"""Keras models as graphs: layers in the order in which they run, nested models opened, shared layers at each of their uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional  # behind keras.Model(inputs, outputs); it has no public name

from epochwise.engine.layers.keras import activated, combined, covered_kinds, rule_for
from epochwise.engine.network import Weight
from epochwise.engine.sketch import Sketch

_OWN_METHODS = ("call", "__call__", "train_step", "test_step", "compute_loss", "compute_metrics", "fit", "evaluate", "metrics")
"""Of a model: where they are not Keras's own, the user's code decides what a step is."""
_MOST_AXES = 3
_COMBINING = {"Add": "add", "Subtract": "subtract", "Multiply": "multiply", "Maximum": "maximum"}
_FLOAT = "float32"
_SAMPLE_TYPES = (_FLOAT, "uint8", "int32", "int64")


def sketched(model: Any) -> tuple[Sketch, int | None]:
    """The operations of a built model, and the tensor that is its answer (``None`` where its graph cannot be followed).

    What is not covered is noted in the sketch; layers behind it are looked at as well.
    """
    variables = list(model.weights)
    trained = {id(variable) for variable in model.trainable_variables}
    owners = _owners(model)
    sketch = Sketch((id(v), _weight(v, owners.get(id(v), model.name), id(v) in trained)) for v in variables)
    for variable in variables:
        _check_variable(variable, owners.get(id(variable), model.name), id(variable) in trained, sketch)
    _check_model(model, sketch)
    graph = _graph(model)
    if graph is None:
        sketch.refuse(
            "model",
            f"{type(model).__name__} is a class of its own; covered are keras.Sequential and keras.Model(inputs, outputs)",
        )
        return sketch, None
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    for tensors, kind in ((inputs, "inputs"), (outputs, "outputs")):
        if len(tensors) != 1:
            sketch.refuse("model", f"{len(tensors)} {kind}; covered is one")
    if isinstance(graph._inputs_struct, dict) or isinstance(graph._outputs_struct, dict):
        sketch.refuse("model", "inputs or outputs as a dictionary")
    sample = tuple(inputs[0].shape[1:])
    dtype = keras.backend.standardize_dtype(inputs[0].dtype)
    known = all(size is not None for size in sample)
    sketch.need(known, "input", f"the shape {tuple(inputs[0].shape)} leaves sizes open; covered are samples of one size")
    sketch.need(1 <= len(sample) <= _MOST_AXES, "input", f"samples with {len(sample)} axes; covered are 1 to {_MOST_AXES}")
    sketch.need(dtype in _SAMPLE_TYPES, "input", f"dtype {dtype}; covered are {', '.join(_SAMPLE_TYPES)}")
    if sketch.reasons and not (known and len(inputs) == 1 and len(outputs) == 1):
        for layer in _all_layers(model):  # at least their kinds and options can be told
            _check_layer(layer, sketch)
        return sketch, None
    start = sketch.tensor(int(size) for size in sample)
    (end,) = _walk(graph, [start], sketch)
    return sketch, end


def _graph(model: Any) -> Any | None:
    """The functional graph of a model."""
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if isinstance(model, Functional) else None


def _walk(graph: Any, starts: list[int], sketch: Sketch) -> list[int]:
    """Run through a graph as Keras does (``Function._run_through_graph``), putting down operations instead of computing."""
    tensors = {id(symbol): place for symbol, place in zip(graph.inputs, starts, strict=True)}
    for node in _nodes(graph):
        symbols = list(node.input_tensors)
        if node.is_input or any(id(symbol) not in tensors for symbol in symbols):
            continue
        made = _apply(node, [tensors[id(symbol)] for symbol in symbols], sketch)
        if len(node.outputs) == len(made):
            for symbol, place in zip(node.outputs, made, strict=True):
                shape = tuple(symbol.shape[1:])
                if sketch.shapes[place] != shape and (sketch.reasons or None in shape):
                    place = sketch.tensor(1 if size is None else size for size in shape)  # noqa: PLW2901 - only to go on
                tensors[id(symbol)] = place
        else:
            tensors.update({id(symbol): sketch.tensor(tuple(symbol.shape[1:])) for symbol in node.outputs})
    return [tensors[id(symbol)] for symbol in graph.outputs]


def _nodes(graph: Any) -> Iterator[Any]:
    by_depth = graph._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def _apply(node: Any, inputs: list[int], sketch: Sketch) -> list[int]:
    """The tensors that one call of a layer makes."""
    called = node.operation
    # What a layer was told of ``training`` within a graph, fit() overrules (functional.operation_fn).
    sketch.need(node.arguments.kwargs.get("mask") is None, called.name, "called with a mask")
    if isinstance(called, keras.Model):
        _check_own_methods(called, sketch)
        graph = _graph(called)
        if graph is not None and len(graph.inputs) == len(inputs):
            return _walk(graph, inputs, sketch)
        sketch.refuse(called.name, f"{type(called).__name__} within the model is a class of its own")
        return []
    if not isinstance(called, keras.layers.Layer):
        return _operator(node, inputs, sketch)
    if not _check_layer(called, sketch):
        return []
    rule = rule_for(called)
    assert rule is not None  # _check_layer has looked
    return [rule(called, inputs, sketch)]


def _operator(node: Any, inputs: list[int], sketch: Sketch) -> list[int]:
    """``a + b`` on symbolic tensors, and functions of ``keras.ops``."""
    kind = type(node.operation).__name__
    plain = len(inputs) == len(node.arguments.args)
    if kind in _COMBINING and plain:
        return [combined(_COMBINING[kind], node.operation.name, inputs, sketch)]
    if kind == "Relu":
        return [activated(keras.activations.relu, node.operation, inputs[0], sketch)]
    sketch.refuse(node.operation.name, f"the operation {kind} outside of layers" + ("" if plain else " with a constant"))
    return []


def _check_layer(layer: Any, sketch: Sketch) -> bool:
    """What all layers may have that is not covered; gives whether the layer can be read at all."""
    if isinstance(layer, keras.layers.InputLayer):
        return True
    name, before = layer.name, len(sketch.reasons)
    if rule_for(layer) is None:
        kind = type(layer).__name__
        own = not type(layer).__module__.startswith("keras.")
        text = f"{kind}, a class of your own" if own else f"layer {kind}; covered are {', '.join(covered_kinds())}"
        sketch.refuse(name, text)
        return False
    policy = layer.dtype_policy.name
    sketch.need(layer.compute_dtype == layer.variable_dtype == _FLOAT, name, f"dtype policy {policy!r}; covered is float32")
    sketch.need(getattr(layer, "quantization_mode", None) is None, name, "quantized weights")
    sketch.need(not getattr(layer, "lora_enabled", False), name, "LoRA")
    sketch.need(getattr(layer, "activity_regularizer", None) is None, name, "activity_regularizer")
    sketch.need(not getattr(layer, "_losses", None), name, "losses of its own (add_loss)")
    sketch.need(not getattr(layer, "_metrics", None), name, "metrics of its own")
    return len(sketch.reasons) == before


def _check_model(model: Any, sketch: Sketch) -> None:
    _check_own_methods(model, sketch)
    strategy = getattr(model, "distribute_strategy", None)
    if getattr(strategy, "num_replicas_in_sync", 1) > 1 or keras.distribution.distribution() is not None:
        sketch.refuse("model", "training spread over several devices")


def _check_own_methods(model: Any, sketch: Sketch) -> None:
    base = keras.Sequential if isinstance(model, keras.Sequential) else Functional
    base = base if isinstance(model, base) else keras.Model
    for name in _OWN_METHODS:
        if getattr(type(model), name) is not getattr(base, name):
            sketch.refuse(model.name, f"{type(model).__name__} has a {name} of its own")


def _weight(variable: Any, layer: str, trained: bool) -> Weight:
    l1, l2 = _penalty(variable.regularizer) or (0.0, 0.0) if trained else (0.0, 0.0)
    return Weight(variable.name, layer, tuple(int(size) for size in variable.shape), trained=trained, l1=l1, l2=l2)


def _penalty(regularizer: Any) -> tuple[float, float] | None:
    """The factors of ``sum |w|`` and ``sum w^2``; ``None`` for a regularizer that is something else."""
    if regularizer is None:
        return 0.0, 0.0
    if type(regularizer) not in (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2):
        return None
    return float(np.asarray(getattr(regularizer, "l1", 0.0))), float(np.asarray(getattr(regularizer, "l2", 0.0)))


def _check_variable(variable: Any, layer: str, trained: bool, sketch: Sketch) -> None:
    name = variable.name
    dtype = keras.backend.standardize_dtype(variable.dtype)
    sketch.need(dtype == _FLOAT, layer, f"{name} of dtype {dtype}; covered is float32")
    sketch.need(not trained or variable.constraint is None, layer, f"a constraint on {name}")
    if trained and _penalty(variable.regularizer) is None:
        sketch.refuse(layer, f"regularizer {type(variable.regularizer).__name__} of {name}; covered are L1, L2, L1L2")


def _all_layers(model: Any) -> Iterator[Any]:
    for layer in model._flatten_layers(include_self=False):
        if not isinstance(layer, keras.Model):
            yield layer


def _owners(model: Any) -> dict[int, str]:
    """The name of the layer that each variable belongs to."""
    return {id(variable): layer.name for layer in _all_layers(model) for variable in layer.weights}
