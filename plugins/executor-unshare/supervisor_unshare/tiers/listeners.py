"""What listens on this machine's TCP ports: what content meets that shares its network."""

from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LISTENS = "0A"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


@dataclass(frozen=True, order=True)
class Listener:
    """A listening socket. program: who has it open, "" where that cannot be read."""

    port: int
    address: str
    program: str = ""
    inode: int = 0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}" + (f" ({self.program})" if self.program else "")


def here() -> list[Listener]:
    """Give the listeners of this network namespace, by port."""
    found = [listener for path in _TABLES for listener in parse(_lines(path))]
    programs = _programs({listener.inode for listener in found})
    return sorted(
        Listener(one.port, one.address, programs.get(one.inode, ""), one.inode) for one in found
    )


def parse(lines: Iterable[str]) -> Iterator[Listener]:
    """Yield the listeners of /proc/net/tcp or tcp6, as its lines have them."""
    for line in lines:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTENS:
            address, _, port = fields[1].partition(":")
            yield Listener(int(port, 16), _address(address), inode=int(fields[9]))


def _address(text: str) -> str:
    """Read words of 32 bits that stand in the machine's order of bytes."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    found = ipaddress.ip_address(packed)
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


def _programs(inodes: set[int]) -> dict[int, str]:
    """Give the name of a process that has each socket open, as far as this one may look."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, str] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for target in _open_files(pid):
            if target in wanted and wanted[target] not in found:
                found[wanted[target]] = "".join(_lines(f"/proc/{pid}/comm")).strip()
    return found


def _open_files(pid: str) -> Iterator[str]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readlines()
    except OSError:
        return []
