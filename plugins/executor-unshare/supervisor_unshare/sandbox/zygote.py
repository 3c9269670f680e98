"""The process that sandboxes are cloned from: `python -I -S -c ... FD`, started by the helper.

It is small, so that a clone copies little, and never sees a job: what a run's init has in memory is
this and its own job, nothing of another's environment. It lives in the mount namespace of the
template, so that a clone begins with a copy of that root and nothing else. Its children are the
helper's (CLONE_PARENT), as is their end.

Asks: {"kind": fields of entry.Kind, "clone": flags, "template", "unified": whether there is a
descriptor of it}; beside it [template] [unified] job report *procs. Answers: {"pid": pid} and its
pidfd, or {"errno", "message", "step"}.
"""

from __future__ import annotations

import _socket
import ctypes
import gc
import os
import sys

from supervisor_unshare.linux import handing, syscalls
from supervisor_unshare.sandbox import entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    Life = Callable[[entry.Kind, int, int, Sequence[int]], NoReturn]

_NAME = ctypes.create_string_buffer(b"content-zygote")


def serve(sock: _socket.socket) -> None:
    """Clone on request until the helper is gone."""
    gc.collect()
    gc.freeze()  # a collection would write to every page that the clones share
    gc.disable()
    host = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    handing.send(sock, {"ready": True})
    while (asked := handing.receive(sock)) is not None:
        request, fds = asked
        step = "zygote"
        try:
            given = list(fds)
            step = "mounts"
            if request["kind"]["network"] != entry.HOST:
                if request["template"]:
                    syscalls.enter_mount_namespace(host)  # where the modules are, the first time
                entry.load_network()
            if request["template"]:
                syscalls.enter_mount_namespace(given.pop(0))
            step = "clone"
            unified = given.pop(0) if request["unified"] else None
            pid, pidfd = _clone(request, unified, given)
        except OSError as error:
            handing.send(sock, {"step": step, "errno": error.errno, "message": str(error)})
        else:
            handing.send(sock, {"pid": pid}, [pidfd])
            os.close(pidfd)
        for fd in fds:
            os.close(fd)


def _clone(request: dict[str, Any], unified: int | None, given: list[int]) -> tuple[int, int]:
    flags = request["clone"] | syscalls.CLONE_PARENT
    kind = entry.Kind(**request["kind"])
    live = _life(kind)
    pid, pidfd = syscalls.clone(flags, unified)
    if pid == 0:
        job, report, *procs = given
        live(kind, job, report, procs)
    return pid, pidfd


def _life(kind: entry.Kind) -> Life:
    if not kind.confined:
        return entry.live
    from supervisor_unshare.sandbox import (
        confined,  # it needs more modules; the host's files are in sight
    )

    return confined.live


def main() -> None:
    """Be the zygote of the helper at the other end of the descriptor on the command line."""
    sock = _socket.socket(fileno=int(sys.argv[1]))
    try:
        _settle(sock)
    except OSError as error:
        handing.send(sock, {"step": "zygote", "errno": error.errno, "message": str(error)})
    else:
        serve(sock)


def _settle(sock: _socket.socket) -> None:
    syscalls.die_with_parent()
    syscalls.name_process(_NAME)
    os.set_inheritable(sock.fileno(), False)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for standard in (0, 1, 2):  # not the service's log, which may be moved away
        os.dup2(null, standard)
    os.close(null)
