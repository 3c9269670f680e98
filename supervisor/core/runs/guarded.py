"""An executor as the core calls it: only while its own task runs, and never beyond that."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TypeVar

import trio

from supervisor.errors import SupervisorError
from supervisor.interfaces import Capabilities, Executor, Finding, OutputChunk
from supervisor.model import (
    ContentId,
    InnerEndpoint,
    Job,
    Observation,
    PlaceRef,
    Receipt,
    RunId,
    Usage,
)

T = TypeVar("T")


class Guarded(Executor):
    """Pass calls on while `executor` is there, else raise executor-away, also out of open calls.

    So no plugin is asked before its serve() has started or after it has ended. away: gives why it
    is not there, "" while it is.
    """

    def __init__(self, executor: Executor, away: Callable[[], str]) -> None:
        self.name = executor.name
        self.plugin_api = executor.plugin_api
        self.inner = executor
        self._away = away
        self._open: set[trio.CancelScope] = set()

    @property
    def capabilities(self) -> Capabilities:  # type: ignore[override]
        """What the executor can do; it may learn more while it is served."""
        return self.inner.capabilities

    def interrupt(self) -> None:
        """End all open calls: their executor is away."""
        for scope in self._open:
            scope.cancel()

    async def start(self, job: Job) -> Receipt:
        return await self._call(self.inner.start, job)

    def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        return self._all(lambda: self.inner.watch(receipt))

    async def stop(self, receipt: Receipt, grace: float) -> None:
        await self._call(self.inner.stop, receipt, grace)

    async def list(self) -> Sequence[Receipt]:
        return await self._call(self.inner.list)

    def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        return self._all(lambda: self.inner.output(receipt, cursor))

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        return await self._call(self.inner.usage, runs)

    async def connect(self, endpoint: InnerEndpoint) -> socket.socket:
        return await self._call(self.inner.connect, endpoint)

    async def prepare(self, place: PlaceRef, content: ContentId, uid: int) -> None:
        await self._call(self.inner.prepare, place, content, uid)

    async def remove(self, place: PlaceRef) -> None:
        await self._call(self.inner.remove, place)

    async def hides(self, path: str) -> bool:
        return await self._call(self.inner.hides, path)

    async def check(self) -> Sequence[Finding]:
        return await self._call(self.inner.check)

    async def _call(self, call: Callable[..., Awaitable[T]], *args: object) -> T:
        if self._away():
            raise self.error()
        with trio.CancelScope() as scope:
            self._open.add(scope)
            try:
                return await call(*args)
            finally:
                self._open.discard(scope)
        raise self.error()

    async def _all(self, made: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        if self._away():
            raise self.error()
        async with aclosing(made()) as values:
            while True:
                try:
                    value = await self._call(values.__anext__)
                except StopAsyncIteration:
                    return
                yield value

    def error(self) -> SupervisorError:
        """Say that it is away."""
        return SupervisorError(
            "executor-away",
            self._away() or f"the executor {self.name!r} was away",
            hint="Nothing needs to be done if it comes back soon; `supervisor doctor` says more.",
            recoverable=True,
        )
