"""What the executor makes of an API server that loses answers, breaks off and forgets."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
from supervisor_executor_kubernetes.executor import KubernetesExecutor
from supervisor_executor_kubernetes.settings import KubernetesSettings
from supervisor_executor_kubernetes.shape import ORDERS

from supervisor import Cause, Exit, Job, Plan, Purpose, Running, SupervisorError, new_run_id
from tests.support.fake_api import Answer, Asked, FakeApi, says, streams

JOBS = "/apis/batch/v1/namespaces/content/jobs"
PODS = "/api/v1/namespaces/content/pods"
# Of Pods: on loopback, so that a test can listen there, and nobody else does.
ADDRESS = f"127.8.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
SETTINGS = KubernetesSettings(namespace="content", image=("localhost/python:1",))


class Cluster:
    """A small cluster behind a FakeApi: Jobs that were created, Pods that a test makes.

    lose: answers to creates that do not arrive. log: what each next request of a log gets; after
    the last one it breaks off.
    """

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.client = api.client
        self.jobs: dict[str, dict[str, Any]] = {}
        self.lose = 0
        self.refuses: Answer | None = None
        self.logs: list[list[bytes]] = []
        self.since: list[str] = []
        self._watch: trio.SocketStream | None = None
        self._version = 1
        api.answers = [self._answer]

    async def _answer(self, asked: Asked, stream: trio.SocketStream) -> None:
        parts = urlsplit(asked.target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if self.refuses is not None:
            await self.refuses(asked, stream)
        elif parts.path == JOBS and asked.method == "POST":
            await self._create(asked, stream)
        elif parts.path.startswith(f"{JOBS}/"):
            await self._job(asked.method, parts.path.rpartition("/")[2], asked, stream)
        elif parts.path.endswith("/log"):
            self.since.append(query.get("sinceTime", ""))
            then = None if len(self.logs) == 1 else _breaks
            await streams(*self.logs.pop(0), then=then)(asked, stream)
        elif query.get("watch"):
            await streams(then=self._watched)(asked, stream)
        else:
            body = {"metadata": {"resourceVersion": "1"}, "items": []}
            await says(200, body)(asked, stream)

    async def _watched(self, asked: Asked, stream: trio.SocketStream) -> None:
        self._watch = stream
        await trio.sleep_forever()

    async def _create(self, asked: Asked, stream: trio.SocketStream) -> None:
        name = asked.body["metadata"]["name"]
        there = name in self.jobs
        job = self.jobs.setdefault(name, asked.body)
        job["metadata"]["uid"] = "1"
        if self.lose:
            self.lose -= 1
            await stream.aclose()
        elif there:
            await says(409, {"reason": "AlreadyExists", "message": "there"})(asked, stream)
        else:
            await says(201, job)(asked, stream)

    async def _job(self, method: str, name: str, asked: Asked, stream: trio.SocketStream) -> None:
        job = self.jobs.get(name)
        if method == "DELETE":
            self.jobs.pop(name, None)
        await (says(200, job) if job else says(404, {"message": "no such Job"}))(asked, stream)

    async def tells(self, kind: str, job: Job, state: dict[str, Any], **status: Any) -> None:
        """Tell watchers of the Pod of a job."""
        while self._watch is None:  # noqa: ASYNC110
            await trio.sleep(0.01)
        self._version += 1
        labels = {"supervisor/run": job.run, "job-name": "x", "controller-uid": "1"}
        pod = {
            "metadata": {
                "name": f"pod-{job.run}",
                "namespace": "content",
                "uid": "2",
                "resourceVersion": str(self._version),
                "labels": labels,
            },
            "spec": {"terminationGracePeriodSeconds": 5},
            "status": {
                "phase": "Running",
                "podIP": ADDRESS,
                "containerStatuses": [{"name": "content", "state": state}],
                **status,
            },
        }
        line = json_line({"type": kind, "object": pod})
        await self._watch.send_all(f"{len(line):x}\r\n".encode() + line + b"\r\n")


def json_line(event: dict[str, Any]) -> bytes:
    """Give one event of a watch."""
    return json.dumps(event).encode() + b"\n"


async def _breaks(asked: Asked, stream: trio.SocketStream) -> None:
    await stream.aclose()


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    api = FakeApi()
    async with trio.open_nursery() as nursery:
        await nursery.start(api.serve)
        cluster = Cluster(api)
        with trio.fail_after(20):
            yield cluster
        nursery.cancel_scope.cancel()


@pytest.fixture
async def executor(cluster: Cluster, tmp_path: Path) -> AsyncIterator[KubernetesExecutor]:
    executor = KubernetesExecutor(
        settings=SETTINGS,
        key_file=tmp_path / "key",
        client=cluster.client(),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.serve)
        yield executor
        nursery.cancel_scope.cancel()


def job() -> Job:
    return Job(
        run=new_run_id(),
        content=1,  # type: ignore[arg-type]
        purpose=Purpose.SERVE,
        plan=Plan(argv=("/bin/true",), workdir="/tmp"),
        uid=50001,
        gid=50001,
    )


async def test_a_create_whose_answer_was_lost_is_found_again(
    cluster: Cluster, executor: KubernetesExecutor
) -> None:
    asked = job()
    cluster.lose = 1
    receipt = await executor.start(asked)
    assert [receipt.data["name"]] == [*cluster.jobs]
    assert receipt == await executor.start(asked)
    assert 1 == len(cluster.jobs)


async def test_before_it_is_served_every_call_may_be_made_again_later(tmp_path: Path) -> None:
    executor = KubernetesExecutor(settings=SETTINGS, key_file=tmp_path / "key")
    with pytest.raises(SupervisorError) as away:
        await executor.start(job())
    assert away.value.recoverable


async def test_a_log_that_breaks_off_goes_on_without_a_line_lost_or_doubled(
    cluster: Cluster, executor: KubernetesExecutor
) -> None:
    asked = job()
    receipt = await executor.start(asked)
    one, two, three = (b"2026-01-01T00:00:0%d.5Z" % second for second in (1, 2, 3))
    parts = [one + b" a\n", two + b" b\n", three + b" c\n"]
    cluster.logs = [parts, [*parts[1:], three + b" c\n", b"2026-01-01T00:00:04Z d\n"]]
    await cluster.tells("ADDED", asked, {"running": {}})
    seen = []
    async with aclosing(executor.output(receipt)) as chunks:
        async for chunk in chunks:
            seen.append(chunk.data)
            if chunk.data == b"d\n":
                break
    assert [b"a\n", b"b\n", b"c\n", b"c\n", b"d\n"] == seen
    assert ["", "2026-01-01T00:00:02Z"] == cluster.since


async def test_a_deadline_is_told_once_the_process_is_gone(
    cluster: Cluster, executor: KubernetesExecutor
) -> None:
    asked = job()
    receipt = await executor.start(asked)
    seen: list[object] = []
    async with aclosing(executor.watch(receipt)) as observations:
        async for news in observations:
            seen.append(news)
            if len(seen) == 1:
                await cluster.tells("ADDED", asked, {"running": {}})
            elif isinstance(news, Running):
                late = {"phase": "Failed", "reason": "DeadlineExceeded"}
                await cluster.tells("MODIFIED", asked, {"running": {}}, **late)
                await cluster.tells("DELETED", asked, {"terminated": {"exitCode": 137}}, **late)
    assert isinstance(seen[-1], Exit)
    assert Cause.TOO_LONG is seen[-1].cause
    while cluster.jobs:  # noqa: ASYNC110
        await trio.sleep(0.01)


async def test_a_job_that_has_ended_without_a_pod_is_lost(
    cluster: Cluster, executor: KubernetesExecutor, tmp_path: Path
) -> None:
    asked = job()
    receipt = await executor.start(asked)
    made = cluster.jobs[str(receipt.data["name"])]
    made["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    later = KubernetesExecutor(
        settings=SETTINGS,
        key_file=tmp_path / "key",
        client=cluster.client(),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(later.serve)
        async with aclosing(later.watch(receipt)) as observations:
            (seen,) = [news async for news in observations]
        nursery.cancel_scope.cancel()
    assert isinstance(seen, Exit)
    assert Cause.LOST is seen.cause


async def test_what_a_person_must_mend_ends_serve_with_its_own_words(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.refuses = says(404, {"message": "no such kind"})
    executor = KubernetesExecutor(
        settings=SETTINGS, key_file=tmp_path / "key", client=cluster.client()
    )
    with pytest.raises(SupervisorError, match="no such kind"):
        await executor.serve()


async def test_a_core_that_never_watched_a_pod_without_its_image_does_not_wait_for_its_removal(
    cluster: Cluster, executor: KubernetesExecutor
) -> None:
    asked = job()
    receipt = await executor.start(asked)
    waiting = {"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}}
    await cluster.tells("ADDED", asked, waiting, phase="Pending")
    await _until(lambda: executor._views.of(asked.run).pod is not None)
    with trio.fail_after(5):
        await executor.stop(receipt, 0.5)  # nodes take long to let go of such a Pod


class Entrance:
    """Where a Pod takes the order to end; says ok, or nothing."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.told: list[bytes] = []

    async def __call__(self, stream: trio.SocketStream) -> None:
        self.told.append(await stream.receive_some())
        if self.answers:
            await stream.send_all(b"ok\n")
        async for _ in stream:
            pass


