"""A receipt means one process of one boot: a pid that another has now is nobody's proof of life."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Cause, Exit, Job

pytestmark = pytest.mark.system

Node = Any

# In a pid namespace of its own the next pid can be chosen.
SAME_PID = """
import json, os, time
from supervisor_unshare.helper.runs import start_ticks
def child():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
    return pid
first = child()
facts = [(first, start_ticks(first))]
os.kill(first, 9); os.waitpid(first, 0)
time.sleep(0.03)  # three ticks of the clock in which starts are counted
with open("/proc/sys/kernel/ns_last_pid", "w") as file:
    file.write(str(first - 1))
second = child()
facts.append((second, start_ticks(second)))
os.kill(second, 9); os.waitpid(second, 0)
print(json.dumps(facts))
"""


@pytest.mark.parametrize(
    ("fact", "value"),
    [("boot", "6d2f9d4e-0000-4000-8000-000000000000"), ("started", 1), ("pid", 1)],
    ids=["the machine was started again", "the pid is another's now", "the pid is another"],
)
async def test_a_receipt_of_another_process_is_lost_and_nothing_is_stopped(
    node: Node,
    executor: UnshareExecutor,
    shell_job: Callable[..., Job],
    fact: str,
    value: object,
) -> None:
    alive = await executor.start(shell_job("exec sleep 600"))
    before = node.processes()
    stale = attrs.evolve(alive, data={**alive.data, fact: value})
    seen = [seen async for seen in executor.watch(stale)]
    assert [Cause.LOST] == [exit.cause for exit in seen if isinstance(exit, Exit)]
    await executor.stop(stale, 0)
    assert before == node.processes()
    await executor.stop(alive, 0)


def test_two_processes_with_one_pid_are_told_apart_by_when_they_started(needs: Any) -> None:
    needs.root()
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", SAME_PID]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    (first, began), (second, began_later) = json.loads(done.stdout)
    assert first == second
    assert began < began_later
