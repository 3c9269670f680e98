"""A stored bundle: unpack → detect → check → activate."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from supervisor.core.contents import newest
from supervisor.core.runs.placing import deployment_place, is_serving
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.storage.journal import Journal
from supervisor.core.storage.tasks import LiveTask
from supervisor.errors import StoreUnavailable, SupervisorError
from supervisor.interfaces import Change, Detected, Executor, Installation
from supervisor.lifecycle import advance_bundle
from supervisor.log import Log
from supervisor.model import (
    Bundle,
    BundleId,
    BundleState,
    Content,
    ContentId,
    Deployment,
    DeploymentId,
)
from supervisor.unpack import Unpacked

_SERVED = (BundleState.ACTIVE, BundleState.RETIRED)


@attrs.define(eq=False)
class Publisher:
    """Carry one bundle from uploaded to active. Deployments of one content wait for each other.

    unpack runs the UNPACK one-shot and gives the listing; detect and install ask the runtimes.
    """

    journal: Journal
    log: Log
    executor: Callable[[], Executor]
    unpack: Callable[[Content, DeploymentId, Bundle], Awaitable[Unpacked]]
    detect: Callable[[Unpacked], Awaitable[Detected]]
    installation: Callable[[Detected], Awaitable[Installation]]
    keeper: Callable[[ContentId], Keeper]
    url: Callable[[Content], str]
    _locks: dict[ContentId, trio.Lock] = attrs.field(factory=dict)

    def turn(self, content: ContentId) -> trio.Lock:
        """Give the lock that whoever changes what bundles of a content there are holds."""
        return self._locks.setdefault(content, trio.Lock())

    async def publish(self, task: LiveTask, content: ContentId, bundle: BundleId) -> None:
        """Deploy a bundle and finish its task; whatever goes wrong ends in the task.

        What was served before is served until the new deployment is ready, and for ever if it
        never is. Cancelled (the core ends): the next core begins the task again.
        """
        async with self.turn(content):
            try:
                found = await self.journal.get("bundle", bundle)
                if not isinstance(found, Bundle) or found.is_going:
                    raise SupervisorError("not-found", f"there is no bundle {bundle}")
                keeper = self.keeper(content)
                if not await self._was_done(task, keeper):
                    await self._publish(task, keeper, found)
            except SupervisorError as error:
                self._say_failure(task, error)
            except Exception as error:
                self.log.error("publish-broke", exc=error, content=content, bundle=bundle)
                self._say_failure(task, _defect(error))

    async def _was_done(self, task: LiveTask, keeper: Keeper) -> bool:
        """Whether an earlier core had done it but for saying so; else what it left is removed."""
        left = task.record.deployment
        if left is None:
            return False
        if left == keeper.content.active_deployment:
            task.succeed(self.url(keeper.content))
            return True
        if not any(worker.deployment == left for worker in keeper.workers):
            await self._remove(keeper.content, left, None)  # else it goes with its process
        return False

    def _say_failure(self, task: LiveTask, error: SupervisorError) -> None:
        task.say(*error.hint.splitlines())
        task.fail(error)
        self.log.warning("publish-failed", task=task.record.id, error=error.message)

    async def _publish(self, task: LiveTask, keeper: Keeper, bundle: Bundle) -> None:
        content = keeper.content
        number = DeploymentId(await self.journal.next_id("deployment"))
        if bundle.state not in _SERVED:
            bundle = attrs.evolve(bundle, state=BundleState.UPLOADED, reason="")  # begin anew
        worker: Worker | None = None
        await task.deploys(number)
        task.say(f"Unpacking bundle {bundle.id} ({bundle.size} bytes)")
        try:
            listing = await self.unpack(content, number, bundle)
            bundle = await self._advance(bundle, "unpacked", manifest=listing.manifest or {})
            detected = await self.detect(listing)
            installation = await self.installation(detected)
            task.say(
                f"Found {detected.app_mode} ({detected.entrypoint}), {len(listing.files)} files;"
                f" it runs on {installation.executable} {installation.version}"
            )
            deployment = Deployment(
                id=number,
                content=content.id,
                bundle=bundle.id,
                runtime=detected.runtime,
                app_mode=detected.app_mode,
                entrypoint=detected.entrypoint,
                installation=installation.executable,
                created=time.time(),
            )
            await self.journal.intent(Change(kind="deployment", record=deployment, was=0))
            bundle = await self._advance(bundle, "installed")
            candidate = attrs.evolve(content, kind=detected.kind, app_mode=detected.app_mode)
            if is_serving(detected.kind):
                task.say("Starting a first process")
                worker = await keeper.try_out(candidate, deployment)
                task.say(f"Run {worker.id} answers")
            await self._activate(keeper, candidate, deployment, bundle)
        except Exception as error:
            # a store that went away in the activation may have recorded it: then these files
            # count, and the bundle is active
            doubtful = isinstance(error, StoreUnavailable)
            if not doubtful:
                self._reject(bundle, error)
            await self._remove(content, number, worker, files=not doubtful)
            raise
        self.log.info("published", content=content.id, deployment=number, bundle=bundle.id)
        task.say(f"Active: {self.url(content)}")
        task.succeed(self.url(content))

    async def _remove(
        self, content: Content, number: DeploymentId, worker: Worker | None, *, files: bool = True
    ) -> None:
        """End what runs in the directory of a deployment that failed, then remove it.

        files: whether it goes now; else the sweep finds it, if nobody serves it.
        """
        if worker is not None:
            worker.stop("its deployment failed")
            await worker.gone.wait()
        if not files:
            return
        try:
            await self.executor().remove(deployment_place(content, number))
        except SupervisorError as error:
            self.log.warning("directory-left", deployment=number, error=error.message)

    async def _activate(
        self, keeper: Keeper, candidate: Content, deployment: Deployment, bundle: Bundle
    ) -> None:
        """One compare-and-set: what is served is the old or the new, never a mixture."""
        async with keeper.changing:
            await newest.change(
                self.journal,
                keeper,
                partial(self._activate_alone, keeper, candidate, deployment, bundle),
            )

    async def _activate_alone(
        self,
        keeper: Keeper,
        candidate: Content,
        deployment: Deployment,
        bundle: Bundle,
        was: Content,
    ) -> None:
        if was.removed is not None:
            raise SupervisorError("not-found", "the content was removed meanwhile")
        active = attrs.evolve(
            was,
            kind=candidate.kind,
            app_mode=candidate.app_mode,
            active_deployment=deployment.id,
            stopped=False,
            version=was.version + 1,
        )
        retired = await self._retired(was, bundle)
        now = _moved(bundle, "activated")
        await self.journal.intent(
            Change(kind="content", record=active, was=was.version),
            Change(kind="bundle", record=now),
            *(Change(kind="bundle", record=_moved(old, "retired")) for old in retired),
        )
        keeper.activate(active, deployment)

    async def _retired(self, content: Content, but: Bundle) -> Sequence[Bundle]:
        where = {"content": content.id, "state": BundleState.ACTIVE.value}
        return [old for old in await self.journal.find("bundle", where) if old.id != but.id]

    async def _advance(self, bundle: Bundle, event: str, **fields: Any) -> Bundle:
        if bundle.state in _SERVED:  # deployed once more: it stays what it is until then
            moved = attrs.evolve(bundle, version=bundle.version + 1, **fields)
        else:
            moved = _moved(bundle, event, **fields)
        await self.journal.intent(Change(kind="bundle", record=moved))
        return moved

    def _reject(self, bundle: Bundle, error: Exception) -> None:
        if bundle.state not in _SERVED:
            reason = error.message if isinstance(error, SupervisorError) else repr(error)
            self.journal.fact(
                Change(kind="bundle", record=_moved(bundle, "rejected", reason=reason))
            )


def _defect(error: Exception) -> SupervisorError:
    return SupervisorError(
        "internal", f"a defect of the server: {error!r}", hint="The service log has the details."
    )


def _moved(bundle: Bundle, event: str, **fields: Any) -> Bundle:
    return attrs.evolve(
        bundle,
        state=BundleState(advance_bundle(bundle.state.value, event)),
        version=bundle.version + 1,
        **fields,
    )
