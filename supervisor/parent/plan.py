"""What a server needs to start, resolved and checked, with nothing taken and nothing started."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import cache_from_source

from supervisor import network
from supervisor.errors import CODES, SupervisorError
from supervisor.network import Egress
from supervisor.parent import identity, ports, tier, trust
from supervisor.parent.child import Program, environment, sealed
from supervisor.parent.handover import State
from supervisor.parent.identity import Identities, Identity
from supervisor.parent.logs import Logs
from supervisor.parent.templates import read_templates
from supervisor.settings import (
    Configuration,
    Settings,
    data_dir,
    refuse_open_door,
    run_dir,
)
from supervisor.settings.effective import changed
from supervisor.settings.keys import RESTART
from supervisor.settings.sections import SECTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A configuration, who its parts are, and their programs: name → argv.

    egress: how far this host can let content reach, as far as is known.
    """

    configuration: Configuration
    who: Identities
    settings: Settings
    argvs: Mapping[str, tuple[str, ...]]
    environ: Mapping[str, str]
    egress: frozenset[Egress] = frozenset(Egress)

    @classmethod
    def of(
        cls,
        configuration: Configuration,
        *,
        environ: Mapping[str, str],
        programs: Mapping[str, tuple[str, ...]] | None = None,
        state: State | None = None,
    ) -> Plan:
        """Resolve all; with the state of a running server, what holds for its life is kept.

        programs: instead of the real ones. Raises SupervisorError where a server must not start.
        """
        refuse_open_door(configuration)
        who = identity.resolve(configuration, uid=os.geteuid(), gid=os.getegid())
        if state is not None:
            who = state.who
        settings = _settings(configuration, who, environ, state)
        argvs = dict(programs or _programs(configuration, who, settings.run_dir))
        if state is not None and "helper" in state.names and "helper" not in argvs:
            raise SupervisorError(
                "not-reloaded",
                "the helper that content runs under is no longer installed or configured",
                hint="Install it again; or restart the server, which ends all content.",
            )
        if not who.rootless and configuration.file is not None:
            trust.refuse_writable([configuration.file])
        return cls(
            configuration=configuration, who=who, settings=settings, argvs=argvs, environ=environ
        )

    def refuse_closed(self) -> None:
        """Refuse directories that core or gateway cannot enter."""
        if self.who.rootless:
            return
        settings, who = self.settings, self.who
        hint = "Name another directory, or open those above it: chmod a+x."
        for one in (who.core, who.gateway):
            trust.refuse_unreachable([settings.run_dir], one, code="run-dir-unusable", hint=hint)
        trust.refuse_unreachable([settings.data_dir], who.core, code="data-dir-unusable", hint=hint)

    def in_tier(self) -> Plan:
        """Give the plan with the tier that the helper says this host gives.

        Raises SupervisorError where it gives none, or not the one of the settings.
        """
        argv = self.argvs.get("helper", ())
        if argv[-2:-1] != ("-m",):  # none, or a test's own
            return self
        asked = dataclasses.replace(self.settings, tier=self.configuration.privileged.tier)
        found = tier.ask(
            argv,
            asked.to_json(entries=False),
            environ=environment(self.environ, self.who.helper, rootless=self.who.rootless),
        )
        settings = dataclasses.replace(self.settings, tier=found.name)
        return dataclasses.replace(self, settings=settings, egress=found.egress)

    def unmet(self) -> tuple[str, str]:
        """Say what content will not start here by the settings, and what to do; or "", ""."""
        wanted = self.configuration.network
        return network.unmet(Egress[wanted.egress], Egress[wanted.most_egress], self.egress)

    def kept(self, state: State) -> Iterator[str]:
        """Yield a warning for each setting that has changed and cannot by a reload."""
        for one in changed(state.entries, self.configuration.entries, SECTIONS):
            if one.change == RESTART:
                name = f"{one.section}.{one.key}"
                yield f"{name} has changed, which a reload cannot bring about; restart the server"

    def data_of(self, name: str) -> bytes:
        """Give the settings as one of the children gets them."""
        # the one reader of network bytes gets no password of a database
        return self.settings.to_json(entries=name != "gateway")

    def children(
        self, unix: Mapping[str, socket.socket], http: Mapping[str, socket.socket], logs: Logs
    ) -> list[Program]:
        """Give the children in the order of their start: whoever serves the others comes first."""
        who = self.who

        def program(name: str, one: Identity, fds: Mapping[str, int]) -> Program:
            return Program(
                name=name,
                argv=self.argvs[name],
                settings=self.data_of(name),
                identity=None if who.rootless else one,
                fds=fds,
                output=logs.service,
                environ=environment(self.environ, one, rootless=who.rootless),
                beats=name == "core",
                tidies=name == "helper",
            )

        table = {
            "helper": (
                who.helper,
                {name: unix[name].fileno() for name in ("helper", "helper-connect")},
            ),
            "core": (
                who.core,
                {name: unix[name].fileno() for name in ("core", "link")},
            ),
            "gateway": (
                who.gateway,
                _of_gateway(http, logs),
            ),
        }
        return [program(name, *row) for name, row in table.items() if name in self.argvs]

    def try_programs(self) -> int:
        """Let each real program import all that it needs, as who it will be; the core its plugins.

        Gives 0, or the exit status of the first that cannot; it has said why on standard error.
        """
        for name, argv in self.argvs.items():
            if argv[-2] != "-m":
                continue
            one = getattr(self.who, name)
            settings = sealed("settings", self.settings.to_json())
            script = f"import runpy; runpy.run_module({argv[-1]!r}, run_name='check')"
            core = [*argv, "--check", f"--fd=settings={settings}"]
            done = subprocess.run(
                core if name == "core" else [*argv[:-2], "-c", script],
                stdin=subprocess.DEVNULL,
                pass_fds=[settings] if name == "core" else [],
                cwd="/",
                env=environment(self.environ, one, rootless=self.who.rootless),
                user=None if self.who.rootless else one.uid,
                group=None if self.who.rootless else one.gid,
                extra_groups=None if self.who.rootless else list(one.groups),
                check=False,
            )
            os.close(settings)
            if done.returncode:
                return done.returncode if done.returncode > 0 else CODES["internal"].exit
        return 0


