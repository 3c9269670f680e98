"""Configuration: what the file says. Settings: that and what the parent resolved, for children."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor import bounds
from supervisor.errors import SupervisorError
from supervisor.limits import Allowed
from supervisor.settings.build import attempt, by_name, misnamed, of_section
from supervisor.settings.gcfg import Entry
from supervisor.settings.keys import keys_of
from supervisor.settings.sections import (
    HTTP,
    SECTIONS,
    Applications,
    Authentication,
    Database,
    Housekeeping,
    Jobs,
    Licensing,
    Limits,
    Logging,
    Metrics,
    Mount,
    Network,
    Pages,
    Plugins,
    Privileged,
    Scheduler,
    Server,
)
from supervisor.settings.unknown import warnings
from supervisor.site_mounts import SiteMount, misplaced

# Those of the reference system too: its file may have been brought along.
_CONFIGURATIONS = ("/etc/content-supervisor", "/etc/rstudio-connect")
_FIELDS_OF_ENTRY = ("section", "subsection", "key", "value", "file", "line", "column", "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """The core's sections, and all entries as they stood; file: where from, None for defaults."""

    file: str | None = None
    entries: tuple[Entry, ...] = ()
    server: Server = dataclasses.field(default_factory=Server)
    http: HTTP = dataclasses.field(default_factory=HTTP)
    authentication: Authentication = dataclasses.field(default_factory=Authentication)
    privileged: Privileged = dataclasses.field(default_factory=Privileged)
    applications: Applications = dataclasses.field(default_factory=Applications)
    scheduler: Scheduler = dataclasses.field(default_factory=Scheduler)
    network: Network = dataclasses.field(default_factory=Network)
    limits: Limits = dataclasses.field(default_factory=Limits)
    pages: Pages = dataclasses.field(default_factory=Pages)
    database: Database = dataclasses.field(default_factory=Database)
    logging: Logging = dataclasses.field(default_factory=Logging)
    metrics: Metrics = dataclasses.field(default_factory=Metrics)
    jobs: Jobs = dataclasses.field(default_factory=Jobs)
    housekeeping: Housekeeping = dataclasses.field(default_factory=Housekeeping)
    plugins: Plugins = dataclasses.field(default_factory=Plugins)
    licensing: Licensing = dataclasses.field(default_factory=Licensing)
    mounts: Mapping[str, Mount] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def plugin_sections(self) -> dict[str, dict[str, list[str]]]:
        """Give section → key → all values in order, both lower case, as hookspecs.Context wants.

        A section with a name of its own is found as it is written: `mount "fonts"`.
        """
        found: dict[str, dict[str, list[str]]] = {}
        for entry in self.entries:
            name = entry.section.lower()
            if entry.subsection:
                name += f' "{entry.subsection}"'
            found.setdefault(name, {}).setdefault(entry.key.lower(), []).append(entry.value)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(Configuration):
    """What a child knows: the configuration, and what the parent resolved (see protocols.md)."""

    data_dir: str
    run_dir: str
    rootless: bool
    tier: str
    core_uid: int
    core_gid: int
    gateway_uid: int
    gateway_gid: int
    install_uid: int
    install_gid: int
    admin_gid: int | None
    uid_first: int
    uid_last: int
    run_as: str
    run_as_group: str
    several_nodes: bool
    log_form: str
    log_level: str
    access_form: str
    trusted_proxies: tuple[str, ...]
    site_mounts: tuple[SiteMount, ...]
    hidden: tuple[str, ...]
    server_address: str
    executables: tuple[str, ...]
    without: tuple[str, ...]
    most_egress: str
    loopback_ports: tuple[int, ...]
    totals: Mapping[str, Any]  # what all contents may use together
    maxima: Mapping[str, float]  # what one process may at most, by the names of model.Limits
    templates: Mapping[str, str] = dataclasses.field(default_factory=dict)  # file name → text
    parent_pid: int = 0  # 0: nobody's child

    @classmethod
    def of(cls, configuration: Configuration, **resolved: Any) -> Settings:
        """Build settings from the configuration and what it cannot say by itself.

        Raises SupervisorError("settings-invalid") for a mount that would show what is hidden.
        """
        mounts = site_mounts(configuration)
        hidden = _hidden(configuration)
        for problem in misplaced(mounts, (resolved["data_dir"], resolved["run_dir"], *hidden)):
            raise SupervisorError("settings-invalid", str(problem), hint=problem.hint)
        return cls(
            **_shallow(configuration),
            uid_first=configuration.applications.uid_first,
            uid_last=configuration.applications.uid_last,
            run_as=configuration.applications.run_as,
            run_as_group=configuration.applications.run_as_group,
            several_nodes=configuration.server.several_nodes,
            log_form=configuration.logging.form,
            log_level=configuration.logging.level,
            access_form=configuration.logging.access_form,
            trusted_proxies=configuration.http.trusted_proxies,
            site_mounts=mounts,
            hidden=hidden,
            server_address=configuration.server.address,
            executables=_executables(configuration),
            without=configuration.privileged.without,
            most_egress=configuration.network.most_egress.lower(),
            loopback_ports=configuration.network.loopback_ports,
            totals=configuration.limits.totals,
            maxima=configuration.scheduler.maxima,
            **resolved,
        )

    def to_json(self, *, entries: bool = True) -> bytes:
        """Give the JSON of protocols.md; for who needs no more than `settings`, without entries."""
        resolved = {name: getattr(self, name) for name in _RESOLVED}
        mounts = resolved.pop("site_mounts")
        resolved["mounts"] = [dataclasses.asdict(mount) for mount in mounts]
        lines = [
            {name: getattr(entry, name) for name in _FIELDS_OF_ENTRY}
            for entry in (self.entries if entries else ())
        ]
        return json.dumps({"settings": resolved, "entries": lines}).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Settings:
        """Read what `to_json` wrote; raises ValueError where it is not that."""
        message = json.loads(data)
        try:
            configuration = configure(Entry(**entry) for entry in message["entries"])
            resolved = dict(message["settings"])
            mounts = resolved.pop("mounts")
            resolved["site_mounts"] = tuple(map(SiteMount.of_json, mounts))
            for name in (
                "executables", "trusted_proxies", "without", "hidden", "loopback_ports",
            ):  # fmt: skip
                resolved[name] = tuple(resolved[name])
            return cls(**_shallow(configuration), **{name: resolved[name] for name in _RESOLVED})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not settings of this version: {error!r}") from None

    @classmethod
    def read(cls, fd: int) -> Settings:
        """Read the settings from the descriptor that a child was started with, and close it."""
        with os.fdopen(fd, "rb") as file:
            file.seek(0)
            return cls.from_json(file.read())


