"""Sweeps and backups do not get in each other's way."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import attrs
import pytest
import trio
import trio.testing

from supervisor.core.retention import Going, Retention
from supervisor.core.scheduling.registry import Registry
from supervisor.core.storage.claims import Claims
from supervisor.core.storage.disk import Disk
from supervisor.core.upkeep.backup import Backup
from supervisor.core.upkeep.sweep import Sweep
from supervisor.core.upkeep.upkeep import Upkeep
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change
from supervisor.log import Log
from supervisor.model import Content, ContentId, DeploymentId, Guid
from supervisor.testing.executors import ScriptedExecutor
from supervisor.testing.house import House as CoreHouse
from supervisor.testing.house import a_content, a_deployment
from supervisor.testing.journal import MemoryJournal


@attrs.define(eq=False)
class TwoPieces:
    """A backup of two pieces; between them it waits for `go`."""

    go: trio.Event = attrs.field(factory=trio.Event)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        yield b"one"
        await self.go.wait()
        yield b"two"


@attrs.define(eq=False)
class House:
    data_dir: Path
    executor: ScriptedExecutor
    backups: TwoPieces = attrs.field(factory=TwoPieces)
    upkeep: Upkeep = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        journal, log = MemoryJournal(), Log("core", level="error")
        sweep = Sweep(
            journal=journal,
            registry=Registry(),
            claims=Claims(journal=journal, node="node"),
            executor=lambda: self.executor,
            turn=lambda content: trio.Lock(),
            data_dir=str(self.data_dir),
            keep=Retention(),
            log=log,
        )
        self.upkeep = Upkeep(
            sweep=sweep,
            disk=Disk(str(self.data_dir)),
            backups=cast(Backup, self.backups),
            log=log,
            interval=100.0,
        )

    def stale(self) -> Path:
        path = self.data_dir / "uploads" / "stale"
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
        return path


@pytest.fixture
def idle(short: Path, tmp_path: Path) -> House:
    for name in ("uploads", "bundles", "jobs"):
        (tmp_path / name).mkdir()
    return House(tmp_path, ScriptedExecutor(short))


async def test_nothing_is_removed_while_a_backup_is_made(idle: House) -> None:
    path = idle.stale()
    gone = Content(id=ContentId(1), guid=Guid("g"), name="app", removed=1.0)
    async with aclosing(idle.upkeep.backup()) as backup:
        assert b"one" == await anext(backup)
        with pytest.raises(SupervisorError, match="A backup is being made") as caught:
            await idle.upkeep.clean()
        assert caught.value.recoverable
        await idle.upkeep.removed(gone)
        idle.backups.go.set()
        assert b"two" == await anext(backup)
    assert [] == idle.executor.calls
    assert ["stale"] == [each.name for each in await idle.upkeep.clean()]
    assert not path.exists()
    await idle.upkeep.removed(gone)
    assert 1 == idle.executor.count("remove")


async def test_one_backup_at_a_time(idle: House) -> None:
    async with aclosing(idle.upkeep.backup()) as first, aclosing(idle.upkeep.backup()) as second:
        await anext(first)
        with pytest.raises(SupervisorError, match="Another backup"):
            await anext(second)
    async with aclosing(idle.upkeep.backup()) as third:
        assert b"one" == await anext(third)


async def test_a_look_removes_nothing(idle: House) -> None:
    path = idle.stale()
    assert ["stale"] == [each.name for each in await idle.upkeep.clean(dry=True)]
    assert path.exists()


async def test_a_deployment_that_is_active_for_the_database_stays_though_its_keeper_knows_it_not(
    idle: House, house: CoreHouse
) -> None:
    sweep, content = idle.upkeep.sweep, a_content()
    sweep.registry.by_guid[content.guid] = house.keeper(content)
    active = attrs.evolve(content, active_deployment=DeploymentId(2), version=2)
    await sweep.journal.intent(Change(kind="content", record=active))
    await idle.upkeep.deserted(a_deployment(2))
    assert 0 == idle.executor.count("remove")
    await idle.upkeep.deserted(a_deployment(3))
    assert 1 == idle.executor.count("remove")


class FailsTwice(Upkeep):
    """Notes when it is asked to sweep; the first two times it fails."""

    looks: list[float]

    async def clean(self, *, dry: bool = False) -> Sequence[Going]:
        self.looks.append(trio.current_time())
        if len(self.looks) == 1:
            raise SupervisorError("store-unavailable", "away")
        if len(self.looks) == 2:
            raise KeyError("a defect")
        return []


async def test_it_sweeps_from_time_to_time_also_after_a_failure(
    idle: House, autojump_clock: trio.testing.MockClock
) -> None:
    upkeep = FailsTwice(
        sweep=idle.upkeep.sweep,
        disk=idle.upkeep.disk,
        backups=idle.upkeep.backups,
        log=Log("core", level="error", fd=-1),
        interval=100.0,
    )
    upkeep.looks = []
    with trio.move_on_after(400):
        await upkeep.run()
    assert [60.0, 160.0, 260.0, 360.0] == upkeep.looks
