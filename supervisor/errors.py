"""SupervisorError and the registry of codes: their meaning, HTTP status and exit status."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One documented error code. Stable: a code is never given another meaning.

    number: what the publishing API says instead of the name, where its clients know one.
    """

    name: str
    http: int
    exit: int
    meaning: str
    number: int | None = None


_TABLE = (
    # name, HTTP status, exit status (sysexits.h where one fits), meaning, number in the API
    Code("internal", 500, 70, "A defect of ours; the service log has the traceback."),
    Code("bad-request", 400, 64, "The request is malformed; the message says where."),
    Code("not-signed-in", 401, 77, "Nobody known asks; this needs an administrator or an account."),
    Code("not-allowed", 403, 77, "The caller may not do this."),
    Code("not-found", 404, 66, "No such content, run, bundle, task or path."),
    Code("conflict", 409, 75, "Somebody else changed the record first; read it again."),
    Code("too-large", 413, 65, "The upload is larger than the server accepts."),
    Code("disk-full", 507, 73, "The disk of Server.DataDir has less space left than is kept free."),
    Code("unavailable", 503, 69, "Starting, stopping, or a part is away; retry."),
    Code("settings-invalid", 500, 78, "The configuration is wrong; the message says where."),
    Code("port-in-use", 500, 69, "Another process listens on an address of HTTP.Listen."),
    Code("data-dir-unusable", 500, 73, "Server.DataDir is missing, not writable or not ours."),
    Code("data-dir-network", 500, 73, "The database would lie on a network file system."),
    Code("data-dir-held", 500, 75, "Another living server holds this data directory."),
    Code("run-dir-unusable", 500, 73, "RunDir, which holds the sockets, is unusable or not ours."),
    Code("run-dir-held", 500, 75, "Another living server holds this RunDir."),
    Code("schema-newer", 500, 76, "The database was written by a newer version of ours."),
    Code("database-url-no-host", 500, 78, "The URL of the database names no host."),
    Code("database-refused", 500, 78, "The database does not let us in, or lacks what we need."),
    Code("not-copied", 500, 65, "A record cannot be kept by the other store; nothing was copied."),
    Code("store-unavailable", 503, 69, "The database does not answer; retry."),
    Code("store-conflict", 409, 75, "A compare-and-set found another version than expected."),
    Code("log-unusable", 500, 73, "A file of [Logging] cannot be opened, or is not ours alone."),
    Code("store-serves-one", 500, 78, "The configured store cannot serve several nodes."),
    Code("other-node", 421, 69, "The content belongs to another node; ask there."),
    Code("lease-lost", 503, 75, "The fence of our lease is stale: another server has taken over."),
    Code("not-root-owned", 500, 77, "A file that root would run can be written by others."),
    Code("setup-failed", 500, 71, "A step of `supervisor setup` failed; those before it are done."),
    Code("identity-invalid", 500, 78, "A user, group or uid range of the server is not usable."),
    Code(
        "helper-unavailable", 503, 69, "The helper, which starts content, does not answer; retry."
    ),
    Code("sandbox-failed", 500, 71, "A step of building the sandbox failed; nothing was started."),
    Code("sandbox-unavailable", 500, 71, "This host allows no sandbox; the message says why."),
    Code("tier-unavailable", 500, 78, "The host cannot give the tier of `[Privileged] Tier`."),
    Code("job-refused", 400, 77, "The helper refused a job that breaks its root-owned rules."),
    Code("plan-refused", 400, 65, "A runtime asked for more than its purpose may have."),
    Code("limit-unenforceable", 400, 78, "The executor cannot enforce a limit of the content."),
    Code("run-as-refused", 400, 77, "Content may not run as this account; the message says why."),
    Code(
        "accounts-unavailable", 503, 69, "The machine's accounts (sssd, LDAP) do not answer; retry."
    ),
    Code("egress-over-limit", 400, 78, "The content may not reach as far into the network."),
    Code("egress-unavailable", 409, 78, "The network that content is to have cannot be had here."),
    Code("no-executor", 500, 78, "No installed plugin can run this content."),
    Code("executor-away", 503, 69, "The executor of the content cannot be reached; retry."),
    Code("no-store", 500, 78, "No installed plugin provides the configured database."),
    Code("no-runtime", 400, 65, "No installed plugin knows this kind of content."),
    Code("runtime-missing", 500, 69, "The interpreter of the content is not installed here."),
    Code("no-app-found", 400, 65, "The folder or bundle holds nothing that a runtime recognises."),
    Code("bundle-invalid", 400, 65, "The bundle is no readable tar.gz, or an entry is refused."),
    Code("start-failed", 503, 69, "The content ended before it answered."),
    Code("start-too-slow", 503, 69, "The content did not answer within its InitTimeout."),
    Code("gave-up", 503, 69, "The content failed too often; `supervisor restart` helps."),
    Code("full", 503, 69, "Every seat of the content is taken; come back later."),
    Code("not-reloaded", 500, 78, "The new code or the settings do not hold; nothing changed."),
    Code("min-processes-negative", 400, 64, "MinProcesses is less than 0.", 191),
    Code("min-processes-over-limit", 400, 64, "MinProcesses is over MinProcessesLimit.", 45),
    Code("min-processes-over-max", 400, 64, "MinProcesses is more than MaxProcesses.", 114),
    Code("max-processes-not-positive", 400, 64, "MaxProcesses is less than 1.", 192),
    Code("max-processes-over-limit", 400, 64, "MaxProcesses is over MaxProcessesLimit.", 113),
    Code("max-conns-not-positive", 400, 64, "MaxConnsPerProcess is less than 1."),
    Code("load-factor-out-of-range", 400, 64, "LoadFactor is not from 0.0 to 1.0.", 150),
    Code("limit-out-of-range", 400, 64, "A limit is negative, or larger than can be counted."),
    Code("limit-over-maximum", 400, 64, "A limit is more than the server's maximum for it."),
    Code("memory-high-over-limit", 400, 64, "memory_high is more than memory_limit."),
    Code("timeout-out-of-range", 400, 64, "A time limit is not from 0 to 2592000 s.", 151),
    Code("socket-swapped", 502, 76, "What lies at the content's socket is not the content's."),
    Code("plugin-invalid", 500, 78, "A plugin failed to import, raised, or is too old or new."),
    Code("plugin-hung", 500, 70, "A plugin held the core's loop or a hook past its time limit."),
)

