"""Scenarios: single situations that a process may bring about, one at a time."""

from __future__ import annotations

import os

import pytest
import trio

from supervisor import layout
from supervisor.interfaces import Executor
from supervisor.layout import PlaceKind, PlaceRef, Role
from supervisor.model import Access, Cause, Limits, Mount, place_key
from supervisor.network import Egress
from supervisor.testing import programs
from supervisor.testing.executor.harness import Alive, Harness
from supervisor.testing.executor.seen import by_stream, first_difference, read, until_exit


class Scenarios(Harness):
    """Ends, output, usage and limits."""

    async def test_a_process_that_serves_is_reached_by_the_endpoint_of_running(
        self, executor: Executor
    ) -> None:
        """What listens on SUPERVISOR_LISTEN answers at the endpoint that Running names."""
        receipt = await executor.start(self.job(programs.SERVES))
        await self.reach(executor, receipt)

    async def test_two_processes_on_the_same_port_are_both_reached(
        self, executor: Executor
    ) -> None:
        """A plan that names a port has one of its own, which Executor.connect leads to."""
        self.needs(executor, "content on a port")
        for _ in range(2):
            job = self.job(programs.SERVES_A_PORT, port=8000, egress=Egress.NONE)
            await self.reach(executor, await executor.start(job))

    # Ends

    @pytest.mark.parametrize(("status", "cause"), [(0, Cause.FINISHED), (7, Cause.FAILED)])
    async def test_an_exit_status_is_told_as_it_was(
        self, executor: Executor, alive: Alive, status: int, cause: Cause
    ) -> None:
        """Status 0 is finished, any other failed; nothing is left when Exit is told."""
        receipt = await executor.start(self.job(programs.ends(status)))
        ended = await until_exit(executor, receipt)
        assert (status, None, cause) == (ended.code, ended.signal, ended.cause)
        assert 0 == await alive(receipt.run)

    @pytest.mark.parametrize("number", [9, 11])
    async def test_the_signal_that_ended_a_process_is_told(
        self, executor: Executor, number: int
    ) -> None:
        """A signal that nobody sent on our behalf is told by its number, as failed."""
        receipt = await executor.start(self.job(programs.killed_by(number)))
        ended = await until_exit(executor, receipt)
        assert (None, number, Cause.FAILED) == (ended.code, ended.signal, ended.cause)

    async def test_what_a_process_left_running_ends_with_it(
        self, executor: Executor, alive: Alive
    ) -> None:
        """When the first process ends, what it started in sessions of their own ends too."""
        receipt = await executor.start(self.job(programs.LEAVES_OTHERS))
        assert 3 == (await until_exit(executor, receipt)).code
        assert 0 == await alive(receipt.run)

    async def test_nothing_writes_after_the_exit(
        self, executor: Executor, data_dir: str | None
    ) -> None:
        """Once Exit was told, a file that the run wrote all the time grows no more."""
        self.needs(executor, "files shared with this node")
        if data_dir is None:
            pytest.skip("not claimed: a data_dir that this test sees")
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

    # Output

    async def test_output_comes_in_order_and_by_stream(self, executor: Executor) -> None:
        """All that a process writes is read, in order within each stream."""
        self.needs(executor, "output")
        receipt = await executor.start(self.job(programs.PRINTS))
        seen, _ = await read(executor, receipt)
        assert "" == first_difference(programs.printed(), by_stream(executor, seen))
        assert 0 == (await until_exit(executor, receipt)).code

    async def test_output_resumed_by_its_cursor_loses_and_doubles_nothing(
        self, executor: Executor
    ) -> None:
        """A reader that leaves after any chunk and comes back with its cursor misses no byte."""
        self.needs(executor, "output")
        receipt = await executor.start(self.job(programs.PRINTS))
        seen, cursor = {"stdout": b"", "stderr": b""}, ""
        for chunks in (1, 2, 3, None):
            part, cursor = await read(executor, receipt, cursor, chunks)
            for stream, data in part.items():
                seen[stream] += data
        assert "" == first_difference(programs.printed(), by_stream(executor, seen))

    # Usage and limits

    async def test_usage_is_told_of_the_living(self, executor: Executor) -> None:
        """Usage has the runs that it was asked for and that live, and no others."""
        self.needs(executor, "usage")
        other = await self.started(executor, self.job(programs.SLEEPS))
        receipt = await self.started(executor, self.job(programs.SLEEPS))
        with trio.fail_after(20 * self.scale):
            while receipt.run not in (used := await executor.usage([receipt.run])):  # noqa: ASYNC110
                await trio.sleep(0.2 * self.scale)
        assert {receipt.run} == set(used)
        assert used[receipt.run].memory > 0
        assert used[receipt.run].processes > 0
        await executor.stop(receipt, 0.0)
        assert {other.run} >= set(await executor.usage([receipt.run, other.run]))

    async def test_memory_beyond_the_limit_ends_the_process_with_that_cause(
        self, executor: Executor, alive: Alive
    ) -> None:
        """A process that takes four times its memory_max ends, and Exit says memory."""
        self.needs(executor, "the limit memory_max")
        job = self.job(programs.takes_memory(400 << 20), limits=Limits(memory_max=96 << 20))
        with trio.fail_after(40 * self.scale):
            ended = await until_exit(executor, await executor.start(job))
        assert Cause.MEMORY is ended.cause
        assert 0 == await alive(job.run)

    async def test_a_fork_bomb_stops_at_its_limit(self, executor: Executor) -> None:
        """A process that forks without end has no more than `pids` processes."""
        self.needs(executor, "the limit pids", "output")
        receipt = await executor.start(self.job(programs.FORKS, limits=Limits(pids=20)))
        seen, _ = await read(executor, receipt)
        assert 10 <= int(seen["stdout"]) < 20

    async def test_open_files_are_limited(self, executor: Executor) -> None:
        """The process finds its limit of open files as it was given."""
        self.needs(executor, "the limit files", "output")
        receipt = await executor.start(self.job(programs.OPENS_FILES, limits=Limits(files=99)))
        assert b"99\n" == (await read(executor, receipt))[0]["stdout"]

    async def test_a_run_that_takes_too_long_is_ended_with_that_cause(
        self, executor: Executor, alive: Alive
    ) -> None:
        """After run_time seconds the whole run is ended, and Exit says too-long."""
        self.needs(executor, "the limit run_time")
        limits = Limits(run_time=max(1.0, self.scale))
        receipt = await executor.start(self.job(programs.SLEEPS, limits=limits))
        with trio.fail_after(40 * self.scale):
            assert Cause.TOO_LONG is (await until_exit(executor, receipt)).cause
        assert 0 == await alive(receipt.run)

    async def test_the_temporary_directory_has_its_size(self, executor: Executor) -> None:
        """Writing five times the limit `tmp` to /tmp fails, or ends the run."""
        self.needs(executor, "the limit tmp")
        program = programs.fills("/tmp/file", 40 << 20)
        receipt = await executor.start(self.job(program, limits=Limits(tmp=8 << 20)))
        ended = await until_exit(executor, receipt)
        assert ended.cause in (Cause.LIMIT, Cause.FAILED)
        assert 0 != ended.code
