"""A backup of the whole server while it serves: one tar archive, made piece by piece.

Its members, in this order: backup.json, keys/NAME, records.jsonl, bundles/DIGEST.tar.gz,
apps/CONTENT/DEPLOYMENT.tar and state/CONTENT.tar, end.json. The records are of one moment, bundles
never change, and trees are read as they are when their turn comes. An archive whose last member is
not end.json is incomplete; where it is error.json, that says why.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

import attrs
import trio

from supervisor import __version__, layout
from supervisor.core.runs.archiving import Spool
from supervisor.core.runs.placing import deployment_place
from supervisor.core.storage.disk import Disk
from supervisor.core.storage.journal import Journal
from supervisor.errors import SupervisorError
from supervisor.interfaces import Counter, Row
from supervisor.layout import PlaceRef, Role
from supervisor.log import Log
from supervisor.model import Bundle, BundleState, Content, PlaceKind
from supervisor.wire import encode

FORMAT = 1
PIECE = 256 * 1024
FLUSH = 5.0  # seconds to write down what has happened up to now
LEFT_OUT = (
    "logs of runs, directories of deployments that are not active, package libraries, "
    "uploads under way, temporary files"
)

Archive = Callable[[Content, Role, PlaceRef, Spool], Awaitable[None]]


@attrs.define(eq=False)
class Records:
    """The records in a file, one line of JSON each, and what else of them a backup has to hold."""

    file: BinaryIO
    contents: list[Content] = attrs.field(factory=list)
    digests: dict[str, set[int]] = attrs.field(factory=dict)  # → the contents that uploaded it
    count: int = 0

    def take(self, row: Row) -> None:
        """Write one row."""
        kind = "counter" if isinstance(row, Counter) else type(row).__name__.lower()
        self.file.write(encode({"kind": kind, "record": row}) + b"\n")
        self.count += 1
        if isinstance(row, Content) and row.removed is None:
            self.contents.append(row)
        if isinstance(row, Bundle) and row.state is not BundleState.GOING:
            self.digests.setdefault(row.digest, set()).add(row.content)

    def wanted(self) -> list[str]:
        """Give the digests of archives that contents need which are not removed."""
        living = {content.id for content in self.contents}
        return sorted(digest for digest, contents in self.digests.items() if contents & living)


@attrs.define(eq=False, kw_only=True)
class Backup:
    """Makes backups. archive: writes the tree of a place into a spool, as its owner."""

    journal: Journal
    disk: Disk
    archive: Archive
    log: Log

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the archive. Raises SupervisorError before the first piece, afterwards never."""
        with self._file() as file:
            await self.journal.flush(FLUSH)
            records = Records(file)
            await self.journal.dump(records.take)
            yield _member("backup.json", self._about(records))
            try:
                async with aclosing(self._rest(records)) as rest:
                    async for piece in rest:
                        yield piece
            except SupervisorError as error:
                self.log.error("backup-failed", reason=error.message)
                yield _member("error.json", encode(error.as_json())) + _END
            except OSError as error:
                self.log.error("backup-failed", exc=error)
                reason = f"{error.strerror or error}: {error.filename or self.disk.path}"
                failed = SupervisorError("unavailable", reason)
                yield _member("error.json", encode(failed.as_json())) + _END

    async def _rest(self, records: Records) -> AsyncGenerator[bytes, None]:
        left_out: list[str] = []
        for name, secret in await trio.to_thread.run_sync(_keys, self.disk.path):
            yield _member(f"keys/{name}", secret)
        async with aclosing(_file_member("records.jsonl", records.file)) as pieces:
            async for piece in pieces:
                yield piece
        for digest in records.wanted():
            name = f"bundles/{digest}.tar.gz"
            try:
                file = await trio.to_thread.run_sync(_opened, os.path.join(self.disk.path, name))
            except FileNotFoundError:
                left_out.append(f"{name}: it is not there")
                continue
            with file:
                async with aclosing(_file_member(name, file)) as pieces:
                    async for piece in pieces:
                        yield piece
        for content in records.contents:
            async with aclosing(self._trees(content, left_out)) as pieces:
                async for piece in pieces:
                    yield piece
        end = {"records": records.count, "left_out": [*left_out, LEFT_OUT]}
        self.log.info("backed-up", records=records.count, contents=len(records.contents))
        yield _member("end.json", encode(end)) + _END

    async def _trees(self, content: Content, left_out: list[str]) -> AsyncGenerator[bytes, None]:
        trees = [(Role.STATE, PlaceRef(kind=PlaceKind.STATE, ids=(content.id,)))]
        if content.active_deployment is not None:
            trees.insert(0, (Role.SOURCE, deployment_place(content, content.active_deployment)))
        for role, place in trees:
            name = "/".join(layout.components(place))
            path = os.path.join(self.disk.path, name)
            if not await trio.to_thread.run_sync(os.path.isdir, path):
                if role is Role.SOURCE:
                    left_out.append(f"{name}: it is not there")
                continue
            with self._file() as file:
                spool = Spool(file, self.disk)
                await self.archive(content, role, place, spool)
                try:
                    spool.check()
                except SupervisorError as error:
                    if error.code != "disk-full":
                        raise
                    # one tree that is too large must not cost the backup of all others
                    self.log.error(
                        "tree-not-backed-up", content=content.id, tree=name, reason=error.message
                    )
                    left_out.insert(0, f"ALL OF {name} ({content.name}): {error.message}")
                    continue
                left_out += [f"{name}: {line}" for line in spool.left_out]
                async with aclosing(_file_member(f"{name}.tar", file)) as pieces:
                    async for piece in pieces:
                        yield piece

    def _file(self) -> BinaryIO:
        """Open a file without a name, on the disk of DataDir."""
        return tempfile.TemporaryFile(dir=os.path.join(self.disk.path, "uploads"))

    def _about(self, records: Records) -> bytes:
        names = {str(content.id): content.name for content in records.contents}
        about = {
            "format": FORMAT,
            "version": __version__,
            "created": time.time(),
            "records": records.count,
            "contents": names,
        }
        return encode(about)


def _keys(data_dir: str) -> list[tuple[str, bytes]]:
    found = sorted(Path(data_dir, "db").glob("*.key"))
    return [(path.name, path.read_bytes()) for path in found]


def _opened(path: str) -> BinaryIO:
    return open(path, "rb")


def _member(name: str, data: bytes) -> bytes:
    return _header(name, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    return info.tobuf(tarfile.PAX_FORMAT)


_END = bytes(2 * tarfile.BLOCKSIZE)


async def _file_member(name: str, file: BinaryIO) -> AsyncGenerator[bytes, None]:
    """Yield a member with all that a file holds; the file does not change any more."""
    size = await trio.to_thread.run_sync(file.seek, 0, io.SEEK_END)
    await trio.to_thread.run_sync(file.seek, 0)
    yield _header(name, size)
    left = size
    while left:
        piece = await trio.to_thread.run_sync(file.read, min(PIECE, left))
        if not piece:
            raise SupervisorError("unavailable", f"{name} has become shorter while it was read")
        left -= len(piece)
        yield piece
    if size % tarfile.BLOCKSIZE:
        yield bytes(-size % tarfile.BLOCKSIZE)
