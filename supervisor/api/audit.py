"""The audit log as the API keeps it: each request that changes something, and what came of it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
import trio
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from supervisor.api.exchange import Disconnected
from supervisor.api.peer import Peer
from supervisor.log import REQUEST

READING = frozenset({"GET", "HEAD", "OPTIONS"})
READS_ALL = frozenset({"backup"})  # what takes everything out is noted though it changes nothing
MOST_STRANGERS = 60  # refusals of people who are not signed in that are noted in a minute
MOST_RECORD = 48 * 1024  # bytes as JSON: it must fit into a packet, whatever it holds
MOST_TEXT = 2000  # characters, as the parent cuts them too
_ID = re.compile(r"[0-9A-Za-z._:/+=@-]{1,128}")
_FACTS = "supervisor.audit"


class Parent(Protocol):
    """What the API asks of the parent."""

    async def audit(self, record: Mapping[str, object]) -> None:
        """Write a line of the audit log."""

    async def reopen_logs(self) -> None:
        """Open the files of all logs again. Raises SupervisorError."""


def note(request: Request, **facts: object) -> None:
    """Add what a change was about to its line of the audit log."""
    request.scope[_FACTS].update(facts)


@attrs.define(eq=False)
class Strangers:
    """How many lines those may cause who may not do anything: else they could fill the disk."""

    clock: Callable[[], float] = trio.current_time
    _minute: int = -1
    _noted: int = 0
    left_out: int = 0

    def may_be_noted(self) -> bool:
        """Count one more; False where there were too many of them in this minute."""
        minute = int(self.clock() // 60)
        if minute != self._minute:
            self._minute, self._noted = minute, 0
        self._noted += 1
        if self._noted > MOST_STRANGERS:
            self.left_out += 1
            return False
        return True


class Audit:
    """Name each request, and tell the parent of each that was not only for reading.

    The line is on its way before the answer is: whoever was told that something is done finds it in
    the log, whatever dies a moment later.
    """

    def __init__(self, app: ASGIApp, parent: Parent | None, gateway_uid: int) -> None:
        self._app = app
        self._parent = parent
        self._gateway_uid = gateway_uid
        self._strangers = Strangers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer: Peer = scope["extensions"]["supervisor.identity"]
        headers = Headers(scope=scope)
        through_gateway = peer.uid == self._gateway_uid
        given = headers.get("x-request-id", "") if through_gateway else ""
        name = given if _ID.fullmatch(given) else f"api-{secrets.token_hex(6)}"
        client = headers.get("x-forwarded-for", "") if through_gateway else ""
        scope[_FACTS] = {}
        told = False

        async def note_once(status: int) -> None:
            nonlocal told
            if not told and (scope["method"] not in READING or _action(scope) in READS_ALL):
                told = True
                await self._tell(scope, status, name, peer, client)

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                await note_once(message["status"])
                message = {
                    **message,
                    "headers": [*message["headers"], (b"x-request-id", name.encode())],
                }
            await send(message)

        token = REQUEST.set(name)
        try:
            await self._app(scope, receive, tell)
        except Exception as error:  # answered outside of us, where `tell` is not asked
            await note_once(400 if isinstance(error, Disconnected) else 500)
            raise
        finally:
            REQUEST.reset(token)

    async def _tell(self, scope: Scope, status: int, name: str, peer: Peer, client: str) -> None:
        if self._parent is None:
            return
        if status == 401 and not self._strangers.may_be_noted():
            return
        record: dict[str, object] = {
            "action": _action(scope),
            "outcome": "done" if status < 400 else "refused" if status < 500 else "failed",
            "status": status,
            "uid": peer.uid,
            "pid": peer.pid,
        }
        if client:
            record["client"] = client
        record |= {key: value for key, value in scope.get("path_params", {}).items()}
        record |= scope[_FACTS]
        if status >= 400:
            record["path"] = scope["path"]
        if status == 401 and self._strangers.left_out:
            record["left_out"], self._strangers.left_out = self._strangers.left_out, 0
        record["request"] = name
        await self._parent.audit(_fitting(record))


def _fitting(record: Mapping[str, object]) -> dict[str, object]:
    """Cut what is long, so that the whole is a packet: an escaped character is up to 12 bytes."""
    fields: dict[str, object] = {}
    for most in (MOST_TEXT, MOST_TEXT // 10, MOST_TEXT // 100):
        fields = {key: _cut(value, most) for key, value in record.items()}
        if len(json.dumps(fields)) <= MOST_RECORD:
            break
    return fields


def _cut(value: object, most: int) -> object:
    text = str(value)
    if len(text) > most:
        return f"{text[:most]} (cut)"
    return value if value is None or isinstance(value, str | int | float) else text


def _action(scope: Scope) -> str:
    """Give what was asked for: the name of the endpoint, else the method."""
    endpoint: Any = scope.get("endpoint")
    name = getattr(endpoint, "__name__", "") if endpoint is not None else ""
    return name.replace("_", "-") or str(scope["method"]).lower()
