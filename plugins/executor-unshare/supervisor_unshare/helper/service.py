"""The verbs of the helper: what each request does to the runs and places of this node."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

from supervisor import Egress, Log, packets
from supervisor.layout import PlaceKind, PlaceRef
from supervisor.sampling import Trees
from supervisor_unshare.helper.connect import Doors, connected
from supervisor_unshare.helper.directories import Directories, remove_all
from supervisor_unshare.helper.runs import LiveRun, Phase, failure_of, usage_of
from supervisor_unshare.helper.starter import Starter
from supervisor_unshare.limits import cgroups, priority, totals
from supervisor_unshare.limits.removals import Removals
from supervisor_unshare.linux.loop import Full, Loop
from supervisor_unshare.requests.fields import Refused
from supervisor_unshare.requests.jobs import Job, refuse_beyond
from supervisor_unshare.requests.rules import LANDLOCK, Rules, content_uid
from supervisor_unshare.root.plan_mounts import Base
from supervisor_unshare.sandbox import descendants
from supervisor_unshare.sandbox.steps import StartFailed, step
from supervisor_unshare.tiers import probe

Answer = Callable[..., None]  # answer(fds=(), **fields)
Fail = Callable[[Exception], None]

_STOP_SIGNALS = {"TERM": 15, "INT": 2}  # init passes on what it gets
_STRAYS = 1.0  # seconds for ending what an init that was killed has left
_GROUPS_AT_RENEWAL = 1.0  # seconds for groups that are still busy
_GROUPS_AT_END = 0.4
_OWN_LIMITS = frozenset({"files", "tmp", "nice"})
_NOT_OURS = frozenset({"run_time", "memory_high"})  # kept by the core itself


class Service:
    """Hold the runs and do what is asked. Knows nothing of connections but the `notify` callback.

    notify is called with the `exited` event of each run once nothing of it is left.
    """

    def __init__(
        self,
        loop: Loop,
        rules: Rules,
        *,
        data_dir: str,
        run_dir: str,
        log: Log,
        notify: Callable[[packets.Message], None],
    ) -> None:
        self.rules = rules
        self.maxima = rules.maxima
        self.runs: dict[str, LiveRun] = {}
        self._loop = loop
        self._log = log
        self._trees = Trees()
        self._notify = notify
        self._directories = Directories(data_dir, run_dir, rules)
        self._groups = cgroups.find(run_dir)
        self._removals = Removals(loop)
        wanted = totals.of(rules.totals, totals.machine(self._groups))
        for trouble in totals.apply(self._groups, wanted):
            log.warning("no-total", problem=trouble)
        if trouble := priority.prefer(self._groups, rules.parent):
            log.warning("no-priority", problem=trouble)
        self._starter = Starter(
            rules,
            bases={Base.HOST.value: "/", Base.DATA.value: data_dir, Base.RUN.value: run_dir},
            directories=self._directories,
            groups=self._groups,
            removals=self._removals,
            loop=loop,
            log=log,
        )
        self._doors = Doors(loop)
        self._waiters: dict[str, list[tuple[Answer, Fail]]] = {}

    @property
    def limits(self) -> frozenset[str]:
        """The names of the limits that are enforced on this host."""
        own = _OWN_LIMITS - ({"tmp"} if self.rules.tier == LANDLOCK else set())  # it takes a mount
        return own | self._groups.limits

    def prepare_directories(self) -> None:
        """Make our own directories and remove what an earlier helper has left."""
        cgroups.sweep(self._groups)
        if large := self._directories.prepare():
            self._loop.aside(
                lambda: remove_all(large),
                lambda error: self._log.info("swept", directories=len(large), error=error),
            )

    # Verbs: each answers once, now or later, or raises.

    def start(self, answer: Answer, fail: Fail, job: Job) -> None:
        """Start a job once; the same run id again gets the same receipt."""
        run = self.runs.get(job.run)
        if run is None:
            self._refuse_limits(job)
            self.runs[job.run] = run = self._starter.start(job)
            self._waiters[job.run] = [(answer, fail)]
            try:
                with step("watch"):
                    self._watch(run)
            except StartFailed:
                self._abandon(run)
                raise
        elif job.run in self._waiters:
            self._waiters[job.run].append((answer, fail))
        else:
            answer(receipt=run.receipt, uid=run.uid)

    def stop(self, answer: Answer, fail: Fail, run: str, grace: float) -> None:
        """Ask a run to end, and end its whole tree after `grace` seconds."""
        live = self.runs.get(run)
        if live is not None and live.phase in (Phase.STARTING, Phase.RUNNING):
            self.end(live, grace)
        answer()

    def list_runs(self, answer: Answer, fail: Fail) -> None:
        """Give every run that has not been forgotten."""
        answer(runs=self.lines)

    def output(self, answer: Answer, fail: Fail, run: str) -> None:
        """Hand out the read ends of a run's streams."""
        live = self._known(run)
        answer(fds=(live.stdout, live.stderr))

    def usage(self, answer: Answer, fail: Fail, runs: tuple[str, ...]) -> None:
        """Give what the living among some runs use."""
        living = {run: live for run, live in self.runs.items() if live.pidfd != -1}
        answer(usage=usage_of(self._trees, living, runs))

    def forget(self, answer: Answer, fail: Fail, run: str) -> None:
        """Drop an ended run; of a living or unknown one, nothing."""
        live = self.runs.get(run)
        if live is not None and live.phase is Phase.ENDED:
            live.close()
            del self.runs[run]
        answer()

    def prepare(self, answer: Answer, fail: Fail, place: PlaceRef, content: int, uid: int) -> None:
        """Make the directory of a place of a content."""
        if place.kind not in (PlaceKind.DEPLOYMENT, PlaceKind.RENDERING, PlaceKind.STATE):
            raise Refused(f"a {place.kind} place is not made by request")
        if place.ids[0] != content:
            raise Refused(f"the place belongs to content {place.ids[0]}, not {content}")
        uid = content_uid(uid, content, self.rules)
        self._directories.make_place(place, uid, uid)
        answer()

    def seal(self, answer: Answer, fail: Fail, place: PlaceRef) -> None:
        """Take a finished place out of its writer's hands."""
        self._refuse_shared(place)
        self._aside(answer, fail, "seal", lambda: self._directories.seal_place(place))

    def remove(self, answer: Answer, fail: Fail, place: PlaceRef) -> None:
        """Remove a place and all beneath it."""
        self._refuse_shared(place)
        self._aside(answer, fail, "remove", lambda: self._directories.remove_place(place))

    def doctor(self, answer: Answer, fail: Fail) -> None:
        """Say what this host allows."""
        answer(findings=probe.findings(self.rules, groups=self._groups, limits=self.limits))

    def connect(self, answer: Answer, fail: Fail, run: str) -> None:
        """Hand out a socket that is connected to what a run listens on."""
        live = self.runs.get(run)
        if live is None or live.pidfd == -1:
            raise Refused(f"no run {run} is alive here", code="not-found")
        if live.door != -1:
            self._doors.ask(live, lambda sock: answer(fds=(sock.fileno(),)), fail)
            return
        with connected(self._directories.open_socket_directory(run), live.job.uid) as sock:
            answer(fds=(sock.fileno(),))

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The entries of `list`."""
        return [run.line for run in self.runs.values()]

    def end(self, run: LiveRun, grace: float) -> None:
        """Ask it to end now and kill after `grace` seconds; a second call can only shorten it."""
        run.stopped = True
        if grace <= 0:
            run.kill()
            return
        run.signal(_STOP_SIGNALS[run.job.stop_signal])
        self._kill_at(run, time.monotonic() + grace)

    def adopt(self, runs: Iterable[LiveRun]) -> None:
        """Go on with the runs of the helper that this process was before it executed itself."""
        for run in runs:
            self.runs[run.job.run] = run
            if run.phase is Phase.STARTING:
                self._waiters[run.job.run] = []  # they ask again
            self._watch(run)
            if run.kill_at is not None:
                self._kill_at(run, run.kill_at)
        living = [run.group for run in self.runs.values() if run.pidfd != -1]
        self._removals.add(cgroups.unknown(self._groups, living))

    def end_all(self) -> None:
        """Kill every run, wait for the processes, remove all that is ours. For the helper's end."""
        self._starter.close()
        living = [run for run in self.runs.values() if run.pidfd != -1]
        for run in living:
            run.kill()
        for run in living:
            run.reap()
        for run in self.runs.values():
            self._removals.add(run.group)
            with contextlib.suppress(OSError):  # the next helper sweeps
                self._directories.remove_run(run.job.run)
        self._removals.finish(_GROUPS_AT_END)
        cgroups.leave(self._groups)
        priority.leave(self._groups)

    def leave(self) -> None:
        """End what belongs to no run, before this process executes itself anew.

        The next start makes it again, should that fail.
        """
        self._starter.close()
        self._removals.finish(_GROUPS_AT_RENEWAL)

    # How a run comes to life and what is left of it.

    def _watch(self, run: LiveRun) -> None:
        if run.phase is Phase.STARTING or _is_linked(run):
            self._loop.watch(run.report, lambda: self._reported(run))
        if run.pidfd != -1:
            self._loop.watch(run.pidfd, lambda: self._init_ended(run))

    def _abandon(self, run: LiveRun) -> None:
        """Leave nothing of a start that cannot be watched."""
        for fd in (run.report, run.pidfd):
            self._loop.unwatch(fd)
        run.kill()
        run.reap()
        run.close()
        for known in (self.runs, self._waiters):
            known.pop(run.job.run)
        self._removals.add(run.group)
        self._directories.remove_run(run.job.run)

    def _kill_at(self, run: LiveRun, moment: float) -> None:
        run.kill_at = min(moment, run.kill_at or moment)
        seconds = max(0.0, moment - time.monotonic())
        self._loop.after(seconds, lambda: run.kill() if run.pidfd != -1 else None)

    def _reported(self, run: LiveRun) -> None:
        more = False  # an init that ends has nothing to say while it waits for its last processes
        try:
            more = run.listen()
        except OSError as error:
            run.give_up(error)
        if not more or "step" in run.facts or ("running" in run.facts and not _is_linked(run)):
            self._loop.unwatch(run.report)
        if "running" in run.facts and run.phase is Phase.STARTING:
            run.phase = Phase.RUNNING
            self._log.info("run-started", run=run.job.run, content=run.job.content, pid=run.pid)
            for answer, _ in self._waiters.pop(run.job.run, []):
                answer(receipt=run.receipt, uid=run.uid)
            self._starter.succeeded()

        if "unlinked" in run.facts:
            self._unlinked(run)

    def _unlinked(self, run: LiveRun) -> None:
        reason = str(run.facts["unlinked"] or "pasta ended")
        self._log.warning("network-gone", run=run.job.run, content=run.job.content, reason=reason)
        run.tell(f"this process reaches no network any more: {reason}; restart the content")

    def _init_ended(self, run: LiveRun) -> None:
        self._loop.unwatch(run.pidfd)
        self._loop.unwatch(run.report)
        self._doors.forget(run)
        starting = run.phase is Phase.STARTING
        run.reap()
        if self.rules.tier == LANDLOCK and "status" not in run.facts:
            living = [other.pid for other in self.runs.values() if other.pidfd != -1]
            descendants.end_strays(living, seconds=_STRAYS)
        if starting and "running" in run.facts:  # it was over before its start was read
            for answer, _ in self._waiters.pop(run.job.run, []):
                answer(receipt=run.receipt, uid=run.uid)
        directories = self._directories
        if directories.remove_empty(run.job.run):
            self._cleaned(run, "")
        elif directories.is_small(run.job.run):
            try:
                directories.remove_run(run.job.run)
            except OSError as error:
                self._cleaned(run, str(error))
            else:
                self._cleaned(run, "")
        else:
            self._loop.aside(
                lambda: directories.remove_run(run.job.run), lambda error: self._cleaned(run, error)
            )
        self._starter.ended()

    def _cleaned(self, run: LiveRun, error: str) -> None:
        self._removals.add(run.group, lambda: self._ended(run, error))

    def _ended(self, run: LiveRun, error: str) -> None:
        job = run.job
        if error:
            self._log.warning("leftover", run=job.run, error=error)
        if run.starting:
            del self.runs[job.run]
            run.close()
            failure = failure_of(run)
            for _, fail in self._waiters.pop(job.run, []):
                fail(failure)
            self._notify({"type": "exited", **run.exited})  # for a core that has listed it
            return
        run.phase = Phase.ENDED
        self._log.info("run-ended", run=job.run, content=job.content, status=run.status)
        self._notify({"type": "exited", **run.exited})

    def _refuse_shared(self, place: PlaceRef) -> None:
        if place.kind == PlaceKind.BUNDLE:
            raise Refused("an uploaded archive is the core's own")
        if place.kind == PlaceKind.LIBRARY and place.components[0] not in self.rules.libraries:
            raise Refused(f"{place.components[0]} is not a library of the settings")

    def _refuse_limits(self, job: Job) -> None:
        refuse_beyond(job, {n: most for n, most in self.maxima.items() if n in self.limits})
        asked = {name for name, value in vars(job.limits).items() if value is not None}
        if missing := sorted(asked - self.limits - _NOT_OURS):
            raise Refused(
                f"this host cannot enforce {', '.join(missing)}",
                code="limit-unenforceable",
                hint="Remove the limit, or give the helper the cgroup controller that it needs.",
            )

    def _known(self, run: str) -> LiveRun:
        live = self.runs.get(run)
        if live is None:
            raise Refused(f"no run {run} is known here", code="not-found")
        return live

    def _aside(self, answer: Answer, fail: Fail, step: str, work: Callable[[], None]) -> None:
        def done(error: str) -> None:
            if error:
                fail(StartFailed(step, None, error))
            else:
                answer()

        try:
            self._loop.aside_in_turn(work, done)
        except Full as error:
            raise Refused(
                f"the helper has too much to do: {error}",
                code="unavailable",
                hint="Ask again later.",
            ) from None


def _is_linked(run: LiveRun) -> bool:
    """Whether a process of pasta's is at work for it, whose end it would report."""
    return run.job.egress is Egress.USER and "unlinked" not in run.facts
