"""The access log: a line for each answer, gathered and written a few times a second.

Nothing here can hold the loop up: what the file does not take waits in a bounded sink, and what is
lost is counted and said in the service log.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from typing import Any, NamedTuple

from supervisor.gateway.head import Request
from supervisor.gateway.loop import Loop
from supervisor.sink import Sink

FLUSH_SECONDS = 0.25  # for which lines may wait for others
MOST_GATHERED = 64  # lines that are written at once without waiting
MOST_WAITING = 1 << 20  # bytes that wait for a file which takes none
SAY_SECONDS = 60.0  # between two words about lines that are lost
GONE = 499  # as a status: the client left before an answer

_UNSAFE = re.compile(rb"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_ID = re.compile(rb"[0-9A-Za-z._:/+=@-]{1,128}")


class Visit(NamedTuple):
    """What is known of a request before it is answered. request: None where it was none.

    began: the loop's time; content: its guid, run: of the worker that it went to, or nothing.
    """

    client: bytes
    request: Request | None
    name: bytes  # the request's id
    began: float
    content: bytes
    run: str


class RequestIds:
    """Name requests: as a trusted proxy did, else by a random beginning and a number."""

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex().encode("ascii")
        self._count = itertools.count(1)

    def of(self, request: Request, trusted: bool) -> bytes:
        """Give the id of a request; trusted: whether its sender may name it."""
        if trusted and len(given := request.fields.request_ids) == 1 and _ID.fullmatch(given[0]):
            return given[0]
        return self.new()

    def new(self) -> bytes:
        """Give an id that no other request has."""
        return b"%b-%x" % (self._prefix, next(self._count))


class Access:
    """Write the access log in one of the forms COMMON, COMBINED and JSON."""

    def __init__(self, loop: Loop, fd: int, form: str) -> None:
        self._loop = loop
        self._sink = Sink(fd, most=MOST_WAITING)
        self._line = _FORMS[form]
        self._lines: list[bytes] = []
        self._due = False
        self._second = -1
        self._stamp = b""
        self._said = 0  # of the lines that were lost
        self._said_at = -SAY_SECONDS

    @property
    def dropped(self) -> int:
        """How many lines were lost so far."""
        return self._sink.dropped

    def note(self, visit: Visit, status: int, sent: int) -> None:
        """Note an answer: its status and the bytes of its body."""
        loop = self._loop
        second = int(loop.wall)
        if second != self._second:
            self._second = second
            self._stamp = self._line.stamp(second)
        took = loop.now - visit.began
        self._lines.append(self._line.write(visit, self._stamp, status, sent, took))
        if len(self._lines) >= MOST_GATHERED:
            self._write()
        elif not self._due:
            self._due = True
            loop.later(FLUSH_SECONDS, self._tick)

    def replace(self, fd: int) -> None:
        """Go on with another file; what was noted before goes to the old one."""
        self._write()
        self._sink.replace(fd)

    def close(self) -> None:
        """Write what is noted, as far as that goes at once."""
        self._write()

    def _tick(self) -> None:
        self._due = False
        self._write()
        if not self._sink.clear and not self._due:
            self._due = True
            self._loop.later(FLUSH_SECONDS, self._tick)

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._sink.write(b"".join(lines), len(lines))
        else:
            self._sink.flush()
        lost = self._sink.dropped - self._said
        if lost and self._loop.now - self._said_at >= SAY_SECONDS:
            self._said, self._said_at = self._sink.dropped, self._loop.now
            self._loop.log.warning("access-log-dropped", lines=lost)


# The forms. A target is ASCII without blanks; fields may hold any byte but control characters.


def _escaped(value: bytes) -> bytes:
    if _UNSAFE.search(value) is None:
        return value
    return _UNSAFE.sub(lambda match: b"\\x%02x" % ord(match[0]), value)


def _target(request: Request) -> bytes:
    target = request.target
    if b"/__supervisor__/wait/" in target:  # its query would let others take the place in line
        path, mark, _ = target.partition(b"?")
        return path + b"?-" if mark else path
    return target


def _field(request: Request, name: bytes) -> bytes:
    return request.fields.get(name) or b""


class _Common:
    """The form of the NCSA's server, with the request's id behind it."""

    @staticmethod
    def stamp(second: int) -> bytes:
        return time.strftime("[%d/%b/%Y:%H:%M:%S +0000]", time.gmtime(second)).encode("ascii")

    def write(self, visit: Visit, stamp: bytes, status: int, sent: int, took: float) -> bytes:
        request = visit.request
        if request is None:
            return b'%b - - %b "-" %d %d%b %b\n' % (
                visit.client, stamp, status, sent, self.more(None), visit.name,
            )  # fmt: skip
        return b'%b - - %b "%b %b HTTP/1.%d" %d %d%b %b\n' % (
            visit.client, stamp, request.method, _escaped(_target(request)), request.minor,
            status, sent, self.more(request), visit.name,
        )  # fmt: skip

    def more(self, request: Request | None) -> bytes:
        return b""


class _Combined(_Common):
    """The same with Referer and User-Agent."""

    def more(self, request: Request | None) -> bytes:
        if request is None:
            return b' "-" "-"'
        memo = request.fields.memo
        found: bytes | None = memo.get("combined")
        if found is None:
            referer = _escaped(_field(request, b"referer")) or b"-"
            agent = _escaped(_field(request, b"user-agent")) or b"-"
            found = memo["combined"] = b' "%b" "%b"' % (referer, agent)
        return found


class _Json:
    """An object for each answer."""

    @staticmethod
    def stamp(second: int) -> bytes:
        return time.strftime('{"time": "%Y-%m-%dT%H:%M:%SZ"', time.gmtime(second)).encode("ascii")

    def write(self, visit: Visit, stamp: bytes, status: int, sent: int, took: float) -> bytes:
        request = visit.request
        asked = b""
        if request is not None:
            asked = b', "method": "%b", "target": %b, "protocol": "HTTP/1.%d"%b' % (
                request.method, _text(_target(request)), request.minor, self.more(request),
            )  # fmt: skip
        where = b', "content": "%b"' % visit.content if visit.content else b""
        if visit.run:
            where += b', "run": "%b"' % visit.run.encode("ascii", "replace")
        return b'%b, "request": "%b", "client": "%b"%b, "status": %d, "bytes": %d, "seconds": %.3f%b}\n' % (  # noqa: E501
            stamp, visit.name, visit.client, asked, status, sent, took, where,
        )  # fmt: skip

    def more(self, request: Request) -> bytes:
        memo = request.fields.memo
        found: bytes | None = memo.get("json")
        if found is None:
            found = memo["json"] = b', "host": %b, "referer": %b, "agent": %b' % (
                _text(request.host),
                _text(_field(request, b"referer")),
                _text(_field(request, b"user-agent")),
            )
        return found


def _text(value: bytes) -> bytes:
    if _UNSAFE.search(value) is None:
        return b'"%b"' % value
    return json.dumps(value.decode("latin-1")).encode("ascii")


_FORMS: dict[str, Any] = {"COMMON": _Common(), "COMBINED": _Combined(), "JSON": _Json()}
