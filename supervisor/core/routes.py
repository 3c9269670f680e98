"""The core's side of the gateway link: resolve, tell of workers, count what is open."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import attrs
import trio

from supervisor import packets, unixsocket
from supervisor.core.keeper import Keeper
from supervisor.core.verdict import Answer, Verdict
from supervisor.core.worker import Worker
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import Guid, RunId, UnixEndpoint

SEND_LIMIT = 10.0  # seconds for which a gateway may take nothing before it is given up
ACCEPT_AGAIN = 0.2
MOST_WAITING = 10_000  # messages that a gateway may be behind, and visitors that wait for a start
MOST_GATEWAYS = 8  # at once; old ones may still serve their visitors to the end
MOST_COUNTED = 10_000  # runs that a gateway may say are busy
LINES, LINE, TEXT = 20, 200, 500  # of a failure's answer: a packet has 64 KiB, a character up to 12

_STATES = {State.READY: "live", State.DRAINING: "draining"}


@attrs.define(eq=False)
class Gateway:
    """One connected gateway process."""

    sock: socket.socket
    queue: deque[tuple[packets.Message, str | None]] = attrs.field(factory=deque)
    filled: trio.Event = attrs.field(factory=trio.Event)
    counts: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    totals: dict[str, int] = attrs.field(factory=dict)
    waiting: int = 0

    def send(self, message: packets.Message, *, directory: str | None = None) -> None:
        """Queue a message; its directory is opened when it is sent."""
        if len(self.queue) < MOST_WAITING:
            self.queue.append((message, directory))
            self.filled.set()
        else:
            self.hang_up()

    def hang_up(self) -> None:
        """End the link; its receiving task sees the end."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


