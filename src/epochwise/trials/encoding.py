"""Outcomes as bytes: the same on a pipe, on a cluster and in the store, so that nobody on the way can change a bit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

_KINDS = "biufcUS"
"""Kinds of NumPy types whose bytes say everything: booleans, integers, floats, complex numbers, texts."""


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        raise TypeError("An outcome's numbers hold a NumPy array; arrays go into Outcome(arrays=...), or .tolist().")
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"An outcome's numbers hold a {type(value).__name__}; they are JSON values.")


_ENCODER = msgspec.msgpack.Encoder(order="deterministic", enc_hook=_plain)


class EncodedArray(msgspec.Struct, frozen=True, array_like=True):
    """An array: NumPy's name of its type with the order of bytes, its shape, its bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


_ARRAYS = msgspec.msgpack.Decoder(dict[str, EncodedArray])


def encode_numbers(numbers: Mapping[str, Any]) -> bytes:
    """JSON values as MessagePack, which unlike JSON keeps infinities and NaN. Keys are sorted.

    Raises:
        TypeError: a value is no JSON.
    """
    return _ENCODER.encode(dict(numbers))


def decode_numbers(content: bytes) -> dict[str, Any]:
    """What :func:`encode_numbers` encoded; lists where there were tuples."""
    found: dict[str, Any] = msgspec.msgpack.decode(content)
    return found


def encode_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by name, sorted.

    Raises:
        TypeError: an array holds objects or records.
    """
    encoded = {}
    for name, given in arrays.items():
        array = np.asarray(given)
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"arrays[{name!r}] is of type {array.dtype}; an outcome's arrays hold numbers, truths or text.")
        encoded[name] = EncodedArray(array.dtype.str, array.shape, array.tobytes())
    return _ENCODER.encode(encoded)


def decode_arrays(content: bytes) -> dict[str, np.ndarray]:
    """What :func:`encode_arrays` encoded. The arrays are read-only views of ``content``'s parts."""
    return {
        name: np.frombuffer(array.data, np.dtype(array.dtype)).reshape(array.shape)
        for name, array in _ARRAYS.decode(content).items()
    }


def digest(numbers: bytes, arrays: bytes) -> str:
    """SHA-256 of what must not differ between two runs of a trial."""
    return hashlib.sha256(len(numbers).to_bytes(8, "little") + numbers + arrays).hexdigest()
