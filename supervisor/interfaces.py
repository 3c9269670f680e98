"""Runtime, Executor, Store: the abstract classes that plugins implement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from supervisor.execution import PLUGIN_API as PLUGIN_API
from supervisor.execution import Capabilities as Capabilities
from supervisor.execution import Executor as Executor
from supervisor.execution import Finding as Finding
from supervisor.execution import Lifetime as Lifetime
from supervisor.execution import OutputChunk as OutputChunk
from supervisor.listener import Listener
from supervisor.model import (
    Bundle,
    Content,
    ContentKind,
    Deployment,
    Lease,
    Node,
    Plan,
    Purpose,
    Run,
    Task,
    Transition,
)


@attrs.frozen(kw_only=True)
class PluginView:
    """A plugin as `supervisor plugins` shows it; problem: why it failed or is blamed, or "".

    state: "loaded", "blamed" (in use, with a problem), "failed" (not in use), "disabled" (by
    [Plugins] Disable). seconds: what its import took. threads and tasks: how many of its own live.
    """

    name: str
    version: str
    gives: tuple[str, ...] = ()
    problem: str = ""
    state: str = "loaded"
    seconds: float = attrs.field(default=0.0, eq=False)
    threads: int = attrs.field(default=0, eq=False)
    tasks: int = attrs.field(default=0, eq=False)


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


Record = Content | Bundle | Deployment | Run | Task | Node


@attrs.frozen(kw_only=True)
class Change:
    """One write. kind: "content", "bundle", "deployment", "run", "task", "node" or "transition".

    record is what is stored. was: the version that must be stored now (compare-and-set); 0 = there
    must be none yet; None = whatever is there is replaced (facts of a run that this core owns).
    Records with a `version` are stored with the version that they carry: was + 1 by convention;
    records without one have version 1. Transitions are only added; one told twice is kept once.

    remove: the record goes instead, if its stored version is `was`; None = whatever is there goes,
    and nothing there is fine. The transitions of a run go with it.
    fence: the lease under which it is made, beside the one of the whole call.
    """

    kind: str
    record: Record | Transition
    was: int | None = None
    remove: bool = False
    fence: Lease | None = None


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
    "node": Node,
    "transition": Transition,
}


class Store(ABC):
    """Keep the records. Synchronous; the journal calls it in one thread at a time.

    Every method raises StoreUnavailable where the database does not answer (the caller retries) and
    leaves nothing half done. several_nodes: whether servers may share it, each a node of its own:
    what one has written the others see at once, and its clock is one for all.
    """

    name: str
    plugin_api: int = PLUGIN_API
    several_nodes: bool = False

    @abstractmethod
    def migrate(self, permit: Callable[[float, Sequence[Lease]], None] | None = None) -> None:
        """Bring the schema to this version, under a lock of the store. A newer one is refused.

        Before anything is changed `permit` gets what `leases` gives, under that lock: an older
        server may be at work. What it raises leaves all as it was. Idempotent. Raises
        SupervisorError: schema-newer, data-dir-network, data-dir-unusable.
        """

    @abstractmethod
    def next_id(self, kind: str) -> int:
        """Give an id that was never given before and never will be again, also after a removal."""

    @abstractmethod
    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        """Write all changes in one durable transaction, or none.

        Raises StoreConflict where a `was` does not hold or another content that is not removed has
        the same name, LeaseLost where `fence`, or that of a change, is not the newest of its name;
        all are looked at in the transaction that writes.
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
        run, content; task: content, finished; node: nothing else.
        """

    @abstractmethod
    def claim(self, name: str, owner: str, ttl: float) -> Lease | None:
        """Take or renew the lease `name` for `ttl` seconds by the database's clock.

        None where somebody else holds it. A new holder gets a larger fence; a renewal keeps it.
        """

    def claim_all(self, names: Sequence[str], owner: str, ttl: float) -> Sequence[Lease]:
        """Take or renew each of the leases as `claim` does; give those that are the owner's now.

        Other claims may come between two of them; a store that can takes all at one moment.
        """
        claimed = (self.claim(name, owner, ttl) for name in names)
        return [lease for lease in claimed if lease is not None]

    @abstractmethod
    def leases(self) -> tuple[float, Sequence[Lease]]:
        """Give the database's clock, and every lease that was not given back, by name.

        Those whose `expires` is over are among them: nobody has claimed them since.
        """

    @abstractmethod
    def holder(self, name: str) -> Lease | None:
        """Give who holds the lease now, expired or not; None where nobody did, or gave it back."""

    @abstractmethod
    def release(self, lease: Lease) -> None:
        """Give a lease back. Idempotent; of a lease that is not ours any more: nothing."""

    def release_all(self, leases: Sequence[Lease]) -> None:
        """Give back each of the leases as `release` does."""
        for lease in leases:
            self.release(lease)

    @abstractmethod
    def changes(self, since: int) -> tuple[int, Sequence[StoreEvent]]:
        """Give what changed after the cursor `since` (0 = all remembered) and a new cursor.

        Transitions are not told: the change of their run is.
        """

    def listen(self) -> Listener | None:
        """Give something that wakes after each change; None: the core asks `changes` now and then.

        May wake without a change. Called again after a listener was lost, and closed.
        """
        return None

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
