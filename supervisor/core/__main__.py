"""The core process: `python -I -m supervisor.core --fd NAME=NUMBER …`, started by the parent."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from supervisor.api.access import api_settings
from supervisor.api.server import serve_api
from supervisor.core.configured import Configured
from supervisor.core.control import Control, dump_stacks_on_signal
from supervisor.core.libraries import take_over
from supervisor.core.runs.executors import default_of
from supervisor.core.server import Server, Sockets, context_of, store_of
from supervisor.core.storage import lease
from supervisor.core.trials import Trials
from supervisor.errors import StoreUnavailable, SupervisorError
from supervisor.interfaces import Store
from supervisor.log import Log
from supervisor.plugins.loading import Plugins, unread
from supervisor.settings import Settings
from supervisor.wire import to_json


def main(argv: list[str] | None = None) -> int:
    """Run the core; give its exit status (a code's, where the core cannot serve)."""
    parser = argparse.ArgumentParser(prog="supervisor.core")
    parser.add_argument("--fd", action="append", default=[], metavar="NAME=NUMBER")
    parser.add_argument("--check", action="store_true", help="only load plugins and settings")
    parser.add_argument("--plugins", action="store_true", help="only list plugins, as JSON")
    parser.add_argument("--without", action="append", default=[], metavar="PLUGIN")
    given = parser.parse_args(argv)
    fds = {name: int(number) for name, _, number in (item.partition("=") for item in given.fd)}
    for number in fds.values():
        os.set_inheritable(number, False)
    settings = Settings.read(fds["settings"])
    if given.check:
        return check(settings)
    if given.plugins:
        return list_plugins(settings, given.without)
    log = Log("core", form=settings.log_form, level=settings.log_level)
    if "control" in fds:  # the parent speaks for the terminal and the service manager
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    take_over(log)
    dump_stacks_on_signal(fds.get("trace"))
    gc.freeze()
    try:
        trio.run(_serve, settings, fds, log)
    except BaseExceptionGroup as group:
        known = group.subgroup(SupervisorError)
        if known is None:
            raise
        error = _first(known)
        log.error("core-cannot-serve", code=error.code, reason=error.message, hint=error.hint)
        return error.exit_status
    return 0


def check(settings: Settings) -> int:
    """Say on standard error why a core with these settings could not serve; 0 where it could.

    A plugin that does not load is enough: the running core may well have it.
    """
    plugins = _loaded(settings)
    try:
        for view in plugins.views():
            if view.problem:
                hint = "Mend it, or uninstall it."
                raise SupervisorError(
                    "plugin-invalid", f"the plugin {view.name}: {view.problem}", hint=hint
                )
        _ask_store(store_of(settings, plugins)(context_of(settings)), settings)
        if not plugins.executors:
            raise SupervisorError("no-executor", "no installed plugin can run content")
        default_of(settings.applications.executor, plugins.executors)
        api_settings(settings)
    except SupervisorError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


def _ask_store(store: Store, settings: Settings) -> None:
    """Raise SupervisorError where the records are newer, or cannot be changed for this version."""
    try:
        node = Path(settings.run_dir, "core", "node").read_text().strip()
        lease.can_enter(store, node)
    except (StoreUnavailable, FileNotFoundError):
        pass  # the new core waits for it as the old one does
    finally:
        store.close()


def list_plugins(settings: Settings, without: Sequence[str]) -> int:
    """Print what `supervisor plugins` shows, without a server: a line of JSON, the last one.

    Each line before it names the plugin that is tried next. without: those that ended the process.
    """

    def trying(name: str) -> str:
        if name in without:
            return "its code ends the process that loads it"
        sys.stdout.write(json.dumps(name) + "\n")
        sys.stdout.flush()
        return ""

    views = _loaded(settings, trying).views()
    sys.stdout.write(json.dumps([to_json(view) for view in views]) + "\n")
    return 0


def _loaded(settings: Settings, trying: Callable[[str], str] = lambda name: "") -> Plugins:
    log = Log("core", level="error", fd=os.open(os.devnull, os.O_WRONLY))
    plugins = Plugins(log=log, trying=trying)
    trio.run(partial(plugins.load, context_of(settings), disabled=settings.plugins.disable))
    return plugins


async def _serve(settings: Settings, fds: dict[str, int], log: Log) -> None:
    plugins = Plugins(log=log, trying=Trials.of(Path(settings.run_dir, "core")))
    control = Control(
        sock=socket.socket(fileno=fds["control"]) if "control" in fds else None,
        log=log,
        previous=lambda exit_, trace: _blame(plugins, exit_, trace),
    )
    await plugins.load(context_of(settings), disabled=settings.plugins.disable)
    for problem in unread(settings.entries, plugins):
        log.warning("settings", problem=problem)
    access = api_settings(settings)
    configured = Configured(settings, control, plugins.kinds)
    server = Server(
        settings=settings,
        configured=configured,
        sockets=Sockets(
            core=socket.socket(fileno=fds["core"]), link=socket.socket(fileno=fds["link"])
        ),
        control=control,
        plugins=plugins,
        log=log,
        serve_api=partial(
            serve_api,
            settings=access,
            log=log,
            leave=control.leave,
            parent=control,
            configured=configured,
        ),
    )
    await server.run()


def _blame(plugins: Plugins, exit_: str, trace: str) -> None:
    """Name the plugin that held the loop of the core before us."""
    name = plugins.blamed_by_trace(trace) if trace else None
    if name is not None:
        plugins.blame(name, f"it held the core's loop, so the core was restarted ({exit_})")


def _first(group: BaseExceptionGroup[SupervisorError]) -> SupervisorError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


if __name__ == "__main__":
    sys.exit(main())
