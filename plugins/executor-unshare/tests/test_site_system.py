"""A site's own mounts, seen from inside: where they are, to whom, and what stays hidden."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Job, SupervisorError
from supervisor.site_mounts import SiteMount

pytestmark = pytest.mark.system

Node = Any
Says = Callable[..., Awaitable[str]]
AT = "/srv/site-data"


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory of the host with a file, and a directory that everybody may write to."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Path(tempfile.mkdtemp(prefix="supervisor-site-", dir="/srv"))
    made.chmod(0o755)
    (made / "x.csv").write_text("a,b\n")
    (made / "inner").mkdir()
    (made / "open").mkdir()
    (made / "open").chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def in_usr() -> Iterator[Path]:
    """A directory in a tree that every sandbox shows, with files that nobody may see."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Path(tempfile.mkdtemp(prefix="supervisor-hidden-", dir="/usr/local"))
    made.chmod(0o755)
    (made / "file").write_text("secret")
    (made / "db").mkdir()
    (made / "db" / "records").write_text("secret")
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def started(
    new_node: Callable[..., Node], job: Callable[..., Job], nursery: trio.Nursery
) -> Callable[..., Awaitable[Says]]:
    """Start a helper with mounts; gives what runs a shell script there and gives its output."""

    async def start(*mounts: SiteMount, **settings: Any) -> Says:
        caller = settings.pop("caller", None)
        node = new_node(caller=caller, settings={"mounts": [*mounts], **settings})
        executor = UnshareExecutor(run_dir=node.run_dir)
        await nursery.start(executor.serve)

        async def says(script: str, guid: str = "", name: str = "", **fields: Any) -> str:
            made = job("/bin/sh", "-c", f"exec 2>&1\n{script}", **fields)
            receipt = await executor.start(attrs.evolve(made, guid=guid, name=name))
            output = [chunk.data async for chunk in executor.output(receipt)]
            return b"".join(output).decode().strip()

        says.findings = executor.check  # type: ignore[attr-defined]
        return says

    return start


