"""What is not needed any more: pure choices from records. Whoever acts on them is `sweep`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import attrs

from supervisor.interfaces import Change
from supervisor.lifecycle import ENDS
from supervisor.model import (
    Bundle,
    BundleState,
    Content,
    ContentId,
    Deployment,
    DeploymentId,
    PlaceRef,
    Run,
    RunId,
    Task,
)

SERVED = (BundleState.ACTIVE, BundleState.RETIRED)


@attrs.frozen(kw_only=True)
class Retention:
    """How much is kept; 0 is no limit. Ages in seconds, the others are counts of one content."""

    runs: int = 1000
    runs_age: float = 30 * 86400.0
    logs: int = 20
    bundles: int = 0
    rejected_age: float = 30 * 86400.0
    upload_age: float = 86400.0


@attrs.frozen(kw_only=True)
class Going:
    """One thing that goes: `mark` is recorded first, then files go, then the records.

    places are removed by who owns their files, paths (files or trees) by the core. size: bytes of
    the files; None where only their owner could know. reason: why it goes.
    """

    kind: str
    name: str
    content: ContentId | None = None
    size: int | None = 0
    reason: str
    mark: Change | None = None
    places: tuple[PlaceRef, ...] = ()
    paths: tuple[str, ...] = ()
    forget: tuple[Change, ...] = ()


@attrs.frozen(kw_only=True)
class Held:
    """The records of one content, each kind by age, and what of it is in use.

    living: runs that this or another core watches; deployments: whose directories are used by a
    run or made by a task at work; bundles: which a task at work will deploy.
    """

    content: Content
    runs: Sequence[Run] = ()
    tasks: Sequence[Task] = ()
    bundles: Sequence[Bundle] = ()
    deployments: Sequence[Deployment] = ()
    living: Collection[RunId] = ()
    used_deployments: Collection[DeploymentId] = ()
    used_bundles: Collection[int] = ()

    @property
    def removed(self) -> bool:
        """Whether somebody removed the content: then nothing of it is needed."""
        return self.content.removed is not None

    def is_needed(self, deployment: DeploymentId) -> bool:
        """Whether the directory of a deployment must stay."""
        active = None if self.removed else self.content.active_deployment
        return deployment == active or deployment in self.used_deployments


def ended_runs(held: Held, keep: Retention, now: float) -> Iterable[Going]:
    """Give the records of runs that ended too long ago, or that are too many."""
    ended = [run for run in held.runs if run.state in ENDS and run.id not in held.living]
    few = ended[-keep.runs :] if keep.runs else ended
    for run in ended:
        old = keep.runs_age and (run.ended or run.created) < now - keep.runs_age
        if old or run not in few:
            why = "ended long ago" if old else f"more than {keep.runs} ended runs"
            yield _record("run", str(run.id), held, why, run)


def finished_tasks(held: Held, keep: Retention, now: float) -> Iterable[Going]:
    """Give the records of tasks that were made too long ago, or that are too many."""
    finished = [task for task in held.tasks if task.finished]
    few = finished[-keep.runs :] if keep.runs else finished
    for task in finished:
        old = keep.runs_age and task.created < now - keep.runs_age
        if old or task not in few:
            why = "made long ago" if old else f"more than {keep.runs} finished tasks"
            yield _record("task", task.id, held, why, task)


def old_bundles(held: Held, keep: Retention, now: float) -> Iterable[tuple[Bundle, str]]:
    """Give the bundles that are not needed, with the reason.

    The active one and the newest stay in every case, and so does what a task will deploy; of those
    that were served once the newest stay, so that an older version can be deployed again.
    """
    active = {d.bundle for d in held.deployments if held.is_needed(d.id)}
    newest = held.bundles[-1:] if not held.removed else []
    served = [bundle for bundle in held.bundles if bundle.state in SERVED]
    few = served[-keep.bundles :] if keep.bundles else served
    for bundle in held.bundles:
        if bundle.id in active or bundle.id in held.used_bundles or bundle in newest:
            continue
        if bundle.state is BundleState.GOING:
            yield bundle, "its removal was not finished"
        elif held.removed:
            yield bundle, "its content was removed"
        elif bundle.state is BundleState.ACTIVE:
            continue
        elif bundle.state in SERVED:
            if bundle not in few:
                yield bundle, f"more than {keep.bundles} bundles that were served"
        elif keep.rejected_age and bundle.created < now - keep.rejected_age:
            yield bundle, "never served"


def _record(kind: str, name: str, held: Held, why: str, record: Run | Task) -> Going:
    gone = Change(kind=kind, record=record, was=getattr(record, "version", 1), remove=True)
    return Going(kind=kind, name=name, content=held.content.id, reason=why, forget=(gone,))
