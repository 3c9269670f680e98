"""The directory of each run: its socket, its log, and the mark that it was asked to end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import attrs


@attrs.frozen
class Homes:
    """top: a directory of the server's that nobody else may enter by its path."""

    top: str

    def of(self, run: str) -> str:
        """Where a run's directory is."""
        return f"{self.top}/{run}"

    def make(self, run: str, uid: int) -> None:
        """Make it; `socket` in it is the uid's, and the only part that its process sees."""
        socket = Path(self.of(run), "socket")
        socket.mkdir(parents=True, exist_ok=True)
        give(socket, uid, 0o711)

    def mark_stopped(self, run: str) -> None:
        """Note that the run was asked to end, so that another core knows it too."""
        Path(self.of(run), "stopped").touch()

    def is_stopped(self, run: str) -> bool:
        """Whether the run was asked to end."""
        return os.path.exists(f"{self.of(run)}/stopped")

    def remove(self, run: str) -> None:
        """Remove it; gone already is fine."""
        shutil.rmtree(self.of(run), ignore_errors=True)


def give(directory: Path, uid: int, mode: int) -> None:
    """Make a directory one of the uid. Only root can give to others than itself."""
    if uid != os.geteuid():
        os.chown(directory, uid, uid)
    directory.chmod(mode)
