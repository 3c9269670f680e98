"""The local executor: every process in a sandbox of its own on this machine, started by the helper.

A run stays known to the helper, with its exit and what is left in its pipes, until its Exit was
taken from `watch`, or `stop` was called for a run that had ended; some seconds later, when the core
has recorded it and read the last output, it is forgotten. A core that dies in between finds it
again with `list`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from functools import partial

import attrs
import trio

from supervisor import (
    Capabilities,
    Cause,
    Egress,
    Executor,
    Exit,
    Finding,
    InnerEndpoint,
    Job,
    Lifetime,
    Observation,
    OutputChunk,
    PlaceRef,
    Purpose,
    Receipt,
    RunId,
    Running,
    SupervisorError,
    UnixEndpoint,
    Usage,
    from_json,
    layout,
    packets,
    to_json,
)
from supervisor_unshare.connection import Connection
from supervisor_unshare.root import host
from supervisor_unshare.root.hiding import hides
from supervisor_unshare.root.plan_mounts import ETC, OWN_ETC

_CHUNK = 64 * 1024
_REMEMBERED = 1000  # exits of forgotten runs, so that a second watch gives the same Exit


class _View:
    """What this core knows of a run."""

    def __init__(self, line: packets.Message) -> None:
        self.receipt: dict[str, object] = line["receipt"]
        self.uid: int = line["uid"]
        self.port: int | None = line.get("port")  # an earlier helper knows none
        self.exit: Exit | None = None
        self.ended = trio.Event()
        self.watched = False

    def end(self, exit: Exit) -> None:
        self.exit = exit
        self.ended.set()


class UnshareExecutor(Executor):
    """Run content in namespaces of this machine.

    run_dir: where the helper listens. data_dir: of which nothing is told. forget_after: seconds, at
    least, that a run stays known after its Exit was taken.
    """

    name = "unshare"

    def __init__(self, *, run_dir: str, data_dir: str = "", forget_after: float = 5.0) -> None:
        self._run_dir = run_dir
        self._data_dir = data_dir or run_dir
        self._looking = trio.CapacityLimiter(2)  # a file system that hangs holds up no other thread
        self._forget_after = forget_after
        self._views: OrderedDict[str, _View] = OrderedDict()
        self._helper = Connection(
            f"{run_dir}/helper.sock", connected=self._adopt, event=self._heard
        )
        self._taken: set[str] = set()
        self.capabilities = Capabilities(
            lifetime=Lifetime.NODE,
            purposes=frozenset(Purpose),
            limits=frozenset({"files"}),
            output=True,
            usage=True,
            egress=frozenset({Egress.NONE, Egress.HOST}),
            ports=True,
        )

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection to the helper; see Executor.serve. Also sets the limits claimed."""
        started = False

        def first() -> None:
            nonlocal started
            if not started:
                started = True
                task_status.started()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._forget)
            await self._helper.serve(first)

    async def start(self, job: Job) -> Receipt:
        """Start a job; the same run id again gives the same receipt. See Executor.start."""
        asked = to_json(job)
        if job.egress is Egress.HOST:
            del asked["egress"]  # an earlier helper, which is at work still, does not know it
        if job.plan.port is None:
            del asked["plan"]["port"]
        del asked["runtime"]  # everything runs on this host's files; the helper takes no idle word
        if asked["limits"]["nice"] is None:
            del asked["limits"]["nice"]  # a helper from before this field refuses it
        answer, _ = await self._helper.request("start", job=asked)
        self._note({"run": job.run, "port": job.plan.port, **answer})
        return self._receipt(job.run, answer["receipt"])

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        """Yield Running at once, and Exit when nothing of the run is left. See Executor.watch."""
        view = await self._view(receipt)
        if view is None:
            yield Exit(cause=Cause.LOST, detail="the helper does not know this run")
            return
        view.watched = True
        if view.exit is None:
            yield self._running(receipt.run, view)
            await view.ended.wait()
        assert view.exit is not None
        self._taken.add(receipt.run)
        yield view.exit

    async def stop(self, receipt: Receipt, grace: float) -> None:
        """End a run and wait until nothing of it is left. See Executor.stop."""
        view = await self._view(receipt)
        if view is None:
            return
        if view.exit is None:
            await self._helper.request("stop", run=receipt.run, grace=grace)
            await view.ended.wait()
        elif not view.watched:
            self._taken.add(receipt.run)

    async def list(self) -> Sequence[Receipt]:
        """Give a receipt of every run that the helper holds, ended ones included."""
        answer, _ = await self._helper.request("list")
        return [self._receipt(line["run"], line["receipt"]) for line in answer["runs"]]

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        """Yield what the run writes until both streams end. Cursors are not needed: reading takes.

        Closed early, it leaves the rest in the pipes for the next reader.
        """
        _, fds = await self._helper.request("output", run=receipt.run)
        try:
            async for chunk in _read_streams(dict(zip(fds, ("stdout", "stderr"), strict=True))):
                yield chunk
        finally:
            for fd in fds:
                os.close(fd)

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        """Give what the living among these runs use."""
        answer, _ = await self._helper.request("usage", runs=[*runs])
        return {RunId(run): from_json(Usage, used) for run, used in answer["usage"].items()}

    async def connect(self, endpoint: InnerEndpoint) -> socket.socket:
        """Give a socket that is connected to a port inside. See Executor.connect."""
        _, fds = await self._helper.request("connect", run=endpoint.run)
        sock = socket.socket(fileno=fds.pop())
        sock.setblocking(False)
        return sock

    async def prepare(self, place: PlaceRef, content: int, uid: int) -> None:
        """Make the directory of a place, owned by a content's uid."""
        await self._helper.request("prepare", place=to_json(place), content=content, uid=uid)

    async def remove(self, place: PlaceRef) -> None:
        """Remove a place and all beneath it."""
        await self._helper.request("remove", place=to_json(place))

    async def hides(self, path: str) -> bool:
        """Tell whether this machine shows everybody a file but sandboxes. See Executor.hides."""
        look = partial(_hides, path, (self._run_dir, self._data_dir))
        return await trio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._looking)

    async def check(self) -> Sequence[Finding]:
        """Give the helper's findings about this host, or that it does not answer."""
        try:
            answer, _ = await self._helper.request("doctor")
        except SupervisorError as error:
            text = error.message
            return [Finding(name="helper", ok=False, text=text, fix=error.hint, fatal=True)]
        return [from_json(Finding, finding) for finding in answer["findings"]]

    def _adopt(self, hello: packets.Message) -> None:
        """Take over what the helper has; what it has not is lost."""
        self.capabilities = attrs.evolve(
            self.capabilities,
            limits=frozenset(hello["limits"]),
            tier=hello["tier"],
            run_as=hello["tier"] == "root",
            egress=frozenset(map(Egress, hello.get("egress", [Egress.HOST]))),
            ports=Egress.NONE in hello.get("egress", ()),
        )
        lines = {line["run"]: line for line in hello["runs"]}
        for run, view in self._views.items():
            if view.exit is None and run not in lines:
                view.end(Exit(cause=Cause.LOST, detail="the helper ended"))
        for line in lines.values():
            self._note(line)

    def _note(self, line: packets.Message) -> _View:
        """Give the view of what a line or event names; a run that began anew has a new one."""
        view = self._views.get(line["run"])
        if view is None or not _same(view.receipt, line["receipt"]):
            view = self._views[line["run"]] = _View(line)
        if "exited" in line and view.exit is None:
            view.end(_exit(line["exited"]))
        return view

    def _heard(self, event: packets.Message) -> None:
        if event["type"] == "exited":  # it may come before the caller of start() has run again
            self._note(event).end(_exit(event))

    async def _view(self, receipt: Receipt) -> _View | None:
        view = self._views.get(receipt.run)
        if view is not None and _same(view.receipt, receipt.data):
            return view
        answer, _ = await self._helper.request("list")
        for line in answer["runs"]:
            if line["run"] == receipt.run and _same(line["receipt"], receipt.data):
                return self._note(line)
        return None

    def _running(self, run: str, view: _View) -> Running:
        directory = f"{self._run_dir}/{layout.RUN_SOCKETS}/{run}"
        endpoint: UnixEndpoint | InnerEndpoint
        if view.port is None:
            endpoint = UnixEndpoint(directory=directory, name=layout.SOCKET_NAME, uid=view.uid)
        else:
            endpoint = InnerEndpoint(
                run=RunId(run), port=view.port, directory=directory, uid=view.uid
            )
        pid = view.receipt["pid"]
        return Running(endpoint=endpoint, pid=pid if isinstance(pid, int) else None)

    def _receipt(self, run: str, data: Mapping[str, object]) -> Receipt:
        return Receipt(run=RunId(run), executor=self.name, data=dict(data))

    async def _forget(self) -> None:
        while True:
            await trio.sleep(self._forget_after)
            taken, self._taken = self._taken, set()
            for run in taken:
                # A helper that is away will not know the run when it comes back.
                with contextlib.suppress(SupervisorError):
                    await self._helper.request("forget", run=run)
            self._trim()

    def _trim(self) -> None:
        ended = [run for run, view in self._views.items() if view.exit is not None]
        for run in ended[:-_REMEMBERED]:
            del self._views[run]


