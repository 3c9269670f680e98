"""Read single fields of a message: each either gives a checked value or raises Refused."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from supervisor import layout
from supervisor.layout import PlaceKind, PlaceRef

_RUN_ID = re.compile(r"[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}\Z")
_MAX_GRACE = 3600.0

_LONGEST = 500  # characters of a reason, in which a peer's own words may stand


class Refused(Exception):
    """A message that is malformed or breaks a rule; the text says which, the code how."""

    def __init__(self, message: str, *, code: str = "job-refused", hint: str = "") -> None:
        super().__init__(message[:_LONGEST])
        self.code = code
        self.hint = hint


def run_id(value: Any, _: object = None) -> str:
    """Check a run id."""
    if not isinstance(value, str) or not _RUN_ID.match(value):
        raise Refused(f"{value!r:.80} is not a run id", code="bad-request")
    return value


def place(value: Any, _: object = None) -> PlaceRef:
    """Check a place: an object of kind, ids and components in the form of layout.components."""
    mapping(value, "place")
    exactly(value, ("kind", "ids", "components"), "the fields of a place")
    if not isinstance(value["ids"], list) or not isinstance(value["components"], list):
        raise Refused("the ids and components of a place are lists", code="bad-request")
    try:
        kind = PlaceKind(value["kind"])
        ref = PlaceRef(kind=kind, ids=tuple(value["ids"]), components=tuple(value["components"]))
        layout.components(ref)
    except ValueError as error:
        raise Refused(f"not a place: {error}", code="bad-request") from None
    return ref


def integer(value: Any, name: str, *, least: int, most: int) -> int:
    """Check a whole number; booleans and floats are none."""
    if type(value) is not int or not least <= value <= most:
        raise Refused(
            f"{name} is not a whole number from {least} to {most}: {value!r:.80}",
            code="bad-request",
        )
    return value


def seconds(value: Any, _: object = None) -> float:
    """Check a time span from 0 to an hour."""
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= _MAX_GRACE:
        raise Refused(f"{value!r:.80} is not a number of seconds", code="bad-request")
    return float(value)


def path(value: Any, name: str) -> str:
    """Check an absolute path without dots or doubled slashes."""
    given = text(value, name)
    if not given.startswith("/") or given.startswith("//") or os.path.normpath(given) != given:
        raise Refused(f"{name} is not a plain absolute path: {given:.200}", code="bad-request")
    return given


def text(value: Any, name: str) -> str:
    """Check text that can be an argument or a variable."""
    if not isinstance(value, str) or "\0" in value:
        raise Refused(f"{name} is not text: {value!r:.80}", code="bad-request")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused(f"{name} is not text: {value!r:.80}", code="bad-request") from None
    return value


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """Check an object."""
    if not isinstance(value, dict):
        raise Refused(f"{name} is not an object", code="bad-request")
    return value


def exactly(value: Mapping[str, Any], names: Any, what: str) -> None:
    """Check that an object has these keys and no other."""
    if set(value) != set(names):
        wrong = sorted(set(value) ^ set(names))
        raise Refused(
            f"{what} are {', '.join(names)}; differing: {wrong!r:.200}", code="bad-request"
        )
