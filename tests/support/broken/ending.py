"""One fault each, in how runs end: each docstring names the tests that fail."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import attrs
import trio

from supervisor import (
    Cause,
    Exit,
    Observation,
    Receipt,
)
from tests.support.machine import KILL, Process
from tests.support.memory_executor import Backend, Held, MemoryExecutor


class EveryEndIsGood(MemoryExecutor):
    """Every Exit says finished, status 0.

    test_a_process_that_obeys_ends_within_its_grace_as_it_wants
    test_a_program_that_is_not_there_fails_with_a_reason_and_leaves_nothing
    test_a_receipt_is_json_and_names_the_run_and_the_executor
    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_a_run_that_takes_too_long_is_ended_with_that_cause
    test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace
    test_an_ending_goes_on_without_whoever_asked_for_it
    test_an_exit_status_is_told_as_it_was
    test_last_words_are_read_after_the_end_by_the_next_core
    test_memory_beyond_the_limit_ends_the_process_with_that_cause
    test_something_unknown_is_lost_and_stops_at_once
    test_stopping_twice_at_once_and_again_is_stopping_once
    test_the_numbers_of_another_run_are_not_taken_for_those_of_its_own
    test_the_signal_of_the_plan_asks_a_process_to_end
    test_the_signal_that_ended_a_process_is_told
    test_the_temporary_directory_has_its_size
    test_what_a_process_left_running_ends_with_it
    test_what_is_still_starting_can_be_stopped
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        async for seen in super().watch(receipt):
            yield Exit(code=0, cause=Cause.FINISHED) if isinstance(seen, Exit) else seen


class _TellsSignalsAsAShell(Backend):
    def end(self, held: Held, exit_: Exit) -> None:
        if exit_.signal is not None:
            exit_ = attrs.evolve(exit_, code=128 + exit_.signal, signal=None)
        super().end(held, exit_)


class SignalsAsStatuses(MemoryExecutor):
    """A signal is told as an exit status, as a shell does: 137 for 9.

    test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace
    test_the_signal_that_ended_a_process_is_told
    """

    backend_type = _TellsSignalsAsAShell


class _ForgetsOrders(Backend):
    def how(self, held: Held, leader: Process, *, too_long: bool) -> Exit:
        held.ordered = False
        return super().how(held, leader, too_long=too_long)


class StoppedIsFailed(MemoryExecutor):
    """What was stopped is told as if it had ended by itself.

    test_a_process_that_obeys_ends_within_its_grace_as_it_wants
    test_a_receipt_is_json_and_names_the_run_and_the_executor
    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace
    test_an_ending_goes_on_without_whoever_asked_for_it
    test_stopping_twice_at_once_and_again_is_stopping_once
    test_the_signal_of_the_plan_asks_a_process_to_end
    test_what_is_still_starting_can_be_stopped
    """

    backend_type = _ForgetsOrders


class _LeavesTheRest(Backend):
    async def collect(self, held: Held) -> None:
        await trio.lowlevel.checkpoint()


class LeavesTheTree(MemoryExecutor):
    """Only the first process of a run is ended; what it has started stays.

    test_a_run_that_takes_too_long_is_ended_with_that_cause
    test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace
    test_an_ending_goes_on_without_whoever_asked_for_it
    test_nothing_writes_after_the_exit
    test_what_a_process_left_running_ends_with_it
    """

    backend_type = _LeavesTheRest

    async def stop(self, receipt: Receipt, grace: float) -> None:
        held = self.held(receipt)
        if held is not None and held.leader is not None:
            held.leader.ignores -= {KILL}
            self.backend.machine.soon(self._kill, held.leader, grace)
        await super().stop(receipt, grace)

    async def _kill(self, leader: Process, grace: float) -> None:
        await trio.sleep(grace)
        leader.signal(KILL)


class _CollectsLater(Backend):
    async def collect(self, held: Held) -> None:
        self.machine.soon(self._later, held)
        await trio.lowlevel.checkpoint()

    async def _later(self, held: Held) -> None:
        if held.leader is not None:
            held.leader.signal(KILL)
        await trio.sleep(0.2)
        await super().collect(held)


class ToldTooEarly(MemoryExecutor):
    """Exit is told when the first process has ended; the others end, and write, a moment later.

    test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace
    test_an_ending_goes_on_without_whoever_asked_for_it
    test_nothing_writes_after_the_exit
    test_what_a_process_left_running_ends_with_it
    """

    backend_type = _CollectsLater
