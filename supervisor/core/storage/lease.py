"""Names and owners of leases; the one of this node, in which a dead core is succeeded at once."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import attrs

from supervisor.errors import SupervisorError
from supervisor.interfaces import Store
from supervisor.model import ContentId, Lease

NAME = "data-dir"  # of a server that is alone
TTL = 30.0
RENEW_EACH = 5.0
CONTENT = "content/"
NODE = "node/"
SEAT = "seat/"
_OLDER = "the records are of an older version, and a server is at work on them"
SHORT = 8  # characters of a node's id that people are shown

_OWNER = re.compile(
    r"(?P<node>[^:]*):(?P<pid>\d+) on (?P<host>.*) since (?P<since>\S+) tick (?P<tick>\d+)\Z"
)


class _Permitted(Exception):
    """The records may be changed, and are not to be."""


@attrs.frozen(kw_only=True)
class Owner:
    """Who holds a lease: a core (pid) of a node, on a host, since a time of day.

    tick is when the process started, in the kernel's clock ticks: it tells a process from a later
    one that was given the same pid. As text it starts with "{node}:{pid}".
    """

    node: str
    pid: int
    host: str
    since: str
    tick: int

    @classmethod
    def here(cls, node: str) -> Owner:
        """Describe this process."""
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        pid = os.getpid()
        tick = _started(pid) or 0
        return cls(node=node, pid=pid, host=socket.gethostname(), since=since, tick=tick)

    @classmethod
    def read(cls, text: str) -> Owner | None:
        """Read an owner's text back; None for a text that is none."""
        match = _OWNER.match(text)
        if match is None:
            return None
        return cls(
            node=match["node"],
            pid=int(match["pid"]),
            host=match["host"],
            since=match["since"],
            tick=int(match["tick"]),
        )

    def __str__(self) -> str:
        return f"{self.node}:{self.pid} on {self.host} since {self.since} tick {self.tick}"

    def lives(self) -> bool:
        """Tell whether the process runs on this node; one that waits to be reaped does not."""
        return _started(self.pid) == self.tick


def of_content(content: ContentId) -> str:
    """Give the name of a content's lease."""
    return f"{CONTENT}{content}"


def content_of(name: str) -> ContentId | None:
    """Give the content whose lease this is; None for the name of another lease."""
    number = name.removeprefix(CONTENT)
    return ContentId(int(number)) if number != name and number.isdecimal() else None


def is_seat(name: str) -> bool:
    """Tell whether a lease is one of a fixed number of places."""
    return name.startswith(SEAT)


def of_node(node: str) -> str:
    """Give the name of the lease of a node that is one of several."""
    return f"{NODE}{node}"


def is_of_server(lease: Lease) -> bool:
    """Tell whether a lease says that a server lives, and not what it has."""
    return lease.name == NAME or lease.name.startswith(NODE)


def node_of(lease: Lease) -> str:
    """Give the node that holds a lease, in its own name or by its core."""
    owner = Owner.read(lease.owner)
    return lease.owner if owner is None else owner.node


def renew_each(ttl: float) -> float:
    """Give the seconds between two renewals of a lease that is claimed for `ttl`."""
    return min(RENEW_EACH, ttl / 4)


def is_dead_core_of(node: str) -> Callable[[Lease], bool]:
    """Give a `may_replace` for take: the holder is a core of this node that lives no more."""

    def may_replace(lease: Lease) -> bool:
        owner = Owner.read(lease.owner)
        return owner is not None and owner.node == node and not owner.lives()

    return may_replace


def take(
    store: Store,
    owner: str,
    *,
    name: str = NAME,
    ttl: float = TTL,
    may_replace: Callable[[Lease], bool] = lambda _: False,
) -> Lease:
    """Take the lease of a node; blocking, for a thread.

    A living holder for which may_replace is true is succeeded at once. Raises data-dir-held, which
    names the holder, and StoreUnavailable.
    """
    lease = store.claim(name, owner, ttl)
    if lease is not None:
        return lease
    holder = store.holder(name)
    if holder is not None and may_replace(holder):
        store.release(holder)  # does nothing if somebody else was quicker
        lease = store.claim(name, owner, ttl)
    if lease is None:
        raise held(store.holder(name) or holder, ttl)
    return lease


