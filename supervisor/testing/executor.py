"""ExecutorContract: what every executor promises, as tests. Public: subclass it for your own.

class TestMyExecutor(ExecutorContract):
    scale = 3.0                    # of a slow backend: all its times are so much longer

    @pytest.fixture
    def new_executor(self): ...    # a callable that makes one more instance for the same backend

    @pytest.fixture
    def alive(self): ...           # an async callable: how much of a run the backend still has

    def adapt(self, job, program): # what your jobs need besides: a uid, an image
        return attrs.evolve(job, uid=1000, gid=1000)

What the executor's Capabilities do not claim is skipped by name.
"""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import trio

from supervisor import layout
from supervisor.core.probe import until_ready
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor, Lifetime
from supervisor.layout import PlaceKind, PlaceRef, Role
from supervisor.model import (
    Access,
    Cause,
    ContentId,
    Exit,
    Job,
    Limits,
    Mount,
    Observation,
    Pending,
    Plan,
    Purpose,
    Ready,
    Receipt,
    RunId,
    Running,
    new_run_id,
    place_key,
)
from supervisor.testing import programs
from supervisor.testing.programs import Program
from supervisor.wire import from_json, to_json

NewExecutor = Callable[[], Executor]
Alive = Callable[[RunId], Awaitable[int]]

LONG = 600.0  # seconds that no test waits: what returns earlier did not wait for it


