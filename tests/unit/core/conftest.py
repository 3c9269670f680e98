"""What the core's tests share: a short directory for sockets, and a house on a clock that jumps."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.abc
import trio.testing

from supervisor.testing.executors import ScriptedExecutor
from supervisor.testing.house import House, serving
from supervisor.testing.journal import MemoryJournal


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path is short enough for the name of a socket."""
    path = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def house(short: Path, tmp_path: Path) -> AsyncIterator[House]:
    """A house with an executor that is served. Tests that use it have a clock that jumps."""
    executor = ScriptedExecutor(short)
    async with serving(executor):
        yield House(executor=executor, journal=MemoryJournal(), paths=str(tmp_path))


def _run_jumping(
    test: Callable[..., Awaitable[Any]],
    *,
    clock: trio.abc.Clock | None,
    instruments: Sequence[trio.abc.Instrument],
) -> Any:
    clock = clock or trio.testing.MockClock(autojump_threshold=0)
    return trio.run(test, clock=clock, instruments=instruments)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give whoever lives in a house or a cluster its clock: a fixture cannot.

    The hook is given all tests, also those of other directories.
    """
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and {"house", "cluster"} & set(
            getattr(item, "fixturenames", ())
        ):
            item.add_marker(pytest.mark.trio(run=_run_jumping), append=False)
