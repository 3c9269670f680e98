"""The registry: names, references, and what the API may do, with scripts for processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from supervisor.core.contents.contents import Contents
from supervisor.core.runs.executors import Executors
from supervisor.core.runs.makers import Makers
from supervisor.core.runs.worker import Worker
from supervisor.core.service import Assignment, RunView
from supervisor.core.storage.disk import Disk
from supervisor.core.storage.tasks import Tasks
from supervisor.errors import StoreUnavailable, SupervisorError
from supervisor.interfaces import (
    Change,
    Detected,
    Finding,
    Installation,
    PlanContext,
    Runtime,
    SourceFile,
)
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import (
    Content,
    ContentKind,
    DeploymentId,
    Job,
    Limits,
    Plan,
    Purpose,
    Scaling,
    Task,
)
from supervisor.plugins.loading import Plugins
from supervisor.testing.executors import Behaviour, ScriptedExecutor
from supervisor.testing.house import CONNECT, a_deployment, serving
from supervisor.testing.journal import MemoryJournal

LISTING = b'{"file": "app.py", "size": 3}\n{"end": 1}\n'
UNPACKS = Behaviour(lives=0.0, output=(("stdout", LISTING),))


class FakeRuntime(Runtime):
    """Recognise everything as an app."""

    name = "fake"

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        return Detected(
            runtime="fake", kind=ContentKind.APP, app_mode="fake", entrypoint=files[0].path
        )

    def installations(self, settings: Mapping[str, Sequence[str]]) -> Sequence[Installation]:
        return [Installation(runtime="fake", version="1", executable="/bin/fake")]

    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        return Plan(argv=("/bin/fake",), workdir="/", ready=CONNECT)


@attrs.define(eq=False)
class Core:
    contents: Contents
    executor: ScriptedExecutor
    journal: MemoryJournal
    data_dir: Path
    told: list[tuple[str, str]]
    serves: Behaviour = Behaviour(output=(("stdout", b"hello\n"),))

    def behaves(self, job: Job) -> Behaviour:
        return UNPACKS if job.purpose is Purpose.UNPACK else self.serves

    async def deployed(self, name: str = "an-app") -> Content:
        """Make a content, upload a bundle and wait until it is active."""
        await self.contents.create_content(name)
        await self.contents.receive_bundle(name, pieces(b"abc"))
        await self.finished(await self.contents.deploy(name))
        return (await self.contents.content(name)).content

    async def finished(self, task: Task) -> Task:
        with trio.fail_after(10):
            seen = 0
            while not task.finished:
                task = await self.contents.task(task.id, first=seen, wait=5)
                seen += len(task.output)
        assert 0 == task.code, task.error
        return task

    async def run(self, name: str = "an-app") -> RunView:
        (view,) = await self.contents.runs(name)
        return view


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


@asynccontextmanager
async def core_in(short: Path, data_dir: Path) -> AsyncIterator[Core]:
    for name in ("uploads", "bundles"):
        (data_dir / name).mkdir()
    journal, log = MemoryJournal(), Log("core", level="error")
    told: list[tuple[str, str]] = []
    plugins = Plugins(log=log)
    executor = ScriptedExecutor(short)
    plugins.executors["scripted"] = executor
    plugins.runtimes["fake"] = FakeRuntime()
    makers = Makers(
        journal=journal,
        plugins=plugins,
        log=log,
        node="node",
        data_dir=str(data_dir),
        server="",
        scaling=Scaling(),
    )
    makers.installations.wanted.set()
    await makers.installations.look(lambda name: {})

    def changed(worker: Worker) -> None:
        told.append((worker.id, worker.state.value))

    contents = Contents(
        journal=journal,
        makers=makers,
        tasks=Tasks(journal=journal),
        log=log,
        disk=Disk(str(data_dir)),
        address="http://s",
        scaling=Scaling(),
        uid_of=lambda content: 200_000 + content,
        findings_of=lambda: (),
        changed=changed,
    )
    core = Core(contents=contents, executor=executor, journal=journal, data_dir=data_dir, told=told)
    executor.behaves = core.behaves
    async with serving(executor), trio.open_nursery() as nursery:
        contents.nursery = nursery
        yield core
        nursery.cancel_scope.cancel()


@pytest.fixture
async def core(short: Path, tmp_path: Path) -> AsyncIterator[Core]:
    async with core_in(short, tmp_path) as made:
        yield made


# -- names and references -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ab", "x" * 65, "a b", "a/b", "é" * 5, "abc\n", ""])
async def test_a_name_of_the_wrong_form_is_refused(core: Core, name: str) -> None:
    with pytest.raises(SupervisorError, match="cannot be a name") as caught:
        await core.contents.create_content(name)
    assert "bad-request" == caught.value.code


async def test_a_name_that_is_taken_is_a_conflict(core: Core) -> None:
    await core.contents.create_content("an-app")
    with pytest.raises(SupervisorError, match="already") as caught:
        await core.contents.create_content("an-app")
    assert "conflict" == caught.value.code


async def test_two_that_want_a_name_at_once_do_not_both_get_it(core: Core) -> None:
    refused: list[SupervisorError] = []

    async def create() -> None:
        try:
            await core.contents.create_content("an-app")
        except SupervisorError as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        nursery.start_soon(create)
    assert [409] == [error.http_status for error in refused]
    assert 1 == len(await core.contents.contents())


async def test_a_content_is_found_by_guid_name_and_number(core: Core) -> None:
    made = await core.contents.create_content("an-app")
    assert (1, 200_001) == (made.id, made.uid)
    for ref in (made.guid, "an-app", "1"):
        assert made == (await core.contents.content(ref)).content
    for ref in ("2", "an-ap", "", "²"):
        with pytest.raises(SupervisorError, match="no content"):
            await core.contents.content(ref)


async def test_a_name_of_digits_never_stands_for_another_content(core: Core) -> None:
    """Content 101 must not get what was uploaded for the content that is named 101."""
    core.journal.store._counters["content"] = 100
    numbered = await core.contents.create_content("first")
    named = await core.contents.create_content("101")
    assert 101 == numbered.id
    await core.contents.receive_bundle("first", pieces(b"abc"))
    await core.finished(await core.contents.deploy("first"))
    assert "running" == (await core.contents.content("first")).state
    assert "empty" == (await core.contents.content(named.guid)).state
    assert "first" == (await core.run("first")).content_name


async def test_who_hangs_up_while_a_content_is_made_leaves_a_whole_one(core: Core) -> None:
    core.journal.slow = 0.2
    with trio.move_on_after(0.15):
        await core.contents.create_content("an-app")
    assert "empty" == (await core.contents.content("an-app")).state


@pytest.mark.parametrize("written", [True, False])
async def test_a_content_that_was_recorded_unseen_gets_its_keeper_once_the_store_answers(
    core: Core, written: bool
) -> None:
    intent = core.journal.intent

    async def cut_off(*changes: Change) -> None:
        if written:
            await intent(*changes)
        core.journal.intent = intent  # type: ignore[method-assign]
        raise StoreUnavailable("the answer was lost")

    core.journal.intent = cut_off  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await core.contents.create_content("an-app")
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert int(written) == len(await core.contents.contents()) == len(core.contents.claims.contents)


async def test_who_hangs_up_while_a_content_is_stopped_does_not_lock_it(core: Core) -> None:
    await core.contents.create_content("an-app")
    core.journal.slow = 0.2
    with trio.move_on_after(0.15):
        await core.contents.stop("an-app")
    await core.contents.restart("an-app")
    assert not (await core.contents.content("an-app")).content.stopped


async def test_changes_at_once_follow_each_other(core: Core) -> None:
    await core.contents.create_content("an-app")
    core.journal.slow = 0.05
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(core.contents.stop, "an-app")
            nursery.start_soon(core.contents.restart, "an-app")
    assert 7 == (await core.contents.content("an-app")).content.version


# -- a deployed app -----------------------------------------------------------------------------


async def test_what_is_deployed_runs_and_is_shown(core: Core) -> None:
    content = await core.deployed()
    view = await core.contents.content("an-app")
    assert ("running", 1, 1, f"http://s/content/{content.guid}/") == (
        view.state,
        view.bundle,
        view.processes,
        view.url,
    )
    run = await core.run()
    assert ("an-app", content.guid, 1.0) == (run.content_name, run.content_guid, run.cpu)
    assert run.pid is not None
    assert "ready" == core.told[-1][1]


async def test_a_bundle_is_stored_and_chosen_the_newest_first(core: Core) -> None:
    await core.contents.create_content("an-app")
    with pytest.raises(SupervisorError, match="no bundle"):
        await core.contents.deploy("an-app")
    await core.contents.receive_bundle("an-app", pieces(b"one"))
    second = await core.contents.receive_bundle("an-app", pieces(b"two"))
    assert hashlib.sha256(b"two").hexdigest() == second.digest
    assert second.id == (await core.contents.deploy("an-app")).bundle


async def test_the_bundle_of_another_content_is_not_deployed(core: Core) -> None:
    await core.contents.create_content("an-app")
    await core.contents.create_content("other")
    bundle = await core.contents.receive_bundle("other", pieces(b"one"))
    with pytest.raises(SupervisorError, match="no bundle"):
        await core.contents.deploy("an-app", bundle.id)


async def test_stop_keeps_it_stopped_and_restart_starts_it(core: Core) -> None:
    await core.deployed()
    await core.contents.stop("an-app")
    with trio.fail_after(5):
        await core.contents.registry.keeper("an-app").news()
    assert "stopped" == (await core.contents.content("an-app")).state
    await core.contents.restart("an-app")
    keeper = next(iter(core.contents.registry.by_guid.values()))
    with trio.fail_after(5):
        assert (await keeper.admission.request(None)).worker is not None


async def test_a_run_is_found_by_the_beginning_of_its_id(core: Core) -> None:
    await core.deployed()
    run = (await core.run()).run
    (living,) = core.executor.living
    with pytest.raises(SupervisorError, match="no living run"):
        await core.contents.kill(run.id[:3])
    await core.contents.kill(run.id[:20])
    with trio.fail_after(5):
        await living.ended.wait()
    assert [0.0] == living.orders


async def test_a_beginning_that_two_runs_share_is_refused(core: Core) -> None:
    await core.deployed()
    (worker,) = core.contents.registry.workers.values()
    core.contents.registry.workers[type(worker.id)(worker.id[:-1] + "?")] = worker
    with pytest.raises(SupervisorError, match="several"):
        await core.contents.stop(worker.id[:10])


async def test_ended_runs_are_shown_when_asked_for(core: Core) -> None:
    await core.deployed()
    assert 1 == len(await core.contents.runs())
    everything = await core.contents.runs(ended=True)
    assert {"serve", "unpack"} == {view.run.purpose.value for view in everything}


# -- logs ---------------------------------------------------------------------------------------


async def test_the_last_lines_of_a_content_and_of_a_run(core: Core) -> None:
    await core.deployed()
    run = (await core.run()).run
    for ref in ("an-app", run.id, run.id[:20]):
        assert ["hello"] == [line.text async for line in core.contents.logs(ref)]


async def test_a_follower_hears_new_lines_and_may_leave_at_any_time(core: Core) -> None:
    await core.deployed()
    (living,) = core.executor.living
    (worker,) = core.contents.registry.workers.values()
    before = set(worker.output._subscribers)
    heard: list[str] = []
    with trio.fail_after(5):
        async with aclosing(core.contents.logs("an-app", follow=True)) as lines:
            async for line in lines:
                heard.append(line.text)
                if len(heard) == 2:
                    break
                living.writes("stdout", b"news\n")
    assert ["hello", "news"] == heard
    await trio.testing.wait_all_tasks_blocked()
    worker.output.say("nobody hears this")
    assert before == worker.output._subscribers


async def test_a_follower_goes_on_with_the_next_process(core: Core) -> None:
    await core.deployed()
    heard: list[str] = []
    with trio.fail_after(5):
        async with aclosing(core.contents.logs("an-app", follow=True)) as lines:
            async for line in lines:
                heard.append(line.run)
                if len(set(heard)) == 2:
                    break
                if len(heard) == 1:
                    await core.contents.restart("an-app")
    assert 2 == len(set(heard))


async def test_the_log_of_a_run_that_ended_comes_from_its_file(core: Core) -> None:
    core.serves = Behaviour(output=(("stderr", b"goodbye\n"),))
    await core.deployed()
    run = (await core.run()).run
    await core.contents.stop(run.id)
    keeper = next(iter(core.contents.registry.by_guid.values()))
    with trio.fail_after(5):
        while keeper.workers:
            await keeper.news()
    for ref in (run.id, "an-app"):
        texts = [line.text async for line in core.contents.logs(ref)]
        assert "goodbye" == texts[0]


async def test_an_unknown_log_is_not_found(core: Core) -> None:
    with pytest.raises(SupervisorError, match="no content or run"):
        _ = [line async for line in core.contents.logs("nonsense")]


# -- removing -----------------------------------------------------------------------------------


async def test_a_removed_content_leaves_nothing_and_frees_its_name(core: Core) -> None:
    content = await core.deployed()
    await core.contents.remove("an-app")
    assert [] == core.executor.living
    assert (
        ["state", "deployment"]
        == [
            place.kind.value  # type: ignore[attr-defined]
            for call, place in core.executor.calls
            if call == "remove"
        ][:2]
    )
    assert [] == os.listdir(core.data_dir / "bundles")
    assert [] == os.listdir(core.data_dir / "jobs")
    assert [] == list(await core.contents.contents())
    assert core.told[-1][1] == "exited"  # the gateways were told
    again = await core.contents.create_content("an-app")
    assert again.id > content.id


async def test_a_bundle_that_another_content_has_too_stays(core: Core) -> None:
    for name in ("an-app", "other"):
        await core.contents.create_content(name)
        await core.contents.receive_bundle(name, pieces(b"same"))
    await core.contents.remove("an-app")
    assert 1 == len(os.listdir(core.data_dir / "bundles"))
    await core.contents.remove("other")
    assert [] == os.listdir(core.data_dir / "bundles")


async def test_a_bundle_that_another_content_uploads_while_the_first_is_removed_stays(
    core: Core,
) -> None:
    for name in ("an-app", "other"):
        await core.contents.create_content(name)
    await core.contents.receive_bundle("an-app", pieces(b"same"))
    find = core.journal.find
    uploads = [True]

    async def upload_meanwhile(kind: str, *args: Any, **options: Any) -> Sequence[Any]:
        found = await find(kind, *args, **options)
        if kind == "content" and uploads:  # there is no other user; now there will be one
            uploads.clear()
            await core.contents.receive_bundle("other", pieces(b"same"))
        return found

    core.journal.find = upload_meanwhile  # type: ignore[method-assign]
    await core.contents.remove("an-app")
    assert 1 == len(os.listdir(core.data_dir / "bundles"))
    await core.contents.remove("other")
    assert [] == os.listdir(core.data_dir / "bundles")


async def test_a_new_core_opens_a_content_with_its_deployment(core: Core) -> None:
    content = await core.deployed()
    again = attrs.evolve(content, active_deployment=DeploymentId(1))
    keeper = await core.contents.open(again, (), {DeploymentId(1): a_deployment(1)})
    assert keeper.deployment == a_deployment(1)


async def test_another_executor_takes_over_though_nobody_visits(core: Core) -> None:
    await core.deployed()
    old = await core.run()
    await core.contents.assign("an-app", Assignment(executor="scripted"))
    keeper = core.contents.registry.keeper("an-app")
    with trio.fail_after(10):
        while old.run.id in {worker.id for worker in keeper.workers}:
            await keeper.news()
    (new,) = keeper.workers
    assert State.READY is new.state
    assert 0 == keeper.scaling.least


async def test_of_an_assignment_with_a_limit_that_cannot_hold_nothing_is_taken(core: Core) -> None:
    before = await core.deployed()
    with pytest.raises(SupervisorError, match="cannot enforce cpu_limit"):
        await core.contents.assign("an-app", Assignment(executor="scripted", limits=Limits(cpu=1)))
    keeper = core.contents.registry.keeper("an-app")
    assert (before.executor, before.limits, before.rolled) == (
        keeper.content.executor,
        keeper.content.limits,
        keeper.content.rolled,
    )


async def test_an_executor_that_is_away_is_said_by_ps_and_doctor(core: Core) -> None:
    await core.deployed()
    contents = core.contents
    makers = contents.makers
    makers.executors = Executors(installed={"scripted": core.executor}, log=contents.log)
    (view,) = await contents.runs()
    assert "the executor 'scripted' is away" in view.run.reason
    (finding,) = [f for f in await contents.findings() if f.name != "disk"]
    assert ("executor scripted", False) == (finding.name, finding.ok)


async def test_doctor_waits_until_the_interpreters_are_known(
    core: Core,
) -> None:
    there: list[bool] = []
    installations = core.contents.makers.installations
    installations.wanted, installations.looked = trio.Event(), trio.Event()

    async def look() -> None:
        await installations.wanted.wait()
        there.append(installations.looked.is_set())
        installations.looked.set()

    def findings() -> Sequence[Finding]:
        there.append(installations.looked.is_set())
        return ()

    core.contents.findings_of = findings
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await core.contents.findings()
    assert [False, True] == there


async def test_a_change_that_was_recorded_unseen_does_not_refuse_the_next(core: Core) -> None:
    await core.contents.create_content("an-app")
    intent = core.journal.intent
    cuts = [True]

    async def cut_off(*changes: Change) -> None:
        await intent(*changes)
        if cuts:
            cuts.clear()
            raise StoreUnavailable("the answer was lost")

    core.journal.intent = cut_off  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await core.contents.retitle("an-app", "one")
    await core.contents.retitle("an-app", "two")
    view = await core.contents.content("an-app")
    assert ("two", 3) == (view.content.title, view.content.version)
    assert view.content == core.journal.store.get("content", "an-app")
