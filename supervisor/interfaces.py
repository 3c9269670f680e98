"""Runtime, Executor, Store: the abstract classes that plugins implement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import attrs
import trio

from supervisor.model import (
    Bundle,
    Content,
    ContentId,
    ContentKind,
    Deployment,
    Job,
    Lease,
    Observation,
    PlaceRef,
    Plan,
    Purpose,
    Receipt,
    Run,
    RunId,
    Task,
    Transition,
    Usage,
)

PLUGIN_API = 1


class Lifetime(StrEnum):
    """What an executor's processes outlive."""

    CORE = "core"  # may end with the core
    NODE = "node"  # survive the core, end with the node's helper
    REMOTE = "remote"  # survive the node


@attrs.frozen(kw_only=True)
class Capabilities:
    """What an executor can do. What is not claimed is neither asked for nor tested.

    limits: the names of model.Limits' fields that it enforces. shared_files: whether its processes
    see the DataDir of this node. streams: whether output tells standard error from standard output;
    otherwise all of it is "stdout".
    """

    lifetime: Lifetime
    purposes: frozenset[Purpose]
    limits: frozenset[str] = frozenset()
    shared_files: bool = True
    output: bool = False
    streams: bool = True
    usage: bool = False


@attrs.frozen(kw_only=True)
class Finding:
    """One line of `supervisor doctor`. fix: the one command or setting that mends it, or ""."""

    name: str
    ok: bool
    text: str
    fix: str = ""
    fatal: bool = False


@attrs.frozen(kw_only=True)
class PluginView:
    """A plugin as `supervisor plugins` shows it; problem: why it failed or is blamed, or ""."""

    name: str
    version: str
    gives: tuple[str, ...] = ()
    problem: str = ""


@attrs.frozen(kw_only=True)
class OutputChunk:
    """Bytes that a run wrote. stream is "stdout" or "stderr"; cursor resumes after this chunk."""

    stream: str
    data: bytes
    cursor: str = ""