@attrs.define(eq=False)
class Routes:
    """Answer the gateways. keepers: by guid; workers: all living ones, by run id."""

    listener: socket.socket
    gateway_uid: int
    key: bytes
    core_id: str
    wait: float
    keepers: Mapping[Guid, Keeper]
    workers: Mapping[RunId, Worker]
    log: Log
    gateways: set[Gateway] = attrs.field(factory=set)
    connected: Callable[[], None] = lambda: None
    _links: int = attrs.field(default=0, init=False)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept gateways until cancelled."""
        self.listener.setblocking(False)
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(self.listener)
                try:
                    sock, _ = self.listener.accept()
                except BlockingIOError:
                    continue
                except OSError as error:  # no descriptors left, most likely
                    self.log.error("gateway-not-accepted", error=str(error))
                    await trio.sleep(ACCEPT_AGAIN)
                    continue
                nursery.start_soon(self._guarded, sock)

    async def _guarded(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        pid, uid, _ = packets.peer(sock)
        if uid != self.gateway_uid:
            self.log.warning("gateway-refused", pid=pid, uid=uid)
            sock.close()
            return
        if self._links >= MOST_GATEWAYS:
            self.log.warning("gateway-refused", pid=pid, links=self._links)
            sock.close()
            return
        self._links += 1
        gateway = Gateway(sock=sock)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, gateway)
                await self._receive(gateway, nursery)
                nursery.cancel_scope.cancel()
        except Exception as error:
            self.log.error("gateway-link-broke", exc=error, pid=pid)
        finally:
            self._links -= 1
            self.gateways.discard(gateway)
            sock.close()
            self._recount(set(gateway.counts))
            self.log.info("gateway-left", pid=pid)

    # -- what the gateway says ----------------------------------------------------------------

    async def _receive(self, gateway: Gateway, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(gateway.sock)
            try:
                packet = packets.receive(gateway.sock)
            except BlockingIOError:
                continue
            except (OSError, packets.BadPacket) as error:
                self.log.warning("gateway-link-closed", reason=str(error))
                return
            if packet is None:
                return
            message, fds = packet
            for fd in fds:
                os.close(fd)
            self._take(gateway, message, nursery)

    def _take(self, gateway: Gateway, message: packets.Message, nursery: trio.Nursery) -> None:
        match message["type"]:
            case "hello":
                self._greet(gateway, message)
            case "resolve":
                nursery.start_soon(self._resolve, gateway, message)
            case "activity":
                self._count(gateway, message)
            case "unreachable":
                worker = self.workers.get(RunId(str(message.get("run"))))
                if worker is not None:
                    self.log.warning(
                        "worker-unreachable", run=worker.id, reason=message.get("reason", "")
                    )
                    worker.doubt()

    def _greet(self, gateway: Gateway, message: packets.Message) -> None:
        version = message.get("v")
        if version not in (packets.VERSION, packets.VERSION - 1):
            self.log.error("gateway-version", theirs=version, ours=packets.VERSION)
            gateway.hang_up()
            return
        self.log.info("gateway-joined", pid=message.get("pid"))
        gateway.send(
            {
                "type": "hello",
                "v": packets.VERSION,
                "key": self.key.hex(),
                "core": self.core_id,
                "wait": self.wait,
                "workers": sum(map(_reachable, self.workers.values())),
            }
        )
        self.gateways.add(gateway)
        for worker in filter(_reachable, self.workers.values()):
            self._tell_one(gateway, worker)
        self.connected()

    def _count(self, gateway: Gateway, message: packets.Message) -> None:
        runs = message.get("runs")
        if not isinstance(runs, dict):
            return
        touched = set(runs)
        if message.get("all"):
            touched |= set(gateway.counts)
            gateway.counts.clear()
        for run, count in runs.items():
            gateway.counts[run] = (int(count.get("sockets", 0)), int(count.get("requests", 0)))
            total = int(count.get("total", 0))
            worker = self.workers.get(RunId(run))
            if worker is None:
                gateway.totals.pop(run, None)
            elif total != gateway.totals.get(run):
                worker.active_at = trio.current_time()
                gateway.totals[run] = total
            if gateway.counts[run] == (0, 0):
                del gateway.counts[run]
        if len(gateway.counts) > MOST_COUNTED:
            self.log.error("gateway-counts-too-much", runs=len(gateway.counts))
            gateway.hang_up()
        self._recount(touched)

    def _recount(self, runs: set[str]) -> None:
        for run in runs:
            worker = self.workers.get(RunId(run))
            if worker is not None:
                counts = [gateway.counts.get(run, (0, 0)) for gateway in self.gateways]
                worker.active(sum(c[0] for c in counts), sum(c[1] for c in counts))

    # -- what it is told ----------------------------------------------------------------------

    async def _resolve(self, gateway: Gateway, message: packets.Message) -> None:
        keeper = self.keepers.get(Guid(str(message.get("content"))))
        if keeper is None:
            gateway.send({"type": "answer", "id": message.get("id"), "as": "missing"})
            return
        pinned = self.workers.get(RunId(str(message.get("run"))))
        if pinned is not None and self._keeps(keeper, pinned, message.get("want")):
            answer = Answer(verdict=Verdict.WORKER, worker=pinned)
        elif message.get("want") == "page":
            answer = keeper.visit()
        elif gateway.waiting >= MOST_WAITING:
            said = {"as": "unavailable", "reason": "too many visitors wait", "retry": 5}
            gateway.send({"type": "answer", "id": message.get("id"), **said})
            return
        else:
            gateway.waiting += 1
            try:
                answer = await keeper.admit()
            finally:
                gateway.waiting -= 1
        if answer.worker is not None:
            self._tell_one(gateway, answer.worker)
        gateway.send({"type": "answer", "id": message.get("id"), **_describe(keeper, answer)})

    def _keeps(self, keeper: Keeper, worker: Worker, want: object) -> bool:
        """Whether a visitor of this worker goes back to it; for a new page not if it drains."""
        if worker.guid != keeper.content.guid:
            return False
        return worker.load().ready or (worker.state is State.DRAINING and want != "page")

    def tell(self, worker: Worker) -> None:
        """Tell every gateway how a worker stands now."""
        for gateway in self.gateways:
            self._tell_one(gateway, worker)

    def _tell_one(self, gateway: Gateway, worker: Worker) -> None:
        if worker.state not in _STATES:
            if worker.ready.is_set():
                reason = worker.tracked.run.reason
                gateway.send({"type": "gone", "run": worker.id, "reason": reason[:TEXT]})
            return
        if not isinstance(worker.endpoint, UnixEndpoint):
            return
        gateway.send(
            {
                "type": "worker",
                "run": worker.id,
                "content": worker.guid,
                "state": _STATES[worker.state],
                "name": worker.endpoint.name,
                "uid": worker.endpoint.uid,
            },
            directory=worker.endpoint.directory,
        )

    async def _send(self, gateway: Gateway) -> None:
        while True:
            while gateway.queue:
                await self._send_one(gateway, *gateway.queue.popleft())
            gateway.filled = trio.Event()
            await gateway.filled.wait()

    async def _send_one(
        self, gateway: Gateway, message: packets.Message, directory: str | None
    ) -> None:
        fds: tuple[int, ...] = ()
        try:
            if directory is not None:
                fds = (unixsocket.open_directory(directory),)
        except OSError as error:  # it has gone meanwhile
            self.log.warning("run-directory-gone", run=message["run"], error=str(error))
            return
        try:
            with trio.move_on_after(SEND_LIMIT):
                await _send_packet(gateway.sock, message, fds)
                return
            self.log.error("gateway-does-not-read", waiting=len(gateway.queue))
            gateway.hang_up()
        except ValueError as error:
            self.log.error("answer-not-sent", exc=error, type=message["type"])
        except OSError:
            gateway.hang_up()
        finally:
            for fd in fds:
                os.close(fd)


def _reachable(worker: Worker) -> bool:
    return worker.state in _STATES and isinstance(worker.endpoint, UnixEndpoint)


async def _send_packet(sock: socket.socket, message: packets.Message, fds: tuple[int, ...]) -> None:
    while True:
        try:
            packets.send(sock, message, fds)
            return
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


def _describe(keeper: Keeper, answer: Answer) -> dict[str, Any]:
    title = (keeper.content.title or keeper.content.name)[:TEXT]
    match answer.verdict:
        case Verdict.WORKER:
            assert answer.worker is not None
            return {"as": "worker", "run": answer.worker.id}
        case Verdict.STARTING:
            return {"as": "starting", "title": title}
        case Verdict.STOPPED:
            return {"as": "stopped", "title": title}
        case Verdict.EMPTY:
            return {
                "as": "failed",
                "title": title,
                "code": "no-app-found",
                "reason": "nothing has been deployed yet",
                "lines": [],
                "retry": 60,
            }
    failure = answer.failure
    assert failure is not None
    retry = None if failure.retry_at is None else max(1, failure.retry_at - trio.current_time())
    return {
        "as": "failed",
        "title": title,
        "code": failure.code,
        "reason": failure.reason[:TEXT],
        "lines": [line[:LINE] for line in failure.lines[-LINES:]],
        "retry": retry,
    }
