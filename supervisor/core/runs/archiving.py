"""The plan of archiving a tree that content wrote: as the content, in a sandbox, to its output."""

from __future__ import annotations

import errno
import os
from functools import cache
from importlib.resources import files
from typing import BinaryIO

import attrs
import trio

from supervisor.core.runs.output import Output
from supervisor.core.storage.disk import Disk
from supervisor.errors import SupervisorError
from supervisor.layout import Role, at
from supervisor.model import Access, Mount, Plan

LOOK_EACH = 64 * 1024 * 1024  # bytes between two looks at the space that is left
MOST_LEFT_OUT = 1000  # names
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def archive_plan(python: str, role: Role) -> Plan:
    """Say how to archive a place. python: an interpreter, 3.7 or newer, visible in the sandbox."""
    return Plan(
        argv=(python, "-I", "-S", "-c", _program(), at(role)),
        env={"LANG": "C.UTF-8", "TMPDIR": at(Role.SCRATCH)},
        workdir=at(role),
        mounts=(
            Mount(role=role, access=Access.READ, at=at(role)),
            Mount(role=Role.SCRATCH, access=Access.WRITE, at=at(Role.SCRATCH)),
        ),
    )


@attrs.define(eq=False)
class Spool:
    """A file that takes an archive while it is made, as long as the disk has room for it.

    left_out: what the program could not read. needed: cancelled once there is no room: nobody
    wants more of it then, and what was taken is given back to the disk.
    """

    file: BinaryIO
    disk: Disk
    left_out: list[str] = attrs.field(factory=list)
    size: int = 0
    needed: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _looked: int = 0
    _error: OSError | None = None
    _full: bool = False

    def hear(self, stream: str, data: bytes) -> None:
        """Take what the program writes. Never raises: `check` does, once it is over."""
        if stream == "stderr":
            lines = data.decode("utf-8", "replace").splitlines()
            self.left_out += lines[: max(0, MOST_LEFT_OUT - len(self.left_out))]
            return
        if self._full or self._error is not None:
            return
        self.size += len(data)
        try:
            self.file.write(data)
            if self.size - self._looked > LOOK_EACH:
                self._looked = self.size
                left, total = self.disk.space()
                self._full = left < self.disk.floor(total)
        except OSError as error:
            self._full = error.errno in NO_ROOM
            self._error = error
        if self._full or self._error is not None:
            self.needed.cancel()
            os.ftruncate(self.file.fileno(), 0)  # what waits in memory is written when it closes

    def check(self) -> None:
        """Raise disk-full or unavailable where not all of it was taken."""
        if self._full:
            raise SupervisorError(
                "disk-full",
                f"There is no room for the backup of a tree of more than {self.size} bytes.",
                hint="It lies in DataDir/uploads while it is sent; make room there.",
            )
        if self._error is not None:
            raise SupervisorError(
                "unavailable", f"a tree cannot be read: {self._error.strerror}", recoverable=True
            )
        self.file.seek(0, os.SEEK_END)
        self.size = self.file.tell()
        self.file.seek(0)


class Unheard(Output):
    """The log of a run whose standard output is an archive: only the rest of it is text."""

    def write(self, stream: str, data: bytes) -> None:
        """Take bytes of standard error; the others are for whoever hears them."""
        if stream == "stderr":
            super().write(stream, data)


@cache
def _program() -> str:
    return files("supervisor").joinpath("programs/archive.py").read_text("utf-8")