def _of_gateway(http: Mapping[str, socket.socket], logs: Logs) -> dict[str, int]:
    """Give the gateway's descriptors: http-0, http-1, …, metrics-0, and the access log."""
    kinds: dict[str, list[int]] = {"http": [], "metrics": []}
    for name, sock in http.items():
        kinds["metrics" if name.startswith(ports.METRICS) else "http"].append(sock.fileno())
    fds = {f"{kind}-{n}": fd for kind, found in kinds.items() for n, fd in enumerate(found)}
    return fds if logs.access is None else {**fds, "access": logs.access}


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
    configuration: Configuration,
    who: Identities,
    environ: Mapping[str, str],
    state: State | None,
) -> Settings:
    settings = Settings.of(
        configuration,
        data_dir=state.data_dir if state else data_dir(configuration, environ, uid=who.helper.uid),
        run_dir=state.run_dir if state else run_dir(configuration, environ, uid=who.helper.uid),
        rootless=who.rootless,
        tier=(state.tier if state else "") or ("rootless" if who.rootless else "root"),
        core_uid=who.core.uid,
        core_gid=who.core.gid,
        gateway_uid=who.gateway.uid,
        gateway_gid=who.gateway.gid,
        install_uid=who.install.uid,
        install_gid=who.install.gid,
        admin_gid=who.admin_gid,
        parent_pid=os.getpid(),
        templates=read_templates(configuration.pages.templates, owner=who.helper.uid),
    )
    if state is None:
        return settings
    return dataclasses.replace(
        settings, uid_first=state.uid_first, several_nodes=state.several_nodes
    )
