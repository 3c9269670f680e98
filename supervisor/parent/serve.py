"""`supervisor serve`: resolve everything, take what must be ours alone, then run the tree."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from supervisor import __version__, volume
from supervisor.errors import SupervisorError
from supervisor.log import Log
from supervisor.parent import directories, handover, lock, ports, sockets
from supervisor.parent.configuring import Configuring
from supervisor.parent.handover import State
from supervisor.parent.logs import Logs
from supervisor.parent.notify import Notifier
from supervisor.parent.plan import Plan
from supervisor.parent.reload import Reload, keep_to_ourselves
from supervisor.parent.tree import Tree
from supervisor.settings import Configuration, configure
from supervisor.settings.places import ROOT_DATA_DIR
from supervisor.settings.sections import Logging

_TARGETS = {"STDERR": "standard error", "STDOUT": "standard output", "NONE": "none"}
Programs = Mapping[str, tuple[str, ...]]


def serve(
    configuration: Configuration,
    *,
    programs: Programs | None = None,
    environ: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    load: Callable[[], Configuration] | None = None,
    terminal: int = 1,
) -> int:
    """Run a server until it is told to stop; give the exit status.

    programs: name (`core`, `gateway`, `helper`) → argv, instead of the real ones. command: what
    starts this very program, for a reload; without one there is none. load: reads the configuration
    again; None: `supervisor config reload` is refused. The first lines for a person
    go to the descriptor `terminal`. Raises SupervisorError where it cannot start: then nothing was
    started, and everything taken is given back.
    """
    environ = os.environ if environ is None else environ
    os.umask(0o022)  # directories above ours must let the children through
    log = _log(configuration)
    plan = Plan.of(configuration, environ=environ, programs=programs).in_tier()
    settings, who = plan.settings, plan.who
    locks: list[int] = []
    http: dict[str, socket.socket] = {}
    unix: dict[str, socket.socket] = {}
    logs: Logs | None = None
    try:
        directories.make_run_dir(settings.run_dir, who)
        locks.append(
            lock.hold(
                os.path.join(settings.run_dir, "parent.lock"),
                code="run-dir-held",
                unusable="run-dir-unusable",
                what=f"the directory {settings.run_dir}",
            )
        )
        is_new = directories.make_data_dir(settings.data_dir, who)
        plan.refuse_closed()
        locks += lock.hold_data_dir(
            settings.data_dir,
            shared=settings.several_nodes,
            hint=" Servers that are to share it all need [Server] SeveralNodes = yes.",
        )
        logs = Logs(configuration.logging, group=who.admin_gid)
        http |= ports.listen_all(ports.wanted(configuration))
        for want in sockets.unix_sockets(who):
            unix[want.name] = sockets.listen_unix(settings.run_dir, want)
        log.write_to(logs.service)
        _introduce(plan, log, terminal, http, is_new=is_new)
        return _tree(plan, locks, http, unix, logs, log=log, command=command, load=load).run()
    finally:
        _give_back(plan, locks, http, unix, logs)


def check(configuration: Configuration, fd: int, *, programs: Programs | None = None) -> int:
    """Tell whether this code, with these settings, could go on with the server of the state `fd`.

    Gives 0, or the status of a program that could not start, which has said why. Raises
    SupervisorError. Nothing is changed.
    """
    state = handover.read(fd)
    plan = Plan.of(configuration, environ=os.environ, programs=programs, state=state)
    for name, address in ports.wanted(configuration).items():
        if name not in state.http:
            ports.listen_tcp(address, key=ports.key_of(name)).close()
    Logs(configuration.logging, group=state.who.admin_gid).close()
    return plan.try_programs()


def resume(
    fd: int,
    load: Callable[[], Configuration],
    *,
    programs: Programs | None = None,
    command: Sequence[str],
) -> int:
    """Go on with the server whose parent this process was a moment ago; see `serve`."""
    state = handover.read(fd)
    os.close(fd)
    keep_to_ourselves(state.descriptors)
    os.umask(0o022)
    try:
        plan = Plan.of(load(), environ=os.environ, programs=programs, state=state)
        log = _log(plan.configuration)
    except SupervisorError as error:  # they have changed since they were checked
        old = configure(state.entries, file=state.file)
        log = _log(old)
        log.error("settings", problem=str(error), hint="the old ones stay in force")
        plan = Plan.of(old, environ=os.environ, programs=programs, state=state)
    for warning in plan.kept(state):
        log.warning("settings", problem=warning)
    logs = _logs_anew(plan, state, log)
    log.write_to(logs.service)
    http = _listen_anew(plan.configuration, state, log)
    unix = {name: socket.socket(fileno=number) for name, number in state.unix.items()}
    locks = [*state.locks, *_locks_anew(state, log)]
    log.info("resumed", version=__version__, was=state.code)
    try:
        return _tree(
            plan,
            locks,
            http,
            unix,
            logs,
            log=log,
            command=command,
            load=load,
            children=state.children,
        ).run()
    finally:
        _give_back(plan, locks, http, unix, logs)


def _log(configuration: Configuration) -> Log:
    log = Log("parent", form=configuration.logging.form, level=configuration.logging.level)
    for warning in configuration.warnings:
        log.warning("settings", problem=warning)
    return log


def _logs_anew(plan: Plan, state: State, log: Log) -> Logs:
    """Open the logs of the settings; those that cannot be opened any more go to standard error."""
    try:
        return Logs(plan.configuration.logging, group=state.who.admin_gid)
    except SupervisorError as error:  # the disk has changed since that was checked
        log.error("settings", problem=error.message, hint="the logs go to standard error")
        return Logs(Logging())


def _locks_anew(state: State, log: Log) -> list[int]:
    """Take the locks of DataDir that the code before this one did not know."""
    try:
        return lock.hold_data_dir(state.data_dir, shared=state.several_nodes, held=state.locks)
    except SupervisorError as error:  # who holds it got there before this code could
        log.error("data-dir-held", reason=error.message, hint=error.hint)
        return []


def _listen_anew(configuration: Configuration, state: State, log: Log) -> dict[str, socket.socket]:
    """Keep the sockets of addresses that stay, open those that are new, close the others."""
    open_before = {name: socket.socket(fileno=number) for name, number in state.http.items()}
    found: dict[str, socket.socket] = {}
    for name, address in ports.wanted(configuration).items():
        try:
            kept = open_before.pop(name) if name in open_before else None
            found[name] = kept or ports.listen_tcp(address, key=ports.key_of(name))
        except SupervisorError as error:
            log.error("not-listening", address=str(address), reason=error.message)
    for name, sock in open_before.items():
        log.info("listens-no-more", address=name)
        sock.close()
    return found


def _tree(
    plan: Plan,
    locks: Sequence[int],
    http: Mapping[str, socket.socket],
    unix: Mapping[str, socket.socket],
    logs: Logs,
    *,
    log: Log,
    command: Sequence[str],
    load: Callable[[], Configuration] | None,
    children: Sequence[Mapping[str, Any]] = (),
) -> Tree:
    settings = plan.settings
    configuring = Configuring(plan, load=load, log=log)

    def state(living: Sequence[Mapping[str, Any]]) -> State:
        return State(
            code=__version__,
            who=plan.who,
            data_dir=settings.data_dir,
            run_dir=settings.run_dir,
            uid_first=settings.uid_first,
            several_nodes=settings.several_nodes,
            tier=settings.tier,
            file=configuring.plan.configuration.file,
            entries=configuring.plan.configuration.entries,
            locks=locks,
            http={name: sock.fileno() for name, sock in http.items()},
            unix={name: sock.fileno() for name, sock in unix.items()},
            children=living,
        )

    return Tree(
        plan.children(unix, http, logs),
        log=log,
        logs=logs,
        configuring=configuring,
        notifier=Notifier.of(plan.environ),
        reload=Reload(command=command, environ=plan.environ, state=state) if command else None,
        children=children,
    )


def _give_back(
    plan: Plan,
    locks: Sequence[int],
    http: Mapping[str, socket.socket],
    unix: Mapping[str, socket.socket],
    logs: Logs | None,
) -> None:
    if unix:
        sockets.remove(plan.settings.run_dir, plan.who)
    for sock in (*http.values(), *unix.values()):
        sock.close()
    lock.release(locks)
    if logs is not None:
        logs.close()


def _introduce(
    plan: Plan,
    log: Log,
    terminal: int,
    http: Mapping[str, socket.socket],
    *,
    is_new: bool,
) -> None:
    settings = plan.settings
    addresses = [_url(sock) for name, sock in http.items() if not name.startswith(ports.METRICS)]
    where = settings.logging.service
    data = volume.look(settings.data_dir, default=ROOT_DATA_DIR)
    problem, hint = plan.unmet()
    caller = f" (uid {settings.core_uid})" if settings.rootless else ""
    lines = (
        f"content-supervisor {__version__}, tier {settings.tier}{caller}",
        *([f"  NOTE        {problem}. {hint}"] if problem else []),
        f"  listens on  {', '.join(addresses)}",
        f"  data        {settings.data_dir}{' (new, empty)' if is_new else ''}",
        *([f"  NOTE        {data.text}. {data.fix}"] if data and data.fix else []),
        f"  sockets     {settings.run_dir}",
        f"  settings    {settings.file or 'built-in defaults'}",
        f"  log         {_TARGETS.get(where, where)} ({settings.log_form}, {settings.log_level})",
    )
    with suppress(OSError):  # nobody may read it
        os.write(terminal, ("\n".join(lines) + "\n").encode())
    log.info(
        "serving", version=__version__, tier=settings.tier, addresses=",".join(addresses),
        data_dir=settings.data_dir, run_dir=settings.run_dir, new=is_new,
    )  # fmt: skip
    if data and data.fix:
        log.warning("data-dir", problem=data.text, hint=data.fix)
    if problem:
        log.warning("egress", problem=problem, hint=hint)


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
