"""One fault each, in start and list: each docstring names the tests that fail."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import attrs
import trio

from supervisor import (
    Exit,
    Finding,
    InnerEndpoint,
    Job,
    Receipt,
    RunId,
    SupervisorError,
    new_run_id,
)
from supervisor.testing import programs
from tests.support.memory_executor import Backend, Held, MemoryExecutor


class StartsTwice(MemoryExecutor):
    """A second start of a run starts a second process.

    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_the_same_job_twice_is_one_process_and_one_receipt
    """

    async def start(self, job: Job) -> Receipt:
        receipt = await super().start(job)
        held = self.backend.runs[job.run]
        if held.leader is not None:
            self.backend.spawn(held)
        return receipt


class AnotherReceipt(MemoryExecutor):
    """A second start of a run gives another receipt.

    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_the_list_shows_what_is_held_and_nothing_that_has_gone
    test_the_same_job_twice_is_one_process_and_one_receipt
    """

    count = 0

    async def start(self, job: Job) -> Receipt:
        self.count += 1
        return attrs.evolve(await super().start(job), data={"number": self.count})


class ReceiptIsNoJson(MemoryExecutor):
    """A receipt holds an object of this process, which no store can keep.

    test_a_receipt_is_json_and_names_the_run_and_the_executor
    """

    def receipt(self, held: Held) -> Receipt:
        return attrs.evolve(super().receipt(held), data={"held": held})


class KnowsReceiptsByIdentity(MemoryExecutor):
    """Only the very object that start gave is known, not an equal one read from a store.

    test_a_receipt_is_json_and_names_the_run_and_the_executor
    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_last_words_are_read_after_the_end_by_the_next_core
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.given: dict[int, Receipt] = {}

    def receipt(self, held: Held) -> Receipt:
        receipt = super().receipt(held)
        self.given[id(receipt)] = receipt
        return receipt

    def held(self, receipt: Receipt) -> Held | None:
        return super().held(receipt) if id(receipt) in self.given else None


class NamesRunsItself(MemoryExecutor):
    """A receipt names another run than the job does.

    test_a_receipt_is_json_and_names_the_run_and_the_executor
    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_the_list_shows_what_is_held_and_nothing_that_has_gone
    test_the_numbers_of_another_run_are_not_taken_for_those_of_its_own
    test_the_same_job_twice_is_one_process_and_one_receipt
    test_usage_is_told_of_the_living
    """

    def receipt(self, held: Held) -> Receipt:
        receipt = super().receipt(held)
        return attrs.evolve(receipt, run=new_run_id(), data={"run": held.job.run})

    def held(self, receipt: Receipt) -> Held | None:
        return self.backend.runs.get(RunId(str(receipt.data.get("run"))))


class LosesCancelledStarts(MemoryExecutor):
    """A start that is cancelled leaves a process, which the list does not show.

    test_a_start_that_is_cancelled_leaves_nothing_or_a_stray_that_can_be_stopped
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.hidden: set[RunId] = set()

    async def start(self, job: Job) -> Receipt:
        try:
            receipt = await super().start(job)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self.hidden.add(job.run)
            raise
        return receipt

    async def list(self) -> Sequence[Receipt]:
        return [held for held in await super().list() if held.run not in self.hidden]


class StartIsNotCancelled(MemoryExecutor):
    """A start that is cancelled takes its time all the same.

    test_a_start_that_is_cancelled_leaves_nothing_or_a_stray_that_can_be_stopped
    """

    async def start(self, job: Job) -> Receipt:
        receipt = await super().start(job)
        with trio.CancelScope(shield=True):
            await trio.sleep(22)
        return receipt


class MissingProgramIsItsOwnError(MemoryExecutor):
    """A program that is not there is an error of the executor's own making.

    test_a_program_that_is_not_there_fails_with_a_reason_and_leaves_nothing
    """

    async def start(self, job: Job) -> Receipt:
        if job.plan.argv == programs.MISSING.argv:
            raise FileNotFoundError(job.plan.argv[0])
        return await super().start(job)


class _EndsWithoutReason(Backend):
    def end(self, held: Held, exit_: Exit) -> None:
        if held.leader is None:
            exit_ = Exit(cause=exit_.cause)
        super().end(held, exit_)


class MissingProgramHasNoReason(MemoryExecutor):
    """A program that is not there fails without a word of what is missing.

    test_a_program_that_is_not_there_fails_with_a_reason_and_leaves_nothing
    """

    backend_type = _EndsWithoutReason


class ListsNothing(MemoryExecutor):
    """The list is empty.

    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_a_start_that_is_cancelled_leaves_nothing_or_a_stray_that_can_be_stopped
    test_the_list_shows_what_is_held_and_nothing_that_has_gone
    test_the_same_job_twice_is_one_process_and_one_receipt
    """

    async def list(self) -> Sequence[Receipt]:
        return []


class ListsOnlyItsOwn(MemoryExecutor):
    """The list has only what this instance has started; what the last core left is forgotten.

    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.mine: set[RunId] = set()

    async def start(self, job: Job) -> Receipt:
        self.mine.add(job.run)
        return await super().start(job)

    async def list(self) -> Sequence[Receipt]:
        return [receipt for receipt in await super().list() if receipt.run in self.mine]


class ListsTheGone(MemoryExecutor):
    """The list never forgets.

    test_the_list_shows_what_is_held_and_nothing_that_has_gone
    """

    def forget(self, held: Held) -> None:
        """Keep it."""


class ListsOtherReceipts(MemoryExecutor):
    """The receipts of the list are not those that start gave.

    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_the_list_shows_what_is_held_and_nothing_that_has_gone
    test_the_same_job_twice_is_one_process_and_one_receipt
    """

    async def list(self) -> Sequence[Receipt]:
        return [attrs.evolve(receipt, data={}) for receipt in await super().list()]


class DoctorFails(MemoryExecutor):
    """check() gives texts instead of findings.

    test_doctor_is_told_findings
    """

    async def check(self) -> Sequence[Finding]:
        return ["all is well"]  # type: ignore[list-item]


class KnowsOneNetwork(MemoryExecutor):
    """A port leads to the first process that asked for it, gone or not.

    test_two_processes_on_the_same_port_are_both_reached
    """

    async def connect(self, endpoint: InnerEndpoint) -> socket.socket:
        held = next(iter(self.backend.runs))
        if held != endpoint.run:
            raise SupervisorError("unavailable", f"{endpoint.port} is another's")
        return await super().connect(endpoint)
