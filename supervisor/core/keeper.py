"""One app: keeps the wanted number of workers, admits, backs off, drains, gives up."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import attrs
import trio

from supervisor import policy
from supervisor.core.verdict import Answer, Failure, Verdict
from supervisor.core.worker import Worker
from supervisor.errors import SupervisorError
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import Content, Deployment, DeploymentId, Job, Scaling

DEMAND = 30.0  # seconds for which one visit wants the app running
SETTLE = 1.0  # seconds for which nobody uses a draining worker before it is ended
RETURN = 15.0  # the same after a start of the core: the gateways have to come back first
DRAIN_LIMIT = 3600.0  # seconds for which sessions on an old deployment may go on

_BEFORE_READY = (State.QUEUED, State.STARTING, State.PROBING)


@attrs.define(eq=False)
class Keeper:
    """Supervises one content. All decisions about it are made in its one task.

    make gives a new worker with its job; deserted is told of a deployment nothing runs any more.
    Whoever changes the record of the content holds `changing`. known: the deployments of `workers`.
    """

    content: Content
    deployment: Deployment | None
    defaults: Scaling
    make: Callable[[Content, Deployment, int], Awaitable[tuple[Worker, Job]]]
    changed: Callable[[Worker], None]
    deserted: Callable[[Deployment], Awaitable[None]]
    log: Log
    workers: list[Worker] = attrs.field(factory=list)
    known: dict[DeploymentId, Deployment] = attrs.field(factory=dict)
    changing: trio.Lock = attrs.field(factory=trio.Lock)
    failures: int = 0
    failure: Failure | None = None
    _demand_until: float = float("-inf")
    _launching: int = 0
    _wake: trio.Event = attrs.field(factory=trio.Event)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _closing: bool = False
    _nursery: trio.Nursery | None = None
    _dice: random.Random = attrs.field(factory=random.Random)

    @property
    def scaling(self) -> Scaling:
        """The scaling that counts for its content."""
        return self.content.scaling.over(self.defaults)

    # -- its task -----------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the content until cancelled; its processes stay then, for the next core."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for worker in list(self.workers):
                nursery.start_soon(self._slot, worker, None)
                self._go_on(worker)
            task_status.started()
            while not self._closed():
                self._wake = trio.Event()
                self._tend()
                with trio.move_on_after(self._pause()):
                    await self._wake.wait()

    def _go_on(self, worker: Worker) -> None:
        """Go on with ending an adopted worker that no new visitor will come to."""
        if worker.state is State.DRAINING:
            self._end_deserted(worker, "no new sessions", limit=DRAIN_LIMIT, settle=RETURN)
        elif not self._counts(worker):
            self._retire(worker, "its deployment is not active", limit=DRAIN_LIMIT, settle=RETURN)

    def _closed(self) -> bool:
        return self._closing and not self.workers and not self._launching

    def _tend(self) -> None:
        now = trio.current_time()
        if self._closing or self.deployment is None or self.content.stopped:
            return
        if any(worker.tracked.ended for worker in self.workers):
            return  # first learn from how it ended
        live = [worker for worker in self.workers if self._counts(worker)]
        loads = [worker.load() for worker in live]
        if now >= self._retry_at():
            demand = now < self._demand_until
            for _ in range(policy.missing(self.scaling, loads, demand=demand) - self._launching):
                self._launch(self.deployment)
        surplus = set(policy.surplus(self.scaling, loads))
        for worker in live:
            if worker.id in surplus:
                self._retire(worker, "idle", limit=None)

    def _pause(self) -> float:
        if self.workers:
            return 1.0  # idle workers are looked for once a second
        if self.scaling.least and self.failure is not None:
            return max(0.1, min(60.0, self._retry_at() - trio.current_time()))
        return 60.0

    def _counts(self, worker: Worker) -> bool:
        """Whether a worker serves, or will serve, new visitors of the active deployment."""
        return (
            self.deployment is not None
            and worker.deployment == self.deployment.id
            and worker.state in (*_BEFORE_READY, State.READY)
        )

    def _retry_at(self) -> float:
        if self.failure is None:
            return float("-inf")
        return float("inf") if self.failure.retry_at is None else self.failure.retry_at

    # -- starting -----------------------------------------------------------------------------

    def _launch(self, deployment: Deployment) -> None:
        assert self._nursery is not None
        self._launching += 1
        self._nursery.start_soon(self._start, deployment)

    async def _start(self, deployment: Deployment) -> None:
        try:
            worker, job = await self.make(self.content, deployment, self.failures + 1)
        except SupervisorError as error:
            lines = tuple(error.hint.splitlines())
            self._failed(error.code, error.message, lines, passing=error.recoverable)
            return
        except Exception as error:
            self.log.error("start-broke", exc=error, content=self.content.id)
            self._failed("internal", f"a defect of the server: {error!r}", ())
            return
        finally:
            self._launching -= 1
        if self._closing or self.content.stopped or deployment != self.deployment:
            self._tell()  # not wanted any more; nothing of it is recorded yet
            self.wake()
            return
        self._add(worker, deployment)
        await self._slot(worker, job)

    def _add(self, worker: Worker, deployment: Deployment) -> None:
        self.workers.append(worker)
        self.known[deployment.id] = deployment
        self._tell()

    async def _slot(self, worker: Worker, job: Job | None) -> None:
        """One worker's place: whatever goes wrong in it stays in it."""
        try:
            await worker.live(job)
        except Exception as error:
            self.log.error("worker-broke", exc=error, run=worker.id, content=self.content.id)
        finally:
            self.workers.remove(worker)
        self._judge(worker)
        self._tell()
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
                self.failures = 0  # it served for a while: the next visit starts it anew at once
                return
            if worker.state is State.LOST:
                return  # the end of its helper or its node is no fault of the content
        self._failed(
            worker.trouble,
            worker.tracked.run.reason,
            tuple(worker.output.last_lines()),
            at_once=served and self.failures == 0,
            passing=worker.state is State.LOST or (error is not None and error.recoverable),
        )

    def _failed(
        self,
        code: str,
        reason: str,
        lines: tuple[str, ...],
        *,
        at_once: bool = False,
        passing: bool = False,
    ) -> None:
        """Note a failed start. passing: it will mend by itself, so never give up because of it."""
        if not (passing and policy.gives_up(self.failures + 1)):
            self.failures += 1
        now = trio.current_time()
        wait = 0.0 if at_once else policy.delay(self.failures, self._dice.random())
        given_up = policy.gives_up(self.failures)
        self.failure = Failure(
            code="gave-up" if given_up else code,
            reason=reason,
            lines=lines,
            retry_at=None if given_up else now + wait,
        )
        self._demand_until = float("-inf")  # the next visit asks anew
        self.log.warning(
            "content-failed", content=self.content.id, failures=self.failures, reason=reason
        )
        self._tell()
        self.wake()

    # -- what others ask ----------------------------------------------------------------------

    def now(self) -> Answer:
        """Say how it stands, without asking for anything."""
        if self.content.stopped:
            return Answer(verdict=Verdict.STOPPED)
        if self.deployment is None:
            return Answer(verdict=Verdict.EMPTY)
        chosen = policy.choose(
            [w.load() for w in self.workers if w.deployment == self.deployment.id]
        )
        if chosen is not None:
            worker = next(worker for worker in self.workers if worker.id == chosen)
            return Answer(verdict=Verdict.WORKER, worker=worker)
        if not self.starting and trio.current_time() < self._retry_at():
            return Answer(verdict=Verdict.FAILED, failure=self.failure)
        return Answer(verdict=Verdict.STARTING, failure=self.failure)

    def visit(self) -> Answer:
        """Say how it stands, and want it running for a while if it is not."""
        answer = self.now()
        if answer.verdict is Verdict.STARTING:
            self._demand_until = trio.current_time() + DEMAND
            self.wake()
        return answer

    async def admit(self) -> Answer:
        """Visit, and wait until a worker is ready or there is none to wait for."""
        answer = self.visit()
        while answer.verdict is Verdict.STARTING:
            news = self._news
            await news.wait()
            answer = self.now()
            if answer.verdict is Verdict.STARTING and not self.starting:
                # what we waited for is gone without a verdict: ask again
                answer = self.visit()
        return answer

    @property
    def starting(self) -> bool:
        """Whether a process for new visitors is on its way."""
        return bool(self._launching) or any(self._counts(worker) for worker in self.workers)

    async def try_out(self, candidate: Content, deployment: Deployment) -> Worker:
        """Start a worker of a deployment that is not active yet; give it once it is ready.

        candidate: the content as it will be once the deployment is active.

        Raises SupervisorError with the reason and the last lines where it never gets ready.
        """
        assert self._nursery is not None
        worker, job = await self.make(candidate, deployment, 1)
        if self._closing:
            raise SupervisorError("unavailable", "the content or the server is being stopped")
        self._add(worker, deployment)
        self._nursery.start_soon(self._slot, worker, job)
        while not worker.ready.is_set():
            if worker.gone.is_set():
                if worker.error is not None:
                    raise worker.error
                lines = worker.output.last_lines()
                reason = f"the app did not start: {worker.tracked.run.reason}"
                raise SupervisorError(worker.trouble, reason, hint="\n".join(lines))
            await self._news.wait()
        return worker

    def activate(self, content: Content, deployment: Deployment) -> None:
        """Serve another deployment from now on; workers of the old one drain."""
        assert self._nursery is not None
        old, self.content, self.deployment = self.deployment, content, deployment
        self.forget_failures()
        for worker in list(self.workers):
            if worker.deployment != deployment.id:
                self._retire(worker, "a newer deployment is active", limit=DRAIN_LIMIT)
        if old is not None and not self._in_use(old):
            self._nursery.start_soon(self.deserted, old)
        self.wake()

    def restart(self, content: Content) -> None:
        """Replace all workers and forget every failure."""
        self.content = content
        self.forget_failures()
        for worker in list(self.workers):
            worker.stop("restarted")
        if self.scaling.least == 0:
            self._demand_until = trio.current_time() + DEMAND
        self.wake()

    def stop(self, content: Content, reason: str) -> None:
        """Stop all workers; visits start none while content.stopped."""
        self.content = content
        for worker in list(self.workers):
            worker.stop(reason)
        self._tell()

    async def close(self, reason: str, grace: float) -> None:
        """Stop all workers for good; return when they are gone."""
        self._closing = True
        for worker in list(self.workers):
            worker.stop(reason, grace=grace)
        self._tell()
        self.wake()
        while self.workers or self._launching:
            await self._news.wait()

    def forget_failures(self) -> None:
        """Start counting failed starts anew."""
        self.failures, self.failure = 0, None
        self._tell()

    def _retire(
        self, worker: Worker, reason: str, *, limit: float | None, settle: float = SETTLE
    ) -> None:
        if worker.state is State.READY:
            worker.drain(reason)
            self._end_deserted(worker, reason, limit=limit, settle=settle)
        elif worker.state in _BEFORE_READY:
            worker.stop(reason)

    def _end_deserted(
        self, worker: Worker, reason: str, *, limit: float | None, settle: float
    ) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._drained, worker, reason, limit, settle)

    async def _drained(
        self, worker: Worker, reason: str, limit: float | None, settle: float
    ) -> None:
        """End a draining worker when nobody has used it for a moment, or at the limit."""
        with trio.move_on_after(limit if limit is not None else float("inf")):
            await trio.sleep(settle)
            while worker.used:
                await worker.deserted()
                await trio.sleep(SETTLE)  # a page that is loaded anew, a gateway that comes back
        worker.stop(reason)

    async def news(self) -> None:
        """Return when anything about its workers has changed."""
        await self._news.wait()

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    def notice(self, worker: Worker) -> None:
        """Be told that one of its workers moved."""
        if worker.state is State.READY and worker.ready.is_set() and self._counts(worker):
            self.failure = None
            self._demand_until = float("-inf")  # what was wanted is there
        self._tell()
        self.wake()
        self.changed(worker)
