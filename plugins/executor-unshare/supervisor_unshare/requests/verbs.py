"""Read every message that reaches the helper. A closed set: what is not listed here is refused.

The core is not trusted: it may ask for known things with known fields, each within rules that come
from the root-owned settings. Paths are never sent; they follow from ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor_unshare.requests import fields
from supervisor_unshare.requests.fields import Refused
from supervisor_unshare.requests.jobs import job
from supervisor_unshare.requests.rules import Rules


@dataclass(frozen=True, kw_only=True)
class Request:
    """A message of the closed set: its verb, its id and its checked arguments."""

    id: int
    verb: str
    arguments: Mapping[str, Any]


Checks = dict[str, Callable[[Any, Rules], Any]]


def parse(message: Mapping[str, Any], rules: Rules, verbs: Mapping[str, Checks]) -> Request:
    """Check a message against a table of verbs; raises Refused."""
    verb = message.get("type")
    if not isinstance(verb, str) or verb not in verbs:
        raise Refused(f"unknown verb {verb!r}", code="bad-request")
    checks = verbs[verb]
    given = {key: value for key, value in message.items() if key not in ("type", "id")}
    fields.exactly(given, checks, f"the fields of {verb}")
    number = fields.integer(message.get("id"), "id", least=0, most=2**53)
    arguments = {key: check(given[key], rules) for key, check in checks.items()}
    return Request(id=number, verb=verb, arguments=arguments)


def _number(name: str, least: int, most: int) -> Callable[[Any, Rules], int]:
    return lambda value, _: fields.integer(value, name, least=least, most=most)


def _run_list(value: Any, _: Rules) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Refused("runs is not a list", code="bad-request")
    return tuple(fields.run_id(run) for run in value)


CORE_VERBS: dict[str, Checks] = {
    "hello": {"v": _number("v", 0, 1000)},
    "start": {"job": job},
    "stop": {"run": fields.run_id, "grace": fields.seconds},
    "list": {},
    "output": {"run": fields.run_id},
    "usage": {"runs": _run_list},
    "forget": {"run": fields.run_id},
    "prepare": {
        "place": fields.place,
        "content": _number("content", 1, 2**53),
        "uid": _number("uid", 0, 2**32 - 2),
    },
    "seal": {"place": fields.place},
    "remove": {"place": fields.place},
    "doctor": {},
    "connect": {"run": fields.run_id},
}
GATEWAY_VERBS: dict[str, Checks] = {
    "hello": {"v": _number("v", 0, 1000)},
    "connect": {"run": fields.run_id},
}
