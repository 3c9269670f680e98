"""The helper's end of the zygote: start it when it is first needed, and again when it has gone."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import supervisor
import supervisor_unshare
from supervisor_unshare.limits.cgroups import Group
from supervisor_unshare.linux import handing
from supervisor_unshare.linux.opened import opened
from supervisor_unshare.requests.rules import Rules
from supervisor_unshare.sandbox.steps import StartFailed
from supervisor_unshare.tiers.trial import attempt

_PATIENCE = 20.0  # seconds for an answer
_KEPT = ("LD_LIBRARY_PATH",)  # of our environment, where the interpreter needs it
_ENDED = (
    "the process that sandboxes are cloned from has ended; if the server's files were replaced "
    "since it was started: supervisor reload"
)
_CODE = (
    "import sys; sys.path[:0] = {paths!r}; "
    "from supervisor_unshare.sandbox import zygote; zygote.main()"
)


class _Gone(Exception):
    """The zygote has ended, or does not answer."""


@dataclass(kw_only=True)
class Clone:
    """A process that waits for its job. sock: where the job goes; report: what it says.

    remove: what removes its group.
    """

    group: Group
    remove: Callable[[Group], None]
    pid: int
    pidfd: int
    sock: socket.socket
    report: int

    def close(self) -> None:
        """End it, wait for that, and let go of all that is its own; may be called once."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        os.close(self.report)
        self.sock.close()
        self.remove(self.group)


class ZygoteLink:
    """Ask the zygote for clones. namespaces: the flags of each; remove: removes its group."""

    def __init__(self, rules: Rules, *, namespaces: int, remove: Callable[[Group], None]) -> None:
        self._rules = rules
        self._remove = remove
        self._namespaces = namespaces
        self._pid = -1
        self._sock: socket.socket | None = None

    def clone(self, kind: Mapping[str, Any], template: int | None, group: Group) -> Clone:
        """Make a process in a group; kind: fields of sandbox.Kind; template: the mounts it copies.

        Raises StartFailed, the group being the caller's still, and OSError out of descriptors.
        """
        for _ in range(2):  # one that has gone meanwhile is started again
            before = _children()
            try:
                return self._cloned(kind, template, group)
            except _Gone:
                _end(_children() - before)
        raise StartFailed("zygote", None, _ENDED)

    def _cloned(self, kind: Mapping[str, Any], template: int | None, group: Group) -> Clone:
        """Try once, with a socket and a pipe of its own, which go with the attempt."""
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as handed:
            sock, job = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(sock.close)
            handed.callback(job.close)
            read, report = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, read)
            handed.callback(os.close, report)
            os.set_blocking(read, False)
            unified = group.open_unified()
            first = [] if unified is None else [unified]
            handed.callback(_close_all, first)
            procs = group.open_procs(but=group.unified)
            handed.callback(_close_all, procs)
            answer, fds = self._asked(kind, template, first, [job.fileno(), report, *procs])
            if answer.get("errno") == errno.ENOSYS and first:  # a container filters clone3
                procs += group.open_procs(but=None)
                answer, fds = self._asked(kind, template, [], [job.fileno(), report, *procs])
            if "pid" not in answer:
                raise StartFailed(answer["step"], answer["errno"], answer["message"])
            undo.pop_all()
        return Clone(
            group=group,
            remove=self._remove,
            pid=answer["pid"],
            pidfd=fds[0],
            sock=sock,
            report=read,
        )

    def close(self) -> None:
        """End the zygote and wait for that; the next clone starts another."""
        if self._sock is None:
            return
        self._sock.close()
        self._sock = None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _asked(
        self,
        kind: Mapping[str, Any],
        template: int | None,
        unified: Sequence[int],
        fds: Sequence[int],
    ) -> tuple[dict[str, Any], list[int]]:
        templates = [] if template is None else [template]
        request = {
            "kind": kind,
            "clone": self._namespaces,
            "template": bool(templates),
            "unified": bool(unified),
        }
        sock = self._started()
        with contextlib.suppress(OSError):
            handing.send(sock, request, [*templates, *unified, *fds])
            if (answer := handing.receive(sock)) is not None:
                return answer
        self.close()
        raise _Gone

    def _started(self) -> socket.socket:
        if self._sock is not None:
            return self._sock
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.settimeout(_PATIENCE)
        with theirs:
            theirs.set_inheritable(True)
            try:
                self._pid = _spawn(theirs.fileno())
            except OSError as error:
                self._sock.close()
                self._sock = None
                raise self._not_started(error) from error
        try:
            said, _ = handing.receive(self._sock) or ({}, [])
        except OSError:
            said = {}
        if "ready" not in said:
            self.close()
            text = said.get("message", _ENDED)
            raise StartFailed(said.get("step", "zygote"), said.get("errno"), text)
        return self._sock

    def _not_started(self, error: OSError) -> StartFailed:
        """Say the deeper cause: a host that lets nothing be cloned lets nothing be started."""
        uid = os.geteuid() if self._rules.rootless else self._rules.uid_last
        failure = attempt(self._rules.tier, uid=uid).failure
        step = "clone" if failure is not None and failure.step == "clone" else "zygote"
        return StartFailed(step, error.errno, str(error))


def _spawn(fd: int) -> int:
    """Start the zygote, with nothing of our environment: it goes on into every init."""
    paths = sorted({_above(supervisor_unshare.__file__), _above(supervisor.__file__)})
    argv = [sys.executable, "-I", "-S", "-c", _CODE.format(paths=paths), str(fd)]
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return os.posix_spawn(sys.executable, argv, env)


def _children() -> set[int]:
    """Give our children, and none at all on a kernel that does not list them."""
    try:  # by bare calls: open() makes three more, whose failure it hides
        fd = os.open("/proc/thread-self/children", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return set()
    listed = b""
    with opened(fd):
        while piece := os.read(fd, 65536):
            listed += piece
    return set(map(int, listed.split()))


def _end(lost: Set[int]) -> None:
    """End clones of which nobody has heard: what the zygote clones are our children, not its."""
    for pid in lost:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _above(file: str) -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(file)))


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