def site_mounts(configuration: Configuration) -> tuple[SiteMount, ...]:
    """Give what the sections `[Mount "name"]` show."""
    return tuple(
        SiteMount(
            name=name,
            path=mount.path,
            at=mount.at or mount.path,
            writable=mount.access == "WRITE",
            contents=mount.contents,
        )
        for name, mount in configuration.mounts.items()
        if mount is not None and mount.path
    )


def _hidden(configuration: Configuration) -> tuple[str, ...]:
    """Give what no sandbox may see besides DataDir and RunDir."""
    named = (configuration.database.dir, configuration.file and os.path.abspath(configuration.file))
    return (*_CONFIGURATIONS, *(path for path in named if path))


def _shallow(configuration: Configuration) -> dict[str, Any]:
    fields = dataclasses.fields(Configuration)
    return {field.name: getattr(configuration, field.name) for field in fields}


_RESOLVED = tuple(
    field.name
    for field in dataclasses.fields(Settings)
    if field.name not in {inherited.name for inherited in dataclasses.fields(Configuration)}
)


def configure(entries: Iterable[Entry], *, file: str | None = None) -> Configuration:
    """Build the configuration; raises SupervisorError, usually "settings-invalid"."""
    every = tuple(entries)
    given, problems = _sections(every)
    for problem in problems:
        raise problem
    configuration = Configuration(
        file=file, entries=every, warnings=tuple(warnings(every, SECTIONS)), **given
    )
    for problem in _misfits(configuration):
        raise problem
    return configuration


def problems_of(entries: Iterable[Entry]) -> list[SupervisorError]:
    """Give all that stands in the way of a configuration, where `configure` raises the first."""
    every = tuple(entries)
    given, problems = _sections(every)
    return problems or list(_misfits(Configuration(entries=every, **given)))


