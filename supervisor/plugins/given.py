"""What plugins gave, checked: each function raises Invalid, with a sentence that says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from supervisor.errors import SupervisorError
from supervisor.execution import OLDEST_PLUGIN_API, PLUGIN_API
from supervisor.plugins.hookspecs import Context


class Invalid(Exception):
    """What a plugin gave is not what the hook asks for; the text says why."""


@attrs.frozen
class Spoken:
    """The plugin APIs that this server understands: the newest is its own."""

    oldest: int = OLDEST_PLUGIN_API
    newest: int = PLUGIN_API

    def check(self, thing: object) -> str:
        """Give a warning where a plugin speaks an older API that still works, else "".

        Raises Invalid where it speaks one that does not.
        """
        spoken = getattr(thing, "plugin_api", self.newest)
        what = getattr(thing, "__name__", None) or type(thing).__name__
        ours = f"this server speaks {self.newest}"
        if not isinstance(spoken, int) or isinstance(spoken, bool):
            raise Invalid(f"{what} speaks plugin API {spoken!r}, which is no number; {ours}")
        if spoken > self.newest:
            raise Invalid(f"{what} speaks plugin API {spoken}, {ours}: update content-supervisor")
        if spoken < self.oldest:
            raise Invalid(f"{what} speaks plugin API {spoken}, {ours}: update the plugin")
        if spoken < self.newest:
            return f"{what} speaks plugin API {spoken}, {ours}: it works, but update the plugin"
        return ""


SPOKEN = Spoken()


def named(word: str, kind: type[Any], given: Any, known: Mapping[str, object]) -> list[str]:
    """Check runtimes or executors; give them in words."""
    names: list[str] = []
    for thing in given:
        if not isinstance(thing, kind):
            raise Invalid(f"supervisor_{word}s gave {thing!r}, which is no {kind.__name__}")
        name = getattr(thing, "name", None)
        if not isinstance(name, str) or not name:
            raise Invalid(f"the {word} {type(thing).__name__} has no name")
        if name in known or f"{word} {name}" in names:
            raise Invalid(f"another plugin gives a {word} named {name!r} already")
        names.append(f"{word} {name}")
    return names


def classes(given: Any) -> list[Any]:
    """Check the classes of sections."""
    kinds = list(given)
    for kind in kinds:
        if not attrs.has(kind) or not isinstance(getattr(kind, "section", None), str):
            raise Invalid(f"{kind!r} is no attrs class with the name of its section")
    return kinds


def refuse_owned(kinds: Sequence[Any], owned: Sequence[Any]) -> None:
    """Refuse a section that another plugin or the core has."""
    names = {other.section.lower() for other in owned}
    for kind in kinds:
        if kind.section.lower() in names:
            raise Invalid(f"the section [{kind.section}] is somebody else's already")


def refuse_wrong(kinds: Sequence[Any], context: Context) -> None:
    """Read each section that the configuration has; SupervisorError where one is wrong."""
    for kind in kinds:
        if context.has(kind):
            read = context.read_named if getattr(kind, "named", False) else context.read
            read(kind)


def factories(given: Mapping[str, Any], known: Mapping[str, object]) -> list[str]:
    """Check what makes stores; give them in words."""
    for provider, factory in given.items():
        if not callable(factory):
            raise Invalid(f"the store {provider!r} cannot be called with a context")
        if provider in known:
            raise Invalid(f"another plugin gives a store named {provider!r} already")
    return [f"store {provider}" for provider in given]


def variables(answer: Any) -> dict[str, str]:
    """Check variables of an environment."""
    given = dict(answer)
    for name, value in given.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise Invalid(f"{name!r} is no variable with a text")
        if not name or "=" in name or "\0" in name + value:
            raise Invalid(f"{name!r} cannot stand in an environment")
    return given


def text(answer: Any) -> str:
    """Check a reason."""
    if not isinstance(answer, str):
        raise Invalid(f"{answer!r} is no text")
    return answer


def told(error: BaseException) -> str:
    """Say an error of a plugin in one line."""
    notes = " ".join(getattr(error, "__notes__", ()))
    name = "" if isinstance(error, Invalid | SupervisorError) else type(error).__name__
    return ": ".join(part for part in (name, str(error)) if part) + (f" {notes}" if notes else "")
