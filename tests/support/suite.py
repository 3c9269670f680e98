"""Run a contract outside pytest, at the speed of a mock clock, and tell which of its tests fail."""

from __future__ import annotations

import inspect
import itertools
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from supervisor import Job, Runtime
from supervisor.testing import ExecutorContract, MadeBundle, Program, RuntimeContract
from supervisor.testing.executor.core_flows import CoreFlows
from tests.support.machine import Machine
from tests.support.memory_executor import MemoryExecutor

Parameters = dict[str, Any]


def every_test(contract: type) -> dict[str, Callable[..., Any]]:
    """Give the tests of a contract by name, but those in a core: its gateway knows real time."""
    return {
        name: test
        for name, test in inspect.getmembers(contract, inspect.isfunction)
        if name.startswith("test_") and not hasattr(CoreFlows, name)
    }


def at_once(contract: type) -> set[str]:
    """Give the tests of a contract that need no loop."""
    every = every_test(contract)
    return {name for name, test in every.items() if not inspect.iscoroutinefunction(test)}


def parameters(test: Callable[..., Any]) -> Iterator[Parameters]:
    """Yield what pytest.mark.parametrize gives a test, {} once where it has none."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    every = []
    for mark in marks:
        names, values = mark.args
        names = names.split(",") if isinstance(names, str) else names
        rows = [value if len(names) > 1 else (value,) for value in values]
        every.append([dict(zip(names, row, strict=True)) for row in rows])
    for chosen in itertools.product(*every):
        yield {name: value for one in chosen for name, value in one.items()}


def named_in(kind: type) -> set[str]:
    """Give the tests that a broken class says, in its docstring, it fails."""
    return set(re.findall(r"\btest_\w+", inspect.getdoc(kind) or ""))


class MemoryContract(ExecutorContract):
    """The contract on the machine in memory, whose programs are known by their runs."""

    in_memory = True
    machine: Machine

    def adapt(self, job: Job, program: Program) -> Job:
        self.machine.programs[job.run] = program
        return job


class _ByHand(MemoryContract):
    """Its fixtures are given by hand."""

    new_executor = alive = None  # type: ignore[assignment]


def failures(kind: type[MemoryExecutor]) -> dict[str, str]:
    """Give the tests of ExecutorContract that an executor fails, each with how."""
    failed: dict[str, str] = {}
    for name, test in every_test(MemoryContract).items():
        for given in parameters(test):
            try:
                clock = trio.testing.MockClock(autojump_threshold=0)
                trio.run(_one, kind, name, given, clock=clock)
            except BaseException as error:
                leaf = _leaf(error)
                if isinstance(leaf, KeyboardInterrupt):
                    raise
                if not isinstance(leaf, pytest.skip.Exception):
                    failed.setdefault(name, f"{type(leaf).__name__}: {leaf}")
    return failed


async def _one(kind: type[MemoryExecutor], name: str, given: Parameters) -> None:
    directory = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))
    try:
        async with Machine(directory).powered() as machine:
            backend = kind.backend_type(machine)
            contract = _ByHand()
            contract.machine = machine
            fixtures: Parameters = {
                "new_executor": lambda: kind(backend),
                "alive": machine.alive,
                "data_dir": str(machine.data_dir),
                **given,
            }
            test = getattr(contract, name)
            wanted = inspect.signature(test).parameters
            if "executor" in wanted:
                async with contract.life(fixtures["new_executor"]) as executor:
                    fixtures["executor"] = executor
                    await test(**{name: fixtures[name] for name in wanted})
            else:
                await test(**{name: fixtures[name] for name in wanted})
    finally:
        shutil.rmtree(directory)


def _leaf(error: BaseException) -> BaseException:
    """Give the first error of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class ToyContract(RuntimeContract):
    """The contract of runtimes, for the toy's language."""

    bundles = (
        MadeBundle(files={"app.toy": "library(toys)", "data.csv": "a,b", "a.R": "1"}),
        MadeBundle(files={"app.toy": ""}, manifest={"metadata": {"appmode": "toy"}}),
    )


def runtime_failures(kind: type[Runtime]) -> dict[str, str]:
    """Give the tests of RuntimeContract that a runtime fails, each with how."""
    failed: dict[str, str] = {}
    for name in at_once(RuntimeContract):
        with tempfile.TemporaryDirectory() as path, pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("HOME", path)
            tmp_path = Path(path, "tmp")
            tmp_path.mkdir()
            fixtures = {"runtime": kind(), "monkeypatch": monkeypatch, "tmp_path": tmp_path}
            test = getattr(_ToyByHand(), name)
            try:
                test(**{name: fixtures[name] for name in inspect.signature(test).parameters})
            except pytest.skip.Exception:
                continue
            except (Exception, pytest.fail.Exception) as error:
                failed[name] = f"{type(error).__name__}: {error}"
    return failed


class _ToyByHand(ToyContract):
    runtime = None  # type: ignore[assignment]
