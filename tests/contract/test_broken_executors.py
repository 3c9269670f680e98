"""The contract is held by what it refuses: each broken executor fails the test that is named."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from supervisor.interfaces import OutputChunk
from supervisor.model import Cause, Exit, Job, Observation, Receipt, RunId
from supervisor.testing.executor import ExecutorContract
from supervisor.testing.executors import Behaviour, ScriptedExecutor
from supervisor.testing.house import serving

OUTPUT = tuple(("stdout", f"ready\n{number}\n".encode()) for number in range(9))


class Doubles(ScriptedExecutor):
    """A second start gives another receipt."""

    async def start(self, job: Job) -> Receipt:
        receipt = await super().start(job)
        return attrs.evolve(receipt, data={"number": self.count("start")})


class Late(ScriptedExecutor):
    """The first observation takes its time."""

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        await trio.sleep(1.5)
        async for seen in super().watch(receipt):
            yield seen


class Liar(ScriptedExecutor):
    """Every end was a good one."""

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        async for seen in super().watch(receipt):
            yield Exit(code=0, cause=Cause.FINISHED) if isinstance(seen, Exit) else seen


class Hasty(ScriptedExecutor):
    """Stopping does not wait until the process is gone."""

    async def stop(self, receipt: Receipt, grace: float) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(super().stop, receipt, grace)


class Brutal(ScriptedExecutor):
    """Stopping gives no grace."""

    async def stop(self, receipt: Receipt, grace: float) -> None:
        await super().stop(receipt, 0.0)


class Forgetful(ScriptedExecutor):
    """The list is always empty."""

    async def list(self) -> Sequence[Receipt]:
        return []


class Stammerer(ScriptedExecutor):
    """Output that is read on begins with what was read last."""

    last: OutputChunk | None = None

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        if self.last is not None:
            yield self.last
        async for chunk in super().output(receipt, cursor):
            self.last = chunk
            yield chunk


class Baffled(ScriptedExecutor):
    """Something unknown is an error."""

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        if receipt.run not in self.runs:
            raise KeyError(receipt.run)
        async for seen in super().watch(receipt):
            yield seen


class Contract(ExecutorContract):
    scale = 0.5
    new_executor = alive = None  # type: ignore[assignment]  # tests are called by hand


BEHAVES = {
    "test_an_exit_status_is_told_as_it_was": Behaviour(
        lives=0.0, end=Exit(code=7, cause=Cause.FAILED)
    ),
    "test_output_resumed_by_its_cursor_loses_and_doubles_nothing": Behaviour(
        lives=0.0, output=OUTPUT
    ),
}
BROKEN: list[tuple[type[ScriptedExecutor], str, dict[str, Any]]] = [
    (Doubles, "test_the_same_job_twice_is_one_process_and_one_receipt", {}),
    (Late, "test_the_first_observation_comes_at_once_and_running_before_exit", {}),
    (Liar, "test_an_exit_status_is_told_as_it_was", {"status": 7, "cause": Cause.FAILED}),
    (Hasty, "test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace", {}),
    (Brutal, "test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace", {}),
    (Forgetful, "test_the_list_shows_what_is_held_and_nothing_that_has_gone", {}),
    (Stammerer, "test_output_resumed_by_its_cursor_loses_and_doubles_nothing", {}),
    (Baffled, "test_something_unknown_is_lost_and_stops_at_once", {}),
]


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("kind", "test", "given"), BROKEN, ids=[kind.__name__ for kind, *_ in BROKEN]
)
async def test_a_broken_executor_is_refused_by_the_test_of_its_fault(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[ScriptedExecutor],
    test: str,
    given: dict[str, Any],
) -> None:
    monkeypatch.setattr("supervisor.testing.programs.printed", _printed)
    usual = Behaviour(output=OUTPUT, obeys=None)
    assert await _outcome(directory, ScriptedExecutor, test, given, BEHAVES.get(test, usual))
    assert not await _outcome(directory, kind, test, given, BEHAVES.get(test, usual))


async def _outcome(
    directory: Path,
    kind: type[ScriptedExecutor],
    test: str,
    given: dict[str, Any],
    behaves: Behaviour,
) -> bool:
    """Tell whether an executor passes a test of the contract."""
    executor = kind(directory, behaves)
    fixtures: dict[str, Any] = {"executor": executor, "alive": _alive(executor)}
    method = getattr(Contract(), test)
    wanted = {name: fixtures[name] for name in fixtures if name in method.__annotations__}
    try:
        with trio.fail_after(10):
            async with serving(executor):
                await method(**wanted, **given)
    except BaseExceptionGroup as group:
        if group.subgroup((AssertionError, trio.TooSlowError, KeyError)) is None:
            raise
        return False
    except (AssertionError, trio.TooSlowError, KeyError):
        return False
    return True


def _alive(executor: ScriptedExecutor) -> Any:
    async def alive(run: RunId) -> int:
        return sum(run == living.job.run for living in executor.living)

    return alive


def _printed() -> dict[str, bytes]:
    return {"stdout": b"".join(data for _, data in OUTPUT), "stderr": b""}
