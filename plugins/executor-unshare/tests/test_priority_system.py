"""A priority that the server was given is the server's alone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Job

pytestmark = pytest.mark.system

NICE, POLICY = 18, 40  # places in /proc/PID/stat


@pytest.mark.parametrize(
    "given", [("chrt", "--fifo", "1"), ("nice", "--adjustment", "-5")], ids=" ".join
)
async def test_content_has_an_ordinary_priority_whatever_the_server_was_given(
    new_node: Callable[..., Any],
    job: Callable[..., Job],
    nursery: trio.Nursery,
    given: tuple[str, ...],
    needs: Any,
) -> None:
    needs.root()
    tried = subprocess.run([*given, "true"], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    needs.kernel(tried.returncode == 0, tried.stderr)
    node = new_node(within=given)
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    for _ in range(2):  # the second one is made ahead
        receipt = await executor.start(job("/bin/cat", "/proc/self/stat"))
        said = b"".join([chunk.data async for chunk in executor.output(receipt)])
        fields = said.split()
        assert (b"0", b"0") == (fields[NICE], fields[POLICY])
