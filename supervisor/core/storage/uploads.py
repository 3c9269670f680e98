"""Uploads: written beside the bundles, and one of them once all of it is on the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import trio

from supervisor.core.storage.disk import Disk, full
from supervisor.errors import SupervisorError
from supervisor.model.content import MOST_BUNDLE

LOOK_EACH = 8 * 1024 * 1024  # bytes of an upload between two looks at the space that is left
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


async def store_bundle(
    disk: Disk, chunks: AsyncIterator[bytes], *, most: int = MOST_BUNDLE, announced: int = 0
) -> tuple[str, int]:
    """Write an upload to bundles/{digest}.tar.gz; give digest and size. Durable when it returns.

    announced: the bytes that will come, where the client has said so. Raises SupervisorError:
    too-large, disk-full, bundle-invalid (empty). Failed or cancelled: nothing is left.
    """
    partial = Path(disk.path, "uploads", secrets.token_hex(8))
    digest, size, looked = hashlib.sha256(), 0, 0
    await disk.refuse_full(announced)
    try:
        async with await trio.open_file(partial, "wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > most:
                    raise SupervisorError(
                        "too-large",
                        f"the bundle is larger than {most} bytes",
                        hint="Leave out data and caches with a .supervisorignore file.",
                    )
                if size - looked > LOOK_EACH:
                    await disk.refuse_full()
                    looked = size
                digest.update(chunk)
                await file.write(chunk)
            await file.flush()
            await trio.to_thread.run_sync(os.fsync, file.fileno())
        if not size:
            raise SupervisorError("bundle-invalid", "the upload is empty")
        final = Path(disk.path, "bundles", f"{digest.hexdigest()}.tar.gz")
        await trio.to_thread.run_sync(_settle, partial, final)
        return digest.hexdigest(), size
    except OSError as error:
        _forget(partial)
        if error.errno in _NO_ROOM:
            raise full(f"its disk is full after {size} bytes") from error
        raise SupervisorError(
            "unavailable",
            f"the bundle cannot be stored: {error.strerror or error}",
            hint="Look at the file system of Server.DataDir, then deploy again.",
            recoverable=True,
        ) from error
    except BaseException:
        _forget(partial)
        raise


def _forget(partial: Path) -> None:
    with suppress(OSError):
        partial.unlink()


def _settle(partial: Path, final: Path) -> None:
    partial.chmod(0o444)
    now = time.time_ns()  # the file system's own clock lags behind the one of records
    os.utime(partial, ns=(now, now))
    os.replace(partial, final)
    directory = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