def deleted(api: FakeApi) -> list[str]:
    """Give the kinds of objects that were deleted."""
    return [each.target.split("/")[-2] for each in api.asked if each.method == "DELETE"]


async def test_a_pod_that_takes_the_order_to_end_is_deleted_once_it_has_told_how(
    cluster: Cluster, executor: KubernetesExecutor, nursery: trio.Nursery
) -> None:
    entrance, asked = Entrance(answers=True), job()
    receipt = await executor.start(asked)
    await cluster.tells("ADDED", asked, {"running": {}})
    await nursery.start(partial(trio.serve_tcp, entrance, ORDERS, host=ADDRESS))
    await _until(lambda: executor._views.of(asked.run).pod is not None)
    async with trio.open_nursery() as stopping:
        stopping.start_soon(executor.stop, receipt, 600.0)
        await _until(lambda: bool(entrance.told))
        assert cluster.jobs
        await cluster.tells("MODIFIED", asked, {"terminated": {"exitCode": 7}})
    secret = executor._views.of(asked.run).secret
    assert [f"supervisor {secret}\n600.0\n".encode()] == entrance.told
    assert ["jobs"] == deleted(cluster.api)
    assert [Exit(code=7, cause=Cause.STOPPED)] == [n async for n in executor.watch(receipt)]


@pytest.mark.parametrize("listens", [True, False])
async def test_a_pod_that_does_not_take_the_order_is_deleted_with_the_grace(
    cluster: Cluster, executor: KubernetesExecutor, nursery: trio.Nursery, listens: bool
) -> None:
    asked = job()
    receipt = await executor.start(asked)
    await cluster.tells("ADDED", asked, {"running": {}})
    if listens:
        silent = Entrance(answers=False)
        await nursery.start(partial(trio.serve_tcp, silent, ORDERS, host=ADDRESS))
    await _until(lambda: executor._views.of(asked.run).pod is not None)
    async with trio.open_nursery() as stopping:
        stopping.start_soon(executor.stop, receipt, 0.5)
        await _until(lambda: ["jobs", "pods"] == deleted(cluster.api))
        await cluster.tells("DELETED", asked, {"terminated": {"exitCode": 7}})


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110
        await trio.sleep(0.01)
