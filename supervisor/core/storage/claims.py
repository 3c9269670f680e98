"""Claims: what this node holds beside its own lease: contents, and seats of the whole cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
import trio

from supervisor.core.storage import lease as leases
from supervisor.core.storage.journal import Journal
from supervisor.model import ContentId, Lease

SERVER = "server"  # the pool of seats that nodes need to have contents
FLUSH = 2.0  # seconds for what waits to be written; without the database it is spilled


@attrs.define(eq=False)
class Claims:
    """The leases of one node. Calls wait for each other; all raise StoreUnavailable.

    What is lost stays among the fences: what was begun under it must be refused, not let through.
    seats: how many nodes may have contents at a time; 0 = all.
    """

    journal: Journal
    node: str
    ttl: float = leases.TTL
    seats: int = 0
    _held: dict[str, Lease] = attrs.field(factory=dict)
    _fences: dict[ContentId, Lease] = attrs.field(factory=dict)
    _one: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def contents(self) -> frozenset[ContentId]:
        """The contents that are this node's, as far as it knows."""
        found = map(leases.content_of, self._held)
        return frozenset(content for content in found if content is not None)

    def fence(self, content: ContentId) -> Lease:
        """Give the lease under which this node writes about a content; a stale one if it has none.

        May be called at any time, from the loop.
        """
        none = Lease(name=leases.of_content(content), owner=self.node, fence=0, expires=0.0)
        return self._fences.get(content, none)

    async def claim(self, contents: Iterable[ContentId]) -> frozenset[ContentId]:
        """Claim contents, or see whether they are still ours; give those that are.

        Where seats are limited a node needs one first: none of the contents where all are taken.
        """
        names = list(map(leases.of_content, contents))
        if names and self.seats and await self.claim_seat(SERVER, self.seats) is None:
            return frozenset()
        async with self._one:
            claimed = await self._claim(names)
        found = (leases.content_of(lease.name) for lease in claimed)
        return frozenset(content for content in found if content is not None)

    async def claim_seat(self, pool: str, of: int) -> Lease | None:
        """Take one of the `of` seats that all nodes together have; None where all are taken.

        A node has one seat of a pool at most: asked again, also by its next core, it gives that.
        """
        async with self._one:
            names = [f"{leases.SEAT}{pool}/{number}" for number in range(1, of + 1)]
            _, held = await self.journal.leases()
            known = {*self._held, *(lease.name for lease in held if lease.owner == self.node)}
            for name in [name for name in names if name in known] or names:
                if claimed := await self._claim([name]):
                    return claimed[0]
        return None

    async def renew(self) -> Sequence[Lease]:
        """Renew all; give those that were lost, which are not held any more.

        One that another node has had meanwhile is lost too, though it may be free again. With its
        seat a node loses everything, since it has its contents by that.
        """
        async with self._one:
            before = dict(self._held)
            claimed = await self.journal.claim(list(before), self.node, self.ttl)
            kept = {lease.name: lease for lease in claimed if _same(before[lease.name], lease)}
            if self.seats and any(map(leases.is_seat, before.keys() - kept.keys())):
                kept = {}
            self._held = kept
            another = [lease for lease in claimed if lease.name not in kept]
            if another:
                await self.journal.release(another)
        return [lease for name, lease in before.items() if name not in kept]

    async def give_back(self, contents: Iterable[ContentId] | None = None) -> None:
        """Give back the leases of some contents, or all, seats too, once what was said is written.

        After it nothing can be written about them.
        """
        await self.journal.flush(FLUSH)
        async with self._one:
            names = set(self._held if contents is None else map(leases.of_content, contents))
            given = [lease for name, lease in self._held.items() if name in names]
            self._held = {name: one for name, one in self._held.items() if name not in names}
            await self.journal.release(given)

    async def _claim(self, names: Iterable[str]) -> list[Lease]:
        """Give those that are ours now; one that was another's meanwhile is lost: renew tells."""
        ours = []
        for lease in await self.journal.claim(list(names), self.node, self.ttl):
            content = leases.content_of(lease.name)
            if _same(self._held.setdefault(lease.name, lease), lease):
                ours.append(lease)
                if content is not None:
                    self._fences[content] = lease
        return ours


def _same(one: Lease, other: Lease) -> bool:
    return (one.owner, one.fence) == (other.owner, other.fence)