async def test_a_mount_is_shown_read_only_at_its_place_with_what_is_mounted_beneath(
    started: Callable[..., Awaitable[Says]], data: Path
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", data / "inner"], check=True)  # noqa: ASYNC221
    try:
        (data / "inner" / "beneath").write_text("seen")
        (data / "inner").chmod(0o777)
        says = await started(SiteMount(name="data", path=str(data), at=AT))
        assert ["a,b", "seen"] == (await says(f"cat {AT}/x.csv {AT}/inner/beneath")).splitlines()
        for place in (AT, f"{AT}/open", f"{AT}/inner"):
            assert "Read-only file system" in await says(f"touch {place}/new"), place
        assert "No such file" in await says(f"ls {data}")
    finally:
        subprocess.run(["umount", data / "inner"], check=True)  # noqa: ASYNC221


async def test_what_may_be_written_is_written_on_the_host_and_nothing_else(
    started: Callable[..., Awaitable[Says]], data: Path, uid_first: int
) -> None:
    says = await started(SiteMount(name="data", path=str(data), at=AT, writable=True))
    assert "" == await says(f"echo new > {AT}/open/new", content=3)
    assert ("new\n", uid_first + 3) == (
        (data / "open" / "new").read_text(),
        (data / "open" / "new").stat().st_uid,
    )
    assert "Permission denied" in await says(f"touch {AT}/x.csv")  # it is root's
    shutil.copy("/usr/bin/id", data / "set-uid")
    (data / "set-uid").chmod(0o4755)
    assert f"euid={uid_first + 1}" not in await says(f"{AT}/set-uid")  # the same as its uid
    assert f"uid={uid_first + 1}(" in await says(f"{AT}/set-uid")


async def test_each_content_sees_what_is_its_own(
    started: Callable[..., Awaitable[Says]], data: Path
) -> None:
    guid = "0d3b6f3a-6f1c-4c7f-9d0e-2f6a35c1b001"
    says = await started(
        SiteMount(name="one", path=str(data), at=AT, contents=("1", guid)),
        SiteMount(name="two", path=str(data / "inner"), at=AT, contents=("sales",)),
    )
    script = f"ls {AT}"
    everything = ["inner", "open", "x.csv"]
    assert everything == (await says(script, content=1)).split()
    assert everything == (await says(script, content=2, guid=guid)).split()
    assert "" == await says(script, content=3, name="sales")
    assert "" == await says(script, content=4, guid="sales", name=guid)  # a name is no guid
    assert "" == await says(script, content=5, name="1")  # nor a number
    with pytest.raises(SupervisorError, match="both show content 1 something at"):
        await says(script, content=1, name="sales")


async def test_a_file_is_shown_as_a_file_also_in_etc_and_over_one_of_the_hosts(
    started: Callable[..., Awaitable[Says]], data: Path
) -> None:
    file = str(data / "x.csv")
    places = ("/etc/krb5.keytab", "/etc/hosts", "/run/postgresql/config", "/home/u/x.csv")
    says = await started(*(SiteMount(name=at, path=file, at=at) for at in places))
    assert ["a,b"] * 4 == (await says(f"cat {' '.join(places)}")).splitlines()


async def test_what_is_not_there_or_has_no_place_is_left_out_and_doctor_says_so(
    started: Callable[..., Awaitable[Says]], data: Path
) -> None:
    away = data / "away"
    says = await started(
        SiteMount(name="good", path=str(data), at=AT),
        SiteMount(name="away", path=str(away), at="/srv/away"),
        SiteMount(name="no-place", path=str(data), at="/usr/share/none-such"),
        SiteMount(name="closed", path="/root", at="/srv/root"),
    )
    assert "" == await says("ls /srv/away; test -e /usr/share/none-such && echo there")
    found = {f.name: f for f in await says.findings()}  # type: ignore[attr-defined]
    assert found["mount good"].ok
    assert "is not on this machine" in found["mount away"].text
    assert "has no share/none-such" in found["mount no-place"].text
    assert "let no other user" in found["mount closed"].text
    assert all(found[f"mount {name}"].fix for name in ("away", "no-place", "closed"))
    away.mkdir()
    (away / "file").touch()
    assert "file" == await says("ls /srv/away")


async def test_what_is_hidden_stays_hidden_in_a_tree_that_is_shown(
    started: Callable[..., Awaitable[Says]], in_usr: Path
) -> None:
    """Of the seeds: Database.Dir and the configuration are masked wherever they are."""
    says = await started(hidden=[str(in_usr / "db"), str(in_usr / "file")])
    assert ["db", "file"] == (await says(f"ls {in_usr}")).split()
    assert "" == await says(f"ls {in_usr}/db; cat {in_usr}/file")
    assert "" == await says("ls /etc/ssl/private")


async def test_what_has_become_something_else_fails_the_start_with_what_to_do(
    started: Callable[..., Awaitable[Says]], data: Path
) -> None:
    says = await started(SiteMount(name="inner", path=str(data / "inner"), at=AT))
    assert "" == await says(f"ls {AT}")
    (data / "inner").rmdir()
    (data / "inner").symlink_to("/etc")
    with pytest.raises(SupervisorError, match=f"mount {AT}") as caught:
        await says(f"ls {AT}")
    assert "supervisor reload" in caught.value.hint
    (data / "inner").unlink()
    (data / "inner").touch()
    with pytest.raises(SupervisorError, match=f"mount {AT}"):
        await says(f"ls {AT}")
    (data / "inner").unlink()
    (data / "inner").mkdir()
    assert "" == await says(f"ls {AT}")


async def test_without_root_it_is_the_same(
    started: Callable[..., Awaitable[Says]], data: Path, in_usr: Path, caller: int
) -> None:
    says = await started(
        SiteMount(name="data", path=str(data), at=AT),
        SiteMount(name="file", path=str(data / "x.csv"), at="/etc/app.csv"),
        SiteMount(name="open", path=str(data / "open"), at="/srv/open", writable=True),
        hidden=[str(in_usr / "db"), str(in_usr / "file")],
        caller=caller,
    )
    script = (
        f"cat {AT}/x.csv /etc/app.csv; echo new > /srv/open/new; ls {in_usr}/db; cat {in_usr}/file"
    )
    assert ["a,b", "a,b"] == (await says(script, uid=0)).splitlines()
    assert "new\n" == (data / "open" / "new").read_text()
    assert "Read-only file system" in await says(f"touch {AT}/open/more", uid=0)


async def test_a_bindfs_that_shows_files_as_another_user_s_is_shown(
    started: Callable[..., Awaitable[Says]], data: Path, uid_first: int, needs: Any
) -> None:
    needs.program("bindfs")
    (data / "x.csv").chmod(0o600)  # root's alone
    user = str(uid_first + 1)
    view = ["bindfs", "-u", user, "-p", "u+rX", str(data), str(data / "inner")]
    made = subprocess.run(view, capture_output=True, text=True, check=False)  # noqa: ASYNC221
    needs.kernel(made.returncode == 0, f"FUSE, for bindfs: {made.stderr.strip()}")
    try:
        says = await started(
            SiteMount(name="read", path=str(data / "inner"), at=AT, contents=("1",)),
            SiteMount(
                name="write", path=str(data / "inner"), at=AT, writable=True, contents=("2",)
            ),
        )
        assert "a,b" == await says(f"cat {AT}/x.csv")
        assert "Read-only file system" in await says(f"touch {AT}/open/new")
        assert "" == await says(f"echo new > {AT}/open/new", content=2)
    finally:
        subprocess.run(["umount", data / "inner"], check=True)  # noqa: ASYNC221