def _hides(path: str, own: tuple[str, ...]) -> bool:
    """Look at the trees too in a thread: each may lie on a file system that does not answer."""
    trees = (*host.shown_trees(), *(f"/etc/{name}" for name in (*ETC, *OWN_ETC)))
    return hides(path, trees, own)


def _same(known: Mapping[str, object], asked: Mapping[str, object]) -> bool:
    """Tell whether two receipts name the same process: pids come again, start times do not."""
    return all(known.get(key) == asked.get(key) for key in ("pid", "boot", "started"))


def _exit(event: packets.Message) -> Exit:
    status, oom, stopped = event["status"], event["oom"], event.get("stopped", False)
    code = os.waitstatus_to_exitcode(status)
    signal = -code if code < 0 else None
    limit, detail = event.get("limit", "memory" if oom else ""), event.get("detail", "")
    if limit == "memory" and code != 0:
        cause = Cause.MEMORY
    elif stopped:
        cause, detail = Cause.STOPPED, ""
    elif code == 0:
        cause, detail = Cause.FINISHED, ""
    else:
        cause = Cause.LIMIT if limit else Cause.FAILED
    return Exit(code=None if signal else code, signal=signal, cause=cause, detail=detail)


async def _read_streams(streams: dict[int, str]) -> AsyncGenerator[OutputChunk, None]:
    """Read several pipes as they fill. One epoll descriptor stands for all in trio's eyes."""
    with select.epoll() as ready:
        for fd in streams:
            os.set_blocking(fd, False)
            ready.register(fd, select.EPOLLIN)
        left = len(streams)
        while left:
            await trio.lowlevel.wait_readable(ready.fileno())
            for fd, _ in ready.poll(0):
                data = os.read(fd, _CHUNK)
                if data:
                    yield OutputChunk(stream=streams[fd], data=data)
                else:
                    ready.unregister(fd)
                    left -= 1
