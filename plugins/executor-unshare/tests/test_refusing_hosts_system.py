"""Hosts that refuse one system call: there is another way to the same sandbox."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Access, Exit, Job, Mount, PlaceKind, PlaceRef, Role, layout

pytestmark = pytest.mark.system
REFUSING = Path(__file__).parents[3] / "tests" / "support" / "refusing.py"
AT = layout.at(Role.SOURCE)
SCRIPT = f"""
    echo app > {AT}/made && cat {AT}/made; grep -c content /etc/passwd
    cut -d " " -f 2 /proc/1/mounts | grep -v "^/etc" | sort | uniq | tr "\\n" " "; echo
    ls -d /srv /root; cd ../../../../../../../..; ls -d srv; umount /usr
"""


@pytest.mark.parametrize("rules", [("pivot_root", "openat2=ENOSYS"), ("openat2=ENOSYS",), ("bpf",)])
@pytest.mark.parametrize("tier", ["root", "rootless"])
async def test_the_sandbox_is_the_same_where_openat2_and_pivot_root_are_refused(
    tier: str,
    rules: tuple[str, ...],
    new_node: Callable[..., Any],
    job: Callable[..., Job],
    caller: int,
    nursery: trio.Nursery,
) -> None:
    within = (sys.executable, str(REFUSING), *rules, "--")
    if tier == "rootless":
        within += ("setpriv", f"--reuid={caller}", f"--regid={caller}", "--clear-groups")
    node = new_node(caller=caller if tier == "rootless" else None, within=within)
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    uid = 0 if tier == "rootless" else None
    asked = job(
        "/bin/sh", "-c", SCRIPT, uid=uid,
        mounts=[Mount(role=Role.SOURCE, access=Access.WRITE, at=AT)],
        places={"source/": PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(1, 1))},
    )  # fmt: skip
    with trio.fail_after(30):
        receipt = await executor.start(asked)
        output = b"".join([chunk.data async for chunk in executor.output(receipt)]).decode()
        *_, end = [seen async for seen in executor.watch(receipt)]
    assert isinstance(end, Exit)
    app, users, mounts, *refusals = output.splitlines()
    assert ("app", "1") == (app, users)
    assert {"/", "/dev", "/proc", "/usr", AT} <= set(mounts.split())
    assert "/root" not in mounts.split()
    assert 3 == sum("No such file" in line and "ls:" in line for line in refusals), output
    assert "umount" in refusals[-1]
    moved = [one for one in await executor.check() if one.name == "new root"]
    assert bool(moved) == ("pivot_root" in rules)
    assert [] == node.leftovers()
