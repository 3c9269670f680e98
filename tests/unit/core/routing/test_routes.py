"""The core's side of the gateway link, over real sockets with descriptors."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from supervisor import packets
from supervisor.core.routing import routes as routes_module
from supervisor.core.routing.gateways import SEND_LIMIT
from supervisor.core.routing.routes import Routes
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.elsewhere import Elsewhere
from supervisor.core.scheduling.keeper import Keeper
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import Cause, Exit, Guid, RunId, TcpEndpoint
from supervisor.testing.executors import Behaviour
from supervisor.testing.house import House, a_content, keeping


class FakeGateway:
    """One gateway's end of the link."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self.fds: list[int] = []

    def say(self, kind: str, **fields: Any) -> None:
        packets.send(self.sock, {"type": kind, **fields})

    async def hear(self, *kinds: str) -> packets.Message:
        """Give the next message of one of these kinds (any, where none is given)."""
        with trio.fail_after(1000):
            while True:
                try:
                    packet = packets.receive(self.sock)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self.sock)
                    continue
                assert packet is not None, "the core hung up"
                message, fds = packet
                self.fds += fds
                if not kinds or message["type"] in kinds:
                    return message

    async def until_hung_up(self) -> None:
        with trio.fail_after(1000):
            while True:
                await trio.lowlevel.wait_readable(self.sock)
                try:
                    if packets.receive(self.sock) is None:
                        return
                except ConnectionResetError:
                    return

    async def greet(self) -> packets.Message:
        self.say("hello", v=packets.VERSION, pid=1, gateway="g")
        return await self.hear("hello")

    async def resolve(self, want: str, run: str | None = None, guid: str = "guid-1") -> Any:
        self.say("resolve", id=7, content=guid, want=want, visitor="v", run=run)
        answer = await self.hear("answer")
        assert 7 == answer["id"]
        return answer

    def close(self) -> None:
        self.sock.close()
        for fd in self.fds:
            os.close(fd)


@attrs.define(eq=False)
class Link:
    routes: Routes
    keeper: Keeper
    path: str
    workers: dict[RunId, Worker]
    gateways: list[FakeGateway] = attrs.field(factory=list)

    def connect(self) -> FakeGateway:
        self.gateways.append(FakeGateway(self.path))
        return self.gateways[-1]

    async def ready(self) -> Worker:
        worker = (await self.keeper.admission.request(None)).worker
        assert worker is not None
        return worker


@asynccontextmanager
async def linked(house: House, short: Path, *, uid: int | None = None) -> AsyncIterator[Link]:
    """Serve the link with one keeper, wired as the server does it."""
    path = str(short / "link")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(10)
    workers: dict[RunId, Worker] = {}
    keepers: dict[Guid, Keeper] = {}
    routes = Routes(
        listener=listener,
        gateway_uid=os.geteuid() if uid is None else uid,
        key=b"\x01\x02",
        core_id="core",
        wait=65.0,
        keepers=keepers,
        workers=workers,
        log=Log("core", level="error", fd=os.open(os.devnull, os.O_WRONLY)),
    )

    def changed(worker: Worker) -> None:
        if worker.gone.is_set():
            workers.pop(worker.id, None)
        else:
            workers[worker.id] = worker
        routes.tell(worker)

    keeper = house.keeper(a_content(title="My app"))
    keeper.changed = changed
    keepers[keeper.content.guid] = keeper
    link = Link(routes=routes, keeper=keeper, path=path, workers=workers)
    async with keeping(keeper), trio.open_nursery() as nursery:
        await nursery.start(routes.serve)
        yield link
        nursery.cancel_scope.cancel()
    for gateway in link.gateways:
        gateway.close()
    listener.close()


async def test_a_foreign_uid_is_refused(house: House, short: Path) -> None:
    async with linked(house, short, uid=os.geteuid() + 1) as link:
        gateway = link.connect()
        await gateway.until_hung_up()
        assert set() == link.routes.gateways


