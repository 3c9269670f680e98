"""The hooks. They register; the classes that they return do the work.

Each is called once per plugin, in a thread, under a time limit: one that raises or hangs is blamed
by name, and the others count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from supervisor.plugins.context import Context as Context

if TYPE_CHECKING:
    from supervisor.interfaces import Executor, Runtime, Store

GROUP = "content_supervisor.v1"
HELPER_GROUP = "content_supervisor.helpers"

hookspec = pluggy.HookspecMarker("content_supervisor")
hookimpl = pluggy.HookimplMarker("content_supervisor")


@hookspec
def supervisor_settings() -> Sequence[Any]:
    """Give the sections that the plugin owns: attrs classes with a `section` name, a field per key.

    Fields are declared with `supervisor.setting`, and `context.read` gives their values. A section
    that is wrong leaves the plugin out; a key that a class does not have is a warning.
    """
    return ()


@hookspec
def supervisor_runtimes(context: Context) -> Sequence[Runtime]:
    """Give the runtimes of this plugin."""
    return ()


@hookspec
def supervisor_executors(context: Context) -> Sequence[Executor]:
    """Give the executors of this plugin."""
    return ()


@hookspec
def supervisor_stores(context: Context) -> Mapping[str, type[Store] | Any]:
    """Give the stores of this plugin: provider name → a callable that takes the context."""
    return {}


@hookspec
def supervisor_environment(content: Any, run: Any) -> Mapping[str, str]:
    """Give variables for the environment of a content's process."""
    return {}


@hookspec
def supervisor_veto(content: Any, purpose: str) -> str | None:
    """Give a reason why this run must not start, or None."""


@hookspec
def supervisor_observe(transition: Any) -> None:
    """Be told of every transition, after it was journalled."""
