"""A content that runs as an account of this machine: its files stay the content's own on disk."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import (
    Access,
    Cause,
    Exit,
    Job,
    Mount,
    PlaceKind,
    PlaceRef,
    Purpose,
    Role,
    SupervisorError,
    accounts,
    layout,
)

pytestmark = pytest.mark.system

Jobs = Callable[..., Job]
Node = Any
ACCOUNT = "www-data"  # Debian has it everywhere
SOURCE = PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(5, 1))
SELF = """
import grp, json, os, pwd
found = os.stat("before")
open("after", "w").close()
made = os.stat("after")
who = pwd.getpwuid(os.getuid())
print(json.dumps({
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
    "name": who.pw_name, "group": grp.getgrgid(os.getgid()).gr_name,
    "before": [found.st_uid, found.st_gid], "after": [made.st_uid, made.st_gid],
    "scratch": os.stat("/tmp").st_uid,
}))
"""


def as_account(job: Job, name: str = ACCOUNT) -> Job:
    account = accounts.named(name)
    assert account is not None
    return attrs.evolve(job, uid=account.uid, gid=account.gid, groups=account.groups)


@pytest.fixture
async def allowing(new_node: Callable[..., Node], nursery: trio.Nursery) -> Any:
    """A node where members of the account's own group may be given to a content."""
    node = new_node(settings={"run_as_group": ACCOUNT})
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    return node, executor


async def test_a_process_has_the_accounts_ids_and_sees_the_contents_files_as_its_own(
    allowing: Any, job: Jobs, uid_first: int
) -> None:
    node, executor = allowing
    at = layout.at(Role.SOURCE)
    await executor.prepare(SOURCE, 5, uid_first + 5)
    source = os.path.join(node.data_dir, *layout.components(SOURCE))
    with open(f"{source}/before", "w"):  # noqa: ASYNC230
        os.chown(f"{source}/before", uid_first + 5, uid_first + 5)
    mount = Mount(role=Role.SOURCE, access=Access.WRITE, at=at)
    fields = {"content": 5, "workdir": at, "mounts": [mount], "places": {"source/": SOURCE}}
    receipt = await executor.start(as_account(job("/usr/bin/python3", "-c", SELF, **fields)))
    output = b"".join([chunk.data async for chunk in executor.output(receipt)])
    async for seen in executor.watch(receipt):
        if isinstance(seen, Exit):
            assert Cause.FINISHED is seen.cause, output.decode()
    entry = pwd.getpwnam(ACCOUNT)
    own = [entry.pw_uid, entry.pw_gid]
    assert {
        "uid": [entry.pw_uid] * 3, "gid": [entry.pw_gid] * 3, "groups": [entry.pw_gid],
        "name": ACCOUNT, "group": ACCOUNT,
        "before": own, "after": own, "scratch": entry.pw_uid,
    } == json.loads(output)  # fmt: skip
    after = os.stat(f"{source}/after")
    assert [uid_first + 5] * 2 == [after.st_uid, after.st_gid]


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("root", {}, "root"),
        ("games", {}, "not a member"),
        (ACCOUNT, {"groups": (0,)}, "not those of"),
        (ACCOUNT, {"gid": 4}, "not those of"),
        (ACCOUNT, {"purpose": Purpose.UNPACK}, "outside"),
    ],
)
async def test_what_the_administrator_does_not_allow_is_refused_by_the_helper_itself(
    allowing: Any, job: Jobs, name: str, fields: dict[str, Any], why: str
) -> None:
    _, executor = allowing
    asked = attrs.evolve(as_account(job("/bin/true"), name), **fields)
    with pytest.raises(SupervisorError, match=why):
        await executor.start(asked)


async def test_without_a_group_in_the_settings_no_account_is_allowed(
    executor: UnshareExecutor, job: Jobs
) -> None:
    with pytest.raises(SupervisorError, match="SharedRunAsUnixGroup"):
        await executor.start(as_account(job("/bin/true")))
