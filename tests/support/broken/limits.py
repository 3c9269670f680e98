"""One fault each, in usage and limits: each docstring names the tests that fail."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import attrs
import trio

from supervisor import (
    Cause,
    Exit,
    Job,
    RunId,
    Usage,
)
from tests.support.machine import Process
from tests.support.memory_executor import Backend, Held, MemoryExecutor


class UsageOfTheGone(MemoryExecutor):
    """Usage has runs that are gone.

    test_usage_is_told_of_the_living
    """

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        await trio.lowlevel.checkpoint()
        return {run: Usage(cpu=1.0, memory=1, processes=1) for run in runs}


class HoldsTheLoop(MemoryExecutor):
    """Usage waits for something without letting others run.

    test_no_call_holds_the_loop
    """

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        time.sleep(0.3)  # noqa: ASYNC251
        return await super().usage(runs)


class UsageOfAll(MemoryExecutor):
    """Usage has runs that nobody asked for.

    test_usage_is_told_of_the_living
    """

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        return await super().usage([*runs, *self.backend.runs])


class UsageOfNothing(MemoryExecutor):
    """Usage is claimed and always empty.

    test_usage_is_told_of_the_living
    """

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        await trio.lowlevel.checkpoint()
        return {}


class _WithoutLimits(Backend):
    names: tuple[str, ...] = ()

    def begin(self, job: Job) -> Held:
        limits = attrs.evolve(job.limits, **dict.fromkeys(self.names))
        return super().begin(attrs.evolve(job, limits=limits))


class _WithoutMemory(_WithoutLimits):
    names = ("memory_max",)


class _WithoutPids(_WithoutLimits):
    names = ("pids",)


class _WithoutFiles(_WithoutLimits):
    names = ("files",)


class _WithoutTmp(_WithoutLimits):
    names = ("tmp",)


class _WithoutRunTime(_WithoutLimits):
    names = ("run_time",)


class MemoryIsNotLimited(MemoryExecutor):
    """The limit of memory is claimed and not enforced.

    test_memory_beyond_the_limit_ends_the_process_with_that_cause
    """

    backend_type = _WithoutMemory


class ProcessesAreNotLimited(MemoryExecutor):
    """The limit of processes is claimed and not enforced.

    test_a_fork_bomb_stops_at_its_limit
    """

    backend_type = _WithoutPids


class FilesAreNotLimited(MemoryExecutor):
    """The limit of open files is claimed and not enforced.

    test_open_files_are_limited
    """

    backend_type = _WithoutFiles


class TemporaryFilesAreNotLimited(MemoryExecutor):
    """The limit of the temporary directory is claimed and not enforced.

    test_the_temporary_directory_has_its_size
    """

    backend_type = _WithoutTmp


class TimeIsNotLimited(MemoryExecutor):
    """The limit of the run time is claimed and not enforced.

    test_a_run_that_takes_too_long_is_ended_with_that_cause
    """

    backend_type = _WithoutRunTime


class _BlamesTheProcess(Backend):
    def how(self, held: Held, leader: Process, *, too_long: bool) -> Exit:
        exit_ = super().how(held, leader, too_long=too_long)
        own = (Cause.MEMORY, Cause.TOO_LONG)
        return attrs.evolve(exit_, cause=Cause.FAILED) if exit_.cause in own else exit_


class LimitsAreToldAsFailures(MemoryExecutor):
    """A limit ends the run, and Exit says that it failed by itself.

    test_a_run_that_takes_too_long_is_ended_with_that_cause
    test_memory_beyond_the_limit_ends_the_process_with_that_cause
    """

    backend_type = _BlamesTheProcess
