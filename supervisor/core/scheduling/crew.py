"""What is known of one content and its workers, and what may be seen of it at any moment."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import trio

from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.failures import Failures
from supervisor.core.scheduling.line import Line
from supervisor.core.scheduling.seats import Seats
from supervisor.core.scheduling.verdict import Answer, Failure, Verdict
from supervisor.lifecycle import State
from supervisor.model import Content, Deployment, Overrides, RunId, Scaling
from supervisor.policy import Load

SOON = 5.0  # seconds until the next try of a start that count as: it may be started
DEMAND = 30.0  # seconds for which one visit wants the app running
BEFORE_READY = (State.QUEUED, State.STARTING, State.PROBING)


@attrs.define(eq=False, kw_only=True)
class Crew:
    """The workers of one content, its seats and its line. Everybody may look; its keeper acts."""

    content: Content
    deployment: Deployment | None
    defaults: Scaling
    workers: list[Worker] = attrs.field(factory=list)
    seats: Seats = attrs.field(factory=Seats)
    line: Line = attrs.field(factory=Line)
    failures: Failures = attrs.field(factory=Failures)
    closing: bool = False
    launching: int = 0
    demand_until: float = float("-inf")
    _wake: trio.Event = attrs.field(factory=trio.Event)
    _news: trio.Event = attrs.field(factory=trio.Event)
    # what was set, the defaults, and what counts with them
    _scaling: tuple[Overrides, Scaling, Scaling] | None = None

    @property
    def scaling(self) -> Scaling:
        """The scaling that counts for its content."""
        own, defaults, known = self.content.scaling, self.defaults, self._scaling
        if known is None or known[0] is not own or known[1] is not defaults:
            known = self._scaling = own, defaults, own.over(defaults)
        return known[2]

    def now(self) -> Answer:
        """Say how it stands, without asking for anything."""
        if self.content.stopped:
            return Answer(verdict=Verdict.STOPPED)
        if self.deployment is None:
            return Answer(verdict=Verdict.EMPTY)
        serving = self.serving()
        if serving:
            worker = min(serving, key=lambda worker: (self.load(worker).taken, worker.id))
            return Answer(verdict=Verdict.WORKER, worker=worker)
        if not self.starting and not self._starts_soon():
            return Answer(verdict=Verdict.FAILED, failure=self.failure)
        return Answer(verdict=Verdict.STARTING, failure=self.failure)

    def _starts_soon(self) -> bool:
        """Whether the next visit starts it, or it failed by no fault of its and is soon tried."""
        wait = self.failures.retry_at - trio.current_time()
        passing = self.failure is not None and self.failure.passing
        return wait <= (SOON if passing else 0.0)

    @property
    def failure(self) -> Failure | None:
        """Why it did not start last, None while it works."""
        return self.failures.last

    @property
    def starting(self) -> bool:
        """Whether a process for new visitors is on its way."""
        return bool(self.launching) or any(self.counts(worker) for worker in self.workers)

    def load(self, worker: Worker) -> Load:
        """Give what policy may know of a worker, seats included."""
        # Sockets are what gateways count: a session without a seat must not be ended either.
        held = max(self.seats.held(worker.id), worker.sockets)
        taken = max(self.seats.taken(worker.id), held)
        return worker.load(taken=taken, held=held)

    def serving(self) -> Sequence[Worker]:
        """Give the ready workers that new sessions may go to.

        While none of a new generation is ready, those are the ones that will be replaced by it.
        """
        if self.deployment is None or self.content.stopped:
            return ()
        ready = [w for w in self.workers if w.deployment == self.deployment.id and w.takes_visitors]
        new = [worker for worker in ready if self.counts(worker)]
        return new or ready

    def find(self, run: RunId | None) -> Worker | None:
        """Give a worker that has sessions or may have: ready or draining."""
        for worker in self.workers:
            if worker.id == run:
                draining = worker.state is State.DRAINING and worker.exit is None
                return worker if worker.takes_visitors or draining else None
        return None

    def coming(self) -> int:
        """Give how many processes are on their way, may be started now, or are in doubt."""
        if self.deployment is None or self.content.stopped or self.closing:
            return 0
        counted = [worker for worker in self.workers if self.counts(worker)]
        ready = sum(worker.takes_visitors for worker in counted)
        starting = len(counted) - ready + self.launching
        if self.failures.retry_at - trio.current_time() > SOON:
            return starting
        return max(starting, self.scaling.most - ready)

    def want(self) -> None:
        """Want it running for a while, where it is not."""
        if not self.serving():
            self.demand_until = trio.current_time() + DEMAND
            self.wake()

    def is_asked_for(self) -> bool:
        """Whether a visitor came a moment ago, or workers wait for those that replace them."""
        return trio.current_time() < self.demand_until or any(map(self.is_old, self.workers))

    def is_wanted(self) -> bool:
        """Whether it shall run as soon as it may."""
        return self.scaling.least > 0 or self.is_asked_for()

    def works_on(self, worker: Worker) -> bool:
        """Whether an idle worker has declared work; then it is asked again in a while."""
        if not worker.work.goes_on(worker.endpoint):
            return False
        worker.active_at = trio.current_time()
        self.wake()
        return True

    def is_old(self, worker: Worker) -> bool:
        """Whether a worker serves until one of a new generation is ready."""
        return (
            self.deployment is not None
            and worker.deployment == self.deployment.id
            and worker.state is State.READY
            and not worker.ordered
            and not self.counts(worker)
        )

    def counts(self, worker: Worker) -> bool:
        """Whether a worker is, or will be, one of those that the content shall have."""
        living = worker.state in (*BEFORE_READY, State.READY)
        return living and not worker.ordered and self.is_newest(worker)

    def is_newest(self, worker: Worker) -> bool:
        """Whether a worker is of the active deployment and of its newest generation."""
        return (
            self.deployment is not None
            and worker.deployment == self.deployment.id
            and worker.tracked.run.created >= self.content.rolled
        )

    def after_all_runs(self, now: float) -> float:
        """Give what `content.rolled` can be so that all its runs are older; now: wall-clock.

        Where the clock was set back, runs were made in what is the future by now.
        """
        made = [worker.tracked.run.created for worker in self.workers]
        return max([now, *(math.nextafter(moment, math.inf) for moment in made)])

    async def news(self) -> None:
        """Return when anything about its workers or seats has changed."""
        await self._news.wait()

    def wake(self) -> None:
        """Have its keeper look at it now."""
        self._wake.set()

    def tell(self) -> None:
        """Tell everybody who waits for news."""
        news, self._news = self._news, trio.Event()
        news.set()
