"""Client: the few verbs of the Kubernetes API that running content needs, with time limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import attrs
import msgspec
import trio

from supervisor_executor_kubernetes.access import ACCOUNT, Access, from_kubeconfig, in_cluster
from supervisor_executor_kubernetes.backoff import Backoff
from supervisor_executor_kubernetes.errors import (
    Gone,
    NotFound,
    ServerFailed,
    TooMany,
    Unauthorised,
    from_answer,
)
from supervisor_executor_kubernetes.lines import LineTooLong, split_lines
from supervisor_executor_kubernetes.paths import resource
from supervisor_executor_kubernetes.transport import TimeLimits, Transport

Object = dict[str, Any]  # an object of the API, as JSON

PAGE = 500  # objects of a list that are asked for at once
MAX_EVENT = 16 << 20  # bytes; etcd keeps no object over 1.5 MiB
MAX_LOG_LINE = 64 << 10  # bytes; a longer line is given in pieces


@attrs.frozen
class Event:
    """One event of a watch. kind: ADDED, MODIFIED, DELETED or BOOKMARK.

    A bookmark's object holds nothing but metadata.resourceVersion.
    """

    kind: str
    object: Object


@attrs.frozen
class Listing:
    """All objects of a list, and the version to watch from."""

    items: list[Object]
    version: str


class Client:
    """Talk to one API server. An async context manager under trio; safe to share between tasks.

    Every call may be cancelled at any point and then holds no connection. Every failure is an
    ApiError of errors.py. get, list and delete are tried again with back-off after 5xx, 429 and
    broken connections until limits.whole is over; create only where nothing was sent or the
    server said to come back.

    namespace: the context's or the account's own. calls, streams: the most connections for calls,
    and for watches and logs.
    """

    def __init__(
        self,
        access: Access,
        *,
        limits: TimeLimits | None = None,
        calls: int = 8,
        streams: int = 512,
        random: Random | None = None,
    ) -> None:
        self.namespace = access.namespace
        self._limits = limits or TimeLimits()
        self._transport = Transport(access, self._limits, calls=calls, streams=streams)
        self._random = random or Random()

    @property
    def requests(self) -> Counter[str]:
        """How often each "VERB RESOURCE" was sent, retries counted: "create jobs"."""
        return self._transport.requests

    @classmethod
    def from_kubeconfig(
        cls, path: Path, *, context: str = "", limits: TimeLimits | None = None
    ) -> Self:
        """A client for a context of a kubeconfig; SupervisorError says what it cannot use."""
        return cls(from_kubeconfig(path, context), limits=limits)

    @classmethod
    def in_cluster(cls, account: Path = ACCOUNT, *, limits: TimeLimits | None = None) -> Self:
        """A client for the service account of this Pod; SupervisorError where there is none."""
        return cls(in_cluster(account), limits=limits)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.aclose()

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """Create an object in the collection at `path`; gives it as the server completed it.

        Conflict: the name is taken. ServerFailed with sent=True: it may exist; get it by name.
        """
        return await self._call("create", "POST", path, body=body)

    async def get(self, path: str) -> Object:
        """The object at `path`; NotFound where there is none."""
        return await self._call("get", "GET", path)

    async def list(self, path: str, *, labels: str = "", fields: str = "") -> Listing:
        """All objects of the collection at `path` that the selectors match, page by page."""
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        try:
            return await self._list(path, {**selectors, "limit": str(PAGE)})
        except Gone:  # the list took longer than the server keeps its first page's version
            return await self._list(path, selectors)

    async def delete(
        self, path: str, *, grace: float | None = None, propagation: str = "Background"
    ) -> None:
        """Delete the object at `path`; returns too when there is none. May be repeated.

        grace: seconds for its processes to end, the object's own if None; propagation: Background,
        Foreground or Orphan, for what it owns. It may still exist for a while afterwards.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        options["propagationPolicy"] = propagation
        if grace is not None:
            options["gracePeriodSeconds"] = max(0, round(grace))
        with suppress(NotFound):
            await self._call("delete", "DELETE", path, body=options)

    @asynccontextmanager
    async def watch(
        self,
        path: str,
        *,
        labels: str = "",
        version: str = "",
        seconds: float = 270,
        silence: float = 120,
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """Watch the collection at `path` from `version`: `async with ... as events`.

        The events end by themselves after `seconds`, the server's limit. They raise Gone when the
        version is no longer kept, as an answer or as an event, and ServerFailed when the stream
        breaks or brings nothing, not even a bookmark, for `silence` seconds. Never tried again.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": labels,
            "resourceVersion": version,
            "timeoutSeconds": str(round(seconds)),
        }
        call = f"watch {resource(path)}"
        async with (
            self._transport.stream(call, path, query, silence) as chunks,
            aclosing(_events(call, chunks)) as events,
        ):
            yield events

    @asynccontextmanager
    async def log(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        since: str = "",
        follow: bool = False,
        timestamps: bool = True,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Read what a container wrote: `async with ... as lines`, each with its newline.

        A line over 64 KiB comes in pieces without one. With `timestamps` each line begins with the
        time (RFC 3339, nanoseconds) and a space. since: such a time; the server cuts it to whole
        seconds, so drop again what you had. `follow` goes on until the container has ended, and
        may be silent as long as the container is: also `async with` waits for its first byte.
        BadRequest: it has not started; NotFound: no such Pod.
        """
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = {"container": container, "sinceTime": since}
        query |= {"follow": "true"} if follow else {}
        query |= {"timestamps": "true"} if timestamps else {}
        call = "get pods/log"
        silence = None if follow else self._limits.read
        async with (
            self._transport.stream(call, path, query, silence) as chunks,
            aclosing(split_lines(chunks, MAX_LOG_LINE, pieces=True)) as lines,
        ):
            yield lines

    async def _list(self, path: str, query: Mapping[str, str]) -> Listing:
        items: list[Object] = []
        follow = ""
        while True:
            page = await self._call("list", "GET", path, query={**query, "continue": follow})
            items += page.get("items") or ()
            metadata = page.get("metadata") or {}
            follow = metadata.get("continue") or ""
            if not follow:
                return Listing(items, str(metadata.get("resourceVersion") or ""))

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Object:
        """One call with its retries, all within limits.whole."""
        call = f"{verb} {resource(path)}"
        backoff = Backoff(first=0.2, most=3.0, random=self._random)
        deadline = trio.current_time() + self._limits.whole
        token_renewed = False
        while True:
            try:
                with trio.fail_at(deadline):
                    return _decoded(
                        call, await self._transport.send(call, method, path, query or {}, body)
                    )
            except trio.TooSlowError:
                raise ServerFailed(call, f"no answer within {self._limits.whole:g} s") from None
            except Unauthorised:
                if token_renewed or not self._transport.renews_token():
                    raise
                token_renewed = True  # perhaps between our reading and the server's
                pause = backoff.pause()
            except (ServerFailed, TooMany) as error:
                if verb == "create" and isinstance(error, ServerFailed) and error.sent:
                    raise
                pause = max(error.retry_after, backoff.pause())
                if trio.current_time() + pause >= deadline:
                    raise
            await trio.sleep(pause)


async def _events(call: str, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    async with aclosing(split_lines(chunks, MAX_EVENT)) as lines:
        try:
            async for line in lines:
                if line.strip():
                    yield _event(call, line)
        except LineTooLong as error:
            raise ServerFailed(call, f"the watch sent {error}") from error


def _event(call: str, line: bytes) -> Event:
    event = _decoded(call, line)
    kind, found = event.get("type"), event.get("object")
    if not isinstance(kind, str) or not isinstance(found, dict):
        raise ServerFailed(call, f"the watch sent no event: {line[:100]!r}")
    if kind == "ERROR":
        code = found.get("code")
        raise from_answer(call, code if isinstance(code, int) else 500, found)
    return Event(kind, found)


def _decoded(call: str, body: bytes) -> Object:
    try:
        return msgspec.json.decode(body, type=Object)
    except msgspec.DecodeError as error:
        raise ServerFailed(call, f"the answer is no JSON object: {body[:100]!r}") from error
