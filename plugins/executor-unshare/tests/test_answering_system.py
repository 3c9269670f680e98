"""A file system whose server is gone holds up what needs it, and nobody else."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.linux.answering import LIMIT, answers, has_server, kind_of
from supervisor_unshare.root.homes import home_of

from supervisor import Job, SupervisorError
from supervisor.accounts import Account
from supervisor.site_mounts import SiteMount

pytestmark = pytest.mark.system


@pytest.fixture
def silent(tmp_path: Path, needs: Any) -> Iterator[Path]:
    """A directory on a FUSE file system whose server never says a word; it wakes at its end."""
    needs.root()
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        needs.kernel(False, f"FUSE: {error}")
    libc = ctypes.CDLL(None, use_errno=True)
    place = tmp_path / "with a blank"
    place.mkdir()
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    mounted = libc.mount(b"silent", bytes(place), b"fuse.silent", 0, options) == 0
    needs.kernel(mounted, f"FUSE: {os.strerror(ctypes.get_errno())}")
    yield place
    os.close(server)
    libc.umount2(bytes(place), 2)


def test_a_file_system_without_a_server_is_not_asked(tmp_path: Path) -> None:
    assert answers(str(tmp_path))
    assert "proc" == kind_of("/proc/self")


def test_what_has_a_server_is_told_by_the_innermost_mount() -> None:
    mounts = [
        "20 1 254:0 / / rw - ext4 /dev/vda rw",
        "29 20 0:30 / /opt/R rw shared:1 - nfs4 files:/R rw",
        "30 29 254:0 / /opt/R/own rw - ext4 /dev/vda rw",
    ]
    paths = ("/usr", "/opt/R", "/opt/R/4.2.2", "/opt/R/own", "/opt/Rx")
    assert ["/opt/R", "/opt/R/4.2.2"] == [path for path in paths if has_server(path, mounts)]
    assert not has_server("/usr", ["20 1 0:25 / / rw - fuse.fuse-overlayfs fuse-overlayfs rw"])


def test_one_that_is_silent_is_asked_once_and_waited_for_once(silent: Path) -> None:
    assert "fuse.silent" == kind_of(f"{silent}/x")
    path = f"{silent}/x"
    began = time.monotonic()
    assert not answers(path)
    assert LIMIT <= time.monotonic() - began < LIMIT + 2
    began = time.monotonic()
    assert not answers(path)
    assert time.monotonic() - began < LIMIT / 2


def test_a_link_that_leads_to_a_silent_one_is_asked_too(silent: Path, tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(silent / "x")
    began = time.monotonic()
    assert not answers(str(tmp_path / "home"))
    who = Account(name="who", uid=0, gid=0, groups=(0,), home=str(tmp_path / "home"))
    assert home_of(who, (), ()) is None
    assert time.monotonic() - began < LIMIT + 2


async def test_only_what_is_shown_it_cannot_start(
    silent: Path, new_node: Callable[..., Any], job: Callable[..., Job], nursery: trio.Nursery
) -> None:
    mount = SiteMount(name="s", path=str(silent), at="/srv/silent", contents=("1",))
    node = new_node(settings={"mounts": [mount]})
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    with pytest.raises(SupervisorError, match="does not answer") as caught:
        await executor.start(job("/bin/true", content=1))
    assert "[Mount]" in caught.value.hint
    receipt = await executor.start(job("/bin/echo", "works", content=2))
    assert b"works\n" == b"".join([chunk.data async for chunk in executor.output(receipt)])
    found = {finding.name: finding for finding in await executor.check()}
    assert "does not answer" in found["mount s"].text


# In mounts of its own: /opt as it is, with a directory for versions of R.
WITH_R = """
mount -t tmpfs none /mnt && mkdir /mnt/opt && mount --rbind /opt /mnt/opt
mount -t tmpfs none /opt
for one in /mnt/opt/*; do
    [ ! -d "$one" ] || { mkdir "/opt/${one##*/}" && mount --rbind "$one" "/opt/${one##*/}"; }
done
mkdir -p /opt/R
"""
BIND = (
    "import ctypes, sys; "
    "sys.exit(ctypes.CDLL(None).mount(sys.argv[1].encode(), b'/opt/R', None, 4096, None))"
)


def in_mounts(script: str, *arguments: str) -> tuple[str, ...]:
    """Give the command that runs a script, which becomes its last arguments, in new mounts."""
    return ("unshare", "--mount", "sh", "-ec", script, "sh", *arguments)


async def test_a_tree_of_every_sandbox_that_goes_silent_holds_up_starts_and_nothing_else(
    silent: Path, new_node: Callable[..., Any], job: Callable[..., Job], nursery: trio.Nursery
) -> None:
    """/opt/R may be a volume that machines share. The helper has one thread for all contents."""
    node = new_node(within=in_mounts(f'{WITH_R} exec "$@"'))
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    lives = await executor.start(job("/bin/sleep", "60"))
    enter = ["nsenter", "--target", str(node.process.pid), "--mount", sys.executable, "-c", BIND]
    subprocess.run([*enter, str(silent)], check=True, timeout=10)  # noqa: ASYNC221
    with trio.fail_after(20):
        for _ in range(2):
            with pytest.raises(SupervisorError, match="file system of /opt/R does not") as caught:
                await executor.start(job("/bin/true"))
            assert "mount /opt/R" in caught.value.message
            assert "server" in caught.value.hint
        found = {finding.name: finding for finding in await executor.check()}
        assert "/opt/R" in found["tree /opt/R"].text
        await executor.stop(lives, grace=0)


async def test_a_helper_starts_while_a_tree_of_every_sandbox_is_silent(
    silent: Path, new_node: Callable[..., Any], job: Callable[..., Job], nursery: trio.Nursery
) -> None:
    script = f'{WITH_R} "$1" -c "$2" "$3"; shift 3; exec "$@"'
    node = new_node(within=in_mounts(script, sys.executable, BIND, str(silent)))
    executor = UnshareExecutor(run_dir=node.run_dir)
    with trio.fail_after(20):
        await nursery.start(executor.serve)
        with pytest.raises(SupervisorError, match="file system of /opt/R does not"):
            await executor.start(job("/bin/true"))
