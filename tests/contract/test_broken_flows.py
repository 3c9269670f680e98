"""The flows in a real core pass with what is whole, and refuse what is broken. In real time."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from supervisor import Plan, PlanContext, Purpose, RunId
from supervisor.testing import RuntimeContract, TinyRuntime, tiny_bundle
from supervisor.testing.executor import CoreFlows
from tests.support.broken.output import DiesWithItsCore, KnowsOnlyWhatItStarted
from tests.support.broken.starting import ListsNothing
from tests.support.broken.watching import LosesSight, NeverRuns, RunningIsElsewhere
from tests.support.machine import Machine
from tests.support.memory_executor import MemoryExecutor
from tests.support.process_executor import ProcessExecutor, TiedToItsCore
from tests.support.suite import MemoryContract

DEPLOYED = "test_a_bundle_is_deployed_reached_by_visitors_and_deployed_anew"
KEPT = "test_visitors_keep_their_process_when_the_core_is_killed"
KILLED = "test_a_run_outlives_a_core_that_is_killed"


class Short(MemoryContract):
    """Fails soon; its fixtures are given by hand."""

    scale = 0.05
    new_executor = alive = None  # type: ignore[assignment]


@asynccontextmanager
async def fixtures(kind: type[MemoryExecutor], path: Path) -> AsyncIterator[dict[str, Any]]:
    async with Machine(path).powered() as machine:
        Short.machine = machine
        backend = kind.backend_type(machine)
        yield {
            "new_executor": lambda: kind(backend),
            "alive": machine.alive,
            "data_dir": str(machine.data_dir),
        }


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (NeverRuns, DEPLOYED),
        (RunningIsElsewhere, DEPLOYED),
        (LosesSight, KEPT),
        (ListsNothing, KEPT),
        (DiesWithItsCore, KEPT),
        (KnowsOnlyWhatItStarted, KEPT),
    ],
)
async def test_a_flow_in_a_core_refuses_what_is_broken(
    short_path: Path, kind: type[MemoryExecutor], test: str
) -> None:
    async with fixtures(kind, short_path) as given:
        with pytest.raises(BaseExceptionGroup) as caught:
            await getattr(Short(), test)(**given)
        assert caught.value.subgroup(pytest.skip.Exception) is None


class TestProcessExecutor(CoreFlows):
    """Plain processes, with a real SIGKILL for the core that started them."""

    @pytest.fixture
    def new_executor(self, short_path: Path) -> Any:
        return lambda: ProcessExecutor(short_path)

    @pytest.fixture
    def alive(self, short_path: Path) -> Any:
        async def alive(run: RunId) -> int:
            return int(ProcessExecutor(short_path).pid(run) is not None)

        return alive


async def test_a_process_that_is_tied_to_its_core_is_refused(short_path: Path) -> None:
    async def alive(run: RunId) -> int:
        return int(TiedToItsCore(short_path).pid(run) is not None)

    contract = TestProcessExecutor()
    with pytest.raises(AssertionError):
        await contract.test_a_run_outlives_a_core_that_is_killed(
            lambda: TiedToItsCore(short_path), alive
        )


class Serves(RuntimeContract):
    """The flow of a runtime, with an interpreter that every machine has."""

    patience = 1.0
    runtime = None  # type: ignore[assignment]


class Served(TinyRuntime):
    """A runtime of an author; the server has one of that language too, which comes later."""

    name = "served"


class EndsAtOnce(Served):
    """Its program is not the one that serves."""

    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        return attrs.evolve(super().plan(purpose, context), argv=("/bin/false",))


async def test_a_runtime_whose_app_does_not_answer_is_refused() -> None:
    flow = Serves().test_a_bundle_is_deployed_and_answers_a_visitor
    with pytest.raises(BaseExceptionGroup, match="nursery") as caught:
        await flow(EndsAtOnce(), tiny_bundle("hello"))
    assert caught.value.subgroup(AssertionError) is not None


async def test_a_runtime_whose_app_answers_passes() -> None:
    contract = Serves()
    contract.patience = 30.0
    await contract.test_a_bundle_is_deployed_and_answers_a_visitor(Served(), tiny_bundle("hello"))


def test_every_flow_is_here() -> None:
    flows = {name for name, _ in inspect.getmembers(CoreFlows) if name.startswith("test_")}
    assert {DEPLOYED, KEPT, KILLED} == flows
