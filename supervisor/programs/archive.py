"""Writes one directory as a tar archive to standard output; runs in a sandbox as the content's uid.

`python3 -I -S -c THIS_FILE DIRECTORY`, Python 3.7 or newer, standard library only. Whose files they
are is left out; hard links become copies; symbolic links stay what they are. A file that grows is
cut, one that shrinks is filled with zeros. What cannot be read, sockets, pipes and devices, and
large files that are nearly all holes are left out: one line on stderr each,
`left out: NAME: why`.
"""

from __future__ import annotations

import os
import stat
import sys
import tarfile
from typing import BinaryIO

PIECE = 1 << 20
LARGE, SPARSE = 64 << 20, 16  # bytes; how many times larger than what is written of it
NO_FILE = "it is no regular file, directory or link"
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Filled:
    """A file that has exactly `size` bytes, whatever its owner does to it meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        """Give `size` bytes."""
        data = self.file.read(size)
        return data + bytes(size - len(data))


def opened(path: str, name: str) -> tuple[tarfile.TarInfo, BinaryIO | None]:
    """Give what the archive says of a file, link or directory, and the open file.

    Raises OSError for what is left out.
    """
    found = os.lstat(path)
    file = None
    info = tarfile.TarInfo(name)
    if stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISREG(found.st_mode):
        file = os.fdopen(os.open(path, FLAGS), "rb")
        found = os.fstat(file.fileno())
        why = refusal(found)
        if why:
            file.close()
            raise OSError(why)
        info.size = found.st_size
    else:
        raise OSError(NO_FILE)
    info.mode, info.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
    return info, file


def refusal(found: os.stat_result) -> str:
    """Say why a file that was opened is not archived, or give ""."""
    if not stat.S_ISREG(found.st_mode):  # it was replaced meanwhile
        return NO_FILE
    written = found.st_blocks * 512
    if found.st_size > LARGE and found.st_size > SPARSE * written:
        return f"it has holes: {found.st_size} bytes, of which {written} are written"
    return ""


def walk(archive: tarfile.TarFile, top: str) -> None:
    """Add everything beneath a directory, parents first; beneath what the archive has as one.

    Raises OSError where the archive cannot be gone on with.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            names = listed(os.path.join(top, folder))
        except OSError as error:
            left_out(folder, error)
            continue
        for base in names:
            name = os.path.join(folder, base)
            try:
                info, file = opened(os.path.join(top, name), name)
            except OSError as error:
                left_out(name, error)
                continue
            if file is None:
                archive.addfile(info)
            else:
                with file:
                    archive.addfile(info, Filled(file))  # type: ignore[arg-type]
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every one
            if info.isdir():
                waiting.append(name)


def listed(path: str) -> list[str]:
    """Give the names in a directory, unless a link has taken its place. Raises OSError."""
    folder = os.open(path, FLAGS | os.O_DIRECTORY)
    try:
        return sorted(os.listdir(folder))
    finally:
        os.close(folder)


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
    try:
        sys.exit(main(sys.argv[1]))
    except OSError as problem:
        sys.exit(f"the archive is incomplete: {problem.strerror or problem}")
