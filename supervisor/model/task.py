"""Task, Transition, Lease, Node: what clients poll, what is kept, who holds what, who they are."""

from __future__ import annotations

import attrs

from supervisor.model.ids import BundleId, ContentId, DeploymentId, RunId


@attrs.frozen(kw_only=True)
class Task:
    """A long operation that clients poll. output are its lines so far; code is 0 on success."""

    id: str
    content: ContentId | None = None
    bundle: BundleId | None = None
    deployment: DeploymentId | None = None
    output: tuple[str, ...] = ()
    finished: bool = False
    code: int = 0
    error: str = ""
    result: str = ""
    created: float = 0.0


@attrs.frozen(kw_only=True)
class Transition:
    """One journal line: a run moved from one state to another, and why."""

    run: RunId
    content: ContentId
    was: str
    now: str
    event: str
    reason: str = ""
    at: float = 0.0


@attrs.frozen(kw_only=True)
class Lease:
    """A named claim. fence grows with each new holder; expires is in the database's seconds."""

    name: str
    owner: str
    fence: int
    expires: float


@attrs.frozen(kw_only=True)
class Node:
    """One server among those that share a database. It lives while its lease is held.

    lease: the name of that lease. host: of the machine, for people. address: where other nodes
    reach its gateway, "" where they do not. started and ended: wall-clock seconds of its first
    core, and of an end in order.
    """

    id: str
    lease: str
    host: str = ""
    address: str = ""
    release: str = ""
    started: float = 0.0
    ended: float | None = None
    version: int = 1
