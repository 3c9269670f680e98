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
        said = b",".join(request.fields.forwarded).split(b",")
        for address in reversed(said):
            address = address.strip(b" \t")
            if not _is_address(address):
                return peer
            if not self.trusts(address):
                return address
        return said[0].strip(b" \t")

    def _look(self, address: bytes) -> bool:
        try:
            found = ipaddress.ip_address(address.decode("ascii"))
        except ValueError:
            return False
        return any(found in network for network in self._networks)


def _is_address(text: bytes) -> bool:
    try:
        ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return False
    return True