async def test_hello_tells_the_key_and_then_every_live_worker(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        worker = await link.ready()
        gateway = link.connect()
        hello = await gateway.greet()
        assert {
            "type": "hello",
            "v": 1,
            "key": "0102",
            "core": "core",
            "wait": 65.0,
            "workers": 1,
        } == hello
        told = await gateway.hear()
        assert ("worker", worker.id, "guid-1", "live", os.geteuid()) == tuple(
            told[name] for name in ("type", "run", "content", "state", "uid")
        )
        (directory,) = gateway.fds
        assert told["name"] in os.listdir(f"/proc/self/fd/{directory}")
        assert os.get_inheritable(directory) is False


async def test_a_worker_elsewhere_is_told_by_its_address_and_again_where_that_changes(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        worker = await link.ready()
        worker.endpoint = TcpEndpoint(host="10.0.0.1", port=3939, secret="s3cret")
        gateway = link.connect()
        hello = await gateway.greet()
        told = await gateway.hear()
        assert 1 == hello["workers"]
        assert (worker.id, ["10.0.0.1", 3939], "s3cret") == (
            told["run"],
            told["address"],
            told["secret"],
        )
        assert not {"name", "uid"} & set(told)
        assert [] == gateway.fds
        worker.endpoint = TcpEndpoint(host="10.0.0.2", port=3939)
        link.routes.tell(worker)
        told = await gateway.hear("worker")
        assert (["10.0.0.2", 3939], None) == (told["address"], told["secret"])


async def test_another_version_is_hung_up_on(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        gateway.say("hello", v=packets.VERSION + 2)
        await gateway.until_hung_up()


@pytest.mark.parametrize("theirs", [-1, 0, 1])
async def test_a_gateway_of_the_version_before_or_after_is_answered_in_what_both_speak(
    house: House, short: Path, theirs: int
) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        gateway.say("hello", v=packets.VERSION + theirs, gateway="g", pid=1)
        assert packets.VERSION + min(0, theirs) == (await gateway.hear("hello"))["v"]


async def test_a_page_is_answered_at_once_and_the_app_starts(house: House, short: Path) -> None:
    house.executor.behaves = Behaviour(listens=5)
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        began = trio.current_time()
        answer = await gateway.resolve("page")
        assert ("starting", "My app") == (answer["as"], answer["title"])
        assert trio.current_time() - began < 1
        told = await gateway.hear("worker")
        assert "live" == told["state"]
        assert "worker" == (await gateway.resolve("page"))["as"]


@pytest.mark.parametrize("want", ["socket", "request"])
async def test_anything_else_waits_until_the_worker_was_told(
    house: House, short: Path, want: str
) -> None:
    house.executor.behaves = Behaviour(listens=5)
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        gateway.say("resolve", id=1, content="guid-1", want=want, visitor="v", run=None)
        told = await gateway.hear("worker", "answer")
        assert "worker" == told["type"]
        answer = await gateway.hear("answer")
        assert ("worker", told["run"]) == (answer["as"], answer["run"])


async def test_content_of_another_node_is_answered_by_where_it_runs(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        away = Elsewhere(content=a_content(9, title="Its app"), node="0123456789abcdef")
        link.routes.elsewhere = {away.content.guid: away}
        gateway = link.connect()
        await gateway.greet()
        answer = await gateway.resolve("page", guid="guid-9")
        assert ("unavailable", 5) == (answer["as"], answer["retry"])
        assert "Its app: it runs on another node of this server (01234567)" == answer["reason"]


async def test_content_that_is_not_there_is_missing(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        assert "missing" == (await gateway.resolve("page", guid="guid-9"))["as"]


async def test_a_stopped_or_empty_content_says_so(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        link.keeper.deployment = None
        assert "no-app-found" == (await gateway.resolve("request"))["code"]
        link.keeper.stop(attrs.evolve(link.keeper.content, stopped=True), "stopped")
        assert "stopped" == (await gateway.resolve("request"))["as"]


async def test_a_failure_fits_into_a_packet_whatever_the_app_printed(
    house: House, short: Path
) -> None:
    house.executor.behaves = Behaviour(
        listens=None,
        lives=1,
        end=Exit(code=1, cause=Cause.FAILED),
        output=tuple(("stderr", "\U0001f4a5".encode() * 2000 + b"\n") for _ in range(30)),
    )
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        answer = await gateway.resolve("request")
        assert ("failed", "start-failed") == (answer["as"], answer["code"])
        assert 20 == len(answer["lines"])
        assert 1 <= answer["retry"] <= 2


async def test_a_pinned_visitor_goes_back_to_a_draining_worker(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        worker = await link.ready()
        worker.active(sockets=1, requests=0)
        worker.drain("a newer deployment is active")
        assert worker.id == (await gateway.resolve("request", run=worker.id))["run"]
        assert worker.id != (await gateway.resolve("request"))["run"]


async def test_a_pin_of_another_content_counts_for_nothing(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        mine, other = await link.ready(), house.worker()
        other.guid = Guid("guid-2")
        link.workers[other.id] = other
        assert mine.id == (await gateway.resolve("page", run=other.id))["run"]


async def test_a_worker_that_drains_and_goes_is_told(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        worker = await link.ready()
        assert "live" == (await gateway.hear("worker"))["state"]
        worker.drain("idle")
        assert "draining" == (await gateway.hear("worker"))["state"]
        house.executor.runs[worker.id].dies(Exit(signal=9, cause=Cause.FAILED))
        gone = await gateway.hear("gone")
        assert (worker.id, "ended by signal 9 (SIGKILL)") == (gone["run"], gone["reason"])


async def test_what_two_gateways_count_is_added_up(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        worker = await link.ready()
        first, second = link.connect(), link.connect()
        for gateway, sockets in ((first, 2), (second, 3)):
            await gateway.greet()
            counts = {worker.id: {"sockets": sockets, "requests": 1, "total": 9}}
            gateway.say("activity", runs=counts, all=True)
        await trio.sleep(0.1)
        assert (5, 2) == (worker.sockets, worker.requests)
        first.close()
        link.gateways.remove(first)
        await trio.sleep(0.1)
        assert (3, 1) == (worker.sockets, worker.requests)
        second.say("activity", runs={}, all=True)
        await trio.sleep(0.1)
        assert (0, 0) == (worker.sockets, worker.requests)


async def test_requests_between_two_reports_keep_a_worker_awake(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        worker = await link.ready()
        gateway = link.connect()
        await gateway.greet()
        for total in range(10):
            await trio.sleep(100)
            counts = {worker.id: {"sockets": 0, "requests": 0, "total": total + 1}}
            gateway.say("activity", runs=counts)
        assert State.READY is worker.state


def says(gateway: FakeGateway, worker: Worker, word: str, moment: float) -> None:
    count = {"sockets": 0, "requests": 0, "total": 1, "busy": [word, moment]}
    gateway.say("activity", runs={worker.id: count})


async def test_declared_work_is_told_to_other_gateways_and_to_those_that_come(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        worker = await link.ready()
        first, second = link.connect(), link.connect()
        for gateway in (first, second):
            await gateway.greet()
            assert "busy" not in await gateway.hear("worker")
        says(first, worker, "1h", moment := time.monotonic())
        assert ["1h", moment] == (await second.hear("worker"))["busy"]
        await trio.sleep(1000)
        assert State.READY is worker.state
        third = link.connect()
        await third.greet()
        assert ["1h", moment] == (await third.hear("worker"))["busy"]


async def test_a_bad_declaration_stands_once_in_the_log_of_the_run(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        worker = await link.ready()
        gateway = link.connect()
        await gateway.greet()
        for moment in (1.0, 1.0, 2.0):
            says(gateway, worker, "soon", moment)
        await trio.sleep(1)
        said = [line for line in worker.output.last_lines() if "Supervisor-Busy" in line]
        assert [
            "[supervisor] Supervisor-Busy of an answer is ignored: "
            "'soon' is not a duration such as 500ms, 30s or 1h30m"
        ] == said


@pytest.mark.parametrize(
    "nonsense", [{"runs": 3}, {"runs": {"x": 3}}, {"runs": {"x": {"sockets": "a"}}}, {}]
)
async def test_a_gateway_that_talks_nonsense_costs_its_own_link_at_most(
    house: House, short: Path, nonsense: dict[str, object]
) -> None:
    async with linked(house, short) as link:
        broken, sound = link.connect(), link.connect()
        await broken.greet()
        await sound.greet()
        broken.say("activity", **nonsense)
        broken.say("what-is-this")
        assert "starting" == (await sound.resolve("page"))["as"]


async def test_more_gateways_than_could_be_ours_are_refused(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        first = link.connect()
        await first.greet()
        for _ in range(routes_module.MOST_GATEWAYS - 1):
            await link.connect().greet()
        await link.connect().until_hung_up()
        first.sock.shutdown(socket.SHUT_RDWR)
        await trio.sleep(1)
        await link.connect().greet()


async def test_a_gateway_that_counts_without_end_is_hung_up_on(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        for start in range(0, routes_module.MOST_COUNTED + 1, 1000):
            runs = {f"r{number}": {"sockets": 1} for number in range(start, start + 1000)}
            gateway.say("activity", runs=runs)
            await trio.sleep(1)
        await gateway.until_hung_up()


async def test_visitors_beyond_the_most_that_may_wait_are_told_to_come_again(
    house: House, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_module, "MOST_WAITING", 3)
    house.executor.behaves = Behaviour(listens=None)
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        for number in range(4):
            gateway.say(
                "resolve", id=number, content="guid-1", want="request", visitor="v", run=None
            )
        answer = await gateway.hear("answer")
        assert (3, "unavailable", 5) == (answer["id"], answer["as"], answer["retry"])


async def test_a_gateway_that_does_not_read_is_given_up(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        opened = len(os.listdir("/proc/self/fd"))
        [serving] = link.routes.gateways
        for _ in range(2000):
            serving.send({"type": "gone", "run": "none", "reason": "x"})
        assert 1 == len(link.routes.gateways)
        await trio.sleep(SEND_LIMIT + 1)
        assert set() == link.routes.gateways
        assert opened > len(os.listdir("/proc/self/fd"))


async def test_a_worker_is_told_again_only_where_something_has_changed(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        worker = await link.ready()
        gateway = link.connect()
        await gateway.greet()
        await gateway.hear("worker")
        link.routes.tell(worker)
        gateway.say("resolve", id=7, content="guid-1", want="page", visitor="v", run=None)
        assert "answer" == (await gateway.hear())["type"]
        worker.ends_at = trio.current_time() + 60
        link.routes.tell(worker)
        assert 60 == round((await gateway.hear("worker"))["ends"])


async def test_sending_workers_leaks_no_descriptor(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        worker = await link.ready()
        gateway = link.connect()
        await gateway.greet()
        await gateway.hear("worker")
        opened = len(os.listdir("/proc/self/fd"))
        for later in range(20):
            worker.ends_at = trio.current_time() + later
            link.routes.tell(worker)
            await gateway.hear("worker")
        assert opened + 20 == len(os.listdir("/proc/self/fd"))  # those that the gateway holds
