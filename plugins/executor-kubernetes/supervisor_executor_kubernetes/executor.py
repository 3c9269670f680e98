"""The remote executor: every process in a Pod of its own, one Job of Kubernetes for each run.

A run stays in the cluster, with its exit and its log, until its Exit was taken from `watch` or
`stop` was called; some seconds later its Job is deleted. A core that dies in between finds it
again with `list`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from supervisor import (
    Capabilities,
    Cause,
    Executor,
    Exit,
    Finding,
    Job,
    Lifetime,
    Observation,
    OutputChunk,
    Purpose,
    Receipt,
    RunId,
    SupervisorError,
    Usage,
)
from supervisor_executor_kubernetes import doctor, order, output, status
from supervisor_executor_kubernetes.client import Client
from supervisor_executor_kubernetes.errors import ApiError, Conflict, NotFound, ServerFailed
from supervisor_executor_kubernetes.identity import Key, read_key
from supervisor_executor_kubernetes.reflector import Reflector
from supervisor_executor_kubernetes.settings import KubernetesSettings
from supervisor_executor_kubernetes.shape import (
    INSTANCE,
    ORDERS,
    PORT,
    RUN,
    Server,
    job_name,
    selector,
    shape,
)
from supervisor_executor_kubernetes.views import View, Views

Object = dict[str, Any]

# When the events of a run that says nothing are read: seconds since somebody began to watch it.
LOOKS = (2.0, 8.0, 30.0)
# Seconds after its grace within which the cluster must tell that a process has ended.
TELLS = 15.0
ASKED = 50  # Pods that are asked at a time what they use


class KubernetesExecutor(Executor):
    """Run content in Pods. key_file: where this server's key lies, made at the first serve().

    forget_after: seconds, at least, that a run stays in the cluster after its Exit was taken.
    client: another way to the API server than the settings tell, for tests.
    """

    name = "kubernetes"
    capabilities = Capabilities(
        lifetime=Lifetime.REMOTE,
        purposes=frozenset({Purpose.SERVE}),
        limits=frozenset({"memory_high", "memory_max", "cpu", "run_time"}),
        shared_files=False,
        output=True,
        streams=False,
        usage=True,
    )

    def __init__(
        self,
        *,
        settings: KubernetesSettings,
        key_file: Path,
        forget_after: float = 5.0,
        client: Client | None = None,
    ) -> None:
        self.settings = settings
        self._key_file = key_file
        self._forget_after = forget_after
        self._given = client
        self._client: Client | None = None
        self._nursery: trio.Nursery | None = None
        self._key: Key | None = None
        self._views = Views(lambda run: self._own_key().secret(run), self._remove_replacement)
        self._taken: dict[RunId, str] = {}

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch the Pods of this server; see Executor.serve. Raises what a person must mend."""
        try:
            await self._serve(task_status)
        except ExceptionGroup as group:  # people read the error, not the nursery around it
            raise _innermost(group) from None

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        labels = selector(self._own_key().instance)
        async with self._new_client() as client, trio.open_nursery() as nursery:
            self._client, self._nursery = client, nursery
            pods = Reflector(client, self._path("pods"), labels, self._views.changed)
            await nursery.start(pods.run)
            self._views.keep_only(pods.cache.values())
            nursery.start_soon(self._forget)
            task_status.started()

    async def start(self, job: Job) -> Receipt:
        """Create the Job of a run, or find it; see Executor.start."""
        key = self._own_key()
        server = Server(instance=key.instance, uid=os.geteuid(), gid=os.getegid())
        body = shape(job, self.settings, server, key.secret(job.run))
        name = body["metadata"]["name"]
        try:
            made = await self._api.create(self._path("jobs"), body)
        except Conflict:
            made = await self._find_own(name, job.run)
        except ServerFailed as error:
            if not error.sent:
                raise
            try:  # the answer was lost, not the question
                made = await self._find_own(name, job.run)
            except NotFound:
                raise error from None
        self._views.of(job.run)
        return self._receipt(job.run, name, made["metadata"]["uid"])

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        """Follow a run by its Pod, and by events while it says nothing. See Executor.watch."""
        view = await self._view(receipt)
        if view is None:
            yield Exit(cause=Cause.LOST, detail="the cluster does not know this run")
            return
        looks = [trio.current_time() + look for look in LOOKS]
        told: Observation | None = None
        while True:
            news, seen = view.news, view.seen()
            if isinstance(seen, status.Doomed):
                await self._end(view, receipt, 1.0)
                continue
            if seen != told:
                told = seen
                yield seen
                if isinstance(seen, Exit):
                    self._taken[receipt.run] = _name(receipt)
                    return
                continue
            limit = looks[0] if looks and view.is_silent else float("inf")
            with trio.move_on_at(limit) as waiting:
                await news.wait()
            if waiting.cancelled_caught:
                del looks[0]
                await self._read_events(view, receipt)

    async def stop(self, receipt: Receipt, grace: float) -> None:
        """End the process, delete its Job and Pod, and return when it is gone. See Executor.stop.

        The Pod is told to end its process, since one that is deleted may take with it how that
        ended. Where the Pod does not listen, or does not obey, deletion is the order.
        """
        view = await self._view(receipt)
        if view is None or view.gone:
            return
        view.asked = view.asked or view.exit is None
        address = status.entrance(view.pod) if view.pod is not None else ""
        if address and await order.end(address, ORDERS, view.secret, grace):
            with trio.move_on_after(grace + TELLS):
                await view.end()
            grace = 0.0
        await self._end(view, receipt, grace)

    async def list(self) -> Sequence[Receipt]:
        """Give a receipt of every Job of this server, and of what outlived its own."""
        labels = selector(self._own_key().instance)
        found: dict[RunId, Receipt] = {}
        for job in (await self._api.list(self._path("jobs"), labels=labels)).items:
            if "deletionTimestamp" not in job["metadata"]:
                metadata = job["metadata"]
                run = RunId(metadata["labels"][RUN])
                found[run] = self._receipt(run, metadata["name"], metadata["uid"])
        for pod in (await self._api.list(self._path("pods"), labels=labels)).items:
            said = pod["metadata"]["labels"]
            run = RunId(said[RUN])
            if run not in found and not status.has_ended(pod):
                found[run] = self._receipt(run, said["job-name"], said["controller-uid"])
        return list(found.values())

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        """Yield the log of the content's container; the cluster does not tell the streams apart."""
        view = await self._view(receipt)
        if view is None or self._nursery is None:
            return
        send, receive = trio.open_memory_channel[OutputChunk](0)
        scope = trio.CancelScope()
        self._nursery.start_soon(output.follow, self._api, view, cursor, send, scope)
        try:
            async for chunk in receive:
                yield chunk
        finally:
            scope.cancel()
            receive.close()

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        """Give what the entrances of the living Pods say; the API server is not asked."""
        used: dict[RunId, Usage] = {}
        at_a_time = trio.CapacityLimiter(ASKED)

        async def ask(view: View, address: str) -> None:
            async with at_a_time:
                said = await order.usage(address, ORDERS, view.secret)
            if said is not None:
                used[view.run] = said

        async with trio.open_nursery() as nursery:
            for view in filter(None, map(self._views.known, runs)):
                if view.pod is not None and (address := status.entrance(view.pod)):
                    nursery.start_soon(ask, view, address)
        return used

    async def check(self) -> Sequence[Finding]:
        """Look whether the API server answers and lets us do what we need. Changes nothing."""
        try:
            if self._client is not None:
                return await doctor.check(self._client, self._namespace, self.settings)
            async with self._new_client() as client:
                namespace = self.settings.namespace or client.namespace
                return await doctor.check(client, namespace, self.settings)
        except SupervisorError as error:
            text = error.message
            return [Finding(name="kubernetes", ok=False, text=text, fix=error.hint, fatal=True)]

    # -- ending -------------------------------------------------------------------------------

    async def _end(self, view: View, receipt: Receipt, grace: float) -> None:
        """Delete what a run has in the cluster and wait until its process is gone.

        The Job goes first: without it nothing puts another Pod in the place of this one. Its end
        is the Pod's as well, with the grace that the Pod was made with. That can be shortened
        then, never extended: for a longer one the Pod is set free from its Job first.
        """
        view.ending = True
        longer = view.pod is not None and grace > view.pod["spec"]["terminationGracePeriodSeconds"]
        await self._api.delete(
            self._path("jobs", _name(receipt)), propagation="Orphan" if longer else "Background"
        )
        view.removed = True
        if view.pod is None:
            await self._look_for_pod(view)
        if view.pod is not None and not view.gone and not status.has_ended(view.pod):
            # 0 would take the object away while the process lives
            pod = self._path("pods", view.pod["metadata"]["name"])
            await self._api.delete(pod, grace=max(1.0, grace))
        view.seen()  # a core that did not watch it may learn only here that it is doomed
        if view.doomed is not None and not (view.pod and status.has_started(view.pod)):
            view.exit = view.doomed  # what has not begun, and is deleted, does not begin
        await view.end()

    async def _look_for_pod(self, view: View) -> None:
        """Take in a Pod that was made a moment ago; without one the run is gone."""
        pods = (await self._api.list(self._path("pods"), labels=f"{RUN}={view.run}")).items
        if pods and view.pod is None:
            view.pod = pods[0]
        elif view.pod is None:
            view.gone = True
        view.tell()

    def _remove_replacement(self, view: View) -> None:
        """Delete the Job of a Pod that somebody else removes: it would make another."""
        if self._nursery is not None and view.pod is not None:
            job = view.pod["metadata"]["labels"]["job-name"]
            self._nursery.start_soon(self._delete_quietly, job)

    async def _delete_quietly(self, name: str) -> None:
        with suppress(SupervisorError):  # what is left is a stray at the next start of a core
            await self._api.delete(self._path("jobs", name))

    async def _forget(self) -> None:
        while True:
            await trio.sleep(self._forget_after)
            taken, self._taken = self._taken, {}
            for run, name in taken.items():
                view = self._views.known(run)
                if view is None or not view.removed:
                    await self._delete_quietly(name)
            self._views.trim()

    # -- parts --------------------------------------------------------------------------------

    async def _view(self, receipt: Receipt) -> View | None:
        """Give the view of a run that the cluster has, or had while this core lived."""
        view = self._views.known(receipt.run)
        if view is None:
            try:
                job = await self._find_own(_name(receipt), receipt.run)
            except NotFound:
                return None
            view = self._views.of(receipt.run)
            if view.pod is None and status.is_finished(job):  # its Pod went while no core looked
                view.gone = True
        return view

    async def _find_own(self, name: str, run: RunId) -> Object:
        """Give the Job of this name; it must be ours. Raises NotFound."""
        found = await self._api.get(self._path("jobs", name))
        labels = found["metadata"].get("labels") or {}
        if (labels.get(RUN), labels.get(INSTANCE)) != (run, self._own_key().instance):
            raise SupervisorError(
                "conflict",
                f"the namespace {self._namespace!r} has a Job {name!r} that is not this server's",
                hint="Give this server a namespace of its own, or delete that Job.",
            )
        return found

    async def _read_events(self, view: View, receipt: Receipt) -> None:
        """Look why a run does not go on, where nothing else tells."""
        owner = receipt.data.get("uid") if view.pod is None else view.pod["metadata"]["uid"]
        try:
            events = await self._api.list(
                self._path("events"), fields=f"involvedObject.uid={owner}"
            )
        except ApiError:
            return  # the next look may tell
        view.said, in_vain = status.told(events.items)
        if in_vain and view.exit is None and not (view.gone or view.ending):
            view.doomed = status.never(view.said).exit
        view.tell()

    def _receipt(self, run: RunId, name: str, uid: str) -> Receipt:
        data = {"namespace": self._namespace, "name": name, "uid": uid, "port": PORT}
        return Receipt(run=run, executor=self.name, data=data)

    def _own_key(self) -> Key:
        if self._key is None:
            try:
                self._key = read_key(self._key_file)
            except OSError as error:
                raise SupervisorError(
                    "data-dir-unusable", f"{self._key_file}: {error.strerror}"
                ) from None
        return self._key

    def _new_client(self) -> Client:
        if self._given is not None:
            return self._given
        if self.settings.kubeconfig:
            return Client.from_kubeconfig(Path(self.settings.kubeconfig))
        return Client.in_cluster()

    @property
    def _api(self) -> Client:
        if self._client is None:
            raise SupervisorError(
                "unavailable", "the Kubernetes executor has not reached its cluster yet",
                recoverable=True,
            )  # fmt: skip
        return self._client

    @property
    def _namespace(self) -> str:
        return self.settings.namespace or self._api.namespace

    def _path(self, kind: str, name: str = "") -> str:
        group = "/apis/batch/v1" if kind == "jobs" else "/api/v1"
        path = f"{group}/namespaces/{self._namespace}/{kind}"
        return f"{path}/{name}" if name else path


def _name(receipt: Receipt) -> str:
    name = receipt.data.get("name")
    return name if isinstance(name, str) else job_name(Purpose.SERVE, receipt.run)


def _innermost(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
