"""One fault each, in stop: each docstring names the tests that fail."""

from __future__ import annotations

import trio

from supervisor import (
    Receipt,
    RunId,
    SupervisorError,
)
from tests.support.machine import SIGNALS
from tests.support.memory_executor import Backend, Held, MemoryExecutor


class ReturnsTooEarly(MemoryExecutor):
    """Stop orders the end and does not wait for it.

    test_a_process_that_obeys_ends_within_its_grace_as_it_wants
    test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace
    test_an_ending_goes_on_without_whoever_asked_for_it
    test_usage_is_told_of_the_living
    """

    async def stop(self, receipt: Receipt, grace: float) -> None:
        self.backend.machine.soon(super().stop, receipt, grace)
        await trio.lowlevel.checkpoint()


class GivesNoGrace(MemoryExecutor):
    """Stop kills at once.

    test_a_process_that_obeys_ends_within_its_grace_as_it_wants
    test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace
    test_an_ending_goes_on_without_whoever_asked_for_it
    test_the_signal_of_the_plan_asks_a_process_to_end
    """

    async def stop(self, receipt: Receipt, grace: float) -> None:
        await super().stop(receipt, 0.0)


class WaitsOutTheGrace(MemoryExecutor):
    """Stop waits for all of the grace, though the process has ended long before.

    test_a_process_that_obeys_ends_within_its_grace_as_it_wants
    test_something_unknown_is_lost_and_stops_at_once
    test_stopping_twice_at_once_and_again_is_stopping_once
    test_the_signal_of_the_plan_asks_a_process_to_end
    """

    async def stop(self, receipt: Receipt, grace: float) -> None:
        await super().stop(receipt, grace)
        await trio.sleep(grace)


class _OnlyAsks(Backend):
    async def stop(self, held: Held, grace: float) -> None:
        await super().stop(held, float("inf"))


class NeverKills(MemoryExecutor):
    """Stop asks, and waits for ever where that does not help.

    test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace
    test_an_ending_goes_on_without_whoever_asked_for_it
    test_nothing_writes_after_the_exit
    """

    backend_type = _OnlyAsks


class _AlwaysTerminates(Backend):
    def stop_signal(self, held: Held) -> int:
        return SIGNALS["TERM"]


class AsksByItsOwnSignal(MemoryExecutor):
    """Stop sends TERM, whatever the plan says.

    test_the_signal_of_the_plan_asks_a_process_to_end
    """

    backend_type = _AlwaysTerminates


class StopEndsWithItsCaller(MemoryExecutor):
    """A stop that is cancelled has asked, and nobody kills after the grace.

    test_an_ending_goes_on_without_whoever_asked_for_it
    """

    async def stop(self, receipt: Receipt, grace: float) -> None:
        held = self.held(receipt)
        if held is not None and held.exit is None:
            await self.backend.stop(held, grace)
            await held.gone.wait()


class StopIsNotCancelled(MemoryExecutor):
    """A stop that is cancelled waits for the end all the same.

    test_an_ending_goes_on_without_whoever_asked_for_it
    """

    async def stop(self, receipt: Receipt, grace: float) -> None:
        with trio.CancelScope(shield=True):
            await super().stop(receipt, grace)


class StopsOnlyOnce(MemoryExecutor):
    """A second stop of a run is an error.

    test_a_start_that_is_cancelled_leaves_nothing_or_a_stray_that_can_be_stopped
    test_stopping_twice_at_once_and_again_is_stopping_once
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.stopped: set[RunId] = set()

    async def stop(self, receipt: Receipt, grace: float) -> None:
        if receipt.run in self.stopped:
            raise SupervisorError("conflict", "it is being stopped already")
        self.stopped.add(receipt.run)
        await super().stop(receipt, grace)


class StopsOnlyTheRunning(MemoryExecutor):
    """What has no process yet is not stopped: it starts after all.

    test_a_receipt_is_json_and_names_the_run_and_the_executor
    test_the_list_shows_what_is_held_and_nothing_that_has_gone
    test_what_is_still_starting_can_be_stopped
    """

    async def stop(self, receipt: Receipt, grace: float) -> None:
        held = self.held(receipt)
        if held is not None and held.leader is not None:
            await super().stop(receipt, grace)
