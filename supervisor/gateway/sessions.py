"""Pins and the table of workers: who belongs to which run, and how busy each run is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from typing import Any

PIN_COOKIE = b"supervisor-pin"
PIN_SECONDS = 24 * 3600
WAITING = "waiting"  # the run in the pin of a visitor who waits in line: no worker has this name

_PIN = re.compile(rb"([0-9a-z]{1,64})\.([0-9A-Za-z_-]{1,64})\.([0-9]{1,12})\.([0-9A-Za-z_-]{43})")
_CACHE_LIMIT = 4096


class Pin:
    """A verified pin: this visitor belongs to that run, until `expires` (unix seconds)."""

    __slots__ = ("expires", "run", "visitor")

    def __init__(self, run: str, visitor: str, expires: int) -> None:
        self.run = run
        self.visitor = visitor
        self.expires = expires


class Pins:
    """Sign and verify pins by the core's key. Pins seen before cost one lookup."""

    def __init__(self) -> None:
        self._key = b""
        self._seen: dict[tuple[bytes, bytes], Pin] = {}

    @property
    def ready(self) -> bool:
        """Whether a core has told its key: before that no pin can be judged."""
        return bool(self._key)

    def rekey(self, key: bytes) -> None:
        """Use another key; what was signed by the old one is worth nothing from now on."""
        if key != self._key:
            self._key = key
            self._seen.clear()

    def sign(self, guid: bytes, run: str, visitor: str, expires: int) -> bytes:
        """Give the value of the cookie."""
        text = f"{run}.{visitor}.{expires}".encode("ascii")
        return text + b"." + self._mac(text, guid)

    def verify(self, guid: bytes, value: bytes, now: float) -> Pin | None:
        """Give the pin, or None for one that is forged, expired, malformed or another content's."""
        pin = self._seen.get((guid, value))
        if pin is None:
            match = _PIN.fullmatch(value)
            if match is None or not self._key:
                return None
            run, visitor, expires, mac = match.groups()
            text = value[: -len(mac) - 1]
            if not hmac.compare_digest(mac, self._mac(text, guid)):
                return None
            pin = Pin(run.decode(), visitor.decode(), int(expires))
            if len(self._seen) >= _CACHE_LIMIT:
                self._seen.clear()
            self._seen[guid, value] = pin
        return pin if now < pin.expires else None

    def first(self, guid: bytes, values: Iterable[bytes], now: float) -> Pin | None:
        """Give the first pin among the values that holds."""
        for value in values:
            pin = self.verify(guid, value, now)
            if pin is not None:
                return pin
        return None

    def _mac(self, text: bytes, guid: bytes) -> bytes:
        mac = hmac.digest(self._key, text + b"." + guid, hashlib.sha256)
        return base64.urlsafe_b64encode(mac).rstrip(b"=")


def key_from_hex(text: str) -> bytes:
    """Read the key of the core's hello. Raises ValueError for anything shorter than 16 bytes."""
    try:
        key = binascii.unhexlify(text)
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"the key is not hexadecimal: {error}") from None
    if len(key) < 16:
        raise ValueError("the key is too short")
    return key


def new_visitor() -> str:
    """Make the name of a visitor that nobody has pinned yet."""
    return secrets.token_urlsafe(12)


class Worker:
    """One live run as the core described it, and what goes on in it through this gateway.

    directory: O_PATH descriptor of the socket's directory, owned by this object, or -1; inside:
    no way leads there but through the helper; address,
    secret: host and port of a worker that has no socket, and what to say there first; connection,
    read: seconds of silence either way and from the client after which a session is reported, 0
    never; ends: the loop's time when a draining one is ended at the latest; notice: whether its
    pages say so; busy: its last Supervisor-Busy and when it said that (the loop's time, which
    is the system's monotonic clock and so the same for all gateways and cores).
    """

    __slots__ = (
        "address", "busy", "connection", "directory", "draining", "ends", "guid", "inside", "name",
        "notice", "read", "requests", "run", "secret", "sockets", "total", "uid",
    )  # fmt: skip

    def __init__(self, run: str, guid: bytes, name: str, uid: int, directory: int) -> None:
        self.run = run
        self.guid = guid
        self.name = name
        self.uid = uid
        self.directory = directory
        self.inside = False
        self.address: tuple[str, int] | None = None
        self.secret = ""
        self.draining = False
        self.connection = 0.0
        self.read = 0.0
        self.ends: float | None = None
        self.notice = False
        self.busy: tuple[str, float] | None = None
        self.sockets = 0
        self.requests = 0
        self.total = 0

    def close(self) -> None:
        """Close the descriptor; connections that are open stay open."""
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1


class Sessions:
    """The table of workers by run, with what has changed since the last `activity`."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.changed: set[Worker] = set()

    def put(self, worker: Worker) -> Worker:
        """Add a worker, or renew one in place: counts belong to the run and stay. Gives it."""
        known = self.workers.setdefault(worker.run, worker)
        if known is not worker:
            known.close()
            known.guid, known.name, known.uid = worker.guid, worker.name, worker.uid
            known.directory, known.inside = worker.directory, worker.inside
            known.draining = worker.draining
            known.address, known.secret = worker.address, worker.secret
            known.connection, known.read = worker.connection, worker.read
            known.ends, known.notice = worker.ends, worker.notice
            if worker.busy and (known.busy is None or worker.busy[1] > known.busy[1]):
                known.busy = worker.busy  # through another gateway, later
        return known

    def remove(self, run: str) -> None:
        """Forget a worker that is gone; one that is unknown is fine."""
        worker = self.workers.pop(run, None)
        if worker is not None:
            worker.close()

    def keep_only(self, runs: set[str]) -> None:
        """Forget the workers that a new core did not name."""
        for run in self.workers.keys() - runs:
            self.remove(run)

    def take_changes(self, everything: bool = False) -> dict[str, dict[str, Any]]:
        """Give the counts of the runs that changed (or of all), as `activity` carries them."""
        workers = {*self.workers.values(), *self.changed} if everything else self.changed
        counts = {
            worker.run: {
                "sockets": worker.sockets,
                "requests": worker.requests,
                "total": worker.total,
                **({"busy": worker.busy} if worker.busy else {}),
            }
            for worker in workers
        }
        self.changed = set()
        return counts
