"""One fault each, in watch: each docstring names the tests that fail."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import attrs
import trio

from supervisor import (
    Cause,
    Exit,
    InnerEndpoint,
    Observation,
    Pending,
    Receipt,
    RunId,
    Running,
    UnixEndpoint,
)
from supervisor.model import Endpoint
from tests.support.memory_executor import Backend, Held, MemoryExecutor


class LateWatch(MemoryExecutor):
    """The first observation of a watch takes its time.

    test_the_first_observation_comes_at_once_and_running_before_exit
    test_watching_may_end_and_begin_again
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        await trio.sleep(1.5)
        async for seen in super().watch(receipt):
            yield seen


class TellsOnlyChanges(MemoryExecutor):
    """Watch tells what changes and not how things stand: whoever comes later waits.

    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_watching_may_end_and_begin_again
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        held = self.held(receipt)
        if held is not None and held.leader is not None:
            await held.gone.wait()
        async for seen in super().watch(receipt):
            yield seen


class NeverRuns(MemoryExecutor):
    """Watch goes from Pending to Exit without Running.

    test_a_generator_holds_no_scope_open_while_it_yields
    test_a_process_that_serves_is_reached_by_the_endpoint_of_running
    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_no_call_holds_the_loop
    test_the_first_observation_comes_at_once_and_running_before_exit
    test_the_same_job_twice_is_one_process_and_one_receipt
    test_two_processes_on_the_same_port_are_both_reached
    test_watching_may_end_and_begin_again
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        async for seen in super().watch(receipt):
            if not isinstance(seen, Running):
                yield seen


class SwallowsCancellation(MemoryExecutor):
    """A watch that is cancelled goes on until the run ends.

    test_watching_may_end_and_begin_again
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        held = self.held(receipt)
        async for seen in super().watch(receipt):
            yield seen
            if isinstance(seen, Running) and held is not None:
                with trio.CancelScope(shield=True):
                    await held.gone.wait()


class HoldsAScope(MemoryExecutor):
    """Watch yields from within a cancel scope of its own.

    test_a_generator_holds_no_scope_open_while_it_yields
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        with trio.fail_after(1000):
            async for seen in super().watch(receipt):
                yield seen


class TellsExitTwice(MemoryExecutor):
    """Watch gives Exit, and once more.

    test_the_first_observation_comes_at_once_and_running_before_exit
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        async for seen in super().watch(receipt):
            yield seen
            if isinstance(seen, Exit):
                yield seen


class ChangesItsMind(MemoryExecutor):
    """The Exit that a later watch gives is another one.

    test_everybody_who_watches_is_told_the_same_exit
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.told: set[RunId] = set()

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        async for seen in super().watch(receipt):
            if isinstance(seen, Exit):
                again = receipt.run in self.told
                self.told.add(receipt.run)
                yield Exit(cause=Cause.LOST) if again else seen
            else:
                yield seen


class ForgetsAtOnce(MemoryExecutor):
    """A run is forgotten as soon as it ends, before anybody was told.

    test_a_process_that_obeys_ends_within_its_grace_as_it_wants
    test_a_receipt_is_json_and_names_the_run_and_the_executor
    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace
    test_everybody_who_watches_is_told_the_same_exit
    test_last_words_are_read_after_the_end_by_the_next_core
    test_output_comes_in_order_and_by_stream
    test_stopping_twice_at_once_and_again_is_stopping_once
    test_the_signal_of_the_plan_asks_a_process_to_end
    test_what_is_still_starting_can_be_stopped
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        backend.end = self._end  # type: ignore[method-assign]

    def _end(self, held: Held, exit_: Exit) -> None:
        Backend.end(self.backend, held, exit_)
        self.forget(held)


class GoesBack(MemoryExecutor):
    """After Running, watch gives Pending again.

    test_the_first_observation_comes_at_once_and_running_before_exit
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        async for seen in super().watch(receipt):
            yield seen
            if isinstance(seen, Running):
                yield Pending(reason="it has not answered")


class LosesSight(MemoryExecutor):
    """Watch ends after Running, without an Exit.

    test_a_run_that_takes_too_long_is_ended_with_that_cause
    test_an_ending_goes_on_without_whoever_asked_for_it
    test_an_exit_status_is_told_as_it_was
    test_everybody_who_watches_is_told_the_same_exit
    test_memory_beyond_the_limit_ends_the_process_with_that_cause
    test_nothing_writes_after_the_exit
    test_the_first_observation_comes_at_once_and_running_before_exit
    test_the_signal_that_ended_a_process_is_told
    test_the_temporary_directory_has_its_size
    test_watching_may_end_and_begin_again
    test_what_a_process_left_running_ends_with_it
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        async for seen in super().watch(receipt):
            yield seen
            if isinstance(seen, Running):
                return


class UnknownIsAnError(MemoryExecutor):
    """Watching something unknown raises KeyError.

    test_something_unknown_is_lost_and_stops_at_once
    test_the_numbers_of_another_run_are_not_taken_for_those_of_its_own
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        if self.held(receipt) is None:
            raise KeyError(receipt.run)
        async for seen in super().watch(receipt):
            yield seen


class UnknownIsPending(MemoryExecutor):
    """Of something unknown, watch waits for it to come.

    test_something_unknown_is_lost_and_stops_at_once
    test_the_numbers_of_another_run_are_not_taken_for_those_of_its_own
    """

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        if self.held(receipt) is None:
            yield Pending(reason="not found yet")
            await trio.sleep_forever()
        async for seen in super().watch(receipt):
            yield seen


class GoesByThePid(MemoryExecutor):
    """A run is found by the pid in its receipt, which is another run's by now.

    test_the_list_shows_what_is_held_and_nothing_that_has_gone
    test_the_numbers_of_another_run_are_not_taken_for_those_of_its_own
    """

    def receipt(self, held: Held) -> Receipt:
        return attrs.evolve(super().receipt(held), data={"pid": self._pid(held)})

    def held(self, receipt: Receipt) -> Held | None:
        for held in self.backend.runs.values():
            if self._pid(held) == receipt.data.get("pid"):
                return held
        return None

    def _pid(self, held: Held) -> int:
        return 1000 + list(self.backend.runs).index(held.job.run)


class RunningIsNowhere(MemoryExecutor):
    """Running names no endpoint.

    test_a_process_that_serves_is_reached_by_the_endpoint_of_running
    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_two_processes_on_the_same_port_are_both_reached
    """

    def endpoint(self, held: Held) -> Endpoint | None:
        return None


class RunningIsElsewhere(MemoryExecutor):
    """Running names an endpoint where nobody listens.

    test_a_process_that_serves_is_reached_by_the_endpoint_of_running
    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_two_processes_on_the_same_port_are_both_reached
    """

    def endpoint(self, held: Held) -> Endpoint | None:
        right = super().endpoint(held)
        if isinstance(right, UnixEndpoint):
            return attrs.evolve(right, name="other.sock")
        assert isinstance(right, InnerEndpoint)
        return attrs.evolve(right, port=right.port + 1)
