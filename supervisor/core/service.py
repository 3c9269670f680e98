"""Service: what the API may ask of the core. The core's Server implements it; tests fake it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import attrs

from supervisor.core.retention import Going
from supervisor.interfaces import Finding
from supervisor.interfaces import PluginView as PluginView
from supervisor.model import Bundle, Content, Limits, Overrides, Run, Scaling, Task
from supervisor.network import Egress


@attrs.frozen(kw_only=True)
class Assignment:
    """Who runs a content, as which account, within which limits, and how far it reaches.

    None: the server's default.
    """

    executor: str | None = None
    run_as: str | None = None
    egress: Egress | None = None
    limits: Limits = Limits()


@attrs.frozen(kw_only=True)
class ContentView:
    """A content as `supervisor list` and the index show it.

    state is a word for people: "sleeping", "starting", "running", "failed", "stopped", "empty",
    "elsewhere" (another node has it).
    """

    content: Content
    state: str
    scaling: Scaling = Scaling()  # what counts: the content's own over the server's
    reason: str = ""
    url: str = ""
    bundle: int | None = None  # the bundle that is active
    processes: int = 0
    sessions: int = 0  # seats that are open or kept for a lost client
    waiting: int = 0  # visitors in line


@attrs.frozen(kw_only=True)
class SessionView:
    """A seat as `supervisor sessions` shows it. Times are seconds ago, None where nobody knows.

    state: "open", "away" (lost, its seat is kept), "reserved" (a page was loaded) or "waiting" (in
    line: no run yet). visitor: the beginning of a random name, not a person's.
    """

    content_name: str
    content_guid: str
    state: str
    visitor: str
    run: str = ""
    age: float = 0.0
    quiet_client: float | None = None
    quiet_worker: float | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    position: int | None = None


@attrs.frozen(kw_only=True)
class RunView:
    """A run as `supervisor ps` shows it. cpu: seconds; memory: resident bytes; age: seconds.

    here: whether it is this node's; of others nothing is known but what is recorded. tier: what
    keeps it apart from others, by the executor's name for it; "" where that is not known. lacking:
    names of the server's limits that do not hold for it.
    """

    run: Run
    content_name: str
    content_guid: str
    pid: int | None = None
    sessions: int = 0
    requests: int = 0
    cpu: float | None = None
    memory: int | None = None
    processes: int | None = None
    age: float = 0.0
    here: bool = True
    tier: str = ""
    lacking: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class LeaseView:
    """A lease as `supervisor leases` shows it.

    left: seconds until it ends, by the database's clock. holder: the node or its core, as it stands
    in the lease. host: of the node, where that is known.
    """

    name: str
    node: str
    host: str
    holder: str
    fence: int
    left: float


@attrs.frozen(kw_only=True)
class LogLine:
    """One line that a run wrote. at: wall-clock seconds; text: decoded, without its newline."""

    run: str
    stream: str
    at: float
    text: str


class Service(ABC):
    """Everything is a SupervisorError that goes wrong: not-found, conflict, bad-request, ….

    `ref` is a content's guid, name or id, or (where it says so) a run's id or the beginning of one
    that no other run shares.
    """

    @abstractmethod
    async def contents(self) -> Sequence[ContentView]:
        """Give all contents that are not removed, by name."""

    @abstractmethod
    async def content(self, ref: str) -> ContentView:
        """Give one content."""

    @abstractmethod
    async def create_content(self, name: str, title: str = "") -> Content:
        """Make a content; the name ([A-Za-z0-9_-], 3 to 64 characters) must be free (conflict)."""

    @abstractmethod
    async def retitle(self, ref: str, title: str) -> None:
        """Change a content's title."""

    @abstractmethod
    async def receive_bundle(
        self, ref: str, chunks: AsyncIterator[bytes], *, size: int = 0
    ) -> Bundle:
        """Store an uploaded tar.gz; durable when it returns. Cancelled: nothing is left.

        size: the bytes that will come, if that is known. Raises disk-full where they do not fit.
        """

    @abstractmethod
    async def deploy(self, ref: str, bundle: int | None = None) -> Task:
        """Unpack, check and activate a bundle (default: the newest); the task tells how it goes."""

    @abstractmethod
    async def task(self, task_id: str, *, first: int = 0, wait: float = 0.0) -> Task:
        """Give a task with its output from line `first` on; wait up to `wait` seconds for news."""

    @abstractmethod
    async def runs(self, ref: str | None = None, *, ended: bool = False) -> Sequence[RunView]:
        """Give the runs, newest first: the living, or with `ended` the last hundred as well."""

    @abstractmethod
    async def leases(self) -> Sequence[LeaseView]:
        """Give who holds what: nodes, contents, seats."""

    @abstractmethod
    def logs(
        self, ref: str, *, follow: bool = False, tail: int = 100
    ) -> AsyncGenerator[LogLine, None]:
        """Yield the last lines of a run, or of a content's living (else newest) runs; follow."""

    @abstractmethod
    async def stop(self, ref: str) -> None:
        """Stop a run, or a content: all its runs, and it stays stopped until restart."""

    @abstractmethod
    async def restart(self, ref: str, *, rolling: bool = False) -> None:
        """Start a content anew: new processes, back-off and giving up forgotten.

        rolling: what serves goes on serving until a new process is ready, then drains; no session
        is ended before its time. A content that is stopped is started either way.
        """

    @abstractmethod
    async def scale(self, ref: str, overrides: Overrides) -> None:
        """Replace what was set of a content's scaling; in force at once, no process restarted.

        Raises SupervisorError with a code of `supervisor.bounds.check` for what does not fit.
        """

    @abstractmethod
    async def assign(self, ref: str, to: Assignment) -> None:
        """Replace how a content runs; a rolling restart follows.

        Raises SupervisorError, and nothing has changed: no-executor, run-as-refused,
        egress-over-limit, egress-unavailable, or limit-unenforceable where its executor cannot
        enforce one of the limits.
        """

    @abstractmethod
    async def sessions(self, ref: str | None = None) -> Sequence[SessionView]:
        """Give the seats of one content, or of all, by content and age."""

    @abstractmethod
    async def reload(self) -> None:
        """Replace all parts of the server by what is installed now, in place; no session ends.

        Returns once the parent has begun; raises SupervisorError("not-reloaded") where the new code
        or the settings do not hold, and then nothing was changed.
        """

    @abstractmethod
    async def kill(self, ref: str) -> None:
        """Kill a run's whole process tree now, without asking."""

    @abstractmethod
    async def remove(self, ref: str) -> None:
        """Stop a content and remove it with its files. Its uid and id are never used again."""

    @abstractmethod
    async def clean(self, *, dry: bool = False) -> Sequence[Going]:
        """Remove what is not needed any more and give it; dry: only give what would go."""

    @abstractmethod
    def backup(self) -> AsyncGenerator[bytes, None]:
        """Yield a backup of the whole server, a tar archive whose last member is end.json."""

    @abstractmethod
    async def findings(self) -> Sequence[Finding]:
        """Give what `supervisor doctor` shows, of the core and of every plugin."""

    @abstractmethod
    async def plugins(self) -> Sequence[PluginView]:
        """Give every installed plugin, also those that failed."""
