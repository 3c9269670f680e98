"""The section [Network]: how far content reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from supervisor.network import Egress
from supervisor.settings import values
from supervisor.settings.keys import key

_EGRESS = values.one_of(*(egress.name for egress in Egress))
_MOST_PORT = 65535


def port(value: str) -> int:
    """Give the number of a TCP port."""
    number = values.integer(value)
    if not 1 <= number <= _MOST_PORT:
        raise ValueError(f"{value} is not a port from 1 to {_MOST_PORT}")
    return number


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """How far content reaches into the network; see docs/howto/network.md."""

    section: ClassVar[str] = "Network"
    about: ClassVar[str] = (
        "How far content reaches into the network: `HOST` shares this machine's, with all that"
        " listens on its loopback; `USER` is a network of its own from which it reaches what this"
        " machine reaches, but not its loopback (needs the package passt); `NONE` is one that leads"
        " nowhere. [How](../howto/network.md)."
    )
    egress: str = key(
        "Egress", _EGRESS, Egress.HOST.name,
        about="what counts for content that sets none itself (`supervisor set CONTENT"
        " egress=user`), and for installs",
    )  # fmt: skip
    most_egress: str = key(
        "MostEgress", _EGRESS, Egress.HOST.name,
        about="the most that a content may have; also where it has set more before",
    )  # fmt: skip
    loopback_ports: tuple[int, ...] = key(
        "LoopbackPort", port, (), multi=True,
        about="a TCP port of this machine's loopback that content reaches with `USER`, at its own"
        " 127.0.0.1: a database, for example",
    )  # fmt: skip
