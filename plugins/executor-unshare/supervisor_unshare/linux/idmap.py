"""Show files of one owner as those of another: what a process with an account's uid sees as its own
lies on disk under the content's uid, so that a change of the account changes no file.
"""

from __future__ import annotations

import os
import signal

from supervisor_unshare.linux import syscalls


def user_namespace(owner: int, uid: int, gid: int) -> int:
    """Give a user namespace in which `owner` on disk is `uid`, and its group `gid`.

    Only its mapping counts: nothing ever runs in it. The caller closes the descriptor.
    """
    pid, pidfd = syscalls.clone(syscalls.CLONE_NEWUSER)
    if pid == 0:
        try:
            syscalls.die_with_parent()
            signal.pause()
        finally:
            os._exit(0)
    try:
        _write(pid, "uid_map", f"{owner} {uid} 1")
        _write(pid, "gid_map", f"{owner} {gid} 1")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)


def _write(pid: int, name: str, text: str) -> None:
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
