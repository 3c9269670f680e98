"""`supervisor set`: what can be set of a content, and where each value comes from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from supervisor.cli.options import Session, complete_content, server_command
from supervisor.cli.show import duration, printable, table
from supervisor.errors import SupervisorError

# key → how its value is read, as supervisor.settings.values names it; the keys are the API's fields
KEYS: dict[str, str] = {
    "title": "text",
    "executor": "text",
    "run_as": "text",
    "egress": "text",
    "min_processes": "integer",
    "max_processes": "integer",
    "max_conns_per_process": "integer",
    "load_factor": "fraction",
    "init_timeout": "duration",
    "idle_timeout": "duration",
    "connection_timeout": "duration",
    "read_timeout": "duration",
    "reconnect_timeout": "duration",
    "drain_timeout": "duration",
    "drain_notice": "boolean",
    "memory_limit": "size",
    "memory_high": "size",
    "cpu_limit": "number",
    "pids_limit": "integer",
    "files_limit": "integer",
    "tmp_limit": "size",
    "nice": "integer",
}
DEFAULT = "default"


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete `key=`."""
    return [f"{key}=" for key in KEYS if key.startswith(incomplete)]


@click.command("set")
@click.argument("content", shell_complete=complete_content)
@click.argument("changes", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=complete_key)
@server_command
def set_command(session: Session, content: str, changes: Sequence[str]) -> None:
    """Set how CONTENT runs, or show it.

    Without KEY=VALUE it shows every key with its value and where that comes from: the content or
    the server. Several keys are one change. VALUE is written as in the settings file (10m, 0.5,
    512 MiB, true), a duration with its unit; `default` gives the server's value back. A limit of 0
    is none.

    Keys: title, executor, run_as, egress, min_processes, max_processes, max_conns_per_process,
    load_factor, init_timeout, idle_timeout, connection_timeout, read_timeout, reconnect_timeout,
    drain_timeout, drain_notice, memory_limit, memory_high, cpu_limit, pids_limit, files_limit,
    tmp_limit, nice.
    """
    from supervisor.cli.client import segment

    change = read_changes(changes)
    path = f"/v1/supervisor/content/{segment(content)}"
    with session.connect() as client:
        now = client.get(path)
        before = now["settings"]
        if change:
            now = client.patch(path, change)
    if session.as_json:
        session.json(now)
    elif not change:
        _show(now["settings"])
    else:
        session.note(printable(difference(now["name"], before, now["settings"])))


def read_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Give the fields of `KEY=VALUE` words. Raises SupervisorError("bad-request")."""
    change: dict[str, Any] = {}
    for word in changes:
        given, equals, text = word.partition("=")
        key = _key(given)
        if not equals:
            raise SupervisorError(
                "bad-request", f"'{word}' lacks a value.", hint=f"Write {key}=VALUE."
            )
        if key in change:
            raise SupervisorError("bad-request", f"'{key}' is given twice.")
        change[key] = _value(key, text)
    return change


def _key(given: str) -> str:
    # Whoever knows the settings file writes MaxProcesses.
    squeezed = {key.replace("_", ""): key for key in KEYS}
    wanted = given.strip().lower().replace("-", "").replace("_", "")
    if wanted in squeezed:
        return squeezed[wanted]
    near = difflib.get_close_matches(wanted, squeezed, n=1)
    hint = f"Did you mean {squeezed[near[0]]}?" if near else f"There are {', '.join(KEYS)}."
    raise SupervisorError("bad-request", f"There is no key '{given}' to set.", hint=hint)


def _value(key: str, text: str) -> object:
    from supervisor.settings import values

    if key == "title":
        return "" if text == DEFAULT else text
    if text.strip().lower() == DEFAULT:
        return None
    if not text.strip():
        raise SupervisorError(
            "bad-request", f"{key}: no value.", hint=f"Write {key}={DEFAULT} for the server's."
        )
    if KEYS[key] == "duration" and text.strip().isdecimal() and text.strip("0 "):
        number = text.strip()  # of nanoseconds in the settings file, as other programs write it
        hint = f"Write {number}s for seconds or {number}m for minutes."
        raise SupervisorError("bad-request", f"{key}: {number} has no unit.", hint=hint)
    try:
        return getattr(values, KEYS[key])(text.strip())
    except ValueError as error:
        raise SupervisorError("bad-request", f"{key}: {error}.") from None


def written(key: str, value: Any) -> str:
    """Give a value as `supervisor set` reads it."""
    if value is None:
        return DEFAULT
    if isinstance(value, bool):
        return str(value).lower()
    if KEYS.get(key) == "duration":
        return duration(value)
    if KEYS.get(key) == "size":
        return _size(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _size(count: int) -> str:
    for unit, each in (("GiB", 1 << 30), ("MiB", 1 << 20), ("GB", 10**9), ("MB", 10**6)):
        if count and count % each == 0:
            return f"{count // each}{unit}"
    return str(count)


def _show(settings: Mapping[str, Mapping[str, Any]]) -> None:
    rows = []
    for key, setting in settings.items():
        own = setting["own"] is not None
        source = "content" if own else "name" if key == "title" else "server"
        server = written(key, setting["server"]) if own and setting["server"] is not None else ""
        rows.append((key, written(key, setting["value"]), source, server))
    table(("KEY", "VALUE", "FROM", "SERVER"), rows)


def difference(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Give in words what a change has changed: key → value with `own`, before and after."""
    changed = [
        _change(key, before[key], after[key])
        for key in after
        if key in before and before[key] != after[key]
    ]
    return f"{name}: {', '.join(changed)}" if changed else f"{name}: nothing has changed."


def _change(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    was, now = written(key, before["value"]), written(key, after["value"])
    if was == now:  # the same value, from elsewhere
        return f"{key} {now}, {'the server' if after['own'] is None else 'this content'}'s own now"
    return f"{key} {was} → {now}"
