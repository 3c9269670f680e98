"""Writes one directory as a tar archive to standard output; runs in a sandbox as the content's uid.

`python3 -I -S -c THIS_FILE DIRECTORY`, Python 3.7 or newer, standard library only. Whose files they
are is left out; hard links become copies; symbolic links stay what they are. A file that grows is
cut, one that shrinks is filled with zeros. What cannot be read, and sockets, pipes and devices, are
left out: one line on stderr each, `left out: NAME: why`.
"""

from __future__ import annotations

import os
import stat
import sys
import tarfile
from typing import BinaryIO

PIECE = 1 << 20
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Filled:
    """A file that has exactly `size` bytes, whatever its owner does to it meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        """Give `size` bytes."""
        data = self.file.read(size)
        return data + bytes(size - len(data))


def add(archive: tarfile.TarFile, path: str, name: str) -> None:
    """Add one file, link or empty directory. Raises OSError."""
    found = os.lstat(path)
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
    if stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    elif stat.S_ISLNK(found.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        archive.addfile(info)
    elif stat.S_ISREG(found.st_mode):
        with os.fdopen(os.open(path, FLAGS), "rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            archive.addfile(info, Filled(file))  # type: ignore[arg-type]
    else:
        raise OSError("it is no regular file, directory or link")


def walk(archive: tarfile.TarFile, top: str) -> None:
    """Add everything beneath a directory, parents first."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(os.path.join(top, folder)) as found:
                names = sorted(entry.name for entry in found)
        except OSError as error:
            left_out(folder, error)
            continue
        for base in names:
            name = os.path.join(folder, base)
            path = os.path.join(top, name)
            try:
                add(archive, path, name)
            except OSError as error:
                left_out(name, error)
                continue
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every one
            if os.path.isdir(path) and not os.path.islink(path):
                waiting.append(name)


def left_out(name: str, error: OSError) -> None:
    """Say what is not in the archive."""
    text = f"left out: {name or '.'}: {error.strerror or error}"
    sys.stderr.write(text.encode("ascii", "backslashreplace").decode("ascii") + "\n")


def main(top: str) -> int:
    """Write the archive; give the exit status."""
    with tarfile.open(
        fileobj=sys.stdout.buffer,
        mode="w|",
        format=tarfile.PAX_FORMAT,
        bufsize=PIECE,
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        walk(archive, top)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
