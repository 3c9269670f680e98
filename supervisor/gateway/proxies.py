"""Proxies before us whose word counts: who the client is, and what its request is called."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from supervisor.gateway.head import Request

_MOST_KNOWN = 4096


class Proxies:
    """The networks of `HTTP.TrustedProxy`, none by default."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(text) for text in networks]
        self._known: dict[bytes, bool] = {}

    def trusts(self, address: bytes) -> bool:
        """Whether a peer of this address is such a proxy; what is no address is none."""
        if not self._networks:
            return False
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[address] = self._look(address)
        return known

    def client(self, request: Request, peer: bytes) -> bytes:
        """Give whom a trusted peer asks for: of X-Forwarded-For the last that is not trusted.

        Where that is no address, or nothing was said, it is the peer itself.
        """
        address = peer
        for said in reversed(b",".join(request.fields.forwarded).split(b",")):
            found = _address(said.strip(b" \t"))
            if found is None:
                return peer
            address = found
            if not self.trusts(address):
                break
        return address

    def _look(self, address: bytes) -> bool:
        try:
            found = ipaddress.ip_address(address.decode("ascii"))
        except ValueError:
            return False
        return any(found in network for network in self._networks)


def _address(text: bytes) -> bytes | None:
    """Give an address as our own listener would write it; None where it is none.

    A scope may hold any character, so that it could forge a line of the access log.
    """
    if b"%" in text:
        return None
    try:
        found = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return text if mapped is None else str(mapped).encode("ascii")
