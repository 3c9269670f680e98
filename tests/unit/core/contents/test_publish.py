"""A bundle from uploaded to active, and what is served meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from supervisor.core.contents.publish import Publisher
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.verdict import Verdict
from supervisor.core.storage.tasks import Tasks
from supervisor.errors import StoreUnavailable, SupervisorError
from supervisor.interfaces import Change, Detected, Installation
from supervisor.layout import PlaceKind, PlaceRef
from supervisor.lifecycle import State
from supervisor.model import (
    Bundle,
    BundleId,
    BundleState,
    Cause,
    Content,
    ContentId,
    ContentKind,
    DeploymentId,
    Exit,
    Task,
)
from supervisor.testing.executors import Behaviour
from supervisor.testing.house import House, a_content, keeping, visit
from supervisor.unpack import Unpacked

CRASH = Behaviour(listens=None, lives=1, end=Exit(code=1, cause=Cause.FAILED))
APP = Detected(runtime="fake", kind=ContentKind.APP, app_mode="fake", entrypoint="app")


@attrs.define(eq=False)
class Press:
    """A publisher with a keeper, and runtimes that say what a test wants."""

    house: House
    keeper: Keeper
    tasks: Tasks
    publisher: Publisher = attrs.field(init=False)
    detected: Detected | SupervisorError = APP
    unpack_error: Exception | None = None
    unpack_seconds: float = 0.0
    unpacked: list[tuple[DeploymentId, BundleId]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.publisher = Publisher(
            journal=self.house.journal,
            log=self.house.log,
            executor=lambda: self.house.executor,
            unpack=self._unpack,
            detect=self._detect,
            installation=self._installation,
            keeper=lambda content: self.keeper,
            url=lambda content: f"http://s/content/{content.guid}/",
        )

    async def _unpack(self, content: Content, number: DeploymentId, bundle: Bundle) -> Unpacked:
        self.unpacked.append((number, bundle.id))
        await trio.sleep(self.unpack_seconds)
        if self.unpack_error is not None:
            raise self.unpack_error
        return Unpacked(files=(), manifest={"version": 1})

    async def _detect(self, unpacked: Unpacked) -> Detected:
        if isinstance(self.detected, SupervisorError):
            raise self.detected
        return self.detected

    async def _installation(self, detected: Detected) -> Installation:
        return Installation(runtime="fake", version="1", executable="/bin/fake")

    def upload(self, number: int, **fields: Any) -> Bundle:
        content = ContentId(1)
        bundle = Bundle(id=BundleId(number), content=content, digest="d", size=3, **fields)
        self.house.journal.store.apply([Change(kind="bundle", record=bundle)])
        return bundle

    async def publish(self, bundle: Bundle) -> Task:
        task = await self.tasks.open(ContentId(1), bundle.id)
        with trio.fail_after(10_000):
            await self.publisher.publish(task, ContentId(1), bundle.id)
        assert task.record.finished
        return task.record

    def state(self, bundle: Bundle) -> BundleState:
        found = self.house.journal.store.get("bundle", bundle.id)
        assert isinstance(found, Bundle)
        return found.state

    @property
    def content(self) -> Content:
        found = self.house.journal.store.get("content", 1)
        assert isinstance(found, Content)
        return found

    @property
    def removed(self) -> list[object]:
        return [place for call, place in self.house.executor.calls if call == "remove"]


def place(number: int) -> PlaceRef:
    return PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(1, number))


@asynccontextmanager
async def pressing(house: House) -> AsyncIterator[Press]:
    content = a_content(active_deployment=None, kind=None)
    house.journal.store.apply([Change(kind="content", record=content)])
    keeper = house.keeper(content)
    keeper.deployment = None
    async with keeping(keeper):
        yield Press(house=house, keeper=keeper, tasks=Tasks(journal=house.journal))


async def test_a_bundle_is_unpacked_tried_and_active(house: House) -> None:
    async with pressing(house) as press:
        bundle = press.upload(1)
        task = await press.publish(bundle)
        assert (0, "http://s/content/guid-1/") == (task.code, task.result)
        assert BundleState.ACTIVE is press.state(bundle)
        assert (1, ContentKind.APP, False) == (
            press.content.active_deployment,
            press.content.kind,
            press.content.stopped,
        )
        assert press.content == press.keeper.content
        assert Verdict.WORKER is visit(press.keeper).verdict
        assert "Active: http://s/content/guid-1/" == task.output[-1]
        states = [
            c.record.state.value for c in house.journal.written if isinstance(c.record, Bundle)
        ]
        assert ["unpacked", "ready", "active"] == states


async def test_the_next_bundle_replaces_it_and_retires_the_first(house: House) -> None:
    async with pressing(house) as press:
        first, second = press.upload(1), press.upload(2)
        await press.publish(first)
        old = visit(press.keeper).worker
        assert old is not None
        await press.publish(second)
        assert (BundleState.RETIRED, BundleState.ACTIVE) == (
            press.state(first),
            press.state(second),
        )
        new = visit(press.keeper).worker
        assert new is not old
        await trio.sleep(10)
        assert State.EXITED is old.state
        assert [DeploymentId(1)] == house.deserted


@pytest.mark.parametrize(
    ("code", "message"),
    [("bundle-invalid", "it is no tar.gz"), ("sandbox-failed", "mount failed")],
)
async def test_a_bundle_that_cannot_be_unpacked_is_rejected_and_its_directory_removed(
    house: House, code: str, message: str
) -> None:
    async with pressing(house) as press:
        press.unpack_error = SupervisorError(code, message, hint="line one\nline two")
        bundle = press.upload(1)
        task = await press.publish(bundle)
        assert (1, f"{message} (Error code: {code})") == (task.code, task.error)
        assert ("line one", "line two") == task.output[-2:]
        assert BundleState.REJECTED is press.state(bundle)
        assert [place(1)] == press.removed
        assert Verdict.EMPTY is visit(press.keeper).verdict


async def test_a_bundle_without_an_app_is_rejected(house: House) -> None:
    async with pressing(house) as press:
        press.detected = SupervisorError("no-app-found", "nothing here")
        bundle = press.upload(1)
        assert "no-app-found" in (await press.publish(bundle)).error
        assert BundleState.REJECTED is press.state(bundle)


async def test_a_defect_ends_in_the_task_and_leaves_nothing(house: House) -> None:
    async with pressing(house) as press:
        press.unpack_error = KeyError("a defect")
        bundle = press.upload(1)
        assert "(Error code: internal)" in (await press.publish(bundle)).error
        assert [place(1)] == press.removed
        assert BundleState.REJECTED is press.state(bundle)


async def test_an_app_that_does_not_start_leaves_the_old_one_active(house: House) -> None:
    async with pressing(house) as press:
        first, second = press.upload(1), press.upload(2)
        await press.publish(first)
        served = visit(press.keeper).worker
        house.executor.behaves = attrs.evolve(CRASH, output=(("stderr", b"no package 'x'\n"),))
        task = await press.publish(second)
        assert "(Error code: start-failed)" in task.error
        assert "no package 'x'" in task.output
        assert (BundleState.ACTIVE, BundleState.REJECTED) == (
            press.state(first),
            press.state(second),
        )
        assert 1 == press.content.active_deployment
        assert served is visit(press.keeper).worker
        assert place(1) not in press.removed
        assert place(2) in press.removed


async def test_the_active_bundle_deployed_again_stays_active_even_if_that_fails(
    house: House,
) -> None:
    async with pressing(house) as press:
        bundle = press.upload(1)
        await press.publish(bundle)
        house.executor.behaves = CRASH
        assert 1 == (await press.publish(bundle)).code
        assert BundleState.ACTIVE is press.state(bundle)
        house.executor.behaves = Behaviour()
        assert 0 == (await press.publish(bundle)).code
        assert (BundleState.ACTIVE, 3) == (press.state(bundle), press.content.active_deployment)


async def test_a_rejected_bundle_may_be_deployed_again(house: House) -> None:
    async with pressing(house) as press:
        bundle = press.upload(1, state=BundleState.REJECTED, reason="no disk")
        assert 0 == (await press.publish(bundle)).code
        assert BundleState.ACTIVE is press.state(bundle)


async def test_two_deployments_of_one_content_go_one_after_the_other(house: House) -> None:
    async with pressing(house) as press:
        press.unpack_seconds = 5
        bundles = [press.upload(1), press.upload(2)]
        async with trio.open_nursery() as nursery:
            for bundle in bundles:
                nursery.start_soon(press.publish, bundle)
                await trio.sleep(1)
            assert [(1, 1)] == press.unpacked
        assert [(1, 1), (2, 2)] == press.unpacked
        assert BundleState.ACTIVE is press.state(bundles[1])


async def test_a_failed_activation_ends_the_process_before_its_directory_goes(
    house: House,
) -> None:
    async with pressing(house) as press:
        bundle = press.upload(1)
        order: list[str] = []
        intent = house.journal.intent

        async def away_at_last(*changes: Change) -> None:
            if any(change.kind == "content" for change in changes):
                raise SupervisorError("internal", "it broke")
            await intent(*changes)

        house.journal.intent = away_at_last  # type: ignore[method-assign]
        task = await press.publish(bundle)
        order = [call for call, _ in house.executor.calls]
        assert "(Error code: internal)" in task.error
        assert ["start", "stop", "remove"] == order[:3]
        assert [] == house.executor.living
        assert Verdict.EMPTY is visit(press.keeper).verdict


async def test_an_activation_that_was_recorded_unseen_keeps_its_files_and_is_built_upon(
    house: House,
) -> None:
    async with pressing(house) as press:
        intent = house.journal.intent
        cuts = [True]

        async def cut_off(*changes: Change) -> None:
            await intent(*changes)
            if any(change.kind == "content" for change in changes) and cuts:
                cuts.clear()
                raise StoreUnavailable("the answer was lost")

        house.journal.intent = cut_off  # type: ignore[method-assign]
        first = press.upload(1)
        task = await press.publish(first)
        assert "(Error code: store-unavailable)" in task.error
        assert [] == press.removed
        await house.journal.flush(1)
        assert BundleState.ACTIVE is press.state(first)
        bundle = press.upload(2)
        assert "" == (await press.publish(bundle)).error
        assert BundleState.ACTIVE is press.state(bundle)
        stored = house.journal.store.get("content", 1)
        assert stored == press.keeper.content


async def test_a_removal_meanwhile_ends_the_deployment(house: House) -> None:
    async with pressing(house) as press:
        press.keeper.content = attrs.evolve(press.keeper.content, removed=1.0)
        assert "not-found" in (await press.publish(press.upload(1))).error
        assert [] == house.executor.living


async def test_a_bundle_that_is_not_there_fails_the_task(house: House) -> None:
    async with pressing(house) as press:
        missing = Bundle(id=BundleId(9), content=ContentId(1), digest="d", size=1)
        assert "not-found" in (await press.publish(missing)).error


async def test_a_restart_of_the_core_goes_on_with_the_task(house: House) -> None:
    async with pressing(house) as press:
        press.unpack_seconds = 5
        bundle = press.upload(1)
        task = await press.tasks.open(ContentId(1), bundle.id)
        with trio.move_on_after(2):
            await press.publisher.publish(task, ContentId(1), bundle.id)
        unfinished = house.journal.store.find("task", {"finished": False})
        assert [task.record] == list(unfinished)
        again = Tasks(journal=house.journal).resume(unfinished[0])
        await press.publisher.publish(again, ContentId(1), bundle.id)
        assert (True, 0) == (again.record.finished, again.record.code)
        assert BundleState.ACTIVE is press.state(bundle)
        assert [place(1)] == press.removed, "what the first core had half unpacked"


async def test_a_task_that_was_done_but_for_saying_so_is_not_done_twice(house: House) -> None:
    async with pressing(house) as press:
        bundle = press.upload(1)
        task = await press.tasks.open(ContentId(1), bundle.id)
        await press.publisher.publish(task, ContentId(1), bundle.id)
        unsaid = attrs.evolve(task.record, finished=False, result="")
        again = Tasks(journal=house.journal).resume(unsaid)
        await press.publisher.publish(again, ContentId(1), bundle.id)
        assert (True, 0) == (again.record.finished, again.record.code)
        assert task.record.result == again.record.result
        assert 1 == len(press.unpacked)
        assert [] == press.removed


# -- uploads ------------------------------------------------------------------------------------
