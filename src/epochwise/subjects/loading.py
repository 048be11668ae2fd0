"""From a MODEL string and data to a subject: a model that can be trained on the data, with its loss and optimizer.

Imports no framework itself: ``keras.py`` and ``torch.py`` beside it do, when they are needed. A file that speaks PyTorch alone
is never made to import Keras.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from epochwise.errors import NotAModelError, UsageError
from epochwise.subjects import user_code
from epochwise.subjects.backends import PLAIN_PYTORCH, Backend, bind_keras, choose_backend
from epochwise.subjects.datasets import Dataset, check_data, make_dataset, more_needed
from epochwise.subjects.feeding import fed_dataset, is_stream
from epochwise.subjects.models import ModelSpec

_SHAPES = (
    ("input_shape", "in_shape", "shape"),
    ("output_shape", "classes", "num_classes", "n_classes", "num_outputs", "output_size"),
)
"""Names under which functions take the shape of a sample and the number of classes."""

_WITH_BATCH = (2, 3)
"""Lengths of ``(module, x)`` and ``(module, x, y)``."""

_USUAL_SAMPLE, _USUAL_CLASSES = (28, 28, 1), 10
"""Shape of a sample and number of classes where nothing else is known: those of Fashion-MNIST."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A model, ready to be trained on its data.

    Attributes:
        name: short readable name.
        backend: what runs it: a backend of Keras, or ``pytorch`` for a plain module.
        model: a built and compiled Keras model, or a ``torch.nn.Module``.
        data: arrays in the layout and types that the model takes.
        loss: a callable ``loss(outputs, labels)``, for ``pytorch``; Keras models hold their own.
        optimizer: a ``torch.optim.Optimizer`` on the module's parameters, for ``pytorch``.
        batch: features and labels of one batch, in the module's own structure, where its function gave them beside the module;
            for counting.
    """

    name: str
    backend: Backend
    model: Any
    data: Dataset
    loss: Any | None = None
    optimizer: Any | None = None
    batch: tuple[Any, Any] | None = None

    @property
    def x(self) -> Any:
        """Features to count with."""
        return self.data.x if self.batch is None else self.batch[0]

    @property
    def y(self) -> Any:
        """Labels to count with."""
        return self.data.y if self.batch is None else self.batch[1]


def load_subject(spec: ModelSpec, data: Dataset, *, backend: str, batch_size: int, seed: int) -> Subject:
    """Make the model that a MODEL string names and fit it to the data.

    Args:
        spec: from :func:`epochwise.subjects.models.parse_model`.
        data: from :func:`epochwise.subjects.datasets.load_data`.
        backend: ``tensorflow``, ``jax``, ``torch``, or ``pytorch``. A process that has imported Keras is bound to its backend.
            A file that gives a plain ``torch.nn.Module`` makes a ``pytorch`` subject whatever is asked for.
        batch_size: samples per step.
        seed: set in every random generator before the model is built.

    Raises:
        BackendMissingError: the backend is not installed.
        ModelNotFoundError: the function is not there after the file ran.
        ModelFailedError: the user's code raised; a ``.keras`` file holds code (:class:`UnsafeModelError`).
        NotAModelError: the function gave something else.
        ModelDoesNotFitError: the model does not accept the data, or its outputs do not fit the labels.
        DataError: the data cannot be trained on.
        UsageError: the function takes other arguments than it can be given.
    """
    chosen = choose_backend(backend)
    check_data(data, data.batch_size(batch_size))
    model, plain, layout = _model_for(spec, data, chosen, seed)
    return _finished(model, layout, name=spec.name, plain=plain, backend=chosen)


def load_alone(spec: ModelSpec, *, backend: str, batch_size: int, seed: int, sample: tuple[int, ...] | None = None) -> Subject:
    """Make the model that a MODEL string names when there is no data to fit it to, as for counting.

    The data of the subject are zeros of the shape that the model itself has, or what a compiled Keras model says of its inputs
    and its loss of the labels. A function that must be given shapes is given those of Fashion-MNIST, and so is a model that
    does not know its input. A function may also give ``(module, x)`` or ``(module, x, y)``, a plain module with features and
    labels as for :func:`epochwise.count`.

    Args:
        spec: from :func:`epochwise.subjects.models.parse_model`.
        backend: as for :func:`load_subject`.
        batch_size: how many samples of zeros.
        seed: set in every random generator before the model is built.
        sample: shape of one sample, where the model leaves sizes open. A Keras model that is not compiled needs to be told its
            classes as well, which its loss would say.

    Raises:
        EpochwiseError: as :func:`load_subject`.
    """
    chosen = choose_backend(backend)
    x = np.zeros((batch_size, *(sample or _USUAL_SAMPLE)), np.float32)
    data = dataclasses.replace(make_dataset("zeros", x, np.arange(batch_size) % _USUAL_CLASSES), classes=_USUAL_CLASSES)
    model, plain, layout = _model_for(spec, data, chosen, seed, alone=True)
    if isinstance(model, tuple):
        module, x, y = (*model, None)[:3]
        return Subject(name=spec.name, backend=PLAIN_PYTORCH, model=module, data=layout, batch=(x, y))
    if not plain:
        from epochwise.subjects import keras

        if sample is not None and model.compiled:
            return Subject(name=spec.name, backend=chosen, model=model, data=layout, batch=(x, None))
        own = keras.zeros_for(model, batch_size)
        if own is None and model.compiled:
            said = (None, None) if getattr(model, "inputs", None) else None  # what the model itself says
            return Subject(name=spec.name, backend=chosen, model=model, data=layout, batch=said)
        layout = own or layout
        if sample is not None:
            raise more_needed(sample, None)
    else:
        from epochwise.subjects import torch

        layout = torch.with_classes_of(model, layout, name=spec.name)
    return _finished(model, layout, name=spec.name, plain=plain, backend=chosen)


def start_anew() -> None:
    """Before another model is made in this process: its layers get the names that they would get in one of their own."""
    if "keras" in sys.modules:
        from epochwise.subjects import keras

        keras.forget_names()


def with_optimizer(subject: Subject, name: str) -> Subject:
    """The subject with another optimizer, by its name in the framework, in its usual settings.

    Raises:
        UsageError: the framework has no such optimizer.
    """
    if subject.backend == PLAIN_PYTORCH:
        from epochwise.subjects import torch

        return dataclasses.replace(subject, optimizer=torch.optimizer_named(name, subject.model))
    from epochwise.subjects import keras

    keras.set_optimizer(subject.model, name)
    return subject


def _model_for(spec: ModelSpec, data: Dataset, chosen: Backend, seed: int, *, alone: bool = False) -> tuple[Any, bool, Dataset]:
    """The model, whether it is a plain PyTorch module, and the data in the layout that it takes.

    With ``alone``, a function that has defaults for the shapes is left to them, and may give a module with its batch.
    """
    if spec.keras_file is not None:
        return _saved(spec, chosen, seed), False, data
    imported = user_code.imported_packages(spec)
    plain = chosen == PLAIN_PYTORCH or ("torch" in imported and imported.isdisjoint({"keras", "tensorflow"}))
    _seed(PLAIN_PYTORCH if plain else chosen, seed)
    with user_code.running(spec, chosen):
        function = user_code.function_of(spec, user_code.load_module(spec))
        layout = data.channels_first() if plain else data
        model, takes_shapes = _made(function, spec, layout, alone)
    if alone and _is_module_with_batch(model):
        return model, True, layout
    kind = _kind_of(model, spec)
    if (kind == PLAIN_PYTORCH) != plain:  # the other layout of images is this model's own
        plain = kind == PLAIN_PYTORCH
        if not plain and chosen == PLAIN_PYTORCH:
            raise NotAModelError(
                f"{spec.text} gave a Keras model, and --backend {PLAIN_PYTORCH} is for a plain torch.nn.Module.",
                cause="Keras with PyTorch underneath is the backend torch.",
                remedy="--backend torch",
            )
        other = data.channels_first() if plain else data
        if takes_shapes and other.input_shape != layout.input_shape:
            _seed(PLAIN_PYTORCH if plain else chosen, seed)
            with user_code.running(spec, chosen):
                model, _ = _made(function, spec, other, alone)
            _kind_of(model, spec)
        layout = other
    return model, plain, layout


def subject_of(
    model: Any, x: Any, y: Any, *, name: str, batch_size: int, seed: int, extras: Mapping[str, Any] | None = None
) -> Subject:
    """A subject from a live model and arrays; the layout of the arrays is taken as it is.

    Args:
        model: a Keras model (compiled or not) or a ``torch.nn.Module``.
        x: samples ``(N, ...)``: an array or tensor of any framework; or a stream of batches, with ``y`` ``None``.
        y: labels ``(N,)``, ``(N, K)`` one-hot, or numbers to predict.
        name: short readable name.
        batch_size: samples per step.
        seed: set before the model is built, if it is not yet.
        extras: what else ``fit`` is given, see :func:`epochwise.subjects.feeding.fed_dataset`.

    Raises:
        NotAModelError: ``model`` is something else.
        DataError, ModelDoesNotFitError, ModelFailedError: as :func:`load_subject`.
    """
    kind = _kind_of(model, ModelSpec(text=name, function=name))
    data = fed_dataset(
        name, x, y, extras or {}, provenance="a stream of the caller" if is_stream(x) else "arrays of the caller"
    )
    check_data(data, data.batch_size(batch_size))
    _seed(kind, seed)
    return _finished(model, data, name=name, plain=kind == PLAIN_PYTORCH, backend=kind)


def _saved(spec: ModelSpec, backend: Backend, seed: int) -> Any:
    if backend == PLAIN_PYTORCH:
        raise UsageError(
            f"{spec.text} is a Keras model, and --backend {PLAIN_PYTORCH} is for a plain torch.nn.Module.",
            cause="Keras with PyTorch underneath is the backend torch.",
            remedy="--backend torch",
        )
    _seed(backend, seed)
    from epochwise.subjects import keras

    return keras.load_file(str(spec.keras_file))


def _finished(model: Any, data: Dataset, *, name: str, plain: bool, backend: Backend) -> Subject:
    """Check that the model takes the data, and give it the loss and optimizer that it lacks."""
    if plain:
        from epochwise.subjects import torch

        fitted, loss, optimizer = torch.fit_to(model, data, name=name)
        return Subject(name=name, backend=PLAIN_PYTORCH, model=model, data=fitted, loss=loss, optimizer=optimizer)
    from epochwise.subjects import keras

    return Subject(name=name, backend=backend, model=model, data=keras.fit_to(model, data, name=name))


def _seed(backend: Backend, seed: int) -> None:
    """Seed every generator that the building of a model may draw from; binds this process to the backend of Keras."""
    if backend == PLAIN_PYTORCH:
        from epochwise.subjects import torch

        torch.set_seed(seed)
    else:
        bind_keras(backend)
        from epochwise.subjects import keras

        keras.set_seed(seed)


def _made(function: Callable[..., Any], spec: ModelSpec, data: Dataset, keep_defaults: bool) -> tuple[Any, bool]:
    """What the function gives, and whether it was given the shapes."""
    if _is_model(function):
        return function, False  # MODEL names a model that the file has made already
    positional, keywords = _arguments(function, spec, data, keep_defaults)
    shapes = bool(positional) or len(keywords) > len(spec.arguments)
    return function(*positional, **keywords), shapes


def _arguments(
    function: Callable[..., Any], spec: ModelSpec, data: Dataset, keep_defaults: bool
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by the function's signature: those of the MODEL string, and the two shapes where it has room for them."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a callable without a signature takes what it was told
        return [], dict(spec.arguments)
    named = [parameter for parameter in parameters if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)]
    accepts_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters)
    unknown = [key for key in spec.arguments if key not in {parameter.name for parameter in named}]
    if unknown and not accepts_any:
        near = difflib.get_close_matches(unknown[0], [parameter.name for parameter in named], n=1)
        raise UsageError(
            f"{spec.function} in {spec.source} takes no argument '{unknown[0]}'; it takes {_signature(named)}.",
            cause=f"Did you mean {near[0]}?" if near else "",
            remedy=f"{spec.source}:{spec.function}" + (f"({near[0]}={spec.arguments[unknown[0]]!r})" if near else ""),
        )
    shapes: dict[str, Any] = {}
    for names, value in zip(_SHAPES, (data.input_shape, data.output_shape), strict=True):
        match = next((parameter for parameter in named if parameter.name in names), None)
        if match is not None and keep_defaults and match.default is not match.empty:
            continue
        if match is not None and match.name not in spec.arguments and match.kind != match.POSITIONAL_ONLY:
            shapes[match.name] = value
    given = {**spec.arguments, **shapes}
    missing = [parameter for parameter in named if parameter.default is parameter.empty and parameter.name not in given]
    if not missing:
        return [], given
    if (
        len(missing) == len(_SHAPES)
        and not shapes
        and missing == named[:2]
        and missing[1].kind != inspect.Parameter.KEYWORD_ONLY
    ):
        return [data.input_shape, data.output_shape], dict(spec.arguments)
    raise UsageError(
        f"{spec.function} in {spec.source} needs {' and '.join(each.name for each in missing)}; it takes {_signature(named)}.",
        cause="epochwise calls it with nothing, or with (input_shape, output_shape), and with what the MODEL string says.",
        remedy=f"'{spec.source}:{spec.function}({', '.join(f'{parameter.name}=...' for parameter in missing)})'",
    )


def _signature(named: list[inspect.Parameter]) -> str:
    return "(" + ", ".join(str(parameter) for parameter in named) + ")"


def _is_module_with_batch(made: Any) -> bool:
    """Whether a function gave ``(module, x)`` or ``(module, x, y)``, with a plain PyTorch module."""
    return isinstance(made, tuple) and len(made) in _WITH_BATCH and _framework_of(made[0]) == PLAIN_PYTORCH


def _is_model(candidate: Any) -> bool:
    return not inspect.isclass(candidate) and _framework_of(candidate) is not None


def _framework_of(candidate: Any) -> Backend | None:
    """``pytorch``, or the backend of Keras, whose model this is; frameworks that were never imported cannot have made it."""
    # Keras first: with PyTorch underneath, its layers are torch modules as well.
    if "keras" in sys.modules:
        from epochwise.subjects import keras

        if keras.is_layer(candidate):
            return keras.backend() if keras.is_model(candidate) else None
    if "torch" in sys.modules:
        from epochwise.subjects import torch

        if torch.is_module(candidate):
            return PLAIN_PYTORCH
    return None


def _kind_of(model: Any, spec: ModelSpec) -> Backend:
    kind = _framework_of(model)
    if kind is not None:
        return kind
    received = f"{type(model).__module__}.{type(model).__qualname__}".removeprefix("builtins.")
    if inspect.isclass(model):
        received = f"the class {model.__qualname__}, not an instance of it"
    elif isinstance(model, tuple | list):
        received = f"a {received} of {', '.join(type(part).__name__ for part in model[:4]) or 'nothing'}"
    elif model is None:
        received = "None"
    raise NotAModelError(
        f"{spec.text} gave {received}; a Keras model or a torch.nn.Module is needed.",
        cause="The function does not return the model (a missing `return`?), or returns it together with something else.",
        remedy="return model",
    )
