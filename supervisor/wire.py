"""Model values to JSON and back, for the store, the links and the API."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def to_json(value: object) -> Any:
    """Give plain dicts, lists, strings and numbers; enums become their values, tuples lists."""
    return msgspec.to_builtins(value)


def from_json(kind: type[T], data: object) -> T:
    """Build a value of `kind`; raises ValueError that names the path of what does not fit.

    Unknown keys are ignored, so that a newer core's records can be read by the one before it.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def encode(value: object) -> bytes:
    """Give the value as JSON text in UTF-8."""
    return msgspec.json.encode(value)


def decode(data: bytes | str) -> Any:
    """Read JSON text; raises ValueError."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:  # the latter: nested too deeply
        raise ValueError(str(error)) from None