def enter(store: Store, owner: Owner, *, several: bool, ttl: float = TTL) -> Lease:
    """Bring the records to this version, and take the lease of a node as `join` does; blocking.

    Nobody else may be at work where they have to be changed. Raises as `refuse_living`, `join` and
    Store.migrate do; then no lease is held.
    """
    permit = partial(refuse_living, node=owner.node, why=_OLDER)
    store.migrate(permit)
    lease = join(store, owner, several=several, ttl=ttl)
    try:
        store.migrate(permit)  # a newer server may have, before it could see our lease
    except BaseException:
        store.release(lease)
        raise
    return lease


def can_enter(store: Store, node: str) -> None:
    """Raise what `enter` would, were the living core of this node gone; nothing is changed."""

    def permit(now: float, found: Sequence[Lease]) -> None:
        others = [one for one in found if node_of(one) != node]
        refuse_living(now, others, node=node, why=_OLDER)
        raise _Permitted

    with suppress(_Permitted):
        store.migrate(permit)


def refuse_living(now: float, found: Sequence[Lease], *, node: str, why: str) -> None:
    """Raise data-dir-held where one of the leases is a server's that lives, or did a moment ago.

    now and found: as Store.leases gives them. node: its dead cores do not count.
    """
    is_dead = is_dead_core_of(node)
    for one in found:
        if is_of_server(one) and one.expires > now and not is_dead(one):
            owner = Owner.read(one.owner)
            who = one.owner if owner is None else f"pid {owner.pid} on {owner.host}"
            raise SupervisorError(
                "data-dir-held",
                f"{why}: {who}",
                hint="Stop it first. If it was killed, its claim ends by itself within"
                f" {one.expires - now:.0f} seconds: try again then.",
                recoverable=True,
            )


def join(store: Store, owner: Owner, *, several: bool, ttl: float = TTL) -> Lease:
    """Take the lease of a node, alone or as one of several; blocking, for a thread.

    Both kinds claim first and then look for the other kind, so that one of two sees the other.
    Raises data-dir-held, store-serves-one and StoreUnavailable.
    """
    if several and not store.several_nodes:
        raise SupervisorError(
            "store-serves-one",
            f"[Server] SeveralNodes = yes, and the store {store.name!r} can serve one server only",
            hint="Take the line out, or choose another [Database] Provider.",
        )
    dead = is_dead_core_of(owner.node)
    name = of_node(owner.node) if several else NAME
    lease = take(store, str(owner), name=name, ttl=ttl, may_replace=dead)
    now, found = store.leases()
    others = [one for one in found if is_of_server(one)]
    for one in others:
        excludes = (one.name == NAME) == several and one.expires > now
        if excludes and not dead(one) and one.name != of_node(owner.node):
            store.release(lease)
            raise held(one, ttl)
    if several:
        left = [one for one in others if one.name == NAME]
    else:  # nobody else lives: what a node before this one had is ours, and it is fenced
        left = [
            one
            for one in found
            if (content_of(one.name) or one.name.startswith(NODE)) and node_of(one) != owner.node
        ]
    store.release_all(left)
    return lease


def held(holder: Lease | None, ttl: float = TTL) -> SupervisorError:
    """Give the error that names who holds what this server wants for itself."""
    owner = Owner.read(holder.owner) if holder is not None else None
    if owner is not None:
        who = f"pid {owner.pid} on {owner.host} since {owner.since}"
    else:
        who = holder.owner if holder is not None else "somebody who has just gone"
    return SupervisorError(
        "data-dir-held",
        f"another server uses this data directory: {who}",
        hint="Stop that server first. If it was killed, its claim ends by itself within"
        f" {ttl:.0f} seconds: try again then. Servers that are to share it all need"
        " [Server] SeveralNodes = yes.",
        recoverable=True,
    )


def _started(pid: int) -> int | None:
    """Give when a process started, in clock ticks since boot; None for one that has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else int(fields[18])
