"""The part of the root that runs share: that of the host as it is now, and nobody's to change."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Job
from supervisor.site_mounts import SiteMount

pytestmark = pytest.mark.system

Node = Any
Says = Callable[..., Awaitable[str]]


@pytest.fixture
def shown() -> Iterator[Path]:
    """A directory of the host that the settings list, with a file."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    above = Path(tempfile.mkdtemp(prefix="supervisor-shown-", dir="/srv"))
    above.chmod(0o755)
    (above / "tree").mkdir()
    (above / "tree" / "file").write_text("first")
    yield above / "tree"
    shutil.rmtree(above)


@pytest.fixture
async def says(
    shown: Path,
    new_node: Callable[..., Node],
    shell_job: Callable[..., Job],
    nursery: trio.Nursery,
) -> Says:
    """Run a script in a sandbox of one helper, which shows `shown`, and give what it printed."""
    node = new_node(settings={"mounts": [SiteMount(name="shown", path=str(shown), at=str(shown))]})
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)

    async def run(script: str, **fields: Any) -> str:
        receipt = await executor.start(shell_job(script, **fields))
        output = [chunk.data async for chunk in executor.output(receipt)]
        return b"".join(output).decode().strip()

    return run


async def test_a_replaced_tree_is_seen_by_the_next_run(says: Says, shown: Path) -> None:
    assert "first" == await says(f"cat {shown}/file")
    os.rename(shown, shown.with_name("old"))
    os.mkdir(shown)
    (shown / "file").write_text("second")
    assert "second" == await says(f"cat {shown}/file")


async def test_what_is_mounted_on_the_host_is_seen_read_only_by_the_next_run(
    says: Says, shown: Path
) -> None:
    (shown / "inner").mkdir()
    script = f"ls {shown}/inner; touch {shown}/inner/new 2>&1"
    assert "Read-only file system" in await says(script)
    subprocess.run(["mount", "-t", "tmpfs", "none", shown / "inner"], check=True)  # noqa: ASYNC221
    try:
        os.chmod(shown / "inner", 0o777)
        (shown / "inner" / "mounted").touch()
        lines = (await says(script)).splitlines()
        assert "mounted" == lines[0]
        assert "Read-only file system" in lines[1]
        (shown / "inner" / "mounted").unlink()
    finally:
        subprocess.run(["umount", shown / "inner"], check=True)  # noqa: ASYNC221
    assert "mounted" not in await says(script)


async def test_a_run_may_write_to_its_own_mounts_alone(says: Says) -> None:
    script = "while read -r _ _ _ _ at flags _; do case $flags in rw*) echo $at;; esac; done"
    seen = await says(f"{script} < /proc/self/mountinfo")
    own = {"/tmp", "/var/tmp", "/home", "/proc", "/dev/shm", "/dev/pts"}
    own |= {f"/opt/content-supervisor/mnt/{name}" for name in ("tmp", "socket")}
    assert own == set(seen.split())


async def test_each_run_finds_its_own_name(says: Says, uid_first: int) -> None:
    for content in (1, 2):
        expected = f"content:x:{uid_first + content}:"
        assert expected in await says("cat /etc/passwd", content=content)


async def test_init_holds_nothing_of_the_host(
    executor: UnshareExecutor, shell_job: Callable[..., Job]
) -> None:
    receipt = await executor.start(shell_job("exec sleep 600"))
    held = f"/proc/{receipt.data['pid']}/fd"
    found = {name: os.readlink(f"{held}/{name}") for name in os.listdir(held)}
    streams = {found.pop(name) for name in ("0", "1", "2")}
    assert {"/dev/null"} == streams
    own = {
        f"anon_inode:{name}" for name in ("seccomp notify", "[signalfd]", "[eventpoll]")
    }  # what it waits for
    rest = [name for name in found.values() if name not in own]
    assert ["pipe"] == [name.partition(":")[0] for name in rest]  # its reports
    await executor.stop(receipt, 0)