class Executor(ABC):
    """Start, watch and end processes somewhere. One instance per core; all methods run under trio.

    The core puts a time limit around every call, makes calls only while serve() runs, and cancels
    those that are open when it ends. Errors are SupervisorError; an ended process is an Exit, never
    an error. Generators hold no nursery and no cancel scope open while they yield.
    """

    name: str
    plugin_api: int = PLUGIN_API
    capabilities: Capabilities

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run whatever the executor needs for as long as the core lives (a connection, a watch).

        Called once, before any other method; calls task_status.started() when the others may be
        called. Cancelled at the end. Returning or raising means: the executor is away; the core
        logs it and calls serve again with back-off.
        """
        task_status.started()
        await trio.sleep_forever()

    @abstractmethod
    async def start(self, job: Job) -> Receipt:
        """Ask for a process and return once the backend has durably accepted it.

        The backend's name for it derives from job.run: the same job again gives the same receipt
        and starts nothing twice. Raised or cancelled: nothing is left, or at worst a stray that
        list() shows. Whatever the job's places need (directories, owners) is made here.
        """

    @abstractmethod
    def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        """Yield Pending, then Running (again if the endpoint changes), and Exit last.

        The first observation comes at once and is the present state. May be cancelled (closed) and
        called again, from another core too. An unknown receipt yields Exit(cause=LOST). Once Exit
        was yielded nothing of the run can write anywhere.
        """

    @abstractmethod
    async def stop(self, receipt: Receipt, grace: float) -> None:
        """Ask the process to end, wait `grace` seconds, end its whole tree; return when it is gone.

        Idempotent; of something unknown or already gone it returns at once. Cancelled: the ending
        goes on.
        """

    @abstractmethod
    async def list(self) -> Sequence[Receipt]:
        """Give a receipt of everything of ours that the backend holds, recorded or stray."""

    def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        """Yield what the run writes, from `cursor` on, until its end. capabilities.output only.

        One reader at a time per run. Bytes are those that the process wrote, in order per stream;
        nothing is lost while nobody reads, up to the backend's buffer.
        """
        raise NotImplementedError

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        """Give what each run uses now; runs that are gone are left out. capabilities.usage only."""
        raise NotImplementedError

    async def prepare(self, place: PlaceRef, content: ContentId, uid: int) -> None:
        """Make the directory of a place, owned by a content's uid. Idempotent; as `remove`.

        Asked for what another executor's process writes to: it may not be able to give it an owner.
        """
        raise NotImplementedError

    async def remove(self, place: PlaceRef) -> None:
        """Remove a place and all that lies beneath it. Idempotent. capabilities.shared_files only.

        Removing is the executor's, since content wrote it under a uid that the core has not.
        """
        raise NotImplementedError

    async def check(self) -> Sequence[Finding]:
        """Look at the host or the backend for `supervisor doctor`; changes nothing."""
        return ()


@attrs.frozen(kw_only=True)
class SourceFile:
    """One file of a bundle. text: its first 64 KiB if it is a text file that was asked for."""

    path: str
    size: int
    text: str | None = None


@attrs.frozen(kw_only=True)
class Detected:
    """What a runtime recognised in a bundle. score: larger wins where several runtimes answer."""

    runtime: str
    kind: ContentKind
    app_mode: str
    entrypoint: str
    score: int = 50


@attrs.frozen(kw_only=True)
class Installation:
    """One interpreter on this host. prefixes: the directories that must be visible to run it."""

    runtime: str
    version: str
    executable: str
    prefixes: tuple[str, ...] = ()
    detail: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class PlanContext:
    """What a plan may depend on besides the bundle."""

    content: Content
    deployment: Deployment
    installation: Installation
    environment: Mapping[str, str] = attrs.field(factory=dict)


class Runtime(ABC):
    """Turn bundles of one language or framework into plans. Synchronous; called in a thread.

    looks_for says in a few words what detect recognises, for whoever deploys what nobody does.
    """

    name: str
    looks_for: str = ""
    plugin_api: int = PLUGIN_API

    @abstractmethod
    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        """Say what the bundle is, or None. Pure: the same files give the same answer.

        The manifest, where the publisher sent one, wins over guessing.
        """

    @abstractmethod
    def installations(self, settings: Mapping[str, Sequence[str]]) -> Sequence[Installation]:
        """Find the interpreters of this host, best first. May execute what it finds, nothing else.

        settings: this runtime's configuration section, each key (lower case) with all its values.
        """

    @abstractmethod
    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        """Say how to do one thing. Pure. Raises SupervisorError("no-runtime") where it cannot."""


Record = Content | Bundle | Deployment | Run | Task


@attrs.frozen(kw_only=True)
class Change:
    """One write. kind: "content", "bundle", "deployment", "run", "task" or "transition".

    record is what is stored. was: the version that must be stored now (compare-and-set); 0 = there
    must be none yet; None = whatever is there is replaced (facts of a run that this core owns).
    Records with a `version` are stored with the version that they carry: was + 1 by convention;
    records without one have version 1. Transitions are only added; one told twice is kept once.

    remove: the record goes instead, if its stored version is `was`; None = whatever is there goes,
    and nothing there is fine. The transitions of a run go with it.
    """

    kind: str
    record: Record | Transition
    was: int | None = None
    remove: bool = False


@attrs.frozen(kw_only=True)
class StoreEvent:
    """Somebody changed a record: its kind and key."""

    kind: str
    key: str


@attrs.frozen(kw_only=True)
class Counter:
    """The last id that was given of a kind."""

    kind: str
    last: int


Row = Counter | Record | Transition
"""What Store.dump gives: the class tells the kind."""

KINDS: Mapping[str, type[Any]] = {
    "content": Content,
    "bundle": Bundle,
    "deployment": Deployment,
    "run": Run,
    "task": Task,
    "transition": Transition,
}


class Store(ABC):
    """Keep the records. Synchronous; the journal calls it in one thread at a time.

    Every method raises StoreUnavailable where the database does not answer (the caller retries) and
    leaves nothing half done.
    """

    name: str
    plugin_api: int = PLUGIN_API

    @abstractmethod
    def migrate(self) -> None:
        """Bring the schema to this version, under a lock of the store. A newer one is refused.

        Raises SupervisorError: schema-newer, data-dir-network, data-dir-unusable. Idempotent.
        """

    @abstractmethod
    def next_id(self, kind: str) -> int:
        """Give an id that was never given before and never will be again, also after a removal."""

    @abstractmethod
    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        """Write all changes in one durable transaction, or none.

        Raises StoreConflict where a `was` does not hold or another content that is not removed has
        the same name, SupervisorError("lease-lost") where the fence is not the newest of its name.
        """

    @abstractmethod
    def get(self, kind: str, key: str | int) -> Record | None:
        """Give one record by id (content also by guid, or by name if not removed), or None."""

    @abstractmethod
    def find(
        self,
        kind: str,
        where: Mapping[str, Any] | None = None,
        *,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Sequence[Any]:
        """Give the records whose indexed fields equal `where`, by id, transitions as they came.

        A tuple, list or frozenset means: one of. Tasks are ordered by `created`. ValueError names a
        field that is not indexed.

        Indexed are ids, and content: guid, name, removed; bundle: content, digest, state;
        deployment: content, bundle; run: content, deployment, purpose, state, node; transition:
        run, content; task: content, finished.
        """

    @abstractmethod
    def claim(self, name: str, owner: str, ttl: float) -> Lease | None:
        """Take or renew the lease `name` for `ttl` seconds by the database's clock.

        None where somebody else holds it. A new holder gets a larger fence; a renewal keeps it.
        """

    @abstractmethod
    def holder(self, name: str) -> Lease | None:
        """Give who holds the lease now, expired or not; None where nobody did, or gave it back."""

    @abstractmethod
    def release(self, lease: Lease) -> None:
        """Give a lease back. Idempotent; of a lease that is not ours any more: nothing."""

    @abstractmethod
    def changes(self, since: int) -> tuple[int, Sequence[StoreEvent]]:
        """Give what changed after the cursor `since` (0 = all remembered) and a new cursor.

        Transitions are not told: the change of their run is.
        """

    @abstractmethod
    def dump(self) -> Iterator[Row]:
        """Yield all that must survive, as it was at one moment, in a form that any store can load.

        Counters come first. Leases and the feed are left out: they are of this database alone.
        May run in a thread of its own while others write; closed early it is given up.
        """

    @abstractmethod
    def load(self, rows: Iterable[Row]) -> None:
        """Take what dump() of any store gave, in one transaction, or nothing.

        Raises SupervisorError("conflict") where a record or a counter is here already, ValueError
        for a row of no known kind.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every connection. Idempotent."""
