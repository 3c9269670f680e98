"""`supervisor serve`: resolve everything, take what must be ours alone, then run the tree."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from importlib.util import cache_from_source

from supervisor import __version__
from supervisor.log import Log
from supervisor.parent import directories, identity, lock, ports, sockets, trust
from supervisor.parent.child import Program, environment
from supervisor.parent.identity import Identities, Identity
from supervisor.parent.notify import Notifier
from supervisor.parent.templates import read_templates
from supervisor.parent.tree import Tree
from supervisor.parent.watch import TimeLimits
from supervisor.settings import Configuration, Settings, data_dir, refuse_open_door, run_dir


def serve(
    configuration: Configuration,
    *,
    programs: Mapping[str, tuple[str, ...]] | None = None,
    environ: Mapping[str, str] | None = None,
    terminal: int = 1,
) -> int:
    """Run a server until it is told to stop; give the exit status.

    programs: name (`core`, `gateway`, `helper`) → argv, instead of the real ones. The first lines
    for a person go to the descriptor `terminal`. Raises SupervisorError where it cannot start:
    then nothing was started, and everything taken is given back.
    """
    environ = os.environ if environ is None else environ
    os.umask(0o022)  # directories above ours must let the children through
    log = Log("parent", form=configuration.logging.form, level=configuration.logging.level)
    for warning in configuration.warnings:
        log.warning("settings", problem=warning)
    refuse_open_door(configuration)
    who = identity.resolve(configuration, uid=os.geteuid(), gid=os.getegid())
    settings = _settings(configuration, who, environ)
    argvs = dict(programs or _programs(configuration, who, settings.run_dir))
    if not who.rootless and configuration.file is not None:
        trust.refuse_writable([configuration.file])
    held: list[int] = []
    listening: list[socket.socket] = []
    try:
        directories.make_run_dir(settings.run_dir, who)
        held.append(
            lock.hold(
                os.path.join(settings.run_dir, "parent.lock"),
                code="run-dir-held",
                unusable="run-dir-unusable",
                what=f"the directory {settings.run_dir}",
            )
        )
        directories.make_data_dir(settings.data_dir, who)
        if not who.rootless:
            _refuse_closed(settings, who)
        held.append(
            lock.hold(
                os.path.join(settings.data_dir, f".held-{os.uname().nodename}"),
                code="data-dir-held",
                unusable="data-dir-unusable",
                what=f"the data directory {settings.data_dir}",
            )
        )
        http = ports.listen_all(configuration.http.listen)
        listening += http
        unix = {}
        for want in sockets.unix_sockets(who):
            unix[want.name] = sockets.listen_unix(settings.run_dir, want)
            listening.append(unix[want.name])
        _introduce(settings, log, terminal, http)
        return Tree(
            _children(argvs, settings, who, environ, unix, http),
            log=log,
            shutdown_timeout=configuration.server.shutdown_timeout,
            limits=TimeLimits(
                start=configuration.server.start_timeout, beat=configuration.server.beat_timeout
            ),
            notifier=Notifier.of(environ),
        ).run()
    finally:
        if len(listening) > len(configuration.http.listen):
            sockets.remove(settings.run_dir, who)
        for sock in listening:
            sock.close()
        for fd in held:
            os.close(fd)


def _refuse_closed(settings: Settings, who: Identities) -> None:
    hint = "Name another directory, or open those above it: chmod a+x."
    for one in (who.core, who.gateway):
        trust.refuse_unreachable([settings.run_dir], one, code="run-dir-unusable", hint=hint)
    trust.refuse_unreachable([settings.data_dir], who.core, code="data-dir-unusable", hint=hint)


def _programs(
    configuration: Configuration, who: Identities, run: str
) -> dict[str, tuple[str, ...]]:
    """Give the real programs; as root only from files that root alone can write."""
    helper = trust.find_helper(configuration.privileged.helper)
    if not who.rootless:
        paths = list(trust.program_paths(helper))
        trust.refuse_writable(paths)
        for one in (who.core, who.gateway):
            trust.refuse_unreachable(
                (sys.executable, __file__),
                one,
                code="identity-invalid",
                hint="Install the server where every user may read, for example in"
                " /opt/content-supervisor.",
            )
    python = (sys.executable, "-I", "-m")
    argvs: dict[str, tuple[str, ...]] = {
        "core": (sys.executable, "-I", *_bytecode(run), "-m", "supervisor.core"),
        "gateway": (*python, "supervisor.gateway"),
    }
    if helper is not None:
        argvs["helper"] = (*python, helper.module)
    return argvs


def _bytecode(run: str) -> tuple[str, ...]:
    """Give the core a place for compiled files of its own, where the installer compiled nothing.

    It could not write beside the sources, and would compile hundreds of files at each start.
    """
    try:
        installed = metadata.files("trio") or []  # as good as any of what the core imports
    except metadata.PackageNotFoundError:
        installed = []
    sources = [str(file.locate()) for file in installed if file.suffix == ".py"]
    # All of them: some are there as soon as anybody imported some.
    if all(os.path.exists(cache_from_source(source)) for source in sources):
        return ()
    return ("-X", f"pycache_prefix={run}/core/bytecode")


def _settings(
    configuration: Configuration, who: Identities, environ: Mapping[str, str]
) -> Settings:
    return Settings.of(
        configuration,
        data_dir=data_dir(configuration, environ, uid=who.helper.uid),
        run_dir=run_dir(configuration, environ, uid=who.helper.uid),
        rootless=who.rootless,
        tier="rootless" if who.rootless else "root",
        core_uid=who.core.uid,
        core_gid=who.core.gid,
        gateway_uid=who.gateway.uid,
        gateway_gid=who.gateway.gid,
        install_uid=who.install.uid,
        install_gid=who.install.gid,
        admin_gid=who.admin_gid,
        templates=read_templates(configuration.pages.templates, owner=who.helper.uid),
    )


def _children(
    argvs: Mapping[str, tuple[str, ...]],
    settings: Settings,
    who: Identities,
    environ: Mapping[str, str],
    unix: Mapping[str, socket.socket],
    http: Iterable[socket.socket],
) -> list[Program]:
    """Give the children in the order of their start: whoever serves the others comes first."""

    def program(
        name: str, one: Identity, handed: Mapping[str, socket.socket], data: bytes
    ) -> Program:
        return Program(
            name=name,
            argv=argvs[name],
            settings=data,
            identity=None if who.rootless else one,
            fds={label: sock.fileno() for label, sock in handed.items()},
            environ=environment(environ, one, rootless=who.rootless),
            beats=name == "core",
            tidies=name == "helper",
        )

    everything = settings.to_json()
    table = {
        "helper": (
            who.helper,
            {name: unix[name] for name in ("helper", "helper-connect")},
            everything,
        ),
        "core": (who.core, {name: unix[name] for name in ("core", "link")}, everything),
        "gateway": (
            who.gateway,
            {f"http-{number}": sock for number, sock in enumerate(http)},
            # the one reader of network bytes gets no password of a database
            settings.to_json(entries=False),
        ),
    }
    return [program(name, *row) for name, row in table.items() if name in argvs]


def _introduce(settings: Settings, log: Log, terminal: int, http: Iterable[socket.socket]) -> None:
    addresses = [_url(sock) for sock in http]
    tier = "root" if settings.tier == "root" else f"rootless (uid {settings.core_uid})"
    lines = (
        f"content-supervisor {__version__}, tier {tier}",
        f"  listens on  {', '.join(addresses)}",
        f"  data        {settings.data_dir}",
        f"  sockets     {settings.run_dir}",
        f"  settings    {settings.file or 'built-in defaults'}",
        f"  log         standard error ({settings.log_form}, {settings.log_level})",
    )
    with suppress(OSError):  # nobody may read it
        os.write(terminal, ("\n".join(lines) + "\n").encode())
    log.info(
        "serving", version=__version__, tier=settings.tier, addresses=",".join(addresses),
        data_dir=settings.data_dir, run_dir=settings.run_dir,
    )  # fmt: skip


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
