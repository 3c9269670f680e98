"""The process that sandboxes are cloned from: `python -I -S -c ... FD`, started by the helper.

It is small, so that a clone copies little, and never sees a job: what a run's init has in memory is
this and its own job, nothing of another's environment. It lives in the mount namespace of the
template, so that a clone begins with a copy of that root and nothing else. Its children are the
helper's (CLONE_PARENT), as is their end.

Asks: {"kind": fields of sandbox.Kind, "clone": flags, "template", "unified": whether there is a
descriptor of it}; beside it [template] [unified] job report *procs. Answers: {"pid": pid} and its
pidfd, or {"errno", "message", "step"}.
"""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import sys
from typing import Any

from supervisor_unshare import confined, handing, sandbox, syscalls

_NAME = ctypes.create_string_buffer(b"content-zygote")


def serve(sock: socket.socket) -> None:
    """Clone on request until the helper is gone."""
    gc.collect()
    gc.freeze()  # a collection would write to every page that the clones share
    gc.disable()
    handing.send(sock, {"ready": True})
    while (asked := handing.receive(sock)) is not None:
        request, fds = asked
        step = "zygote"
        try:
            given = list(fds)
            if request["template"]:
                step = "mounts"
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
    pid, pidfd = syscalls.clone(flags, unified)
    if pid == 0:
        job, report, *procs = given
        kind = sandbox.Kind(*request["kind"])
        live = confined.live if kind.confined else sandbox.live
        live(kind, job, report, procs)
    return pid, pidfd


def main() -> None:
    """Be the zygote of the helper at the other end of the descriptor on the command line."""
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        try:
            _settle(sock)
        except OSError as error:
            failed = {"step": "zygote", "errno": error.errno, "message": str(error)}
            handing.send(sock, failed)
        else:
            serve(sock)


def _settle(sock: socket.socket) -> None:
    syscalls.die_with_parent()
    syscalls.name_process(_NAME)
    sock.set_inheritable(False)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for standard in (0, 1, 2):  # not the service's log, which may be moved away
        os.dup2(null, standard)
    os.close(null)
