"""The core's own sections of the configuration, as frozen dataclasses with their defaults.

A key is declared once, here: from it come the reading of the file, the variable of the environment,
what `supervisor config` shows and the reference. The sections of plugins are theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from supervisor.settings import values
from supervisor.settings.keys import key as _key
from supervisor.settings.networking import Network as Network
from supervisor.settings.reserving import Limits as Limits
from supervisor.settings.scheduling import Scheduler as Scheduler


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The server as a whole. data_dir and run_dir are None where the default of the tier counts."""

    section: ClassVar[str] = "Server"
    address: str = _key(
        "Address", values.text, "",
        about="the public URL, with a path prefix if there is one; builds every link",
        empty="is empty: links are built from the first address of HTTP.Listen, which others may"
        " not be able to reach",
    )  # fmt: skip
    data_dir: str | None = _key(
        "DataDir", values.path, None, fixed=True,
        unset="`/var/lib/content-supervisor`",
        about="everything that must survive; without root `~/.local/share/content-supervisor`",
    )  # fmt: skip
    run_dir: str | None = _key(
        "RunDir", values.path, None, fixed=True,
        unset="`/run/content-supervisor`",
        about="sockets; without root `$XDG_RUNTIME_DIR/content-supervisor`",
    )  # fmt: skip
    several_nodes: bool = _key(
        "SeveralNodes", values.boolean, False, fixed=True,
        about="other servers may share DataDir and database, if they say so too; each runs the"
        " contents that it has claimed",
    )  # fmt: skip
    seats: int = _key(
        "Seats", values.integer, 0,
        about="of several nodes at most so many have contents at a time, as a licence may ask for;"
        " the others stand by; 0: all may. The same on all nodes",
    )  # fmt: skip
    lease_timeout: float = _key(
        "LeaseTimeout", values.duration, 30.0,
        about="a node that was not heard of for so long has lost its contents to others; longer"
        " than BeatTimeout",
    )  # fmt: skip
    shutdown_timeout: float = _key(
        "ShutdownTimeout", values.duration, 8.0, reloadable=True,
        about="how long an orderly end may take before everything is killed",
    )  # fmt: skip
    beat_timeout: float = _key(
        "BeatTimeout", values.duration, 15.0, reloadable=True,
        about="a core that says nothing for so long hangs and is replaced",
    )  # fmt: skip
    start_timeout: float = _key(
        "StartTimeout", values.duration, 60.0, reloadable=True,
        about="a core or gateway that is not ready by then is replaced",
    )  # fmt: skip
    gateway_drain: float = _key(
        "GatewayDrainTimeout", values.duration, 3600.0, reloadable=True,
        about="how long a gateway that `supervisor reload` has replaced may go on with what is"
        " open",
    )  # fmt: skip
    sender_email: str = _key(
        "SenderEmail", values.text, "", later=True,
        empty="is empty: no e-mail can be sent",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class HTTP:
    """Where the gateway listens. Loopback, until somebody decides who may come in."""

    section: ClassVar[str] = "HTTP"
    listen: tuple[values.Listen, ...] = _key(
        "Listen", values.listen, (values.Listen(host="127.0.0.1", port=3939),), multi=True,
        about="`:3939` is every address of the machine, IPv6 and IPv4",
    )  # fmt: skip
    trusted_proxies: tuple[str, ...] = _key(
        "TrustedProxy", values.network, (), multi=True,
        unset="nobody's",
        about="an address or network of proxies whose X-Forwarded-For and X-Request-ID count",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Authentication:
    """Who may come in: the name of an authenticator, or `none`: everybody who can connect."""

    section: ClassVar[str] = "Authentication"
    about: ClassVar[str] = (
        "A `Listen` beyond loopback is refused while nobody would be asked, unless `Provider "
        "= none` is written."
    )
    provider: str = _key(
        "Provider", values.text, "",
        about="who asks visitors who they are; `none`, written out, lets in everybody who can"
        " connect",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Privileged:
    """What runs as root and who the others are. Users and groups are names or numbers.

    helper: the name of an installed helper, "" for the only one installed, "none" for no helper.
    tier: the kind of sandbox that it must give, by a name that it knows, or "auto".
    executables: programs that a helper may start, beyond its own list. without: layers of the
    sandbox that it leaves out; which there are, it says.
    """

    section: ClassVar[str] = "Privileged"
    about: ClassVar[str] = (
        "What runs as root, and who the others are. Users and groups are names or numbers."
    )
    helper: str = _key(
        "Helper", values.text, "", unset="the only one installed",
        about="the helper that starts content; `none` for no helper",
    )  # fmt: skip
    tier: str = _key(
        "Tier", values.text, "auto", fixed=True,
        about="what keeps contents apart: `root`, `subuid`, `rootless` or `landlock`. `auto` is the"
        " best that the host gives, and never `landlock`; where it cannot be had, the server does"
        " not start",
    )  # fmt: skip
    executables: tuple[str, ...] = _key(
        "Executable", values.path, (), multi=True,
        about="programs that a helper may start beyond its own list",
    )  # fmt: skip
    without: tuple[str, ...] = _key(
        "Without", values.text, (), multi=True,
        about="a layer of the sandbox that the helper leaves out, to find out what content needs",
    )  # fmt: skip
    core_user: str = _key(
        "CoreUser", values.text, "content-supervisor", fixed=True, about="identity of the core"
    )
    gateway_user: str = _key(
        "GatewayUser", values.text, "content-supervisor-gw", fixed=True,
        about="identity of the gateway",
    )  # fmt: skip
    install_user: str = _key(
        "InstallUser", values.text, "content-supervisor-run", fixed=True,
        about="identity of package installs, which come later",
    )  # fmt: skip
    admin_group: str = _key(
        "AdminGroup", values.text, "content-supervisor-admin", fixed=True,
        about="members may use the command line as root does",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Applications:
    """Who runs content, and as whom: one uid per content from uid_first to uid_last, inclusive.

    executor: the one of contents that name none, "" for the first that is installed.
    """

    section: ClassVar[str] = "Applications"
    executor: str = _key(
        "Executor", values.text, "",
        unset="the first installed that runs content on this machine",
        about="where contents run that name none themselves (`supervisor set CONTENT"
        " executor=NAME`); checked at the start",
    )  # fmt: skip
    uid_first: int = _key(
        "UidFirst", values.integer, 66_000, fixed=True,
        about="content number n has the uid UidFirst + n",
    )  # fmt: skip
    uid_last: int = _key("UidLast", values.integer, 99_999, about="the last uid of the range")
    bundle_retention: int = _key(
        "BundleRetentionLimit", values.integer, 0, reloadable=True,
        about="how many bundles of a content stay that were served once; `0`: all. The active one"
        " stays in every case",
    )  # fmt: skip
    run_as: str = _key(
        "RunAs", values.text, "", unset="the content's own uid",
        about="the account that content runs as which has no `run_as` of its own; it may be used"
        " by every content then, and contents are kept apart by their sandboxes alone",
    )  # fmt: skip
    run_as_group: str = _key(
        "SharedRunAsUnixGroup", values.text, "", unset="the primary group of RunAs",
        about="accounts in this group may be given to a content (`supervisor set CONTENT"
        " run_as=NAME`); root and the users of the server never",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Pages:
    """How pages of ours look; templates: a folder whose files replace ours of the same name."""

    section: ClassVar[str] = "Pages"
    templates: str | None = _key(
        "Templates", values.path, None, reloadable=True,
        about="a folder whose files replace the [pages](pages.md) of the same name; read at the"
        " start and by `supervisor config reload`",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Database:
    """Which store keeps the records; "" is the first one installed. dir: None is DataDir/db."""

    section: ClassVar[str] = "Database"
    provider: str = _key(
        "Provider", values.text, "", unset="the first one installed",
        about="the store that keeps the records",
    )  # fmt: skip
    dir: str | None = _key(
        "Dir", values.path, None, unset="`DataDir/db`",
        about="where its files are; a network file system is refused",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Logging:
    """The three logs. A log goes to STDERR, STDOUT, NONE or a file; see docs/howto/logs.md."""

    section: ClassVar[str] = "Logging"
    service: str = _key(
        "ServiceLog", values.log_target, "STDERR",
        about="`STDERR`, `STDOUT`, `NONE` or a file: what the server does",
    )  # fmt: skip
    form: str = _key(
        "ServiceLogFormat", values.one_of("TEXT", "JSON"), "TEXT", reloadable=True,
        about="`TEXT` or `JSON`; one line per event",
    )  # fmt: skip
    level: str = _key(
        "ServiceLogLevel", values.one_of("debug", "info", "warning", "error"), "info",
        reloadable=True,
        about="`debug`, `info`, `warning` or `error`; the helper follows at the next"
        " `supervisor reload`",
    )  # fmt: skip
    access: str = _key(
        "AccessLog", values.log_target, values.NOWHERE,
        about="the same: each request of visitors",
    )  # fmt: skip
    access_form: str = _key(
        "AccessLogFormat", values.one_of("COMMON", "COMBINED", "JSON"), "COMMON",
        about="`COMMON`, `COMBINED` or `JSON`",
    )  # fmt: skip
    audit: str = _key(
        "AuditLog", values.log_target, "STDERR",
        about="the same: who changed what, from where",
    )  # fmt: skip
    audit_form: str = _key(
        "AuditLogFormat", values.one_of("TEXT", "JSON"), "TEXT", about="`TEXT` or `JSON`",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Figures for Prometheus, on an address of their own that asks nobody who they are."""

    section: ClassVar[str] = "Metrics"
    listen: values.Listen | None = _key(
        "Listen", values.listen, None,
        unset="not at all",
        about="where `/metrics` is answered, such as `127.0.0.1:3232`; names of contents are in it",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobs:
    """What is remembered of runs that have ended; 0 is no limit. oldest_completed in seconds.

    logs_kept: the newest runs of a content whose logs stay, beside those that live.
    """

    section: ClassVar[str] = "Jobs"
    about: ClassVar[str] = (
        "What is remembered of runs and tasks that have ended. `0` and `0s` mean no limit. How it"
        " goes is in [disk](../howto/disk.md)."
    )
    most_completed: int = _key(
        "MaxCompleted", values.integer, 1000, reloadable=True,
        about="ended runs of a content that stay in the records",
    )  # fmt: skip
    oldest_completed: float = _key(
        "OldestCompleted", values.duration, 30 * 86400.0, reloadable=True,
        about="an ended run or task is forgotten after so long",
    )  # fmt: skip
    logs_kept: int = _key(
        "LogsKept", values.integer, 20, reloadable=True,
        about="the newest runs of a content whose logs stay; those of living runs stay in every"
        " case",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Housekeeping:
    """How often what is not needed goes, when, and how much of the disk stays free."""

    section: ClassVar[str] = "Housekeeping"
    interval: float = _key(
        "Interval", values.duration, 3600.0,
        about="how often what is not needed any more is removed; `0s`: only at `supervisor gc`",
    )  # fmt: skip
    oldest_rejected: float = _key(
        "OldestRejectedBundle", values.duration, 30 * 86400.0, reloadable=True,
        about="a bundle that was never served is removed after so long; `0s`: never",
    )  # fmt: skip
    oldest_upload: float = _key(
        "OldestUpload", values.duration, 86400.0, reloadable=True,
        about="what is left of an upload that broke off is removed after so long",
    )  # fmt: skip
    free: tuple[values.Share, ...] = _key(
        "MinFreeSpace", values.share, (values.Share(bytes=256_000_000),), multi=True,
        reloadable=True,
        about="uploads are refused (507) while the disk of DataDir has less left: a size, or `5%`"
        " of it; the larger counts",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugins:
    """disable: names of installed plugins that are not loaded."""

    section: ClassVar[str] = "Plugins"
    disable: tuple[str, ...] = _key(
        "Disable", values.text, (), multi=True,
        about="names of installed [plugins](../howto/plugins.md) that are not loaded",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Licensing:
    """A section of the reference system's, accepted so that its files can be brought along."""

    section: ClassVar[str] = "Licensing"
    about: ClassVar[str] = (
        "Accepted, so that files of other publishing servers can be brought along."
    )
    kind: str = _key(
        "LicenseType", values.text, "", about="accepted: no licence is needed",
        noted="is accepted: no licence is needed",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A site's own files in sandboxes: `[Mount "fonts"] Path = /usr/share/fonts`."""

    section: ClassVar[str] = "Mount"
    named: ClassVar[bool] = True
    about: ClassVar[str] = (
        "A site's own data and libraries: [Show content a site's own files](../howto/mounts.md)."
    )
    path: str = _key(
        "Path", values.path, "", unset="must be given",
        about="a directory or file of this machine that sandboxes show",
    )  # fmt: skip
    at: str | None = _key(
        "At", values.path, None, unset="the same path",
        about="where they show it",
    )  # fmt: skip
    access: str = _key(
        "Access", values.one_of("READ", "WRITE"), "READ",
        about="`READ`, or `WRITE`: content may change what its user may",
    )  # fmt: skip
    contents: tuple[str, ...] = _key(
        "Content", values.text, (), multi=True, unset="every content",
        about="who sees it: a guid, a number or a name (which is whoever's has it now)",
    )  # fmt: skip


SECTIONS: tuple[Any, ...] = (
    Server, HTTP, Authentication, Privileged, Applications, Scheduler, Limits, Network, Pages,
    Database, Logging, Metrics, Jobs, Housekeeping, Plugins, Licensing, Mount,
)  # fmt: skip
