"""The core's own sections of the configuration, as frozen dataclasses with their defaults.

The sections of plugins are theirs: they pass through as entries.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from supervisor.settings import values
from supervisor.settings.gcfg import Entry

T = TypeVar("T")


def _key(
    name: str,
    read: Callable[[str], Any],
    default: Any,
    *,
    multi: bool = False,
    later: bool = False,
) -> Any:
    """later: accepted, so that files can be written for what comes, and warned of: no effect."""
    about = {"name": name, "read": read, "multi": multi, "later": later}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The server as a whole. data_dir and run_dir are None where the default of the tier counts."""

    section: ClassVar[str] = "Server"
    address: str = _key("Address", values.text, "")
    data_dir: str | None = _key("DataDir", values.path, None)
    run_dir: str | None = _key("RunDir", values.path, None)
    shutdown_timeout: float = _key("ShutdownTimeout", values.duration, 8.0)
    beat_timeout: float = _key("BeatTimeout", values.duration, 15.0)
    start_timeout: float = _key("StartTimeout", values.duration, 60.0)
    gateway_drain: float = _key("GatewayDrainTimeout", values.duration, 3600.0)
    sender_email: str = _key("SenderEmail", values.text, "", later=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class HTTP:
    """Where the gateway listens. Loopback, until somebody decides who may come in."""

    section: ClassVar[str] = "HTTP"
    listen: tuple[values.Listen, ...] = _key(
        "Listen", values.listen, (values.Listen(host="127.0.0.1", port=3939),), multi=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Authentication:
    """Who may come in: the name of an authenticator, or `none`: everybody who can connect."""

    section: ClassVar[str] = "Authentication"
    provider: str = _key("Provider", values.text, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Privileged:
    """What runs as root and who the others are. Users and groups are names or numbers.

    helper: the name of an installed helper, "" for the only one installed, "none" for no helper.
    executables: programs that a helper may start, beyond its own list.
    """

    section: ClassVar[str] = "Privileged"
    helper: str = _key("Helper", values.text, "")
    executables: tuple[str, ...] = _key("Executable", values.path, (), multi=True)
    core_user: str = _key("CoreUser", values.text, "content-supervisor")
    gateway_user: str = _key("GatewayUser", values.text, "content-supervisor-gw")
    install_user: str = _key("InstallUser", values.text, "content-supervisor-run")
    admin_group: str = _key("AdminGroup", values.text, "content-supervisor-admin")


@dataclass(frozen=True, kw_only=True, slots=True)
class Applications:
    """Who runs content, and as whom: one uid per content from uid_first to uid_last, inclusive.

    executor: the one of contents that name none, "" for the first that is installed.
    """

    section: ClassVar[str] = "Applications"
    executor: str = _key("Executor", values.text, "")
    uid_first: int = _key("UidFirst", values.integer, 200_000)
    uid_last: int = _key("UidLast", values.integer, 299_999)
    bundle_retention: int = _key("BundleRetentionLimit", values.integer, 0)
    run_as: str = _key("RunAs", values.text, "", later=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduler:
    """Defaults of a content's scaling; times in seconds.

    The last three are not defaults: least_limit and most_limit are the most that one content may
    set; starts_at_once: how many processes may be starting, 0 for twice the number of cores.
    """

    section: ClassVar[str] = "Scheduler"
    least: int = _key("MinProcesses", values.integer, 0)
    most: int = _key("MaxProcesses", values.integer, 3)
    sessions_each: int = _key("MaxConnsPerProcess", values.integer, 20)
    load_factor: float = _key("LoadFactor", values.fraction, 0.5)
    init: float = _key("InitTimeout", values.duration, 60.0)
    idle: float = _key("IdleTimeout", values.duration, 120.0)
    connection: float = _key("ConnectionTimeout", values.duration, 3600.0)
    read: float = _key("ReadTimeout", values.duration, 3600.0)
    reconnect: float = _key("ReconnectTimeout", values.duration, 15.0)
    drain: float = _key("DrainTimeout", values.duration, 3600.0)
    notice: bool = _key("DrainNotice", values.boolean, True)
    least_limit: int = _key("MinProcessesLimit", values.integer, 10)
    most_limit: int = _key("MaxProcessesLimit", values.integer, 20)
    starts_at_once: int = _key("StartsAtOnce", values.integer, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages:
    """How pages of ours look; templates: a folder whose files replace ours of the same name."""

    section: ClassVar[str] = "Pages"
    templates: str | None = _key("Templates", values.path, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """Which store keeps the records; "" is the only one installed. dir: None is DataDir/db."""

    section: ClassVar[str] = "Database"
    provider: str = _key("Provider", values.text, "")
    dir: str | None = _key("Dir", values.path, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Logging:
    """The service log, on standard error."""

    section: ClassVar[str] = "Logging"
    form: str = _key("ServiceLogFormat", values.one_of("TEXT", "JSON"), "TEXT")
    level: str = _key("ServiceLogLevel", values.one_of("debug", "info", "warning", "error"), "info")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A host path shown read-only in every sandbox: `[Mount "fonts"] Path = /usr/share/fonts`."""

    section: ClassVar[str] = "Mount"
    path: str = _key("Path", values.path, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobs:
    """What is remembered of runs that have ended; 0 is no limit. oldest_completed in seconds.

    logs_kept: the newest runs of a content whose logs stay, beside those that live.
    """

    section: ClassVar[str] = "Jobs"
    most_completed: int = _key("MaxCompleted", values.integer, 1000)
    oldest_completed: float = _key("OldestCompleted", values.duration, 30 * 86400.0)
    logs_kept: int = _key("LogsKept", values.integer, 20)


@dataclass(frozen=True, kw_only=True, slots=True)
class Housekeeping:
    """How often what is not needed goes, when, and how much of the disk stays free."""

    section: ClassVar[str] = "Housekeeping"
    interval: float = _key("Interval", values.duration, 3600.0)
    oldest_rejected: float = _key("OldestRejectedBundle", values.duration, 30 * 86400.0)
    oldest_upload: float = _key("OldestUpload", values.duration, 86400.0)
    free: tuple[values.Share, ...] = _key(
        "MinFreeSpace", values.share, (values.Share(bytes=256_000_000),), multi=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugins:
    """disable: names of installed plugins that are not loaded."""

    section: ClassVar[str] = "Plugins"
    disable: tuple[str, ...] = _key("Disable", values.text, (), multi=True)


SECTIONS = (
    Server, HTTP, Authentication, Privileged, Applications, Scheduler, Pages, Database,
    Logging, Jobs, Housekeeping, Plugins, Mount,
)  # fmt: skip


def build(kind: type[T], entries: Sequence[Entry]) -> T:
    """Build a section from its entries: the last value counts, of multi keys all; empty is unset.

    Raises SupervisorError("settings-invalid") naming the place of a value that does not fit.
    Unknown keys are left to `unknown`.
    """
    given: dict[str, Any] = {}
    fields = {field.metadata["name"].lower(): field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for entry in entries:
        field = fields.get(entry.key.lower())
        if field is None or not entry.value:
            continue
        try:
            value = field.metadata["read"](entry.value)
        except ValueError as error:
            raise entry.refusal(str(error)) from None
        if field.metadata["multi"]:
            given[field.name] = (*given.get(field.name, ()), value)
        else:
            given[field.name] = value
    return kind(**given)


def unknown(entries: Sequence[Entry]) -> list[str]:
    """Give a warning for each key of a core section that does not exist or has no effect yet."""
    sections = {kind.section.lower(): kind for kind in SECTIONS}
    warnings: list[str] = []
    for entry in entries:
        kind = sections.get(entry.section.lower())
        near = difflib.get_close_matches(entry.section.lower(), sections, n=1, cutoff=0.8)
        if kind is not None:
            if entry.value and entry.key.lower() in _names(kind, later=True):
                warnings.append(f"{_where(entry)}: {entry.key} has no effect yet")
        elif near:
            warnings.append(
                f"{_where(entry)}: no section [{entry.section}] of the core;"
                f" did you mean [{sections[near[0]].section}]?"
            )
    return warnings + unknown_keys(entries, {kind.section: _names(kind) for kind in SECTIONS})


def unknown_keys(entries: Sequence[Entry], known: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Give a warning, with the nearest key, for each key that its section does not have.

    known: section → its keys, lower case → as they are written; other sections are left alone.
    """
    sections = {section.lower(): keys for section, keys in known.items()}
    warnings: list[str] = []
    for entry in entries:
        keys = sections.get(entry.section.lower())
        if keys is None or entry.key.lower() in keys:
            continue
        near = difflib.get_close_matches(entry.key.lower(), keys, n=1)
        meant = f"; did you mean {keys[near[0]]}?" if near else ", it is ignored"
        warnings.append(f"{_where(entry)}: [{entry.section}] has no key {entry.key}{meant}")
    return warnings


def _names(kind: type[Any], *, later: bool = False) -> dict[str, str]:
    """Give a section's keys, lower case → as they are written; of `later` only those."""
    fields = (field.metadata for field in dataclasses.fields(kind))
    return {field["name"].lower(): field["name"] for field in fields if field["later"] or not later}


def _where(entry: Entry) -> str:
    return f"{entry.file}:{entry.line}" if entry.line else entry.file
