"""From a Keras model to a network and a state, and back.

:func:`read` looks at a built and compiled model. A :class:`Reading` knows the model's variables, so it can take their values
(:meth:`Reading.state`) and put trained ones back (:meth:`Reading.write`), together with the optimizer's moments and its count
of steps: ``model.fit`` then goes on as if it had trained the model itself.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from epochwise.engine.graphs.keras import sketched
from epochwise.engine.kernels.rows import MOST_METRICS
from epochwise.engine.network import Float32, Metric, Network, Optimizer, State
from epochwise.engine.schedules.keras import Rates
from epochwise.engine.settings.keras import decays, read_loss, read_metrics, read_optimizer, slots_of
from epochwise.engine.support import Reason, Support
from epochwise.errors import NotAModelError, UsageError


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """A model as the engine sees it.

    Attributes:
        model: the Keras model.
        network: what is trained.
        variables: Keras's variable behind each of the network's weights.
        whole: whether the model takes whole numbers (for an Embedding), to which floats are cut as Keras does.
    """

    model: Any
    network: Network
    variables: tuple[Any, ...]
    whole: bool = False
    _rates: Rates = dataclasses.field(default_factory=Rates)

    def state(self) -> State:
        """Copies of the model's weights and of its optimizer's arrays, which is built if it was not."""
        optimizer = self._optimizer()
        weights, slots = [], []
        for variable, weight in zip(self.variables, self.network.weights, strict=True):
            weights.append(_values(variable))
            kept = slots_of(optimizer, self.network.optimizer.kind, variable) if weight.trained else []
            slots.append([_values(slot) for slot in kept])
        return State(weights, slots, self.iterations())

    def iterations(self) -> int:
        """Optimizer steps done so far."""
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def write(self, state: State) -> None:
        """Put weights, the optimizer's arrays and its count of steps into the model."""
        optimizer = self._optimizer()
        parts = zip(self.variables, self.network.weights, state.weights, state.slots, strict=True)
        for variable, weight, array, slots in parts:
            variable.assign(array.copy())  # a backend may keep the memory that it is given
            if weight.trained:
                kept = slots_of(optimizer, self.network.optimizer.kind, variable)
                for slot, values in zip(kept, slots, strict=True):
                    slot.assign(values.copy())
        optimizer.iterations.assign(state.iterations)

    def refresh(self, state: State) -> None:
        """Write what the model holds now into the arrays of a state: a callback may have changed it."""
        now = self.state()
        for array, values in zip(state.weights, now.weights, strict=True):
            array[...] = values
        for arrays, kept in zip(state.slots, now.slots, strict=True):
            for array, values in zip(arrays, kept, strict=True):
                array[...] = values
        state.iterations = now.iterations

    def build_metrics(self) -> None:
        """Make the model's metrics known to callbacks, which ask them whether more is better (``ModelCheckpoint``)."""
        compiled = self.model._compile_metrics
        if compiled is None or compiled.built:
            return
        output = (None, *self.network.shapes[self.network.output])
        labels = output[:-1] if self.network.loss.kind == "sparse_categorical_crossentropy" else output
        compiled.build(keras.KerasTensor(labels), keras.KerasTensor(output))

    def learning_rates(self, first: int, steps: int) -> Float32:
        """Of each of the next steps; a schedule is asked with the number of each step."""
        return self._rates.of(self.model.optimizer, first, steps)

    def _optimizer(self) -> Any:
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        return optimizer


def supports(model: Any) -> Support:
    """Whether the engine trains a Keras model, and if not, why: by layer and option, in words.

    Args:
        model: a Keras model. It must know the shape of its input; loss, metrics and optimizer are looked at if it is compiled.

    Raises:
        NotAModelError: it is no Keras model.
    """
    return _read(model)[1]


def read(model: Any) -> tuple[Reading | None, Support]:
    """A compiled model as a network, or why that cannot be.

    Raises:
        NotAModelError: it is no Keras model.
        UsageError: it is not compiled.
    """
    reading, support = _read(model)
    if not model.compiled:
        raise UsageError(
            f"The model {model.name} is not compiled.",
            cause="fit needs to know the optimizer and the loss",
            remedy='model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])',
        )
    return reading, support


def build_for(model: Any, x: Any) -> None:
    """Build a model that does not know its input yet, for samples of this shape.

    Raises:
        NotAModelError: it is no Keras model.
    """
    _check_kind(model)
    if not model.built and isinstance(model, keras.Sequential):
        model.build((None, *np.shape(x)[1:]))


def _check_kind(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise NotAModelError(
            f"A Keras model is needed, and this is of type {type(model).__name__}.",
            cause="the engine reads the layers of Keras models; other modules it does not know",
            remedy="a keras.Sequential, or keras.Model(inputs, outputs)",
        )


def _read(model: Any) -> tuple[Reading | None, Support]:
    _check_kind(model)
    if not model.built or (isinstance(model, keras.Sequential) and model._functional is None):
        return None, Support((Reason("model", "not built: its first layer does not know the shape of a sample"),))
    sketch, output = sketched(model)
    optimizer, loss = Optimizer("sgd"), None
    metrics: tuple[Metric, ...] = ()
    if model.compiled:
        loss = read_loss(model, output, sketch)
        shape = () if output is None else sketch.shapes[output]
        metrics = read_metrics(model, loss, shape, sketch) if shape else ()
        if len(metrics) > MOST_METRICS:
            sketch.refuse("metrics", f"{len(metrics)} of them; covered are at most {MOST_METRICS}")
        optimizer = read_optimizer(model, sketch)
        variables = model.trainable_variables
        if model.optimizer.built and not sketch.reasons:
            known = {id(variable) for variable in model.optimizer._trainable_variables}
            if not all(id(variable) in known for variable in variables):
                sketch.refuse("optimizer", "built for other weights than those that are trained now; model.compile() again")
    if sketch.reasons or loss is None or output is None:
        return None, Support(tuple(sketch.reasons))
    weights = tuple(
        dataclasses.replace(weight, decays=decays(model.optimizer, variable)) if weight.trained else weight
        for weight, variable in zip(sketch.weights, model.weights, strict=True)
    )
    network = Network(
        name=model.name,
        shapes=tuple(sketch.shapes),
        input=0,
        output=output,
        weights=weights,
        operations=tuple(sketch.operations),
        loss=loss,
        metrics=metrics,
        optimizer=optimizer,
    )
    dtype = keras.backend.standardize_dtype(model.inputs[0].dtype)
    return Reading(model, network, tuple(model.weights), dtype.startswith("int")), Support()


def _values(variable: Any) -> Float32:
    """A variable's numbers in memory of our own."""
    return np.array(keras.ops.convert_to_numpy(variable.value), np.float32, copy=True, order="C")