class ExecutorContract:
    """The promises of supervisor.Executor. A subclass gives `new_executor` and `alive`.

    scale: by what all times are multiplied, 1 for a backend that starts a process in milliseconds;
    shell, python: where jobs find them; rule: how to tell that programs.SERVES answers.
    """

    scale: float = 1.0
    shell: str = "/bin/sh"
    python: str = "/usr/bin/python3"
    rule: Ready = Ready()

    @pytest.fixture
    @abstractmethod
    def new_executor(self) -> Any:
        """Give a callable that makes an executor, as a core that starts does: same backend."""

    @pytest.fixture
    @abstractmethod
    def alive(self) -> Any:
        """Give an async callable: how many processes (or the like) the backend has of a run.

        It asks the backend by other means than the executor. The same for one start and for two of
        the same run; 0 once nothing is left.
        """

    @pytest.fixture
    def data_dir(self) -> str | None:
        """Give the directory that places lie in, as this process sees it; None: it sees none."""
        return None

    def adapt(self, job: Job, program: Program) -> Job:
        """Give the job as this executor needs it."""
        return job

    # What tests are made of

    def job(self, program: Program, *, stop_signal: str = "TERM", **fields: Any) -> Job:
        """Make a job that runs a program."""
        mounts: tuple[Mount, ...] = fields.pop("mounts", ())
        plan = Plan(
            argv=program.command(shell=self.shell, python=self.python),
            env={"PATH": "/usr/bin:/bin", "SUPERVISOR_LISTEN": layout.LISTEN_AT},
            workdir="/tmp",
            mounts=mounts,
            ready=self.rule,
            stop_signal=stop_signal,
        )
        given = {
            "run": new_run_id(),
            "content": ContentId(1),
            "purpose": Purpose.SERVE,
            "plan": plan,
            **fields,
        }
        return self.adapt(Job(**given), program)

    def unknown(self, executor: Executor) -> Receipt:
        """Make a receipt of something that never was."""
        return Receipt(run=new_run_id(), executor=executor.name)

    @asynccontextmanager
    async def life(self, new_executor: NewExecutor) -> AsyncIterator[Executor]:
        """Run an executor, as a core does while it lives; afterwards it is as dead as that core."""
        executor = new_executor()
        async with trio.open_nursery() as nursery:
            with trio.fail_after(10 * self.scale):
                await nursery.start(_serve, executor)
            with trio.fail_after(60 * self.scale):
                yield executor
            nursery.cancel_scope.cancel()

    @pytest.fixture
    async def executor(self, new_executor: NewExecutor) -> AsyncIterator[Executor]:
        """Give an executor that is served; what it still holds in the end is stopped."""
        executor = new_executor()
        async with trio.open_nursery() as nursery:
            with trio.fail_after(10 * self.scale):
                await nursery.start(_serve, executor)
            with trio.fail_after(60 * self.scale):
                yield executor
                for receipt in await executor.list():
                    await executor.stop(receipt, 0.0)
            nursery.cancel_scope.cancel()

    async def started(self, executor: Executor, job: Job) -> Receipt:
        """Start a job and wait until its program says `ready`."""
        receipt = await executor.start(job)
        if not executor.capabilities.output:
            await trio.sleep(self.scale)
            return receipt
        seen = b""
        async with aclosing(executor.output(receipt)) as chunks:
            async for chunk in chunks:
                seen += chunk.data
                if b"ready" in seen.splitlines():
                    return receipt
        raise AssertionError(f"it ended before it was ready: {seen!r}")

    async def gone(self, executor: Executor, receipt: Receipt) -> None:
        """Wait until the executor does not list a run any more."""
        with trio.fail_after(20 * self.scale):
            while receipt.run in {held.run for held in await executor.list()}:  # noqa: ASYNC110
                await trio.sleep(0.02 * self.scale)

    # Starting

    async def test_the_same_job_twice_is_one_process_and_one_receipt(
        self, executor: Executor, alive: Alive
    ) -> None:
        job = self.job(programs.SLEEPS)
        receipts: list[Receipt] = []

        async def start() -> None:
            receipts.append(await executor.start(job))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(start)
        await until_running(executor, receipts[0])
        once = await alive(job.run)
        assert once > 0
        assert receipts[0] == await executor.start(job)
        assert receipts[:1] * 3 == receipts
        assert once == await alive(job.run)
        assert [receipts[0]] == [held for held in await executor.list() if held.run == job.run]

    async def test_a_receipt_is_json_and_names_the_run_and_the_executor(
        self, executor: Executor
    ) -> None:
        job = self.job(programs.SLEEPS)
        receipt = await executor.start(job)
        assert (job.run, executor.name) == (receipt.run, executor.name)
        again = from_json(Receipt, json.loads(json.dumps(to_json(receipt))))
        assert receipt == again
        await executor.stop(again, 0.0)
        assert Cause.STOPPED is (await until_exit(executor, again)).cause

    @pytest.mark.parametrize("turns", [0, 1, 3, 10])
    async def test_a_start_that_is_cancelled_leaves_nothing_or_a_stray_that_can_be_stopped(
        self, executor: Executor, alive: Alive, turns: int
    ) -> None:
        job = self.job(programs.SLEEPS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.start, job)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        for _ in range(5):  # what was asked for may come to be a moment later
            for receipt in await executor.list():
                await executor.stop(receipt, 0.0)
            await trio.sleep(0.1 * self.scale)
        assert 0 == await alive(job.run)

    async def test_a_program_that_is_not_there_fails_with_a_reason_and_leaves_nothing(
        self, executor: Executor, alive: Alive
    ) -> None:
        job = self.job(programs.MISSING)
        try:
            receipt = await executor.start(job)
        except SupervisorError:
            assert [] == [held for held in await executor.list() if held.run == job.run]
        else:
            ended = await until_exit(executor, receipt)
            assert Cause.FAILED is ended.cause
            assert ended.detail or ended.code
            await executor.stop(receipt, 0.0)
        assert 0 == await alive(job.run)

    # Watching

    async def test_the_first_observation_comes_at_once_and_running_before_exit(
        self, executor: Executor
    ) -> None:
        receipt = await executor.start(self.job(programs.SLEEPS))
        seen: list[Observation] = []
        with trio.fail_after(self.scale) as at_once:
            async with aclosing(executor.watch(receipt)) as observations:
                async for news in observations:
                    at_once.deadline = float("inf")
                    seen.append(news)
                    if isinstance(news, Running):
                        await executor.stop(receipt, 0.0)
        kinds = [type(news) for news in seen]
        assert Exit is kinds[-1]
        assert 1 == kinds.count(Exit)
        assert Running in kinds
        assert Pending not in kinds[kinds.index(Running) :]

    async def test_a_process_that_serves_is_reached_by_the_endpoint_of_running(
        self, executor: Executor
    ) -> None:
        receipt = await executor.start(self.job(programs.SERVES))
        await self.reach(executor, receipt)

    async def reach(self, executor: Executor, receipt: Receipt) -> None:
        """Get an answer from programs.SERVES."""
        running = await until_running(executor, receipt)
        assert running.endpoint is not None
        with trio.fail_after(20 * self.scale):
            await until_ready(running.endpoint, self.rule, lambda trouble: None)

    async def test_watching_may_end_and_begin_again(self, executor: Executor) -> None:
        receipt = await executor.start(self.job(programs.SLEEPS))
        first = await until_running(executor, receipt)
        with trio.move_on_after(0.2 * self.scale) as scope:
            await until_exit(executor, receipt)
        assert scope.cancelled_caught
        assert first == await until_running(executor, receipt)

    async def test_something_unknown_is_lost_and_stops_at_once(self, executor: Executor) -> None:
        unknown = self.unknown(executor)
        with trio.fail_after(3 * self.scale):
            assert Cause.LOST is (await until_exit(executor, unknown)).cause
            await executor.stop(unknown, LONG)

    # Ends

    @pytest.mark.parametrize(("status", "cause"), [(0, Cause.FINISHED), (7, Cause.FAILED)])
    async def test_an_exit_status_is_told_as_it_was(
        self, executor: Executor, alive: Alive, status: int, cause: Cause
    ) -> None:
        receipt = await executor.start(self.job(programs.ends(status)))
        ended = await until_exit(executor, receipt)
        assert (status, None, cause) == (ended.code, ended.signal, ended.cause)
        assert 0 == await alive(receipt.run)

    @pytest.mark.parametrize("number", [9, 11])
    async def test_the_signal_that_ended_a_process_is_told(
        self, executor: Executor, number: int
    ) -> None:
        receipt = await executor.start(self.job(programs.killed_by(number)))
        ended = await until_exit(executor, receipt)
        assert (None, number, Cause.FAILED) == (ended.code, ended.signal, ended.cause)

    async def test_what_a_process_left_running_ends_with_it(
        self, executor: Executor, alive: Alive
    ) -> None:
        receipt = await executor.start(self.job(programs.LEAVES_OTHERS))
        assert 3 == (await until_exit(executor, receipt)).code
        assert 0 == await alive(receipt.run)

    async def test_nothing_writes_after_the_exit(
        self, executor: Executor, data_dir: str | None
    ) -> None:
        if not executor.capabilities.shared_files or data_dir is None:
            pytest.skip("not claimed: files shared with the test")
        at = layout.at(Role.STATE)
        mount = Mount(role=Role.STATE, access=Access.WRITE, at=at)
        place = PlaceRef(kind=PlaceKind.STATE, ids=(1,))
        program = programs.beats(f"{at}/beats")
        job = self.job(program, mounts=(mount,), places={place_key(mount): place})
        receipt = await self.started(executor, job)
        await trio.sleep(0.2 * self.scale)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.stop, receipt, 0.0)
            await until_exit(executor, receipt)
            path = os.path.join(data_dir, *layout.components(place), "beats")
            size = os.stat(path).st_size
        assert size > 0
        await trio.sleep(0.3 * self.scale)
        assert size == os.stat(path).st_size

    # Stopping

    async def test_a_process_that_obeys_ends_within_its_grace_as_it_wants(
        self, executor: Executor, alive: Alive
    ) -> None:
        program = programs.tidies_up("TERM", 0.3 * self.scale)
        receipt = await self.started(executor, self.job(program))
        with trio.fail_after(20 * self.scale):
            await executor.stop(receipt, LONG)
        assert 0 == await alive(receipt.run)
        ended = await until_exit(executor, receipt)
        assert (7, Cause.STOPPED) == (ended.code, ended.cause)

    async def test_the_signal_of_the_plan_asks_a_process_to_end(self, executor: Executor) -> None:
        program = programs.tidies_up("INT", 0.0)
        receipt = await self.started(executor, self.job(program, stop_signal="INT"))
        with trio.fail_after(20 * self.scale):
            await executor.stop(receipt, LONG)
        ended = await until_exit(executor, receipt)
        assert (7, Cause.STOPPED) == (ended.code, ended.cause)

    async def test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace(
        self, executor: Executor, alive: Alive
    ) -> None:
        receipt = await self.started(executor, self.job(programs.STUBBORN))
        grace, begun = 1.0 * self.scale, trio.current_time()
        await executor.stop(receipt, grace)
        took = trio.current_time() - begun
        assert grace * 0.9 <= took <= grace + 10 * self.scale
        assert 0 == await alive(receipt.run)
        ended = await until_exit(executor, receipt)
        assert (None, Cause.STOPPED) == (ended.code, ended.cause)

    async def test_stopping_twice_at_once_and_again_is_stopping_once(
        self, executor: Executor
    ) -> None:
        receipt = await self.started(executor, self.job(programs.SLEEPS))
        with trio.fail_after(20 * self.scale):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(executor.stop, receipt, 0.0)
                nursery.start_soon(executor.stop, receipt, 0.0)
            await executor.stop(receipt, LONG)
        assert Cause.STOPPED is (await until_exit(executor, receipt)).cause
        with trio.fail_after(3 * self.scale):
            await executor.stop(receipt, LONG)

    async def test_what_is_still_starting_can_be_stopped(
        self, executor: Executor, alive: Alive
    ) -> None:
        receipt = await executor.start(self.job(programs.SLEEPS))
        await executor.stop(receipt, 0.0)
        assert 0 == await alive(receipt.run)
        assert Cause.STOPPED is (await until_exit(executor, receipt)).cause

    async def test_an_ending_goes_on_without_whoever_asked_for_it(
        self, executor: Executor, alive: Alive
    ) -> None:
        receipt = await self.started(executor, self.job(programs.STUBBORN))
        with trio.move_on_after(0.3 * self.scale) as scope:
            await executor.stop(receipt, 0.6 * self.scale)
        assert scope.cancelled_caught
        with trio.fail_after(20 * self.scale):
            assert Cause.STOPPED is (await until_exit(executor, receipt)).cause
        assert 0 == await alive(receipt.run)

    # What is held

    async def test_the_list_shows_what_is_held_and_nothing_that_has_gone(
        self, executor: Executor
    ) -> None:
        one = await executor.start(self.job(programs.SLEEPS))
        two = await executor.start(self.job(programs.SLEEPS))
        held = {receipt.run: receipt for receipt in await executor.list()}
        assert {one.run: one, two.run: two} == held
        await executor.stop(one, 0.0)
        await until_exit(executor, one)
        await self.gone(executor, one)
        assert [two] == [*await executor.list()]

    # Output

    async def test_output_comes_in_order_and_by_stream(self, executor: Executor) -> None:
        self._needs_output(executor)
        receipt = await executor.start(self.job(programs.PRINTS))
        seen, _ = await read(executor, receipt)
        assert programs.printed() == by_stream(executor, seen)
        assert 0 == (await until_exit(executor, receipt)).code

    async def test_output_resumed_by_its_cursor_loses_and_doubles_nothing(
        self, executor: Executor
    ) -> None:
        self._needs_output(executor)
        receipt = await executor.start(self.job(programs.PRINTS))
        seen, cursor = {"stdout": b"", "stderr": b""}, ""
        for chunks in (1, 2, 3, None):
            part, cursor = await read(executor, receipt, cursor, chunks)
            for stream, data in part.items():
                seen[stream] += data
        assert programs.printed() == by_stream(executor, seen)

    async def test_last_words_are_read_after_the_end_by_the_next_core(
        self, new_executor: NewExecutor
    ) -> None:
        async with self.life(new_executor) as first:
            self._needs_output(first)
            self._needs_life_of_its_own(first)
            receipt = await first.start(self.job(programs.says("last-words", status=4)))
        await trio.sleep(0.2 * self.scale)
        async with self.life(new_executor) as second:
            ended = await first_exit(second, receipt)
            seen, _ = await read(second, receipt)
            assert (4, b"last-words\n") == (ended.code, seen["stdout"])

    # The core dies

    async def test_a_run_outlives_the_core_and_is_adopted_by_the_next(
        self, new_executor: NewExecutor, alive: Alive
    ) -> None:
        async with self.life(new_executor) as first:
            self._needs_life_of_its_own(first)
            receipt = await self.started(first, self.job(programs.SERVES))
            await until_running(first, receipt)
            there = await alive(receipt.run)
        assert there == await alive(receipt.run)
        async with self.life(new_executor) as second:
            assert [receipt] == [held for held in await second.list() if held.run == receipt.run]
            await self.reach(second, receipt)
            assert receipt == await second.start(self.job(programs.SERVES, run=receipt.run))
            assert there == await alive(receipt.run)
            await second.stop(receipt, 0.0)
            assert Cause.STOPPED is (await until_exit(second, receipt)).cause
        assert 0 == await alive(receipt.run)

    # Usage and limits

    async def test_usage_is_told_of_the_living(self, executor: Executor) -> None:
        if not executor.capabilities.usage:
            pytest.skip("not claimed: usage")
        receipt = await self.started(executor, self.job(programs.SLEEPS))
        with trio.fail_after(20 * self.scale):
            while receipt.run not in (used := await executor.usage([receipt.run])):  # noqa: ASYNC110
                await trio.sleep(0.2 * self.scale)
        assert used[receipt.run].memory > 0
        assert used[receipt.run].processes > 0
        await executor.stop(receipt, 0.0)
        assert {} == dict(await executor.usage([receipt.run]))

    async def test_memory_beyond_the_limit_ends_the_process_with_that_cause(
        self, executor: Executor, alive: Alive
    ) -> None:
        self._needs_limit(executor, "memory_max")
        job = self.job(programs.takes_memory(400 << 20), limits=Limits(memory_max=96 << 20))
        ended = await until_exit(executor, await executor.start(job))
        assert Cause.MEMORY is ended.cause
        assert 0 == await alive(job.run)

    async def test_a_fork_bomb_stops_at_its_limit(self, executor: Executor) -> None:
        self._needs_limit(executor, "pids")
        self._needs_output(executor)
        receipt = await executor.start(self.job(programs.FORKS, limits=Limits(pids=20)))
        seen, _ = await read(executor, receipt)
        assert 10 <= int(seen["stdout"]) < 20

    async def test_open_files_are_limited(self, executor: Executor) -> None:
        self._needs_limit(executor, "files")
        self._needs_output(executor)
        receipt = await executor.start(self.job(programs.OPENS_FILES, limits=Limits(files=99)))
        assert b"99\n" == (await read(executor, receipt))[0]["stdout"]

    async def test_a_run_that_takes_too_long_is_ended_with_that_cause(
        self, executor: Executor, alive: Alive
    ) -> None:
        self._needs_limit(executor, "run_time")
        limits = Limits(run_time=max(1.0, self.scale))
        receipt = await executor.start(self.job(programs.SLEEPS, limits=limits))
        assert Cause.TOO_LONG is (await until_exit(executor, receipt)).cause
        assert 0 == await alive(receipt.run)

    async def test_the_temporary_directory_has_its_size(self, executor: Executor) -> None:
        self._needs_limit(executor, "tmp")
        program = programs.fills("/tmp/file", 40 << 20)
        receipt = await executor.start(self.job(program, limits=Limits(tmp=8 << 20)))
        ended = await until_exit(executor, receipt)
        assert ended.cause in (Cause.LIMIT, Cause.FAILED)
        assert 0 != ended.code

    def _needs_output(self, executor: Executor) -> None:
        if not executor.capabilities.output:
            pytest.skip("not claimed: output")

    def _needs_life_of_its_own(self, executor: Executor) -> None:
        if executor.capabilities.lifetime is Lifetime.CORE:
            pytest.skip("not claimed: a life beyond the core")

    def _needs_limit(self, executor: Executor, name: str) -> None:
        if name not in executor.capabilities.limits:
            pytest.skip(f"not claimed: the limit {name}, here")


