"""The subuid tier: each content has a uid of its own, out of the range of an ordinary user."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.tiers import subuid

from supervisor import (
    Access,
    Exit,
    Job,
    Mount,
    PlaceKind,
    PlaceRef,
    Role,
    Running,
    SupervisorError,
    UnixEndpoint,
    layout,
)

pytestmark = pytest.mark.system
AT = layout.at(Role.SOURCE)


@pytest.fixture
def node(new_ranger: Callable[[], Any]) -> Any:
    return new_ranger()


@pytest.fixture
def job(job: Callable[..., Job]) -> Callable[..., Job]:
    return partial(job, uid=0)


def source(content: int) -> dict[str, Any]:
    """The fields of a job that has the application directory of a content."""
    return {
        "content": content,
        "mounts": [Mount(role=Role.SOURCE, access=Access.WRITE, at=AT)],
        "places": {"source/": PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(content, 1))},
        "workdir": AT,
    }


async def said(executor: UnshareExecutor, job: Job) -> str:
    receipt = await executor.start(job)
    output = b"".join([chunk.data async for chunk in executor.output(receipt)])
    *_, end = [seen async for seen in executor.watch(receipt)]
    assert isinstance(end, Exit)
    return output.decode()


async def test_each_content_has_its_own_uid_and_files_and_the_helper_removes_them(
    node: Any, executor: UnshareExecutor, job: Callable[..., Job], caller: int, range_first: int
) -> None:
    assert "subuid" == executor.capabilities.tier
    for content in (1, 7):
        script = "id -u; mkdir -p deep/er; echo x > deep/er/file; chmod 700 deep"
        output = await said(executor, job("/bin/sh", "-c", script, **source(content)))
        assert f"{content}\n" == output
        made = os.lstat(f"{node.data_dir}/apps/{content}/1/deep/er/file")
        assert (range_first + content - 1,) * 2 == (made.st_uid, made.st_gid)
    place = PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(7, 1))
    await executor.remove(place)
    assert [] == os.listdir(f"{node.data_dir}/apps/7")
    assert caller == os.stat(f"{node.data_dir}/apps/7").st_uid


async def test_what_a_server_of_the_rootless_tier_has_left_becomes_the_contents_own(
    node: Any, executor: UnshareExecutor, job: Callable[..., Job], caller: int, range_first: int
) -> None:
    _leave(f"{node.data_dir}/apps/4/1", caller)
    script = "cat inner/file && echo more > inner/more && readlink link"
    output = await said(executor, job("/bin/sh", "-c", script, **source(4)))
    assert "old\n/etc/passwd\n" == output
    assert range_first + 3 == os.lstat(f"{node.data_dir}/apps/4/1/link").st_uid
    assert 0 == os.stat("/etc/passwd").st_uid


def _leave(top: str, owner: int) -> None:
    """Make a directory as one of the rootless tier is."""
    os.makedirs(f"{top}/inner", mode=0o700)
    Path(top, "inner", "file").write_text("old\n")
    Path(top, "link").symlink_to("/etc/passwd")
    os.chmod(top, 0o755)  # by the content, perhaps
    for path in (top, f"{top}/inner", f"{top}/inner/file", f"{top}/link", os.path.dirname(top)):
        os.chown(path, owner, owner, follow_symlinks=False)
    os.chmod(os.path.dirname(top), 0o700)


async def test_a_content_can_neither_read_nor_signal_another(
    node: Any, executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    await said(executor, job("/bin/sh", "-c", "echo x > secret", **source(1)))
    script = f"cat {node.data_dir}/apps/1/1/secret; ls /proc | grep -c '^[0-9]'; chown 1 . 2>&1"
    output = await said(executor, job("/bin/sh", "-c", script, **source(2)))
    assert "x" not in output.split()
    assert "Operation not permitted" in output


async def test_a_start_takes_a_sandbox_that_was_made_ahead_and_shows_its_own_processes_alone(
    node: Any, executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    await said(executor, job("/usr/bin/true"))
    for _ in range(10):  # until nothing was mounted on the machine meanwhile
        ahead = await waiting(node)
        receipt = await executor.start(job("/bin/sleep", "300"))
        await executor.stop(receipt, 0)
        if receipt.data["pid"] in ahead:
            break
    else:
        raise AssertionError("none of ten starts took a sandbox that waited")
    script = "while read -r _ _ _ _ at flags _; do echo $flags $at; done < /proc/self/mountinfo"
    mounts = [
        line.split() for line in (await said(executor, job("/bin/sh", "-c", script))).splitlines()
    ]
    assert ["/proc"] == [at for _, at in mounts if at.startswith("/proc")]
    own = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    own |= {"/tmp", "/var/tmp", "/home", "/proc", "/dev/shm", "/dev/pts"}
    own |= {f"{layout.MOUNT_ROOT}/{name}" for name in ("tmp", "socket")}
    assert own == {at for flags, at in mounts if flags.startswith("rw")}
    program = "import os; print(sorted(pid for pid in os.listdir('/proc') if pid.isdigit()))"
    assert "['1', '2']\n" == await said(executor, job("/usr/bin/python3", "-c", program))


async def waiting(node: Any) -> list[int]:
    """Wait until two sandboxes wait for a job; give their pids."""
    with trio.fail_after(20):
        while len(found := _waiting(node.process.pid)) < 2:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return found


def _waiting(helper: int) -> list[int]:
    found = []
    for pid in Path(f"/proc/{helper}/task/{helper}/children").read_text().split():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "content-next\n":
                found.append(int(pid))
    return found


async def test_a_content_beyond_the_range_is_refused_and_so_is_a_foreign_uid(
    executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    with pytest.raises(SupervisorError, match="beyond the 65535 uids"):
        await executor.start(job("/usr/bin/true", content=70_000))
    with pytest.raises(SupervisorError, match="needs a helper that runs as root"):
        await executor.start(job("/usr/bin/true", uid=5))


async def test_the_helper_goes_on_in_new_code_and_nothing_is_left(
    node: Any, executor: UnshareExecutor, job: Callable[..., Job], range_first: int
) -> None:
    receipt = await executor.start(job("/bin/sleep", "300", **source(3)))
    answer = await trio.to_thread.run_sync(node.renew)
    assert "ready" == answer["type"]
    assert [receipt] == [*await executor.list()]
    async for seen in executor.watch(receipt):
        assert isinstance(seen, Running)
        assert isinstance(seen.endpoint, UnixEndpoint)
        assert range_first + 2 == seen.endpoint.uid  # as core and gateway see it
        break
    findings = {one.name: one for one in await executor.check()}
    assert findings["sandbox"].ok, findings["sandbox"]
    assert "RunDir" in findings["without root"].text
    await executor.stop(receipt, 0)
    assert [] == node.directories()


def test_the_largest_range_of_a_user_counts_by_name_or_number(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text(f"# ours\nroot:1:2000\n{os.getuid()}:100000:65536\nother:1:99999\nroot:bad\n")
    assert subuid.Range(first=100000, count=65536) == subuid.own_range(str(file))
    assert "no range" in subuid.hindrance((str(tmp_path / "none"), str(file)))
