"""Words of the configuration file to values: durations, numbers, addresses.

Each function takes the text of one value and raises ValueError with a sentence for the person who
wrote it. Plugins declare the keys of their sections with them too (`supervisor.values`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0,
}  # fmt: skip
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ns|us|µs|ms|s|m|h|d)\s*")
_BARE_INTEGER_LIMIT = 1_000_000
_LONGEST = 100 * 365 * 86400.0  # seconds: a hundred years
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_BYTES = {
    "": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4,
}  # fmt: skip
_MOST_DIGITS = 18


class Unfit(ValueError):
    """A value that does not fit, where the sentence alone is not enough.

    code: of supervisor.errors; hint: what to write instead; secret: the value must not be shown.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "settings-invalid",
        hint: str = "",
        secret: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.secret = secret


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
    if value.isascii() and value.isdecimal():
        number = float(value)
        if 0 < number < _BARE_INTEGER_LIMIT:
            raise ValueError(
                f"{value} without a unit means nanoseconds; write {value}s for seconds"
                f" or {value}m for minutes"
            )
        return _sensible(number * 1e-9, value)
    total, position = 0.0, 0
    while part := _DURATION_PART.match(value, position):
        total += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
    if position == 0 or position < len(value):
        raise ValueError(f"{value!r} is not a duration such as 500ms, 30s or 1h30m")
    return _sensible(total, value)


def _sensible(seconds: float, value: str) -> float:
    if seconds > _LONGEST:
        raise ValueError(f"{value} is longer than a hundred years")
    return seconds


def size(value: str) -> int:
    """Give bytes: `5 MB` is 5,000,000, `5 KiB` is 5,120, a bare number counts bytes."""
    match = _SIZE.fullmatch(value)
    unit = match[2].lower() if match else ""
    if match is None or (unit not in _BYTES and unit not in tuple("kmgt")):
        raise ValueError(f"{value!r} is not a size such as 5 MB or 5 KiB")
    if unit not in _BYTES:
        raise ValueError(
            f"{value!r} says neither thousands nor 1024s; write {match[1]} {match[2].upper()}B or"
            f" {match[1]} {match[2].upper()}iB"
        )
    count = float(match[1]) * _BYTES[unit]
    if count >= 2**63:
        raise ValueError(f"{value} is more than this machine can count")
    if count != int(count):
        raise ValueError(f"{value!r} is no whole number of bytes")
    return int(count) if "." in match[1] else int(match[1]) * _BYTES[unit]


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
    if len(value) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(value)} digits is too large")
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


def number(value: str) -> float:
    """Give a number of 0 or more, such as 2 or 0.5."""
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value):
        raise ValueError(f"{value!r} is not a number such as 2 or 0.5")
    return float(value)


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


NOWHERE = "NONE"
_STREAMS = ("STDERR", "STDOUT", NOWHERE)


def log_target(value: str) -> str:
    """Give where a log goes: STDERR, STDOUT, NONE, or the absolute path of a file."""
    if value.upper() in _STREAMS:
        return value.upper()
    if not value.startswith("/"):
        raise ValueError(f"{value!r} is none of {', '.join(_STREAMS)}, nor an absolute path")
    return value


def network(value: str) -> str:
    """Give a network (10.0.0.0/8) or one address (10.0.0.1), in its usual spelling."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is no address or network: {error}") from None


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
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or not int(port) < 65536:
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