CODES: dict[str, Code] = {code.name: code for code in _TABLE}


class SupervisorError(Exception):
    """Anything that a person should read: what happened, to what, and what to do next.

    code: a key of CODES; message: one sentence, no trailing newline; hint: what to do next, or "";
    plugin: the distribution or name of the plugin whose fault it is, or None; recoverable: whether
    the same call may succeed later without a change by a person.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        plugin: str | None = None,
        recoverable: bool = False,
    ) -> None:
        if code not in CODES:
            raise ValueError(f"unknown error code {code!r}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.plugin = plugin
        self.recoverable = recoverable

    @property
    def http_status(self) -> int:
        """The HTTP status of the API's answer."""
        return CODES[self.code].http

    @property
    def exit_status(self) -> int:
        """The exit status of the command line (sysexits.h where one fits)."""
        return CODES[self.code].exit

    def as_json(self) -> dict[str, object]:
        """The error as the API sends it and as `--json` prints it."""
        return {
            "code": self.code,
            "error": self.message,
            "hint": self.hint,
            "plugin": self.plugin,
            "recoverable": self.recoverable,
        }

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" + (f"\n  {self.hint}" if self.hint else "")


class StoreUnavailable(SupervisorError):
    """The database does not answer; nothing was written; the same call may succeed later."""

    def __init__(self, message: str, *, hint: str = "", plugin: str | None = None) -> None:
        super().__init__("store-unavailable", message, hint=hint, plugin=plugin, recoverable=True)


class StoreConflict(SupervisorError):
    """A compare-and-set found another version than expected; nothing of the call was written."""

    def __init__(self, message: str, *, plugin: str | None = None) -> None:
        super().__init__("store-conflict", message, plugin=plugin, recoverable=True)


class LeaseLost(SupervisorError):
    """The fence of a lease is not the newest: somebody else has it. lease: its name."""

    def __init__(self, lease: str, message: str = "") -> None:
        super().__init__(
            "lease-lost",
            message or f"the lease {lease!r} is not ours any more: another server has it",
        )
        self.lease = lease