def _sections(entries: Sequence[Entry]) -> tuple[dict[str, Any], list[SupervisorError]]:
    """Build every section: field of Configuration → its value; and what stands in the way."""
    given: dict[str, Any] = {}
    problems: list[SupervisorError] = []
    for kind in SECTIONS:
        mine = of_section(entries, kind.section)
        problems += misnamed(kind, mine)
        if getattr(kind, "named", False):
            built = {name: attempt(kind, lines) for name, lines in by_name(mine).items()}
            given[f"{kind.__name__.lower()}s"] = {name: one for name, (one, _) in built.items()}
            problems += [problem for _, found in built.values() for problem in found]
        else:
            given[kind.__name__.lower()], found = attempt(kind, mine)
            problems += found
    return given, problems


def _misfits(configuration: Configuration) -> Iterator[SupervisorError]:
    """Yield what is wrong with values that are each right."""
    applications = configuration.applications
    if configuration.server.lease_timeout < 1.0:
        yield SupervisorError(
            "settings-invalid",
            f"Server.LeaseTimeout {configuration.server.lease_timeout:g} s is too short",
            hint="A second is the least; it should be longer than BeatTimeout.",
        )
    if configuration.server.seats and not configuration.server.several_nodes:
        yield SupervisorError(
            "settings-invalid",
            "Server.Seats counts nothing where a server is alone",
            hint="Set Server.SeveralNodes = yes, or leave Seats out.",
        )
    if not 0 < applications.uid_first <= applications.uid_last < 2**32 - 1:
        yield SupervisorError(
            "settings-invalid",
            f"Applications.UidFirst {applications.uid_first} to UidLast {applications.uid_last}"
            " is not a range of user ids",
        )
    yield from _scheduler_misfits(configuration.scheduler, configuration.entries)
    for name, mount in configuration.mounts.items():
        if not mount.path:
            yield SupervisorError("settings-invalid", f'[Mount "{name}"] has no Path')
    own = (configuration.server.data_dir, configuration.server.run_dir)
    hidden = (*_hidden(configuration), *(path for path in own if path))
    for problem in misplaced(site_mounts(configuration), hidden):
        yield SupervisorError("settings-invalid", str(problem), hint=problem.hint)


def _scheduler_misfits(scheduler: Scheduler, entries: Iterable[Entry]) -> Iterator[SupervisorError]:
    """Yield defaults that no content could have, by the line of the one that is to blame."""
    keys = {key.field: name for name, key in keys_of(Scheduler).items()}
    written = {
        entry.key.lower(): entry for entry in of_section(entries, "Scheduler") if entry.value
    }
    limits = {"least_limit": scheduler.least_limit, "most_limit": scheduler.most_limit}
    for found in (
        *bounds.violations(scheduler, **limits),
        *Allowed.of(scheduler).default_violations(),
    ):
        blamed = keys_of(Scheduler)[keys[found.fields[0]]].name
        places = [written[keys[field]] for field in found.fields if keys[field] in written]
        if not places:
            yield SupervisorError("settings-invalid", f"{blamed}: {found.text}", hint=found.hint)
            continue
        same = places[0].key.lower() == blamed.lower()
        yield places[0].refusal(found.text if same else f"{blamed} {found.text}", found.hint)


def _executables(configuration: Configuration) -> tuple[str, ...]:
    """Every program that the file names as an `Executable`: it is root's word that it may run."""
    named = [entry.value for entry in configuration.entries if entry.key.lower() == "executable"]
    return tuple(dict.fromkeys(value for value in named if value))


def refuse_open_door(configuration: Configuration, authenticators: Iterable[str] = ()) -> None:
    """Refuse to listen beyond this machine while nobody would be asked who they are.

    Raises SupervisorError("settings-invalid") unless every address is a loopback one, or
    `[Authentication] Provider` is `none` or names one of `authenticators`.
    """
    provider = configuration.authentication.provider
    open_to_others = [listen for listen in configuration.http.listen if not listen.loopback]
    if not open_to_others or provider.lower() == "none" or provider in set(authenticators):
        return
    problem = (
        f"no authenticator named {provider!r} is installed" if provider else "nobody would sign in"
    )
    raise SupervisorError(
        "settings-invalid",
        f"HTTP.Listen = {open_to_others[0]} is open to other machines, and {problem}",
        hint="Listen on 127.0.0.1 behind a proxy that signs people in, or write\n"
        "  [Authentication]\n  Provider = none\n"
        "  to let everybody in who can connect.",
    )
