"""What a run's task asks of its executor until it is done, however often the executor is away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import trio

from supervisor.core.runs.output import Output
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor
from supervisor.log import Log
from supervisor.model import Receipt

START_LIMIT = 60.0  # seconds for the executor to accept a job
CALL_LIMIT = 30.0  # seconds for any other call, beyond the grace that it was given
LEAVE_LIMIT = CALL_LIMIT + 5.0  # seconds to kill what another node has taken over
RECORD_LIMIT = 0.5  # seconds to record an end before the executor may forget the run
AGAIN = 1.0  # seconds until an executor that was away is asked again


async def stop(
    executor: Executor,
    receipt: Receipt,
    grace: float,
    log: Log,
    stuck: Callable[[], None] = lambda: None,
) -> None:
    """End a process and return when it is gone; an executor that is away or hangs is asked again.

    Has no time limit of its own; cancelled, an ending that the executor has begun goes on. stuck is
    called where it goes on for CALL_LIMIT after the grace.
    """
    while True:
        try:
            with trio.fail_after(grace + CALL_LIMIT):
                await executor.stop(receipt, grace)
            return
        except (SupervisorError, trio.TooSlowError) as error:
            log.error("stop-failed", run=receipt.run, error=str(error) or "too slow")
            if isinstance(error, trio.TooSlowError):
                stuck()
        await trio.sleep(AGAIN)


async def read_output(
    executor: Executor,
    receipt: Receipt,
    output: Output,
    heard: Callable[[str, bytes], None] = lambda stream, data: None,
) -> None:
    """Copy what a run writes into its log until the end; `heard` is given the bytes as well.

    While the executor is away it is asked again, from where it was read to.
    """
    if not executor.capabilities.output:
        return
    trouble = ""
    while True:
        try:
            async with aclosing(executor.output(receipt, output.cursor)) as chunks:
                async for chunk in chunks:
                    output.write(chunk.stream, chunk.data)
                    heard(chunk.stream, chunk.data)
                    output.cursor = chunk.cursor
                    trouble = ""
            return
        except SupervisorError as error:
            if error.message != trouble:
                output.say(f"[supervisor] its output cannot be read: {error.message}")
            if not error.recoverable:
                return
            trouble = error.message
        await trio.sleep(AGAIN)
