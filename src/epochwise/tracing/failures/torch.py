"""What a traced PyTorch step raises -> errors that name the layer and the line, with the usual cause and what to do."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
)
from torch.utils import _pytree

from epochwise.errors import EpochwiseError, ModelDoesNotFitError, ModelFailedError, TracingError
from epochwise.tracing.failures.lines import line_of, written
from epochwise.tracing.trace import Value

_STEP, _INSIDE = str(Path(__file__).parents[1] / "torch.py"), ("around", "numpy")
"""Where steps are run, and the functions there that the user's code comes through."""

BRANCHES = "a branch, a size or a call to NumPy that uses numbers out of a tensor, such as `if (x > 0).any():`"
WITHOUT_BRANCHES = "let shapes and branches depend on shapes and settings only, for instance with torch.where"

_KNOWN = {
    "aten._pack_padded_sequence": (
        "pack_padded_sequence, whose work depends on the lengths of the sequences",
        "count the step without packing, all sequences as long as the longest: an upper bound",
    ),
    "aten._ctc_loss": (
        "ctc_loss, whose work depends on the lengths of the sequences and of the targets",
        "count the model with a loss of the same outputs: epochwise.count(model, x=x, y=y, loss=lambda made, y: made.mean())",
    ),
    "aten.nonzero": (
        "a selection by a condition, x[x > 0] or nonzero(), gives as many rows as the data happen to have",
        "keep the size: torch.where(condition, x, 0), or a sum weighted with the condition",
    ),
}
"""Operators whose work is in the data: what calls them, and what can be counted instead."""
_RAGGED = "shape_env must not be None"
"""What fake tensors say of a size that is in the data, where nobody asked for such sizes."""


@contextlib.contextmanager
def explained(subject: str, x_spec: Any, y_spec: Any, layer_of: Callable[[BaseException], str | None]) -> Iterator[None]:
    """Turn what a step raises into errors that say where it happened and what to do.

    Args:
        subject: the model, for messages: ``model 'cnn'``, ``module Net``.
        x_spec: features of the batch, a structure of :class:`~epochwise.tracing.trace.Value`.
        y_spec: labels, likewise.
        layer_of: path of the layer whose call raised an exception, ``None`` outside any.

    Raises:
        TracingError: the step depends on the values of its data.
        ModelDoesNotFitError: a shape or type does not fit.
        ModelFailedError: anything else.
    """
    try:
        yield
    except TracingError as error:
        raise TracingError(error.what + _where(error, layer_of(error)), cause=error.cause, remedy=error.remedy) from error
    except EpochwiseError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException, UnsupportedFakeTensorException) as error:
        cause, remedy = _KNOWN.get(_operator(error), (BRANCHES, WITHOUT_BRANCHES))
        raise TracingError(
            f"The training step of {subject} depends on the values of its data, not only on shapes: "
            f"{error}{_where(error, layer_of(error))}",
            cause=cause,
            remedy=remedy,
        ) from error
    except NotImplementedError as error:
        raise ModelFailedError(
            f"{subject} raised {type(error).__name__} in its training step: {error}{_where(error, layer_of(error))}",
            cause="an operation that PyTorch does not have on this device, or a module without a method that it needs",
        ) from error
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ModelDoesNotFitError(
            f"{subject} does not accept a batch of {_batch(x_spec, y_spec)}: {error}{_where(error, layer_of(error))}",
            cause="the shape or type of the data is not the one that the model or its loss was made for",
            remedy="give data that fits: epochwise.count(model, x=x, y=y)",
        ) from error
    except Exception as error:
        if _RAGGED in str(error):
            raise TracingError(
                f"The training step of {subject} makes a nested tensor, whose sizes are in its data"
                f"{_where(error, layer_of(error))}",
                cause="torch.nested, whose rows have lengths of their own",
                remedy="count the step with padded tensors, torch.nn.utils.rnn.pad_sequence: an upper bound",
            ) from error
        raise ModelFailedError(
            f"{subject} raised {type(error).__name__} in its training step: {error}{_where(error, layer_of(error))}",
            cause="an error in the model's own code",
        ) from error


def line_of_caller() -> str | None:
    """The innermost line that is under way and is neither PyTorch's nor ours."""
    for frame, line in traceback.walk_stack(None):
        if frame.f_code.co_filename == _STEP and frame.f_code.co_name not in _INSIDE:
            return None
        found = written(frame, line)
        if found is not None:
            return found
    return None


def _operator(error: Exception) -> str:
    """The operator that an exception of fake tensors is about, without its overload."""
    found = getattr(error, "func", None)
    return str(found).rpartition(".")[0] if found is not None else ""


def _where(error: BaseException, layer: str | None) -> str:
    line = line_of(error)
    layer_text = f"\nLayer: {layer}" if layer else ""
    return layer_text + (f"\nLine: {line}" if line else "")


def _batch(x_spec: Any, y_spec: Any) -> str:
    labels = _described(y_spec)
    return _described(x_spec) + (f" with labels {labels}" if labels else "")


def _described(specs: Any) -> str:
    def one(spec: Value) -> str:
        return f"{spec.dtype}{list(spec.shape)}"

    if isinstance(specs, dict):
        return ", ".join(f"{name}: {_described(spec)}" for name, spec in specs.items() if _described(spec))
    leaves = _pytree.tree_leaves(specs)
    return ", ".join(one(spec) for spec in leaves if isinstance(spec, Value))
