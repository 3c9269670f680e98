"""Executor: what starts, watches and ends processes somewhere."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from enum import StrEnum

import attrs
import trio

from supervisor.model import (
    ContentId,
    InnerEndpoint,
    Job,
    Observation,
    PlaceRef,
    Purpose,
    Receipt,
    RunId,
    Usage,
)
from supervisor.network import Egress

PLUGIN_API = 1
OLDEST_PLUGIN_API = 1  # plugins that speak an API from here on still work


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
    otherwise all of it is "stdout". run_as: whether a job may have the uid of an account of this
    machine while its places belong to the content's own. egress: how far it can let a process
    reach, HOST being wherever its processes are. ports: whether it runs plans that name a port.
    tier: its name for what keeps processes apart here, which doctor and `ps` show; "" for none.
    """

    lifetime: Lifetime
    purposes: frozenset[Purpose]
    limits: frozenset[str] = frozenset()
    shared_files: bool = True
    output: bool = False
    streams: bool = True
    usage: bool = False
    run_as: bool = False
    egress: frozenset[Egress] = frozenset({Egress.HOST})
    ports: bool = False
    tier: str = ""


@attrs.frozen(kw_only=True)
class Finding:
    """One line of `supervisor doctor`. fix: the one command or setting that mends it, or ""."""

    name: str
    ok: bool
    text: str
    fix: str = ""
    fatal: bool = False


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

    async def connect(self, endpoint: InnerEndpoint) -> socket.socket:
        """Give a connected, non-blocking socket to a port inside. capabilities.ports only.

        Raises SupervisorError("unavailable") where nothing listens there, or not yet.
        """
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

    async def hides(self, path: str) -> bool:
        """Tell whether this machine has a file that processes of this executor do not see.

        path: absolute, as a process has written it. Only of what every user of this machine may
        know: content writes what it likes, and is told the answer.
        """
        return False

    async def check(self) -> Sequence[Finding]:
        """Look at the host or the backend for `supervisor doctor`; changes nothing."""
        return ()
