"""The core's side of the gateway link: resolve, tell of workers, count what is open."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from supervisor import packets
from supervisor.core.routing.gateways import MOST_WAITING, Gateway
from supervisor.core.routing.telling import TEXT, describe, describe_away
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.elsewhere import Elsewhere
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.seats import CLOSED
from supervisor.core.scheduling.verdict import Answer
from supervisor.lifecycle import State
from supervisor.log import REQUEST, Log
from supervisor.model import Endpoint, Guid, InnerEndpoint, RunId, UnixEndpoint

ACCEPT_AGAIN = 0.2
MOST_GATEWAYS = 8  # at once; old ones may still serve their visitors to the end
MOST_COUNTED = 10_000  # runs that a gateway may say are busy
MOST_SEATS = 100_000  # that a gateway may say are open
OLDEST = 1e9  # seconds that a session may say it is open
USAGE_LIMIT = 2.0  # seconds for a gateway to say how its seats are used

_TIME_LIMITS = {"connection": "ConnectionTimeout", "read": "ReadTimeout"}
_STATES = {State.READY: "live", State.DRAINING: "draining"}


@attrs.define(eq=False)
class Routes:
    """Answer the gateways. keepers, and what is elsewhere: by guid; workers: living, by run id."""

    listener: socket.socket
    gateway_uid: int
    key: bytes
    core_id: str
    wait: float
    keepers: Mapping[Guid, Keeper]
    workers: Mapping[RunId, Worker]
    log: Log
    elsewhere: Mapping[Guid, Elsewhere] = attrs.field(factory=dict)
    gateways: set[Gateway] = attrs.field(factory=set)
    connected: Callable[[], None] = lambda: None
    answered: Counter[str] = attrs.field(factory=Counter)  # answers of all gateways, by digit
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
        gateway = Gateway(sock=sock, log=self.log)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(gateway.send_all)
                await self._receive(gateway, nursery)
                nursery.cancel_scope.cancel()
        except Exception as error:
            self.log.error("gateway-link-broke", exc=error, pid=pid)
        finally:
            self._links -= 1
            self.gateways.discard(gateway)
            sock.close()
            for name in list(gateway.seats):
                self._leave(gateway, name, clean=False)
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
                self._begin(gateway, message, nursery)
            case "forget":
                scope = gateway.questions.get(message.get("id"))
                if scope is not None:
                    scope.cancel()
            case "activity":
                self._count(gateway, message)
                self._count_answers(gateway, message)
                self._seat(gateway, message)
            case "told":
                gateway.told(message)
            case "silent":
                nursery.start_soon(self._judge_silence, gateway, message)
            case "retry":
                keeper = self.keepers.get(Guid(str(message.get("content"))))
                if keeper is not None:
                    keeper.retry()
            case "unreachable":
                worker = self.workers.get(RunId(str(message.get("run"))))
                if worker is not None:
                    self.log.warning(
                        "worker-unreachable", run=worker.id, reason=message.get("reason", "")
                    )
                    worker.doubt()

    def _greet(self, gateway: Gateway, message: packets.Message) -> None:
        version = packets.common(message.get("v"))
        if version is None:
            self.log.error("gateway-version", theirs=message.get("v"), ours=packets.VERSION)
            gateway.hang_up()
            return
        gateway.name = str(message.get("gateway"))
        self.log.info("gateway-joined", pid=message.get("pid"))
        gateway.send(
            {
                "type": "hello",
                "v": version,
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
            if worker is not None and "busy" in count:
                self._hear(worker, *count["busy"])
            if gateway.counts[run] == (0, 0):
                del gateway.counts[run]
        if len(gateway.counts) > MOST_COUNTED:
            self.log.error("gateway-counts-too-much", runs=len(gateway.counts))
            gateway.hang_up()
        self._recount(touched)

    def _hear(self, worker: Worker, word: object, said: object) -> None:
        """Take what a worker has said of its work through one of the gateways."""
        news, trouble = worker.work.hear(str(word), float(str(said)))
        if trouble:
            worker.output.say(f"[supervisor] {trouble}")
        if news and len(self.gateways) > 1:
            self.tell(worker)  # the one that heard it may leave before the next core asks it

    def _count_answers(self, gateway: Gateway, message: packets.Message) -> None:
        given = message.get("answers")
        if not isinstance(given, dict):
            return
        for digit in "12345":
            count, before = int(given.get(digit, 0)), gateway.answers.get(digit, 0)
            if not message.get("all"):  # else an earlier core has counted them
                self.answered[digit] += max(0, count - before)
            gateway.answers[digit] = count

    def _recount(self, runs: set[str]) -> None:
        for run in runs:
            worker = self.workers.get(RunId(run))
            if worker is not None:
                counts = [gateway.counts.get(run, (0, 0)) for gateway in self.gateways]
                before, used = worker.sockets, worker.used
                worker.active(sum(c[0] for c in counts), sum(c[1] for c in counts))
                keeper = self.keepers.get(worker.guid)
                if keeper is not None and worker.sockets < before:
                    keeper.admission.wake()  # a process may let go of a session after its seat
                if keeper is not None and used and not worker.used:
                    keeper.wake()  # from now on it is idle

    def _seat(self, gateway: Gateway, message: packets.Message) -> None:
        """Take which seats are open and which were left."""
        if message.get("all"):
            gateway.picture = set()
        for name, run, visitor, age in message.get("seats", ()):
            keeper = self._keeper_of(RunId(str(run)))
            if keeper is None:
                continue  # its run has ended, and so will the session
            since = trio.current_time() - min(max(0.0, float(age)), OLDEST)
            keeper.admission.opened(str(name), RunId(str(run)), str(visitor), since)
            gateway.seats[str(name)] = keeper
            if gateway.picture is not None:
                gateway.picture.add(str(name))
        for name, clean in message.get("left", ()):
            self._leave(gateway, str(name), clean=bool(clean))
        if len(gateway.seats) > MOST_SEATS:
            self.log.error("gateway-seats-too-much", seats=len(gateway.seats))
            gateway.hang_up()
        if gateway.picture is not None and not message.get("more"):
            for name in gateway.seats.keys() - gateway.picture:
                self._leave(gateway, name, clean=False)
            gateway.picture = None

    def _leave(self, gateway: Gateway, name: str, *, clean: bool) -> None:
        keeper = gateway.seats.pop(name, None)
        if keeper is not None:
            keep = keeper.scaling.reconnect
            keeper.admission.left(name, min(CLOSED, keep) if clean else keep)

    def _keeper_of(self, run: RunId) -> Keeper | None:
        worker = self.workers.get(run)
        return None if worker is None else self.keepers.get(worker.guid)

    async def _judge_silence(self, gateway: Gateway, message: packets.Message) -> None:
        """End a session that was silent for too long, unless its process computes."""
        name, which = str(message.get("seat")), str(message.get("which"))
        keeper = gateway.seats.get(name)
        if keeper is None or not await keeper.admission.is_over(name, which):
            return
        seconds = round(float(message.get("seconds", 0)))
        reason = f"nothing was heard for {seconds} s ({_TIME_LIMITS.get(which, which)})"
        self.log.info("session-ended", content=keeper.content.id, seat=name, reason=reason)
        gateway.send({"type": "end", "seat": name, "reason": reason})

    # -- what it is told ----------------------------------------------------------------------

    def _begin(self, gateway: Gateway, message: packets.Message, nursery: trio.Nursery) -> None:
        """Take a question: from now on it can be forgotten."""
        number = message.get("id")
        keeper = self.keepers.get(Guid(str(message.get("content"))))
        if keeper is None:
            away = self.elsewhere.get(Guid(str(message.get("content"))))
            said = {"as": "missing"} if away is None else describe_away(away)
            gateway.send({"type": "answer", "id": number, **said})
            return
        if len(gateway.questions) >= MOST_WAITING:
            said = {"as": "unavailable", "reason": "too many visitors wait", "retry": 5}
            gateway.send({"type": "answer", "id": number, **said})
            return
        scope = gateway.questions[number] = trio.CancelScope()
        nursery.start_soon(self._resolve, gateway, keeper, message, scope)

    async def _resolve(
        self, gateway: Gateway, keeper: Keeper, message: packets.Message, scope: trio.CancelScope
    ) -> None:
        number = message.get("id")
        said = {"as": "unavailable", "reason": "nobody waits for this answer", "retry": 1}
        REQUEST.set(str(message.get("request") or "")[:128])
        try:
            with scope:
                answer = await self._ask(gateway, keeper, message)
                said = describe(keeper, answer)
                if answer.worker is not None:
                    self._tell_one(gateway, answer.worker)
        finally:
            gateway.questions.pop(number, None)
        gateway.send({"type": "answer", "id": number, **said})

    async def _ask(self, gateway: Gateway, keeper: Keeper, message: packets.Message) -> Answer:
        visitor, run = str(message.get("visitor")), message.get("run")
        pinned = None if run is None else RunId(str(run))
        match message.get("want"):
            case "page":
                return await keeper.admission.page(visitor, pinned)
            case "wait":
                return await keeper.admission.wait(visitor)
            case "socket" if message.get("seat") is not None:
                seat = str(message["seat"])
                gateway.seats[seat] = keeper
                worker = None
                try:
                    answer = await keeper.admission.socket(seat, visitor, pinned)
                    worker = answer.worker
                    return answer
                finally:
                    if worker is None:
                        gateway.seats.pop(seat, None)
            case _:
                return await keeper.admission.request(pinned)

    def tell(self, worker: Worker) -> None:
        """Tell every gateway how a worker stands now."""
        for gateway in self.gateways:
            self._tell_one(gateway, worker)

    def _tell_one(self, gateway: Gateway, worker: Worker) -> None:
        """Tell a gateway how a worker stands, unless that is what it was told last."""
        if worker.state not in _STATES or worker.gone.is_set():
            if worker.ready.is_set():
                gateway.told_of.pop(worker.id, None)
                reason = worker.tracked.run.reason
                gateway.send({"type": "gone", "run": worker.id, "reason": reason[:TEXT]})
            return
        if worker.endpoint is None:
            return
        keeper = self.keepers.get(worker.guid)
        scaling = keeper.scaling if keeper is not None else worker.scaling
        stands = worker.state, worker.endpoint, worker.ends_at, scaling, worker.work.said
        if gateway.told_of.get(worker.id) == stands:
            return
        gateway.told_of[worker.id] = stands
        where, directory = _where(worker.endpoint)
        ends = None if worker.ends_at is None else max(0.0, worker.ends_at - trio.current_time())
        gateway.send(
            {
                "type": "worker",
                "run": worker.id,
                "content": worker.guid,
                "state": _STATES[worker.state],
                **where,
                "connection": scaling.connection,
                "read": scaling.read,
                "ends": ends,
                "notice": scaling.notice,
                **({"busy": worker.work.said} if worker.work.said else {}),
            },
            directory=directory,
        )

    async def usage(self) -> dict[str, list[float]]:
        """Ask every gateway how its open seats are used; one that does not answer in time counts
        for nothing. Gives seat → seconds of silence of client and of worker, bytes in and out.
        """
        figures: dict[str, list[float]] = {}

        async def ask(gateway: Gateway) -> None:
            with trio.move_on_after(USAGE_LIMIT):
                figures.update(await gateway.ask_usage())

        async with trio.open_nursery() as nursery:
            for gateway in self.gateways:
                nursery.start_soon(ask, gateway)
        return figures


def _reachable(worker: Worker) -> bool:
    return worker.state in _STATES and worker.endpoint is not None


def _where(endpoint: Endpoint) -> tuple[dict[str, Any], str | None]:
    """Give what a gateway must know to connect, and the directory that it gets a descriptor of."""
    if isinstance(endpoint, InnerEndpoint):
        return {"name": "", "uid": endpoint.uid, "inside": True}, endpoint.directory
    if isinstance(endpoint, UnixEndpoint):
        return {"name": endpoint.name, "uid": endpoint.uid}, endpoint.directory
    return {"address": [endpoint.host, endpoint.port], "secret": endpoint.secret}, None
