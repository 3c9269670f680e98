"""Uploads: stored whole or not at all, and refused while the disk is nearly full."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio

from supervisor.core.storage.disk import Disk, Space
from supervisor.core.storage.uploads import LOOK_EACH, store_bundle
from supervisor.errors import SupervisorError
from supervisor.settings.values import Share, share


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    for name in ("uploads", "bundles"):
        (tmp_path / name).mkdir()
    return tmp_path


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        await trio.lowlevel.checkpoint()
        yield piece


def files(data_dir: Path) -> list[str]:
    return sorted(str(p.relative_to(data_dir)) for p in data_dir.rglob("*") if p.is_file())


async def test_an_upload_is_stored_by_its_digest(data_dir: Path) -> None:
    digest, size = await store_bundle(Disk(str(data_dir)), pieces(b"ab", b"", b"c"))
    assert (hashlib.sha256(b"abc").hexdigest(), 3) == (digest, size)
    assert [f"bundles/{digest}.tar.gz"] == files(data_dir)
    assert (digest, 3) == await store_bundle(Disk(str(data_dir)), pieces(b"abc"))


async def test_an_empty_or_too_large_upload_is_refused_and_leaves_nothing(data_dir: Path) -> None:
    with pytest.raises(SupervisorError, match="empty"):
        await store_bundle(Disk(str(data_dir)), pieces())
    with pytest.raises(SupervisorError, match="larger") as caught:
        await store_bundle(Disk(str(data_dir)), pieces(b"abc", b"def"), most=5)
    assert "too-large" == caught.value.code
    assert [] == files(data_dir)


async def test_a_cancelled_upload_leaves_nothing(data_dir: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"abc"
        await trio.sleep_forever()

    with trio.move_on_after(0.2):
        await store_bundle(Disk(str(data_dir)), endless())
    assert [] == files(data_dir)


async def test_a_disk_that_refuses_is_a_clear_error(data_dir: Path) -> None:
    (data_dir / "bundles").rmdir()
    with pytest.raises(SupervisorError, match="cannot be stored") as caught:
        await store_bundle(Disk(str(data_dir)), pieces(b"abc"))
    assert caught.value.recoverable
    assert [] == files(data_dir)


@attrs.frozen
class Small(Disk):
    """A disk of 1000 MB that says how much is left of it, one look after the other."""

    looks: list[int] = attrs.field(factory=list)

    def space(self) -> Space:
        left = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return Space(left * 10**6, 1000 * 10**6)


@pytest.mark.parametrize(
    ("kept", "left", "more", "room"),
    [
        (("256 MB",), 300, 0, True),
        (("256 MB",), 255, 0, False),
        (("256 MB",), 300, 50_000_000, False),
        (("256 MB",), 300, 44_000_000, True),
        (("10 MB", "50%"), 400, 0, False),
        ((), 0, 0, True),
    ],
)
async def test_what_leaves_less_than_is_kept_free_is_refused(
    kept: tuple[str, ...], left: int, more: int, room: bool
) -> None:
    disk = Small("/", [share(each) for each in kept], looks=[left])
    if room:
        await disk.refuse_full(more)
        assert disk.finding().ok
        return
    with pytest.raises(SupervisorError, match="has no room for an upload") as caught:
        await disk.refuse_full(more)
    assert (507, "disk-full", 73) == (
        caught.value.http_status,
        caught.value.code,
        caught.value.exit_status,
    )
    assert "supervisor gc" in caught.value.hint


def test_a_disk_below_its_floor_is_a_finding() -> None:
    finding = Small("/data", [Share(bytes=10**8)], looks=[50]).finding()
    assert not finding.ok
    assert not finding.fatal
    assert "50.0 MB of 1.0 GB are left at /data; uploads are refused below 100.0 MB" in finding.text


async def test_an_announced_size_that_does_not_fit_is_refused_before_a_byte_is_read(
    data_dir: Path,
) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("nothing may be read")
        yield b""

    disk = Small(str(data_dir), [Share(bytes=10**8)], looks=[150])
    with pytest.raises(SupervisorError, match=r"an upload of 60\.0 MB") as caught:
        await store_bundle(disk, unread(), announced=60_000_000)
    assert "disk-full" == caught.value.code
    assert [] == files(data_dir)


async def test_an_upload_during_which_the_disk_fills_up_is_given_up(data_dir: Path) -> None:
    disk = Small(str(data_dir), [Share(bytes=10**8)], looks=[500, 500, 90])
    with pytest.raises(SupervisorError, match=r"90\.0 MB are left of its disk"):
        await store_bundle(disk, pieces(*[b"x" * (LOOK_EACH + 1)] * 3))
    assert [] == files(data_dir)


async def test_a_disk_that_is_full_before_the_floor_is_seen_says_the_same(data_dir: Path) -> None:
    async def full() -> AsyncIterator[bytes]:
        yield b"abc"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SupervisorError, match="its disk is full after 3 bytes") as caught:
        await store_bundle(Disk(str(data_dir)), full())
    assert "disk-full" == caught.value.code
    assert [] == files(data_dir)
