"""Reflector: a copy of the objects of one kind in one namespace, kept by one list and one watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from random import Random
from types import MappingProxyType

import trio

from supervisor_executor_kubernetes.backoff import Backoff
from supervisor_executor_kubernetes.client import Client, Event, Object
from supervisor_executor_kubernetes.errors import (
    ApiError,
    Forbidden,
    Gone,
    ServerFailed,
    TooMany,
    Unauthorised,
)

SHORTEST = 1.0  # seconds: the first pause after a failure
LONGEST = 15.0  # seconds: the pause after many
PATIENT = 60.0  # seconds of pause that we grant a server that asks for one
STEADY = 10.0  # seconds that a watch must last to count as a success
WATCH_SECONDS = (240.0, 300.0)  # what the server is asked to end a watch after, at random

Changed = Callable[[Object | None, Object | None], None]


class Reflector:
    """List and watch the collection at `path`, and say what changes.

    `changed(old, new)` is called, synchronously and in order, with old=None for an object that is
    new and new=None for one that is gone, also where the watch had missed it; `old` is then what
    was last seen of it. An object that another of its name replaced goes first. What `changed`
    raises ends `run`.

    cache: the objects by name, as of the last event. heard_at: trio.current_time() when the server
    last said anything. trouble: what the last attempt failed of, None while the watch is open.
    silence: seconds without event or bookmark after which the connection counts as dead; patience:
    seconds of nothing but 401 and 403 after which `run` gives up.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        labels: str,
        changed: Changed,
        *,
        silence: float = 120.0,
        patience: float = 60.0,
        random: Random | None = None,
    ) -> None:
        self.heard_at = 0.0
        self.trouble: ApiError | None = None
        self._objects: dict[str, Object] = {}
        self.cache: Mapping[str, Object] = MappingProxyType(self._objects)
        self._client = client
        self._path = path
        self._labels = labels
        self._changed = changed
        self._silence = silence
        self._patience = patience
        self._random = random or Random()
        self._version = ""  # to watch from; "": list first
        self._refused_since: float | None = None
        self._opened_at = inf  # when the watch began, inf while there is none

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started() once the first list is in the cache.

        Goes on through everything that may pass. Raises what a person must mend: Untrusted,
        NotFound (no such kind) and BadRequest at once, Unauthorised and Forbidden after `patience`.
        """
        backoff = Backoff(first=SHORTEST, most=LONGEST, random=self._random)
        started = False
        while True:
            self._opened_at = inf
            asked_for = 0.0
            try:
                if not self._version:
                    await self._list()
                    if not started:
                        task_status.started()
                        started = True
                await self._watch()
            except (ServerFailed, TooMany) as error:
                self.trouble = error
                asked_for = min(error.retry_after, PATIENT)
            except Gone as error:
                self.trouble = error
                self._version = ""
            except (Unauthorised, Forbidden) as error:
                self.trouble = error
                self._check_patience()
            steady = trio.current_time() - self._opened_at >= STEADY
            if steady:
                backoff.reset()
            # Watches that end well but at once would make a storm of requests too.
            if self.trouble is not None or not steady:
                await trio.sleep(max(asked_for, backoff.pause()))

    async def _list(self) -> None:
        """Take in a whole list, and tell what differs from the cache."""
        listing = await self._client.list(self._path, labels=self._labels)
        self.heard_at = trio.current_time()
        found = {_name(each): each for each in listing.items}
        for name in self._objects.keys() - found.keys():
            self._remove(name)
        for each in found.values():
            self._put(each)
        self._version = listing.version

    async def _watch(self) -> None:
        async with self._client.watch(
            self._path,
            labels=self._labels,
            version=self._version,
            seconds=self._random.uniform(*WATCH_SECONDS),
            silence=self._silence,
        ) as events:
            self._opened_at = self.heard_at = trio.current_time()
            self.trouble = self._refused_since = None
            async for event in events:
                self.heard_at = trio.current_time()
                self._take(event)

    def _take(self, event: Event) -> None:
        match event.kind:
            case "ADDED" | "MODIFIED":
                self._put(event.object)
            case "DELETED":
                # its last state says how it ended, which the cache does not know yet
                self._put(event.object)
                self._remove(_name(event.object))
        self._version = _metadata(event.object).get("resourceVersion") or self._version

    def _put(self, new: Object) -> None:
        old = self._objects.get(_name(new))
        if old is not None and _metadata(old).get("uid") != _metadata(new).get("uid"):
            self._remove(_name(new))
            old = None
        if old is not None and _version(old) == _version(new):
            return
        self._objects[_name(new)] = new
        self._changed(old, new)

    def _remove(self, name: str) -> None:
        if (old := self._objects.pop(name, None)) is not None:
            self._changed(old, None)

    def _check_patience(self) -> None:
        """Raise the error at hand when we have been refused for too long."""
        now = trio.current_time()
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since >= self._patience and self.trouble is not None:
            raise self.trouble


def _metadata(found: Object) -> Object:
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _name(found: Object) -> str:
    return str(_metadata(found).get("name"))


def _version(found: Object) -> object:
    return _metadata(found).get("resourceVersion")