async def until_running(executor: Executor, receipt: Receipt) -> Running:
    """Watch until a run is running."""
    async with aclosing(executor.watch(receipt)) as observations:
        async for seen in observations:
            if isinstance(seen, Running):
                return seen
            assert isinstance(seen, Pending), seen
    raise AssertionError("watch ended before it ran")


async def until_exit(executor: Executor, receipt: Receipt) -> Exit:
    """Watch a run to its end, and the generator to its own: the executor may forget it then."""
    seen: Observation | None = None
    async with aclosing(executor.watch(receipt)) as observations:
        async for news in observations:
            seen = news
    assert isinstance(seen, Exit), f"watch ended with {seen!r}"
    return seen


async def first_exit(executor: Executor, receipt: Receipt) -> Exit:
    """Watch a run to its end and leave the generator there: it is not to be forgotten yet."""
    async with aclosing(executor.watch(receipt)) as observations:
        async for seen in observations:
            if isinstance(seen, Exit):
                return seen
    raise AssertionError("watch ended without an exit")


async def read(
    executor: Executor, receipt: Receipt, cursor: str = "", most: int | None = None
) -> tuple[dict[str, bytes], str]:
    """Read output to its end, or `most` chunks; give it by stream, and the cursor after it."""
    seen, count = {"stdout": b"", "stderr": b""}, 0
    async with aclosing(executor.output(receipt, cursor)) as chunks:
        async for chunk in chunks:
            seen[chunk.stream] += chunk.data
            cursor, count = chunk.cursor, count + 1
            if count == most:
                break
    return seen, cursor


def by_stream(executor: Executor, seen: dict[str, bytes]) -> dict[str, bytes]:
    """Tell apart what programs.PRINTS wrote, for an executor that cannot."""
    if executor.capabilities.streams:
        return seen
    assert b"" == seen["stderr"]
    apart = {"stdout": b"", "stderr": b""}
    for line in seen["stdout"].splitlines(keepends=True):
        apart["stderr" if line.startswith(b"to stderr: ") else "stdout"] += line
    return apart


async def _serve(executor: Executor, *, task_status: trio.TaskStatus[None]) -> None:
    await executor.serve(task_status=task_status)
