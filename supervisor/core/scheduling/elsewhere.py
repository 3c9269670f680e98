"""Contents that other nodes have: what can be told of them here, and what cannot be done here."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from supervisor.core.service import ContentView, LeaseView
from supervisor.core.storage.lease import SHORT, Owner, is_of_server, node_of
from supervisor.errors import SupervisorError
from supervisor.model import Content, Lease, Scaling


@attrs.frozen(kw_only=True)
class Elsewhere:
    """A content as it was when this node looked last. node: who has it, "" for nobody yet."""

    content: Content
    node: str = ""

    @property
    def where(self) -> str:
        """Say where it is, in words that may be shown to everybody."""
        if not self.node:
            return "no node has it at the moment; one will in a few seconds"
        return f"it runs on another node of this server ({self.node[:SHORT]})"

    def refusal(self) -> SupervisorError:
        """Give the error for whoever wants something done that only its node can do."""
        return SupervisorError(
            "other-node",
            f"{self.content.name}: {self.where}",
            hint="Ask there: `supervisor leases` shows which node has which content.",
            recoverable=not self.node,
        )

    def view(self, url: str, defaults: Scaling) -> ContentView:
        """Give it as `supervisor list` shows it."""
        return ContentView(
            content=self.content,
            state="elsewhere",
            scaling=self.content.scaling.over(defaults),
            reason=self.where,
            url=url,
        )


def no_seat(seats: int) -> SupervisorError:
    """Give the error for whoever wants a content made on a node that may have none."""
    return SupervisorError(
        "other-node",
        f"this node stands by: {seats} others have contents, as many as [Server] Seats allows",
        hint="Ask one of them: `supervisor leases` shows which node has a seat.",
        recoverable=True,
    )


def lease_views(now: float, held: Sequence[Lease]) -> Sequence[LeaseView]:
    """Give all leases as `supervisor leases` shows them; now: by the clock that they end by."""
    owners = [owner for lease in held if (owner := Owner.read(lease.owner)) is not None]
    hosts = {owner.node: owner.host for owner in owners}
    return [
        LeaseView(
            name=lease.name,
            node=node_of(lease),
            host=hosts.get(node_of(lease), ""),
            holder=lease.owner,
            fence=lease.fence,
            left=lease.expires - now,
        )
        for lease in sorted(held, key=_order)
    ]


def _order(lease: Lease) -> tuple[bool, str, int, str]:
    """Servers first, then what they have: numbers as numbers."""
    kind, _, rest = lease.name.rpartition("/")
    return not is_of_server(lease), kind, int(rest) if rest.isdecimal() else 0, rest
