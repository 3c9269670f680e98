"""A core that is killed: another process starts a run by an executor of its own, then SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Awaitable, Callable

import trio

from supervisor.interfaces import Executor
from supervisor.model import Job, Receipt
from supervisor.testing.house import serving
from supervisor.wire import from_json, to_json


async def start_in_a_core_that_is_killed(
    new_executor: Callable[[], Executor],
    job: Job,
    started: Callable[[Executor, Job], Awaitable[Receipt]],
    *,
    seconds: float,
) -> Receipt:
    """Give the receipt that the other process was given. It is killed once it has told that.

    started: starts the job and waits until it is as it should be. Raises AssertionError where the
    other process says nothing, or what it says is no receipt.
    """
    end, other_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        _be_a_core(new_executor, job, started, other_end)
    os.close(other_end)
    try:
        said = await _all_that_is_said(end, seconds)
    finally:
        os.close(end)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # noqa: ASYNC222 - it ends at once
    assert said.endswith(b"\n"), f"a core in another process failed: {said.decode()}"
    return from_json(Receipt, json.loads(said))


async def _all_that_is_said(end: int, seconds: float) -> bytes:
    said = b""
    with trio.move_on_after(seconds):
        while not said.endswith(b"\n"):
            await trio.lowlevel.wait_readable(end)
            data = os.read(end, 65536)
            if not data:
                break
            said += data
    return said


def _be_a_core(
    new_executor: Callable[[], Executor],
    job: Job,
    started: Callable[[Executor, Job], Awaitable[Receipt]],
    told: int,
) -> None:
    """Never return: what stands above this in the stack belongs to the other process."""

    async def live() -> None:
        async with serving(new_executor()) as executor:
            receipt = await started(executor, job)
            os.write(told, json.dumps(to_json(receipt)).encode() + b"\n")
            await trio.sleep_forever()

    def run() -> None:
        try:
            trio.run(live)
        except BaseException as error:
            os.write(told, repr(error).encode())
        finally:
            os._exit(1)

    try:  # a thread of its own, since this one still stands in the test's loop
        threading.Thread(target=run).start()
        signal.pause()
    finally:
        os._exit(1)
