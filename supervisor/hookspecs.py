"""The hooks. They register; the classes that they return do the work.

Each is called once per plugin, in a thread, under a time limit: one that raises or hangs is blamed
by name, and the others count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from supervisor.interfaces import Executor, Runtime, Store

GROUP = "content_supervisor.v1"
HELPER_GROUP = "content_supervisor.helpers"

hookspec = pluggy.HookspecMarker("content_supervisor")
hookimpl = pluggy.HookimplMarker("content_supervisor")


class Context:
    """What a plugin may know when it registers.

    data_dir and run_dir are paths; settings maps a section's lower-case name to its keys (lower
    case), each with all its values in order; rootless says that the server runs without root.
    """

    def __init__(
        self,
        *,
        data_dir: str,
        run_dir: str,
        settings: Mapping[str, Mapping[str, Sequence[str]]],
        rootless: bool,
    ) -> None:
        self.data_dir = data_dir
        self.run_dir = run_dir
        self.settings = settings
        self.rootless = rootless

    def section(self, name: str) -> Mapping[str, Sequence[str]]:
        """Give the keys of a section of the configuration, {} where it is absent."""
        return self.settings.get(name.lower(), {})


@hookspec
def supervisor_settings() -> Sequence[Any]:
    """Give the sections that the plugin owns: attrs classes with a `section` name, a field per key.

    A key of the file that such a class does not have is a warning in the service log.
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
