"""Make workers and one-shots: ask the runtime for its plan, build the job, open the log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import trio

from supervisor import layout
from supervisor.accounts import Account
from supervisor.core.runs.archiving import Spool, Unheard, archive_plan
from supervisor.core.runs.asking import ask
from supervisor.core.runs.executors import Executors
from supervisor.core.runs.installations import Installations
from supervisor.core.runs.lacking import how_to_install, in_words
from supervisor.core.runs.limiting import NO_LIMITS, Given, limits_of, running_with
from supervisor.core.runs.missing import Missing
from supervisor.core.runs.oneshot import OneShot
from supervisor.core.runs.output import TAIL, Kept, Output, read_cursor, read_tail
from supervisor.core.runs.placing import GRACE, common_environment, make_job
from supervisor.core.runs.reach import Reach
from supervisor.core.runs.runas import RunAs
from supervisor.core.runs.tracked import Tracked
from supervisor.core.runs.worker import Worker
from supervisor.core.service import LogLine
from supervisor.core.storage.journal import Journal
from supervisor.errors import SupervisorError
from supervisor.interfaces import (
    Detected,
    Executor,
    Lifetime,
    PlanContext,
    Runtime,
)
from supervisor.lifecycle import State
from supervisor.limits import Allowed
from supervisor.log import Log
from supervisor.model import (
    Bundle,
    Content,
    Deployment,
    DeploymentId,
    Job,
    Limits,
    PlaceKind,
    PlaceRef,
    Plan,
    Purpose,
    Ready,
    Role,
    Run,
    RunId,
    Scaling,
    new_job_key,
    new_run_id,
    place_key,
)
from supervisor.plugins.loading import Plugins
from supervisor.site_mounts import SiteMount
from supervisor.unpack import Unpacked, read_answer, unpack_plan

UNPACK_LIMIT = 600.0  # seconds
ARCHIVE_STALL = 900.0  # without a byte of the archive, however long all of it takes
_INSTALL = "`supervisor plugins` shows what is installed, and what failed to load."


@attrs.define(eq=False)
class Makers:
    """What every new run of this core needs.

    default: the executor of contents that name none.
    """

    journal: Journal
    plugins: Plugins
    log: Log
    node: str
    data_dir: str
    server: str
    scaling: Scaling
    allowed: Allowed = Allowed(default={}, most={})
    default: str | None = None
    run_as: RunAs = RunAs()
    reach: Reach = Reach()
    site_mounts: Sequence[SiteMount] = ()
    changed: Callable[[Worker], None] = lambda worker: None
    moved: Callable[[Run, State], None] = lambda run, was: None
    installations: Installations = attrs.field(
        default=attrs.Factory(
            lambda self: Installations(plugins=self.plugins, log=self.log), takes_self=True
        )
    )
    executors: Executors = attrs.field(
        default=attrs.Factory(
            lambda self: Executors.served(self.plugins.executors, self.log), takes_self=True
        )
    )
    logs: Kept = attrs.field(factory=Kept)

    # -- workers ------------------------------------------------------------------------------

    async def worker(
        self, content: Content, deployment: Deployment, attempt: int
    ) -> tuple[Worker, Job]:
        """Make a worker and its job; SupervisorError where a plugin is missing or refuses."""
        executor = self.executor(content)
        await self.executors.wait_for(executor)
        given = limits_of(content, self.allowed, executor)
        account = await self.run_as.account(content, executor)
        run = self._run(content, Purpose.SERVE, executor, deployment.id, attempt)
        plan = await self.plan(content, deployment)
        job = await self._job(
            run, content, plan, deployment.runtime, account=account, limits=given.limits
        )
        if executor.capabilities.lifetime is Lifetime.REMOTE:
            await self._prepare(job)
        return self.worker_of(run, content, executor, plan.ready or Ready(), given), job

    async def adopted(self, run: Run, content: Content, deployment: Deployment) -> Worker:
        """Make the worker of a run that an earlier core has started."""
        executor = self.executor_named(run.executor)
        ready = Ready()
        if run.state in (State.STARTING, State.PROBING):  # later it is not asked any more
            try:
                plan = await self.plan(content, deployment)
                ready = plan.ready or ready
            except SupervisorError as error:  # its runtime is gone; the process serves all the same
                self.log.warning("plan-unknown", run=run.id, error=error.message)
        given = running_with(content, self.allowed)
        worker = self.worker_of(run, content, executor, ready, given)
        if run.state is State.DRAINING:
            worker.drained = await self._drained(worker.tracked)
        tail, cursor = await trio.to_thread.run_sync(_written, self.log_path(run), run.id)
        worker.output.tail.extend(tail)
        worker.output.cursor = cursor
        return worker

    async def _drained(self, tracked: Tracked) -> float:
        moves = await self.journal.find("transition", {"run": tracked.run.id})
        began = [move.at for move in moves if move.now == State.DRAINING.value]
        return max(0.0, tracked.clock() - max(began)) if began else 0.0

    def worker_of(
        self, run: Run, content: Content, executor: Executor, ready: Ready, given: Given = NO_LIMITS
    ) -> Worker:
        """Make a worker around a run."""
        assert run.deployment is not None
        output = self.output(run)
        return Worker(
            tracked=self.tracked(run),
            guid=content.guid,
            deployment=run.deployment,
            executor=executor,
            output=output,
            ready_rule=ready,
            scaling=content.scaling.over(self.scaling),
            given=given,
            grace=GRACE,
            changed=self.changed,
            missing=Missing.of(content, executor, output, self.site_mounts),
        )

    async def plan(self, content: Content, deployment: Deployment) -> Plan:
        """Ask the deployment's runtime how it is served."""
        runtime = self.runtime(deployment.runtime)
        context = PlanContext(
            content=content,
            deployment=deployment,
            installation=await self.installations.of(deployment),
            environment=content.environment,
        )
        return await ask(runtime.name, partial(runtime.plan, Purpose.SERVE, context))

    # -- unpacking ----------------------------------------------------------------------------

    async def unpack(self, content: Content, number: DeploymentId, bundle: Bundle) -> Unpacked:
        """Unpack a bundle into the directory of a new deployment, in a sandbox, as the content.

        Raises SupervisorError("bundle-invalid") with what the unpacker said.
        """
        executor = self.keeper_of_files()
        await self.executors.wait_for(executor)
        run = self._run(content, Purpose.UNPACK, executor, number, 1)
        job = await self._job(run, content, unpack_plan(interpreter()), "unpack", bundle.digest)
        heard = {"stdout": bytearray(), "stderr": bytearray()}
        shot = OneShot(
            tracked=self.tracked(run),
            executor=executor,
            output=self.output(run),
            heard=lambda stream, data: heard[stream].extend(data),
            run_limit=UNPACK_LIMIT,
        )
        exit_ = await shot.live(job)
        if exit_.code is None:
            raise SupervisorError(
                "sandbox-failed",
                f"the bundle could not be unpacked: {shot.tracked.run.reason}",
                hint="\n".join(shot.output.last_lines(10)),
            )
        return read_answer(exit_.code, bytes(heard["stdout"]), bytes(heard["stderr"]))

    async def detect(self, unpacked: Unpacked) -> Detected:
        """Ask every runtime what the bundle is; the highest score wins."""
        found = []
        for runtime in self.plugins.runtimes.values():
            detected = await ask(
                runtime.name, partial(runtime.detect, unpacked.files, unpacked.manifest or {})
            )
            if detected is not None:
                found.append(detected)
        if not found:
            known = [f"{r.name} ({r.looks_for})" for r in self.plugins.runtimes.values()]
            if not known:
                raise SupervisorError("no-runtime", in_words(["runtime"]), hint=how_to_install())
            raise SupervisorError(
                "no-app-found",
                "the bundle holds no application that an installed runtime recognises",
                hint=f"Installed runtimes: {', '.join(sorted(known))}. An app mode in "
                "manifest.json says what a bundle is where its files do not.",
            )
        return max(found, key=lambda detected: detected.score)

    async def archive(self, content: Content, role: Role, place: PlaceRef, spool: Spool) -> None:
        """Write the tree of a place of a content's into a spool, in a sandbox, as the content.

        A spool that is full ends the run; its `check` says so. Raises SupervisorError where the
        tree cannot be read. Cancelled: nothing is left.
        """
        executor = self.keeper_of_files()
        await self.executors.wait_for(executor)
        number = DeploymentId(place.ids[1]) if role is Role.SOURCE else None
        run = self._run(content, Purpose.TIDY, executor, number, 1)
        job = await self._job(run, content, archive_plan(interpreter(), role), "archive")
        output = Unheard(run=run.id, path=self.log_path(run), kept=self.logs)
        shot = OneShot(
            tracked=self.tracked(run),
            executor=executor,
            output=output,
            heard=spool.hear,
            run_limit=ARCHIVE_STALL,
            streams=True,
        )
        with spool.needed:
            exit_ = await shot.live_or_end(job)
        if not spool.needed.cancel_called and exit_.code != 0:
            raise SupervisorError(
                "unavailable",
                f"{role.value} of content {content.name} cannot be read: {shot.tracked.run.reason}",
                hint="\n".join(output.last_lines(10)),
            )

    # -- parts --------------------------------------------------------------------------------

    def executor(self, content: Content) -> Executor:
        """Choose who serves this: the content's own executor, the server's, else one of here."""
        name = content.executor or self.default
        return self._of_here(Purpose.SERVE) if name is None else self.executor_named(name)

    async def _prepare(self, job: Job) -> None:
        """Make what a process elsewhere writes to, with its owner: nobody there could."""
        keeper = self.keeper_of_files()
        for mount in job.plan.mounts:
            place = job.places.get(place_key(mount))
            if place is not None and place.kind is PlaceKind.STATE:
                await keeper.prepare(place, job.content, job.uid)

    def keeper_of_files(self) -> Executor:
        """Choose who unpacks and removes directories of DataDir, whoever serves the content."""
        return self._of_here(Purpose.UNPACK)

    def _of_here(self, purpose: Purpose) -> Executor:
        """Give the first executor that can, of this node where there is one: others cost more."""
        able = [
            executor
            for executor in self.executors.by_name.values()
            if purpose in executor.capabilities.purposes
            and (executor.capabilities.shared_files or purpose is Purpose.SERVE)
        ]
        if not able:
            raise SupervisorError(
                "no-executor",
                f"no installed executor can {purpose.value}",
                hint=how_to_install(),
            )
        return min(able, key=lambda executor: executor.capabilities.lifetime is Lifetime.REMOTE)

    def executor_named(self, name: str) -> Executor:
        """Give an executor by name."""
        try:
            return self.executors.by_name[name]
        except KeyError:
            raise SupervisorError(
                "no-executor", f"the executor {name!r} is not installed", hint=_INSTALL
            ) from None

    async def check_assigned(self, content: Content, was: Content) -> None:
        """Refuse what a content is to become where it could not run so; see Service.assign."""
        executor = self.executor(content)
        if Purpose.SERVE not in executor.capabilities.purposes:
            raise SupervisorError(
                "no-executor", f"the executor {executor.name!r} cannot run applications"
            )
        limits_of(content, self.allowed, executor)
        if (content.egress, content.executor) != (was.egress, was.executor):
            self.reach.check(content, executor)
        if content.run_as and (content.run_as, content.executor) != (was.run_as, was.executor):
            await self.run_as.account(content, executor)

    def runtime(self, name: str) -> Runtime:
        """Give a runtime by name."""
        try:
            return self.plugins.runtimes[name]
        except KeyError:
            raise SupervisorError(
                "no-runtime", f"the runtime {name!r} is not installed", hint=_INSTALL
            ) from None

    def _run(
        self,
        content: Content,
        purpose: Purpose,
        executor: Executor,
        deployment: DeploymentId | None,
        attempt: int,
    ) -> Run:
        return Run(
            id=new_run_id(),
            key=new_job_key(),
            content=content.id,
            deployment=deployment,
            purpose=purpose,
            attempt=attempt,
            executor=executor.name,
            node=self.node,
            created=max(time.time(), content.rolled),  # the clock may have been set back since
        )

    async def _job(
        self,
        run: Run,
        content: Content,
        plan: Plan,
        runtime: str,
        digest: str | None = None,
        account: Account | None = None,
        limits: Limits = Limits(),
    ) -> Job:
        refusal = await self.plugins.veto(content, run.purpose.value)
        if refusal is not None:
            raise SupervisorError("not-allowed", refusal)
        extra = await self.plugins.environment(content, run)
        environment = common_environment(content, run, server=self.server, extra=extra)
        return make_job(
            run=run,
            content=content,
            plan=plan,
            runtime=runtime,
            environment=environment,
            digest=digest,
            egress=self.reach.of_run(content, run.purpose, plan, self.executor_named(run.executor)),
            account=account,
            limits=limits,
        )

    def tracked(self, run: Run) -> Tracked:
        """Make the holder of a run's state."""
        return Tracked(run=run, journal=self.journal, log=self.log, moved=self.moved)

    def output(self, run: Run) -> Output:
        """Open the log of a run."""
        return Output(run=run.id, path=self.log_path(run), kept=self.logs)

    def log_path(self, run: Run) -> str:
        """Where a run's log lies."""
        return os.path.join(self.data_dir, *layout.log_components(run.content, run.id))


def _written(path: str, run: RunId) -> tuple[Sequence[LogLine], str]:
    return read_tail(path, run, TAIL), read_cursor(path)


def interpreter() -> str:
    """The Python that this program runs on, outside any virtual environment."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(base)
