"""What is not needed goes, in an order that a crash cannot hurt; what is needed stays."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from supervisor.core.retention import Going, Retention
from supervisor.core.scheduling.registry import Registry
from supervisor.core.storage.claims import Claims
from supervisor.core.upkeep.sweep import FRESH, Sweep
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change
from supervisor.layout import PlaceKind, PlaceRef
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import (
    Bundle,
    BundleId,
    BundleState,
    Content,
    ContentId,
    Deployment,
    DeploymentId,
    Guid,
    Purpose,
    Run,
    RunId,
    Task,
    Transition,
    new_run_id,
)
from supervisor.testing.executors import ScriptedExecutor
from supervisor.testing.house import House
from supervisor.testing.journal import MemoryJournal

DAY = 86400.0
NOW = 1000 * DAY
ONE = ContentId(1)


@attrs.define(eq=False)
class World:
    """A DataDir with records, and a sweep that looks at them at NOW."""

    data_dir: Path
    sweep: Sweep
    journal: MemoryJournal
    executor: ScriptedExecutor

    def keep(self, **limits: Any) -> None:
        self.sweep.keep = Retention(**limits)

    def put(self, kind: str, record: Any) -> Any:
        self.journal.store.apply([Change(kind=kind, record=record)])
        return record

    def content(self, **fields: Any) -> Content:
        content = Content(id=ONE, guid=Guid("g"), name="app", **fields)
        self.put("content", content)
        return content

    def bundle(self, number: int, state: BundleState, *, age: float = 0.0) -> Bundle:
        digest = f"{number:064x}"
        path = self.data_dir / "bundles" / f"{digest}.tar.gz"
        path.write_bytes(b"x" * 10)
        os.utime(path, (0, 0))
        bundle = Bundle(
            id=BundleId(number), content=ONE, digest=digest, size=10, state=state, created=NOW - age
        )
        self.put("bundle", bundle)
        return bundle

    def deployment(self, number: int, bundle: int) -> Deployment:
        record = Deployment(
            id=DeploymentId(number),
            content=ONE,
            bundle=BundleId(bundle),
            runtime="r",
            app_mode="m",
            entrypoint="e",
        )
        self.put("deployment", record)
        return record

    def run(self, number: int, *, state: State = State.EXITED, age: float = 0.0) -> Run:
        ended = NOW - age if state is State.EXITED else None
        run = Run(
            id=new_run_id(milliseconds=number),
            key="k",
            content=ONE,
            deployment=DeploymentId(7),
            purpose=Purpose.SERVE,
            state=state,
            ended=ended,
        )
        self.put("run", run)
        return run

    def log(self, run: RunId, *, old: bool = True) -> Path:
        folder = self.data_dir / "jobs" / "1" / run
        folder.mkdir(parents=True)
        (folder / "log").write_text("hello\n")
        if old:
            os.utime(folder, (0, 0))
        return folder

    def files(self) -> list[str]:
        return sorted(path.name[:64].lstrip("0") for path in (self.data_dir / "bundles").iterdir())

    async def look(self) -> list[Going]:
        """Look as the node of all contents."""
        every = self.journal.store.find("content")
        await self.sweep.claims.claim(c.id for c in every if c.removed is None)
        async with self.sweep.holding():
            return await self.sweep.look()

    async def names(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in await self.look():
            found.setdefault(each.kind, []).append(each.name)
        return found

    async def clear(self) -> list[Going]:
        return await self.sweep.clear(await self.look())


@pytest.fixture
def world(tmp_path: Path, short: Path) -> World:
    for name in ("bundles", "uploads", "jobs", "apps", "state"):
        (tmp_path / name).mkdir()
    journal, executor = MemoryJournal(), ScriptedExecutor(short)
    locks: dict[ContentId, trio.Lock] = {}
    sweep = Sweep(
        journal=journal,
        registry=Registry(),
        claims=Claims(journal=journal, node="node"),
        executor=lambda: executor,
        turn=lambda content: locks.setdefault(content, trio.Lock()),
        data_dir=str(tmp_path),
        keep=Retention(),
        log=Log("core", level="error"),
        clock=lambda: NOW,
    )
    return World(data_dir=tmp_path, sweep=sweep, journal=journal, executor=executor)


# -- runs, tasks and logs --------------------------------------------------------------------------


async def test_runs_that_ended_long_ago_or_are_too_many_go_with_their_transitions(
    world: World,
) -> None:
    world.content()
    runs = [world.run(number, age=(10 - number) * DAY) for number in range(5)]
    for run in runs:
        move = Transition(run=run.id, content=ONE, was="a", now="b", event="e")
        world.put("transition", move)
    world.keep(runs=3, runs_age=9.5 * DAY)
    assert {"run": [runs[0].id, runs[1].id]} == await world.names()
    await world.clear()
    assert runs[2:] == list(world.journal.store.find("run"))
    left = {move.run for move in world.journal.store.find("transition")}
    assert {run.id for run in runs[2:]} == left
    assert {} == await world.names()


async def test_a_run_that_has_not_ended_stays_however_old_it_is(world: World) -> None:
    world.content()
    living = world.run(1, state=State.READY)
    folder = world.log(living.id)
    for number in range(2, 6):
        world.log(world.run(number).id)
    world.keep(runs=1, runs_age=1.0, logs=2)
    await world.clear()
    assert living in world.journal.store.find("run")
    assert folder.exists()


async def test_no_limit_is_no_limit(world: World) -> None:
    world.content()
    for number in range(50):
        world.run(number, age=900 * DAY)
        world.bundle(number + 1, BundleState.RETIRED, age=900 * DAY)
    world.keep(runs=0, runs_age=0, logs=0, bundles=0, rejected_age=0)
    assert {} == await world.names()


async def test_finished_tasks_go_as_runs_do_and_those_at_work_stay(world: World) -> None:
    world.content()
    world.put("task", Task(id="old", content=ONE, finished=True, created=NOW - 40 * DAY))
    world.put("task", Task(id="at-work", content=ONE, created=NOW - 40 * DAY))
    world.put("task", Task(id="new", content=ONE, finished=True, created=NOW))
    await world.clear()
    assert ["at-work", "new"] == [task.id for task in world.journal.store.find("task")]


async def test_logs_go_with_their_run_and_where_they_are_too_many(world: World) -> None:
    world.content()
    runs = [world.run(number) for number in range(4)]
    for run in runs:
        world.log(run.id)
    forgotten = world.log(RunId("01aaa"))
    starting = world.log(RunId("01bbb"), old=False)  # its record is on its way
    world.keep(logs=5)
    assert {"log": sorted(["01aaa", runs[0].id])} == {
        kind: sorted(names) for kind, names in (await world.names()).items()
    }
    await world.clear()
    assert not forgotten.exists()
    assert starting.exists()


# -- bundles ---------------------------------------------------------------------------------------


async def test_the_active_bundle_and_the_newest_that_were_served_stay(world: World) -> None:
    world.content(active_deployment=DeploymentId(1))
    world.bundle(1, BundleState.ACTIVE)
    world.deployment(1, bundle=1)
    for number in range(2, 7):
        world.bundle(number, BundleState.RETIRED)
        world.deployment(number, bundle=number)
    world.keep(bundles=2)
    assert {"bundle": ["2", "3", "4"]} == await world.names()
    gone = await world.clear()
    assert 30 == sum(each.size or 0 for each in gone)
    assert ["1", "5", "6"] == world.files()
    assert [1, 5, 6] == [bundle.id for bundle in world.journal.store.find("bundle")]
    assert [1, 5, 6] == [made.id for made in world.journal.store.find("deployment")]


async def test_a_bundle_that_was_never_served_goes_when_it_is_old_unless_it_is_the_newest(
    world: World,
) -> None:
    world.content()
    world.bundle(1, BundleState.REJECTED, age=40 * DAY)
    world.bundle(2, BundleState.REJECTED, age=DAY)
    world.bundle(3, BundleState.UPLOADED, age=40 * DAY)
    assert {"bundle": ["1"]} == await world.names()


async def test_what_a_task_will_deploy_stays(world: World) -> None:
    world.content()
    world.bundle(1, BundleState.REJECTED, age=40 * DAY)
    world.bundle(2, BundleState.RETIRED)
    world.put("task", Task(id="t", content=ONE, bundle=BundleId(1), created=NOW))
    assert {} == await world.names()


async def test_a_bundle_that_somebody_begins_to_deploy_after_the_look_stays(world: World) -> None:
    world.content()
    world.bundle(1, BundleState.REJECTED, age=40 * DAY)
    world.bundle(2, BundleState.RETIRED)
    going = await world.look()
    world.put("task", Task(id="t", content=ONE, bundle=BundleId(1), created=NOW))
    assert [] == await world.sweep.clear(going)
    assert ["1", "2"] == world.files()
    assert BundleState.REJECTED is world.journal.store.find("bundle")[0].state


async def test_an_archive_that_two_contents_have_goes_with_the_last_of_them(world: World) -> None:
    world.content(removed=1.0)
    first = world.bundle(1, BundleState.RETIRED)
    other = Content(id=ContentId(2), guid=Guid("h"), name="other")
    world.put("content", other)
    shared = attrs.evolve(first, id=BundleId(2), content=other.id)
    world.put("bundle", shared)
    await world.clear()
    assert [shared] == list(world.journal.store.find("bundle"))
    assert ["1"] == world.files()
    world.put("content", attrs.evolve(other, removed=1.0, version=2))
    await world.clear()
    assert [] == world.files()


async def test_an_archive_that_was_uploaded_anew_meanwhile_stays(world: World) -> None:
    world.content()
    old = world.bundle(1, BundleState.REJECTED, age=40 * DAY)
    world.bundle(2, BundleState.RETIRED)
    going = await world.look()
    (world.data_dir / "bundles" / f"{old.digest}.tar.gz").write_bytes(b"new bytes, same name")
    await world.sweep.clear(going)
    assert ["1", "2"] == world.files()


async def test_an_archive_that_somebody_recorded_since_the_look_stays(world: World) -> None:
    world.content()
    old = world.bundle(1, BundleState.REJECTED, age=40 * DAY)
    world.bundle(2, BundleState.RETIRED)
    nobodys = world.bundle(3, BundleState.UPLOADED)
    world.journal.store.apply([Change(kind="bundle", record=nobodys, remove=True)])
    going = await world.look()
    assert ["1", nobodys.digest] == [each.name.removesuffix(".tar.gz") for each in going]
    recorded = [attrs.evolve(same, id=BundleId(9 + same.id)) for same in (old, nobodys)]
    for bundle in recorded:  # its file is as old as FRESH by now
        world.put("bundle", bundle)
    await world.sweep.clear(going)
    assert ["1", "2", "3"] == world.files()


@pytest.mark.parametrize("step", ["mark", "file", "record"])
async def test_a_core_that_dies_at_any_step_leaves_what_the_next_sweep_finishes(
    world: World, step: str
) -> None:
    world.content()
    world.bundle(1, BundleState.REJECTED, age=40 * DAY)
    world.bundle(2, BundleState.RETIRED)
    (going,) = await world.look()
    if step == "mark":
        dies = attrs.evolve(going, paths=(), forget=())
    elif step == "file":
        dies = attrs.evolve(going, forget=())
    else:
        dies = going
    await world.sweep.clear([dies])
    if step != "record":
        assert BundleState.GOING is world.journal.store.find("bundle")[0].state
        assert {"bundle": ["1"]} == await world.names()
    await world.clear()
    assert ["2"] == world.files()
    assert [2] == [bundle.id for bundle in world.journal.store.find("bundle")]


# -- directories and files that nobody recorded ----------------------------------------------------


async def test_directories_that_are_neither_active_nor_used_are_removed_by_their_owner(
    world: World,
) -> None:
    world.content(active_deployment=DeploymentId(3))
    world.bundle(1, BundleState.ACTIVE)
    for number in (1, 2, 3):
        world.deployment(number, bundle=1)
    world.put("task", Task(id="t", content=ONE, deployment=DeploymentId(5), finished=True))
    world.put("task", Task(id="u", content=ONE, deployment=DeploymentId(6), created=NOW))
    world.run(1, state=State.DRAINING)  # of deployment 7
    for number in (1, 3, 5, 6, 7):
        (world.data_dir / "apps" / "1" / str(number)).mkdir(parents=True)
    world.keep(runs_age=0)
    assert {"deployment": ["1/1", "1/5"]} == await world.names()
    await world.clear()
    places = [PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(1, number)) for number in (1, 5)]
    assert [("remove", place) for place in places] == world.executor.calls


async def test_temporary_files_that_a_node_has_left_go_days_after_their_run(world: World) -> None:
    world.content()
    living, lost = world.run(1, state=State.READY), world.run(2, age=3 * DAY)
    just_lost, new = world.run(3, age=DAY), world.run(4, age=3 * DAY)
    forgotten = new_run_id(milliseconds=5)
    for name in (living.id, lost.id, just_lost.id, new.id, forgotten):
        path = world.data_dir / "tmp" / name
        path.mkdir(parents=True)
        os.utime(path, None if name == new.id else (0, 0))
    assert {"scratch": sorted([lost.id, forgotten])} == {
        kind: sorted(names) for kind, names in (await world.names()).items()
    }
    await world.clear()
    assert {
        ("remove", PlaceRef(kind=PlaceKind.SCRATCH, components=(run,)))
        for run in (
            lost.id,
            forgotten,
        )
    } == set(world.executor.calls)


@pytest.mark.parametrize("told", [False, True])
async def test_what_is_active_for_the_database_or_for_the_keeper_stays(
    world: World, house: House, told: bool
) -> None:
    old = world.content(active_deployment=DeploymentId(1))
    new = world.content(active_deployment=DeploymentId(2), version=2)
    keeper = house.keeper(new if told else old)
    keeper.deployment = world.deployment(1, bundle=1)
    world.sweep.registry.by_guid[old.guid] = keeper
    world.deployment(2, bundle=1)
    for number in (1, 2):
        world.bundle(number, BundleState.RETIRED)
        (world.data_dir / "apps" / "1" / str(number)).mkdir(parents=True)
    assert {} == await world.names()


async def test_everything_of_a_removed_content_goes(world: World) -> None:
    world.content(removed=1.0, active_deployment=DeploymentId(1))
    world.bundle(1, BundleState.ACTIVE)
    world.deployment(1, bundle=1)
    log = world.log(world.run(1).id)
    for place in ("apps/1/1", "state/1"):
        (world.data_dir / place).mkdir(parents=True)
    await world.clear()
    assert [] == world.files()
    assert not log.exists()
    assert {PlaceKind.DEPLOYMENT, PlaceKind.STATE} == {
        place.kind for _, place in world.executor.calls if isinstance(place, PlaceRef)
    }
    assert [] == list(world.journal.store.find("deployment"))
    assert world.journal.store.get("content", 1) is not None  # its uid is never given again


async def test_a_removed_content_that_the_node_has_anyway_stays_its_own(world: World) -> None:
    """Its processes still end, or its keeper has not gone yet."""
    world.content(removed=1.0)
    other = Content(id=ContentId(2), guid=Guid("h"), name="other", removed=1.0)
    world.put("content", other)
    await world.sweep.claims.claim([ONE])
    async with world.sweep.holding():
        assert {ONE, other.id} == world.sweep.claims.contents
    assert {ONE} == world.sweep.claims.contents


async def test_uploads_that_broke_off_and_archives_without_a_record_go_when_they_are_old(
    world: World,
) -> None:
    for folder in ("uploads", "bundles"):
        for name, age in (("old", 2 * DAY), ("new", 60.0)):
            path = world.data_dir / folder / name
            path.write_bytes(b"x" * 5000)
            os.utime(path, (time.time() - age,) * 2)
    assert FRESH > 60
    going = await world.look()
    assert [("upload", "old"), ("bundle", "old")] == [(each.kind, each.name) for each in going]
    assert all((each.size or 0) >= 5000 for each in going)
    await world.clear()
    assert ["new"] == os.listdir(world.data_dir / "uploads")
    assert ["new"] == os.listdir(world.data_dir / "bundles")


async def test_what_cannot_be_removed_stays_and_keeps_nothing_else(world: World) -> None:
    class Away(ScriptedExecutor):
        async def remove(self, place: PlaceRef) -> None:
            raise SupervisorError("helper-unavailable", "the helper is away", recoverable=True)

    world.content(removed=1.0)
    (world.data_dir / "state" / "1").mkdir()
    stale = world.data_dir / "uploads" / "old"
    stale.write_bytes(b"x")
    os.utime(stale, (0, 0))
    world.sweep.executor = lambda: Away(world.data_dir)
    assert ["upload"] == [each.kind for each in await world.clear()]
    assert {"state": ["1"]} == await world.names()


async def test_looking_changes_nothing(world: World) -> None:
    world.content(removed=1.0)
    world.bundle(1, BundleState.RETIRED)
    world.log(world.run(1, age=99 * DAY).id)
    before = [*world.journal.store.dump()], sorted(world.data_dir.rglob("*"))
    assert {"bundle", "log", "run"} == set(await world.names())
    assert before == ([*world.journal.store.dump()], sorted(world.data_dir.rglob("*")))
    assert [] == world.executor.calls
