"""Files that content looks for and does not see, though this machine has them.

What it writes is searched for the sentence that every language gives for a missing file, with an
absolute path in it. The executor is asked whether it hides that file; where it does, the log and
the reason of the run's end say so, and what would show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Self

import attrs
import trio

from supervisor.core.runs.output import Output
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor
from supervisor.model import Content
from supervisor.site_mounts import SiteMount, covered, misplaced

MOST = 5  # files of one run that are asked about: no run is to ask its way through a disk
LIMIT = 1.0  # seconds for an answer
_SENTENCES = ("No such file", "does not exist", "not found", "ENOENT")
_PATH = re.compile(r"""["'`‘“](/[^"'`’”\n]+)["'`’”]|(?<![^\s:=(])(/[^/\s:;,"'`()][^\s:;,"'`()]*)""")
_HIDDEN = "is on this machine, but hidden by the sandbox"
_OF_THE_RUN = ("/tmp", "/var/tmp")
_OF_MANY = ("/", "/home")  # a directory right there holds more than one wants to show
_NAME = re.compile(r"[^A-Za-z0-9_-]+")


def paths_in(line: str) -> Iterator[str]:
    """Yield the absolute paths that a line calls missing."""
    if any(sentence in line for sentence in _SENTENCES):
        for match in _PATH.finditer(line):
            path = match[1] or match[2]
            if ".." not in PurePosixPath(path).parts and "\0" not in path and path != "/":
                yield str(PurePosixPath(path))


def advice(path: str, mounts: Sequence[SiteMount], content: Content) -> str:
    """Say of a hidden file that it is, and what shows it."""
    for mount in mounts:
        if covered(path, [mount.path]) or covered(path, [mount.at]):
            return f"{path} {_HIDDEN}: {_beside(path, mount, content)}"
    return f"{path} {_HIDDEN}{_showing(path)}"


def _beside(path: str, mount: SiteMount, content: Content) -> str:
    section = f'[Mount "{mount.name}"]'
    if not mount.is_for(content.id, content.guid, content.name):
        return f"{section} shows it, but its Content does not name this one"
    if mount.at == mount.path:
        return f"{section} shows it to processes that start from now on"
    if covered(path, [mount.at]):
        return f"{section} shows {mount.path} there"
    inside = PurePosixPath(path).relative_to(mount.path)
    return f"{section} shows it at {PurePosixPath(mount.at, inside)}"


def _showing(path: str) -> str:
    if covered(path, _OF_THE_RUN):
        return ": each process has a temporary directory of its own"
    file = PurePosixPath(path)
    for shown in (file,) if str(file.parent.parent) in _OF_MANY else (file.parent, file):
        name = _NAME.sub("-", shown.name)
        asked = SiteMount(name=name, path=str(shown), at=str(shown))
        if not any(misplaced([asked], ())):
            return f'; a section [Mount "{name}"] with Path = {shown} would show it'
    return "; [Mount] shows directories beside those that a sandbox has itself"


@attrs.define(eq=False)
class Missing:
    """What one run has not found. hint: of the file that it missed last before its end, or ""."""

    executor: Executor
    output: Output
    content: Content
    mounts: Sequence[SiteMount] = ()
    hint: str = ""
    _found: dict[str, str] = attrs.field(factory=dict)  # path → what to say of it, or ""
    _one: trio.Lock = attrs.field(factory=trio.Lock)

    @classmethod
    def of(
        cls, content: Content, executor: Executor, output: Output, mounts: Sequence[SiteMount]
    ) -> Self:
        """Make it for a run's output."""
        return cls(executor=executor, output=output, content=content, mounts=mounts)

    async def watch(self) -> None:
        """Look at each line that is written, until the output is closed."""
        async for line in self.output.subscribe():
            if line.stream != "supervisor":
                await self._look(line.text)

    async def settle(self) -> None:
        """Look at what was written last: it may be why the run has ended."""
        for text in self.output.last_lines():
            self.hint = await self._look(text) or self.hint

    async def _look(self, text: str) -> str:
        said = ""
        for path in paths_in(text):
            async with self._one:
                if path not in self._found and len(self._found) < MOST:
                    hidden = await self._hides(path)
                    self._found[path] = advice(path, self.mounts, self.content) if hidden else ""
                    if hidden:
                        self.output.say(f"[supervisor] {self._found[path]}")
                said = self._found.get(path, "") or said
        return said

    async def _hides(self, path: str) -> bool:
        try:
            with trio.move_on_after(LIMIT):
                return await self.executor.hides(path)
        except SupervisorError:
            pass  # it is away: nobody can tell
        return False
