"""The files of the three logs: the parent alone opens them, and hands their descriptors on.

Who writes a log can open it again nowhere, and needs no right to its directory. The audit log is
written by the parent itself: what a taken-over core has said once, it cannot take back.
"""

from __future__ import annotations

import fcntl
import grp
import os
import re
import stat
import time
from collections.abc import Callable, Mapping

from supervisor.errors import SupervisorError
from supervisor.log import line, stamp
from supervisor.parent import trust
from supervisor.settings.sections import Logging
from supervisor.settings.values import NOWHERE
from supervisor.sink import Sink

_STREAMS = {"STDOUT": 1, "STDERR": 2}
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_MAY_WRITE_LOGS = "syslog"  # a group that /var/log belongs to on Ubuntu
_MOST_AUDIT = 1 << 20  # bytes that wait for a file which takes none
_MOST_FIELDS, _MOST_VALUE = 32, 2000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Logs:
    """The open logs of one server. A log that goes nowhere has no descriptor.

    The numbers stay the same for its life; `reopen` puts other files behind them.
    """

    def __init__(self, logging: Logging, *, group: int | None = None) -> None:
        """group: who may read new files, besides their owner. Raises SupervisorError."""
        self._targets = {
            "service": logging.service, "access": logging.access, "audit": logging.audit,
        }  # fmt: skip
        self._group = group
        self._fds: dict[str, int] = {}
        try:
            for name, target in self._targets.items():
                if target != NOWHERE or name == "service":
                    self._fds[name] = _open(target, group)
            if "audit" in self._fds:
                self._refuse_shared("audit", self._fds["audit"])
        except BaseException:
            self.close()
            raise
        self.audit = Audit(self._fds.get("audit"), logging.audit_form)

    @property
    def service(self) -> int:
        """The descriptor of the service log, which is the children's standard error."""
        return self._fds["service"]

    @property
    def access(self) -> int | None:
        """The descriptor of the access log."""
        return self._fds.get("access")

    def reopen(self) -> list[str]:
        """Open every file again under its path; give what went wrong: there the old one stays."""
        problems = []
        for name, fd in self._fds.items():
            if not self._targets[name].startswith("/"):
                continue
            try:
                new = self._open_again(name)
            except SupervisorError as error:
                problems.append(error.message)
                continue
            if name == "audit":
                self.audit.replace(new)
            else:
                os.dup2(new, fd, inheritable=False)
                os.close(new)
        return problems

    def _open_again(self, name: str) -> int:
        fd = _open(self._targets[name], self._group)
        try:
            self._refuse_shared(name, fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _refuse_shared(self, name: str, fd: int) -> None:
        """Refuse one file for the audit log and another: core or gateway could cut it.

        Standard streams may be one; who gave them to us decided that.
        """
        for other, theirs in self._fds.items():
            both = (self._targets[name], self._targets[other])
            if other == name or "audit" not in (name, other) or not _same_file(fd, theirs):
                continue
            files = [target for target in both if target not in _STREAMS]
            if files:
                second = other if name == "audit" else name
                raise SupervisorError(
                    "log-unusable",
                    f"{files[0]} would be the audit log and the {second} log",
                    hint="Name a file of its own: others hold descriptors of theirs.",
                )

    def close(self) -> None:
        """Close all."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}


class Audit:
    """The audit log: who did what to what, from where, and what came of it."""

    def __init__(
        self, fd: int | None, form: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._sink = Sink(fd, most=_MOST_AUDIT) if fd is not None else None
        self._form = form
        self._clock = clock

    @property
    def dropped(self) -> int:
        """How many lines were lost, since the disk was full for too long."""
        return self._sink.dropped if self._sink is not None else 0

    def write(self, record: Mapping[str, object]) -> None:
        """Write one line; a record that is none, or too large, is cut to what is."""
        if self._sink is None:
            return
        head = {
            "time": stamp(self._clock()), "log": "audit", "action": _cut(record.get("action", "?")),
        }  # fmt: skip
        if not _NAME.fullmatch(head["action"].replace("-", "_")):
            head["action"] = "unknown"
        given = [(key, value) for key, value in record.items() if key not in ("action", "type")]
        fields = {
            key: value if isinstance(value, bool | int | float) else _cut(value)
            for key, value in given[:_MOST_FIELDS]
            if _NAME.fullmatch(key)
        }
        self._sink.write(line(self._form, head, fields))

    def replace(self, fd: int) -> None:
        """Go on with another file."""
        assert self._sink is not None
        self._sink.replace(fd)


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_VALUE else f"{text[:_MOST_VALUE]} (cut)"


def _open(target: str, group: int | None) -> int:
    if target == NOWHERE:
        return os.open(os.devnull, _FLAGS)
    if target in _STREAMS:
        return _stream(_STREAMS[target])
    return _file(target, group)


def _stream(number: int) -> int:
    """Give a standard stream as a description of our own, so that it alone does not block."""
    try:
        mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:  # it is closed
        return os.open(os.devnull, _FLAGS)
    if mode in (os.O_WRONLY, os.O_RDWR):
        try:
            return os.open(f"/proc/self/fd/{number}", _FLAGS)
        except OSError:  # a socket, or somebody else's terminal
            pass
    fd = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    kind = os.fstat(fd).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
        os.set_blocking(fd, False)  # of a terminal it would hold for the shell as well
    return fd


def _same_file(one: int, other: int) -> bool:
    first, second = os.fstat(one), os.fstat(other)
    return stat.S_ISREG(first.st_mode) and os.path.samestat(first, second)


def _file(path: str, group: int | None) -> int:
    flags = _FLAGS | os.O_NOFOLLOW
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        if os.geteuid() == 0:
            _refuse_open_directory(os.path.dirname(path))
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o640)
        except FileExistsError:
            fd = os.open(path, flags)
        else:
            if group is not None:
                os.fchown(fd, -1, group)
    except OSError as error:
        raise SupervisorError(
            "log-unusable",
            f"the log {path} cannot be opened: {error.strerror}",
            hint="Name another file under [Logging], or STDERR.",
        ) from None
    found = os.fstat(fd)
    odd = ""
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISCHR(found.st_mode)):
        odd = "is no file"
    elif stat.S_ISREG(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        odd = f"belongs to uid {found.st_uid}"
    elif stat.S_ISREG(found.st_mode) and found.st_nlink != 1:
        odd = "has another name as well"
    if odd:
        os.close(fd)
        raise SupervisorError(
            "log-unusable",
            f"the log {path} {odd}",
            hint="A log must be a file of the server alone: remove it, or name another one.",
        )
    return fd


def _refuse_open_directory(directory: str) -> None:
    """Refuse one in which others than root could put a link, or another file, for root to write."""
    try:
        groups = frozenset({0, grp.getgrnam(_MAY_WRITE_LOGS).gr_gid})
    except KeyError:
        groups = frozenset({0})

    def refusal(path: str, problem: str) -> SupervisorError:
        return SupervisorError(
            "log-unusable",
            f"the directory {path} {problem}, and root would write a log in {directory}",
            hint="Name a directory that root alone can write to, as are those above it.",
        )

    trust.refuse_writable([directory], groups=groups, refusal=refusal)
