"""Run, Receipt, Observation, Endpoint, Exit: one process from queued to gone."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import attrs

from supervisor.lifecycle import State
from supervisor.model.ids import ContentId, DeploymentId, RunId
from supervisor.model.plan import Purpose


@attrs.frozen(kw_only=True)
class Receipt:
    """What an executor hands back for a job: enough to watch, stop or re-adopt it, also elsewhere.

    data is JSON of the executor's own design; nobody else reads it.
    """

    version: int = 1
    run: RunId
    executor: str
    data: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class UnixEndpoint:
    """A socket named `name` in `directory` (a path of this node), owned by `uid`.

    Plain data: whoever connects opens the directory as a descriptor, looks the name up beneath it
    without following links, and checks that it is a socket of that uid.
    """

    directory: str
    name: str
    uid: int


@attrs.frozen(kw_only=True)
class TcpEndpoint:
    """A TCP port; host is an IPv4 or IPv6 address in numbers, never a name.

    secret: one word of printable ASCII. Whoever connects says `supervisor SECRET` and a newline
    first, is answered nothing, and goes on with HTTP. What listens there closes the connection at
    once where the word is wrong or the process behind it does not accept.
    """

    host: str
    port: int
    secret: str | None = None


@attrs.frozen(kw_only=True)
class InnerEndpoint:
    """A TCP port of a network that the process has alone, so that no address leads there.

    The core asks the executor (Executor.connect), gateways ask the helper by the run. directory and
    uid: of the directory that a socket would lie in, as in UnixEndpoint.
    """

    run: RunId
    port: int
    directory: str
    uid: int


Endpoint = UnixEndpoint | TcpEndpoint | InnerEndpoint


class Cause(StrEnum):
    """Why a process ended."""

    FINISHED = "finished"  # by itself, with status 0
    FAILED = "failed"  # by itself, with another status, or by a signal that we did not send
    STOPPED = "stopped"  # we asked it to
    MEMORY = "memory"  # the memory limit
    LIMIT = "limit"  # another limit
    TOO_LONG = "too-long"  # the run time limit
    LOST = "lost"  # nobody knows: it was gone when we looked


@attrs.frozen(kw_only=True)
class Exit:
    """How a process ended. A value, never an exception. code or signal, not both."""

    code: int | None = None
    signal: int | None = None
    cause: Cause
    detail: str = ""


@attrs.frozen(kw_only=True)
class Pending:
    """Accepted, not running yet; reason says what it waits for."""

    reason: str = ""


@attrs.frozen(kw_only=True)
class Running:
    """The process exists. pid is the node's, where the executor knows one."""

    endpoint: Endpoint | None = None
    pid: int | None = None


Observation = Pending | Running | Exit


@attrs.frozen(kw_only=True)
class Usage:
    """What a run uses now: CPU seconds since its start, bytes of memory, number of processes.

    kills: how many of its processes were killed for want of memory, where that is known.
    """

    cpu: float
    memory: int
    processes: int
    kills: int = 0


@attrs.frozen(kw_only=True)
class Run:
    """One process, one purpose. Times are wall-clock seconds; the id is stored before the start."""

    id: RunId
    key: str
    content: ContentId
    deployment: DeploymentId | None = None
    purpose: Purpose
    attempt: int = 1
    state: State = State.QUEUED
    reason: str = ""
    executor: str = ""
    receipt: Receipt | None = None
    node: str = ""
    created: float = 0.0
    started: float | None = None
    ready: float | None = None
    ended: float | None = None
    exit: Exit | None = None
    version: int = 1
