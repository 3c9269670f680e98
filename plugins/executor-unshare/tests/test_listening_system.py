"""Where a run listens it can make sockets alone, in tiers that give it no file system for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.linux import landlock
from supervisor_unshare.tiers.choice import LEAST_LANDLOCK

from supervisor import Job, layout

pytestmark = pytest.mark.system

LOOK = """
import os, socket, sys
os.chdir(os.path.dirname(sys.argv[1]))
name = os.path.basename(sys.argv[1])

def tried(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        return type(error).__name__
    return "done"

def listen():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(name)
        sock.listen()

for make in (lambda at: open(at, "w").close(), os.mkdir, os.mkfifo):
    print(tried(make, "more"))
print(tried(os.symlink, "a" * 4000, "more"))
print(listen() or os.chmod(name, 0o660) or os.unlink(name) or listen() or "listened twice")
"""


@pytest.fixture(params=["rootless", "subuid", "landlock"])
def node(
    request: pytest.FixtureRequest,
    new_node: Callable[..., Any],
    new_ranger: Callable[[], Any],
    caller: int,
) -> Any:
    if landlock.version() < LEAST_LANDLOCK:
        pytest.skip("not on this kernel: Landlock")
    if request.param == "subuid":
        return new_ranger()
    return new_node(caller=caller, settings={"tier": request.param})


async def test_content_can_make_nothing_but_sockets_where_it_listens(
    executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    receipt = await executor.start(job("/usr/bin/python3", "-c", LOOK, layout.LISTEN_AT, uid=0))
    said = b"".join([chunk.data async for chunk in executor.output(receipt)])
    assert [*["PermissionError"] * 4, "listened twice"] == said.decode().splitlines()
