"""A sandbox's own network, in its first process: the namespace, the uplink, the doorman.

Loaded by the zygote when the first job asks for it: what these modules import is more than all else
that a clone holds.
"""

from __future__ import annotations

from typing import Any

from supervisor_unshare.network import doorman, namespace
from supervisor_unshare.network.namespace import Network
from supervisor_unshare.network.uplink import Uplink, enter, tun_tree


class OwnNetwork:
    """What one job asks for. trees: its descriptors, of which the network's are the last.

    built: the host's files are out of sight, so the tun device is among them. ready: the namespace
    has been made.
    """

    def __init__(self, asked: tuple[Any, ...], trees: list[int], *, built: bool) -> None:
        self._asked = Network(*asked)
        self._door = -1 if self._asked.port is None else trees.pop()
        self._tun = -1
        if self._asked.uplink:
            self._tun = trees.pop() if built else tun_tree()

    @staticmethod
    def prepare() -> None:
        """Go on in a network namespace of one's own, with nothing but lo; raises OSError."""
        namespace.new()

    def enter(self, *, ready: bool) -> Uplink | None:
        """Go on in the namespace, with lo up and the uplink at work; raises OSError."""
        if self._asked.uplink:
            return enter(self._asked, self._tun)
        if self._asked.own and not ready:
            namespace.new()
        return None

    def open_door(self) -> None:
        """Start the doorman, with the rights of now."""
        if self._asked.port is not None:
            doorman.start(self._door, self._asked.port)
