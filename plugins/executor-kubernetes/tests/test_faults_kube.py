"""What goes wrong in a real cluster is told within seconds, by its cause, and leaves nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from supervisor_executor_kubernetes.executor import KubernetesExecutor
from supervisor_executor_kubernetes.settings import KubernetesSettings

from supervisor import (
    Access,
    Cause,
    Exit,
    Job,
    Mount,
    PlaceKind,
    PlaceRef,
    Plan,
    Purpose,
    Receipt,
    Role,
    Running,
    TcpEndpoint,
    layout,
    new_run_id,
    place_key,
)
from supervisor.testing import programs
from supervisor.testing.programs import Program

if TYPE_CHECKING:
    from tests.kube.place import Place

pytestmark = pytest.mark.system

SECONDS = 10.0  # within which a person is to know why nothing comes

STATE = Mount(role=Role.STATE, access=Access.WRITE, at=layout.at(Role.STATE))
PLACES = {place_key(STATE): PlaceRef(kind=PlaceKind.STATE, ids=(1,))}


@pytest.fixture
def settings(kube: Place, kube_namespace: str, kube_python_image: str) -> KubernetesSettings:
    return KubernetesSettings(
        kubeconfig=str(kube.kubeconfig),
        namespace=kube_namespace,
        image=(kube_python_image,),
        image_pull_policy="Never",
    )


@pytest.fixture
async def executor(
    settings: KubernetesSettings, tmp_path: Path
) -> AsyncIterator[KubernetesExecutor]:
    executor = KubernetesExecutor(settings=settings, key_file=tmp_path / "key", forget_after=0.5)
    async with trio.open_nursery() as nursery:
        await nursery.start(_serve, executor)
        with trio.fail_after(100):
            yield executor
        nursery.cancel_scope.cancel()


async def _serve(executor: KubernetesExecutor, *, task_status: trio.TaskStatus[None]) -> None:
    await executor.serve(task_status=task_status)


def job(program: Program = programs.SLEEPS, **fields: Any) -> Job:
    mounts: tuple[Mount, ...] = fields.pop("mounts", ())
    plan = Plan(
        argv=program.command(shell="/bin/sh", python="/usr/bin/python3"),
        env={"PATH": "/usr/bin:/bin", "SUPERVISOR_LISTEN": layout.LISTEN_AT},
        workdir="/tmp",
        mounts=mounts,
    )
    made: dict[str, Any] = {
        "run": new_run_id(),
        "content": 1,
        "purpose": Purpose.SERVE,
        "plan": plan,
        "runtime": "python",
        "uid": 50001,
        "gid": 50001,
    }
    return Job(**{**made, **fields})


async def until(executor: KubernetesExecutor, receipt: Receipt, kind: type) -> Any:
    """Watch until an observation of a kind comes."""
    async with aclosing(executor.watch(receipt)) as observations:
        async for seen in observations:
            if isinstance(seen, kind):
                return seen
    raise AssertionError(f"there was no {kind.__name__}")


async def fails(executor: KubernetesExecutor, asked: Job) -> str:
    """Start a job that cannot come, and give the reason that is told in time."""
    receipt = await executor.start(asked)
    with trio.fail_after(SECONDS):
        ended = await until(executor, receipt, Exit)
    assert Cause.FAILED is ended.cause
    detail: str = ended.detail
    return detail


async def test_an_image_that_is_not_there(
    executor: KubernetesExecutor, kube: Place, kube_namespace: str
) -> None:
    executor.settings = attrs.evolve(executor.settings, image=("localhost/none:1",))
    reason = await fails(executor, job())
    assert "ErrImageNeverPull" in reason
    assert "localhost/none:1" in reason
    assert not kube.ask("GET", f"/apis/batch/v1/namespaces/{kube_namespace}/jobs")["items"]


async def test_a_claim_that_is_not_there(executor: KubernetesExecutor) -> None:
    executor.settings = attrs.evolve(executor.settings, claim="nowhere")
    reason = await fails(executor, job(mounts=(STATE,), places=PLACES))
    assert '"nowhere" not found' in reason


async def test_a_quota_that_is_used_up(
    executor: KubernetesExecutor, kube: Place, kube_namespace: str
) -> None:
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}}
    kube.ask("POST", f"/api/v1/namespaces/{kube_namespace}/resourcequotas", quota)
    reason = await fails(executor, job())
    assert "exceeded quota: small" in reason


async def test_an_account_that_is_not_there(executor: KubernetesExecutor) -> None:
    executor.settings = attrs.evolve(executor.settings, service_account="nobody")
    assert '"nobody" not found' in await fails(executor, job())


async def test_a_pod_that_somebody_else_deletes_is_lost_and_no_other_takes_its_place(
    executor: KubernetesExecutor, kube: Place, kube_namespace: str
) -> None:
    receipt = await executor.start(job())
    await until(executor, receipt, Running)
    pods = f"/api/v1/namespaces/{kube_namespace}/pods"
    name = kube.ask("GET", pods)["items"][0]["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1beta1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": kube_namespace},
    }
    kube.ask("POST", f"{pods}/{name}/eviction", eviction)
    ended = await until(executor, receipt, Exit)
    assert ended.cause in (Cause.FAILED, Cause.LOST)
    assert "deleted by somebody else" in ended.detail
    with trio.fail_after(90):  # a node takes its time to let go
        while kube.ask("GET", pods)["items"]:  # noqa: ASYNC110
            await trio.sleep(0.5)
    assert [] == await executor.list()


async def test_a_stray_pod_is_listed_and_stopped(
    executor: KubernetesExecutor, settings: KubernetesSettings, tmp_path: Path
) -> None:
    other = KubernetesExecutor(settings=settings, key_file=tmp_path / "key")
    async with trio.open_nursery() as nursery:
        await nursery.start(_serve, other)
        receipt = await other.start(job())
        await until(other, receipt, Running)
        nursery.cancel_scope.cancel()
    assert [receipt] == await executor.list()
    await executor.stop(receipt, 0.5)
    assert [] == await executor.list()


async def test_what_another_server_has_made_is_neither_listed_nor_touched(
    executor: KubernetesExecutor, settings: KubernetesSettings, tmp_path: Path
) -> None:
    other = KubernetesExecutor(settings=settings, key_file=tmp_path / "another-key")
    async with trio.open_nursery() as nursery:
        await nursery.start(_serve, other)
        asked = job()
        receipt = await other.start(asked)
        assert [] == await executor.list()
        with pytest.raises(Exception, match="not this server's"):
            await executor.start(asked)
        assert [receipt] == await other.list()
        nursery.cancel_scope.cancel()


async def test_only_who_knows_the_secret_comes_in(executor: KubernetesExecutor) -> None:
    receipt = await executor.start(job(programs.SERVES))
    running = await until(executor, receipt, Running)
    endpoint = running.endpoint
    assert isinstance(endpoint, TcpEndpoint)
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    known = f"supervisor {endpoint.secret}\n".encode()
    wrong = f"supervisor {'0' * 64}\n".encode()
    assert b"200 OK" in await asks(endpoint, known + request)
    assert b"" == await asks(endpoint, wrong + request)
    assert b"" == await asks(endpoint, request)
    assert b"" == await asks(endpoint, known[:-1])  # never ended, so it is cut off after a while


async def asks(endpoint: TcpEndpoint, data: bytes) -> bytes:
    """Send, and give all that comes back."""
    with trio.fail_after(30):
        while True:
            try:
                stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
                break
            except OSError:
                await trio.sleep(0.1)
        async with stream:
            try:
                await stream.send_all(data)
                return b"".join([chunk async for chunk in stream])
            except trio.BrokenResourceError:
                return b""


async def test_twenty_pods_at_once_for_few_requests(executor: KubernetesExecutor) -> None:
    exits: list[Exit] = []

    async def one() -> None:
        receipt = await executor.start(job(programs.says("hello")))
        async with aclosing(executor.output(receipt)) as chunks:
            said = b"".join([chunk.data async for chunk in chunks])
        assert b"hello\n" == said
        async with aclosing(executor.watch(receipt)) as observations:
            async for seen in observations:
                if isinstance(seen, Exit):
                    exits.append(seen)

    before = requests(executor)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
    with trio.fail_after(30):
        while await executor.list():  # noqa: ASYNC110
            await trio.sleep(0.5)
    assert [Exit(code=0, cause=Cause.FINISHED)] * 20 == exits
    sent = requests(executor) - before
    ours = sum(sent[call] for call in sent if call not in ("list jobs", "list pods"))
    assert ours <= 6 * 20, sent


async def test_at_rest_nothing_is_asked(executor: KubernetesExecutor) -> None:
    receipt = await executor.start(job())
    await until(executor, receipt, Running)
    before = requests(executor)
    await trio.sleep(5)
    assert not requests(executor) - before


def requests(executor: KubernetesExecutor) -> Counter[str]:
    client = executor._client
    assert client is not None
    return Counter(client.requests)


async def test_what_doctor_says(executor: KubernetesExecutor) -> None:
    findings = {finding.name: finding for finding in await executor.check()}
    assert "v1.20" in findings["kubernetes"].text
    assert findings["kubernetes-rights"].ok
    executor.settings = attrs.evolve(executor.settings, claim="nowhere")
    findings = {finding.name: finding for finding in await executor.check()}
    assert not findings["kubernetes-claim"].ok
