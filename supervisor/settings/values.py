"""Words of the configuration file to values: durations, numbers, addresses.

Each function takes the text of one value and raises ValueError with a sentence for the person who
wrote it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0,
}  # fmt: skip
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s|m|h|d)\s*")
_BARE_INTEGER_LIMIT = 1_000_000
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_BYTES: dict[str, int] = {"": 1, "b": 1} | {
    f"{letter}{ending}": base**power
    for power, letter in enumerate("kmgt", 1)
    for ending, base in (("b", 1000), ("ib", 1024))
}


def text(value: str) -> str:
    """Give the value as it is."""
    return value


def path(value: str) -> str:
    """Give an absolute path without a slash at its end."""
    if not value.startswith("/") or "\0" in value:
        raise ValueError(f"{value!r} is not an absolute path")
    return value.rstrip("/") or "/"


def duration(value: str) -> float:
    """Give seconds. A bare integer means nanoseconds in this format, so a small one is refused."""
    if value.isdecimal():
        number = int(value)
        if 0 < number < _BARE_INTEGER_LIMIT:
            raise ValueError(
                f"{value} without a unit means nanoseconds; write {value}s for seconds"
                f" or {value}m for minutes"
            )
        return number * 1e-9
    total, position = 0.0, 0
    while part := _DURATION_PART.match(value, position):
        total += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    if position == 0 or position < len(value):
        raise ValueError(f"{value!r} is not a duration such as 500ms, 30s or 1h30m")
    return total


def size(value: str) -> int:
    """Give bytes of `5 MB` (powers of 1000), `5 MiB` (powers of 1024) or a bare number."""
    found = _SIZE.fullmatch(value.strip())
    if found is None or (found[2] or "").lower() not in _BYTES:
        raise ValueError(f"{value!r} is not a size such as 512 MB, 2 GiB or 1000000")
    return round(float(found[1]) * _BYTES[(found[2] or "").lower()])


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """An amount of a disk: bytes, or a part of it from 0.0 to 1.0."""

    bytes: int = 0
    part: float = 0.0

    def of(self, total: int) -> int:
        """Give the bytes that it is of a disk of `total` bytes."""
        return max(self.bytes, round(self.part * total))

    def __str__(self) -> str:
        if self.part:
            return f"{self.part * 100:g}%"
        return f"{self.bytes // 1_000_000} MB" if self.bytes % 1_000_000 == 0 else f"{self.bytes} B"


def share(value: str) -> Share:
    """Give an amount of a disk: `5%`, or a size."""
    number = value.strip().removesuffix("%")
    if number == value.strip():
        return Share(bytes=size(value))
    try:
        percent = float(number)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise ValueError(f"{value!r} is not a part of a disk such as 5%")
    return Share(part=percent / 100)


def integer(value: str) -> int:
    """Give a whole number of 0 or more."""
    if not (value.isascii() and value.isdecimal()):
        raise ValueError(f"{value!r} is not a whole number of 0 or more")
    return int(value)


def fraction(value: str) -> float:
    """Give a number from 0.0 to 1.0."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{value!r} is not a number from 0.0 to 1.0")
    return number


def boolean(value: str) -> bool:
    """Give what true, yes, on, 1 and their opposites mean, in any case."""
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    try:
        return words[value.lower()]
    except KeyError:
        raise ValueError(f"{value!r} is neither true nor false") from None


def one_of(*words: str) -> Callable[[str], str]:
    """Give a reader that accepts these words in any case and gives them as written here."""

    def read(value: str) -> str:
        for word in words:
            if word.lower() == value.lower():
                return word
        raise ValueError(f"{value!r} is none of {', '.join(words)}")

    return read


@dataclass(frozen=True, kw_only=True, slots=True)
class Listen:
    """A TCP address to listen on; host "" means every address of this machine, IPv6 and IPv4."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return bool(self.host) and ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def listen(value: str) -> Listen:
    """Give an address of the form `:3939`, `127.0.0.1:3939`, `[::1]:3939` or `localhost:3939`."""
    host, colon, port = value.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or not int(port) < 65536:
        raise ValueError(f"{value!r} is not an address such as :3939 or 127.0.0.1:3939")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address stands in brackets, as in [{host}]:{port}")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        host = str(ipaddress.ip_address(host)) if host not in ("", "*") else ""
    except ValueError:
        raise ValueError(f"{host!r} is not an IP address; names are not looked up here") from None
    return Listen(host=host, port=int(port))
