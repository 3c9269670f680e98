"""One app: keeps the wanted number of workers, backs off, replaces, drains, gives up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

import attrs
import trio

from supervisor import policy
from supervisor.core.runs.calls import LEAVE_LIMIT
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.admission import Admission
from supervisor.core.scheduling.crew import BEFORE_READY, DEMAND, Crew
from supervisor.core.scheduling.starts import LONGEST_START, Starts
from supervisor.core.scheduling.verdict import Failure
from supervisor.errors import SupervisorError
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import Content, Deployment, DeploymentId, Job, RunId
from supervisor.policy import FOREVER, Load

SETTLE = 1.0  # seconds for which nobody uses a draining worker before it is ended
RETURN = 15.0  # the same after a start of the core: the gateways have to come back first
SOONEST = 0.05  # seconds between two looks at what is due: time is not exact


@attrs.define(eq=False, kw_only=True)
class Keeper(Crew):
    """Supervises one content. All decisions about its workers are made in its one task.

    make gives a new worker with its job; deserted is told of a deployment nothing runs any more.
    Whoever changes the record of the content holds `changing`. known: the deployments of `workers`.
    """

    make: Callable[[Content, Deployment, int], Awaitable[tuple[Worker, Job]]]
    changed: Callable[[Worker], None]
    deserted: Callable[[Deployment], Awaitable[None]]
    log: Log
    starts: Starts
    known: dict[DeploymentId, Deployment] = attrs.field(factory=dict)
    changing: trio.Lock = attrs.field(factory=trio.Lock)
    admission: Admission = attrs.field(init=False)
    _nursery: trio.Nursery | None = None

    def __attrs_post_init__(self) -> None:
        self.admission = Admission(crew=self)

    # -- its task -----------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the content until cancelled; its processes stay then, for the next core."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for worker in list(self.workers):
                nursery.start_soon(self._slot, worker, None)
                if worker.state in BEFORE_READY:
                    self.starts.adopt()
                    nursery.start_soon(self._leave_starts, worker, True)
                self._go_on(worker)
            nursery.start_soon(self.admission.serve)
            task_status.started()
            while not self.closing or self.workers or self.launching:
                self._wake = trio.Event()
                with trio.move_on_after(max(SOONEST, self._tend())):
                    await self._wake.wait()
            nursery.cancel_scope.cancel()

    def _go_on(self, worker: Worker) -> None:
        """Go on with ending an adopted worker that no new visitor will come to."""
        if worker.state is State.DRAINING:
            if not self.is_newest(worker):  # else it drains because there are too many
                worker.ends_at = self._drain_end(worker.drained)
            self._end_deserted(worker, "no new sessions", settle=RETURN)
        elif self.deployment is None or worker.deployment > self.deployment.id:
            worker.stop("its deployment did not become active")  # nobody ever came to it
        elif worker.deployment != self.deployment.id:
            self._retire(worker, "its deployment is not active", settle=RETURN)

    def _tend(self) -> float:
        """Start and retire what is due; give the seconds until something may be due again."""
        if self.closing or self.deployment is None or self.content.stopped:
            return FOREVER
        if any(worker.tracked.ended for worker in self.workers):
            return FOREVER  # first learn from how it ended; that wakes us
        now = trio.current_time()
        given_up = self.failures.retry_at == FOREVER  # then what was to be replaced stays
        lasting = [w for w in self.workers if self.counts(w) or (given_up and self.is_old(w))]
        loads = [self.load(worker) for worker in lasting]
        if now >= self.failures.retry_at:
            self._start_missing(self.deployment, loads)
        over = set(policy.excess(self.scaling, loads))
        surplus = set(policy.surplus(self.scaling, loads))
        for worker in lasting:
            if worker.id in over:
                self._retire(worker, "more processes than MaxProcesses", bounded=False)
            elif worker.id in surplus and not self.works_on(worker):
                self._retire(worker, "idle", bounded=False)
        due = policy.idle_in(self.scaling, loads)
        wanted = self.is_wanted() or self.line.staying()
        if wanted and now < self.failures.retry_at < FOREVER:
            due = min(due, self.failures.retry_at - now)
        return due

    def _start_missing(self, deployment: Deployment, loads: Sequence[Load]) -> None:
        # A process that is being made, and has no worker yet, is one of those that start.
        made = [Load(run=RunId(f"{n}"), ready=False) for n in range(self.launching)]
        demand, waiting = self.is_asked_for(), self.line.staying()
        for _ in range(
            policy.missing(self.scaling, [*loads, *made], demand=demand, waiting=waiting)
        ):
            self._launch(deployment, asked=bool(demand or waiting))

    # -- starting -----------------------------------------------------------------------------

    def _launch(self, deployment: Deployment, *, asked: bool) -> None:
        assert self._nursery is not None
        self.launching += 1
        self._nursery.start_soon(self._start, deployment, asked)

    async def _start(self, deployment: Deployment, asked: bool) -> None:
        try:
            await self.starts.enter(asked=asked)
            made = await self._made(deployment)
        finally:
            self.launching -= 1
        if made is None:
            self.starts.leave(asked=asked)
            self.tell()
            self.wake()
            return
        worker, job = made
        self._add(worker, deployment)
        assert self._nursery is not None
        self._nursery.start_soon(self._leave_starts, worker, asked)
        await self._slot(worker, job)

    async def _made(self, deployment: Deployment) -> tuple[Worker, Job] | None:
        """Give a new worker; None where it could not be made, or is not wanted any more."""
        content = self.content
        try:
            made = await self.make(content, deployment, self.failures.count + 1)
        except SupervisorError as error:
            lines = tuple(error.hint.splitlines())
            code, reason, passing = error.code, error.message, error.recoverable
            self._failed(Failure(code=code, reason=reason, lines=lines, passing=passing))
            return None
        except Exception as error:
            self.log.error("start-broke", exc=error, content=self.content.id)
            self._failed(Failure(code="internal", reason=f"a defect of the server: {error!r}"))
            return None
        unwanted = self.closing or self.content.stopped or deployment != self.deployment
        outdated = made[0].tracked.run.created < self.content.rolled
        return None if unwanted or outdated else made  # nothing of it is recorded yet

    async def _leave_starts(self, worker: Worker, asked: bool) -> None:
        try:
            with trio.move_on_after(LONGEST_START):
                await worker.settled.wait()
        finally:
            self.starts.leave(asked=asked)

    def _add(self, worker: Worker, deployment: Deployment) -> None:
        self.workers.append(worker)
        self.known[deployment.id] = deployment
        self.tell()

    async def _slot(self, worker: Worker, job: Job | None) -> None:
        """One worker's place: whatever goes wrong in it stays in it."""
        try:
            await worker.live(job)
        except Exception as error:
            self.log.error("worker-broke", exc=error, run=worker.id, content=self.content.id)
        finally:
            self.workers.remove(worker)
            self.seats.forget(worker.id)
        self._judge(worker)
        self.tell()
        self.wake()
        deployment = self.known.get(worker.deployment)
        if deployment is not None and not self._in_use(deployment):
            self.known.pop(deployment.id, None)
            await self.deserted(deployment)

    def _in_use(self, deployment: Deployment) -> bool:
        return deployment == self.deployment or any(
            worker.deployment == deployment.id for worker in self.workers
        )

    def _judge(self, worker: Worker) -> None:
        """Learn from how a worker of the active deployment ended."""
        if self.deployment is None or worker.deployment != self.deployment.id:
            return
        error = worker.error
        if worker.ordered and error is None and not worker.too_slow:
            return  # somebody wanted it gone
        served = worker.ready_at is not None
        if worker.ready_at is not None:
            if trio.current_time() - worker.ready_at >= policy.SHORT_LIFE:
                self.failures.count = 0  # it served for a while: the next visit starts it at once
                return
            if worker.state is State.LOST:
                return  # the end of its helper or its node is no fault of the content
        failure = Failure(
            code=worker.trouble,
            reason=worker.tracked.run.reason,
            lines=tuple(worker.output.last_lines()),
            passing=worker.state is State.LOST or (error is not None and error.recoverable),
        )
        self._failed(failure, at_once=served and self.failures.count == 0)

    def _failed(self, failure: Failure, *, at_once: bool = False) -> None:
        self.failures.note(failure, at_once=at_once)
        if not failure.passing:
            self.demand_until = float("-inf")  # the next visit asks anew
        count, reason = self.failures.count, failure.reason
        self.log.warning("content-failed", content=self.content.id, failures=count, reason=reason)
        self.tell()
        self.wake()

    # -- what others ask ----------------------------------------------------------------------

    async def try_out(self, candidate: Content, deployment: Deployment) -> Worker:
        """Start a worker of a deployment that is not active yet; give it once it is ready.

        candidate: the content as it will be once the deployment is active.

        Raises SupervisorError with the reason and the last lines where it never gets ready.
        """
        assert self._nursery is not None
        await self.starts.enter(asked=True)
        try:
            worker, job = await self.make(candidate, deployment, 1)
            if self.closing:
                raise SupervisorError("unavailable", "the content or the server is being stopped")
        except BaseException:
            self.starts.leave(asked=True)
            raise
        self._add(worker, deployment)
        self._nursery.start_soon(self._leave_starts, worker, True)
        self._nursery.start_soon(self._slot, worker, job)
        await worker.settled.wait()
        if worker.ready.is_set():
            return worker
        if worker.error is not None:
            raise worker.error
        reason = f"the app did not start: {worker.tracked.run.reason}"
        lines = worker.output.last_lines()
        raise SupervisorError(worker.trouble, reason, hint="\n".join(lines))

    def activate(self, content: Content, deployment: Deployment) -> None:
        """Serve another deployment from now on; workers of the old one drain."""
        assert self._nursery is not None
        old, self.content, self.deployment = self.deployment, content, deployment
        self.forget_failures()
        for worker in list(self.workers):
            if worker.deployment != deployment.id:
                self._retire(worker, "a newer deployment is active")
        if old is not None and not self._in_use(old):
            self._nursery.start_soon(self.deserted, old)
        self.wake()

    def roll(self) -> None:
        """Replace the workers older than content.rolled: they serve until a new one is ready.

        Those of a deployment that is being tried out go on; once it is active they are replaced.
        """
        self.forget_failures()
        for worker in list(self.workers):
            active = self.deployment is not None and worker.deployment == self.deployment.id
            if active and worker.state in BEFORE_READY and not self.counts(worker):
                worker.stop("replaced before it was ready")
        self.tell()
        self.wake()

    def rescale(self) -> None:
        """Take the content's new scaling; no worker is ended that has a session."""
        for worker in self.workers:
            self.changed(worker)  # gateways know some of its limits
        self.tell()
        self.wake()

    def relieve(self, worker: Worker, reason: str) -> None:
        """Replace one worker, unless it is being replaced or no other would be started."""
        if self.counts(worker) and self.failures.retry_at < FOREVER:
            self._retire(worker, reason)
            self.demand_until = trio.current_time() + DEMAND
            self.wake()

    def restart(self, content: Content) -> None:
        """Replace all workers at once and forget every failure."""
        self.content = content
        self.forget_failures()
        for worker in list(self.workers):
            worker.stop("restarted")
        if self.scaling.least == 0:
            self.demand_until = trio.current_time() + DEMAND
        self.wake()

    def retry(self) -> None:
        """Try once more because a visitor asked for it on the failed page."""
        if self.failures.try_again():
            self.log.info("retry-asked", content=self.content.id)
            self.want()
            self.tell()
            self.wake()

    def stop(self, content: Content, reason: str) -> None:
        """Stop all workers; visits start none while content.stopped."""
        self.content = content
        for worker in list(self.workers):
            worker.stop(reason)
        self.tell()

    async def close(self, reason: str, grace: float) -> None:
        """Stop all workers for good; return when they are gone."""
        self.closing = True
        for worker in list(self.workers):
            worker.stop(reason, grace=grace)
        self.tell()
        self.wake()
        while self.launching or any(not worker.tracked.stuck for worker in self.workers):
            await self._news.wait()

    async def leave(self, reason: str, stays: Collection[Worker]) -> Collection[Worker]:
        """End its task for good; kill all workers but those that stay, give what does not end."""
        self.closing = True
        for worker in set(self.workers).difference(stays):
            worker.stop(reason, grace=0.0)
        self.tell()
        with trio.move_on_after(LEAVE_LIMIT):
            while self.launching or set(self.workers).difference(stays):
                await self._news.wait()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        return set(self.workers).difference(stays)

    def forget_failures(self) -> None:
        """Start counting failed starts anew."""
        self.failures.forget()
        self.tell()

    # -- draining -----------------------------------------------------------------------------

    def _retire(
        self, worker: Worker, reason: str, *, bounded: bool = True, settle: float = SETTLE
    ) -> None:
        if worker.state is State.READY:
            worker.drain(reason, ends_at=self._drain_end() if bounded else None)
            self._end_deserted(worker, reason, settle=settle)
        elif worker.state in BEFORE_READY:
            worker.stop(reason)

    def _drain_end(self, drained: float = 0.0) -> float | None:
        """Give when it ends at the latest; who was there may come back before, in any case."""
        limit = self.scaling.drain
        left = max(limit - drained, min(limit, RETURN))
        return trio.current_time() + left if limit > 0 else None

    def _end_deserted(self, worker: Worker, reason: str, *, settle: float) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._drained, worker, reason, settle)

    async def _drained(self, worker: Worker, reason: str, settle: float) -> None:
        """End a draining worker when nobody has used it for a moment, or at its limit."""
        with trio.move_on_at(FOREVER if worker.ends_at is None else worker.ends_at):
            await trio.sleep(settle)
            while self._is_used(worker):
                await worker.deserted()
                while self.seats.held(worker.id):
                    await self._news.wait()
                await trio.sleep(SETTLE)  # a page that is loaded anew, a gateway that comes back
        worker.stop(reason)

    def _is_used(self, worker: Worker) -> bool:
        held = bool(self.seats.held(worker.id))
        return worker.used or held or worker.work.goes_on(worker.endpoint)

    # -- news ---------------------------------------------------------------------------------

    def tell(self) -> None:
        """Tell everybody who waits for news, those in line too."""
        super().tell()
        self.admission.wake()

    def notice(self, worker: Worker) -> None:
        """Be told that one of its workers moved."""
        if worker.state is State.READY and worker.ready.is_set() and self.counts(worker):
            self.failures.works()
            self.demand_until = float("-inf")  # what was wanted is there
            for old in list(filter(self.is_old, self.workers)):
                self._retire(old, "replaced by a new process")
        self.tell()
        self.wake()
        self.changed(worker)
