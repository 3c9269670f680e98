"""The reflector on a clock that jumps, with an API whose every answer is chosen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast

import attrs
import pytest
import trio
from supervisor_executor_kubernetes.client import Client, Event, Listing, Object
from supervisor_executor_kubernetes.errors import (
    ApiError,
    Forbidden,
    Gone,
    NotFound,
    ServerFailed,
    TooMany,
    Unauthorised,
    Untrusted,
)
from supervisor_executor_kubernetes.reflector import LONGEST, Reflector

Watched = list[Event | ApiError | float]  # a number: seconds of silence


def pod(name: str, version: int, uid: str = "") -> Object:
    return {"metadata": {"name": name, "uid": uid or name, "resourceVersion": str(version)}}


def names(*pods: Object) -> Listing:
    return Listing(list(pods), "10")


@attrs.define
class ScriptedClient:
    """Lists and watches as it is told; the last of each is repeated for ever."""

    lists: list[Listing | ApiError]
    watches: list[Watched]
    asked: list[tuple[float, str]] = attrs.field(factory=list)

    async def list(self, path: str, *, labels: str) -> Listing:
        self._note("list")
        found = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        if isinstance(found, ApiError):
            raise found
        return found

    @asynccontextmanager
    async def watch(
        self, path: str, *, labels: str, version: str, seconds: float, silence: float
    ) -> AsyncIterator[AsyncIterator[Event]]:
        self._note(f"watch {version}")
        assert 240 <= seconds <= 300
        script = self.watches.pop(0) if len(self.watches) > 1 else self.watches[0]
        if script and isinstance(script[0], ApiError):
            raise script[0]
        yield self._play(script, silence)

    async def _play(self, script: Watched, silence: float) -> AsyncIterator[Event]:
        for step in script:
            if isinstance(step, ApiError):
                raise step
            if isinstance(step, Event):
                yield step
            else:
                await trio.sleep(min(step, silence))
                if step > silence:
                    raise ServerFailed("watch pods", "the server went silent")

    def _note(self, what: str) -> None:
        self.asked.append((trio.current_time(), what))


async def reflect(
    lists: list[Listing | ApiError],
    watches: list[Watched],
    seconds: float = 5,
    **settings: Any,
) -> tuple[ScriptedClient, Reflector, list[tuple[Object | None, Object | None]]]:
    """Run a reflector for some seconds; gives what it asked, it, and what it told."""
    client = ScriptedClient(lists, watches)
    told: list[tuple[Object | None, Object | None]] = []
    reflector = Reflector(
        cast(Client, client),
        "/api/v1/namespaces/apps/pods",
        "a=b",
        lambda old, new: told.append((old, new)),
        random=Random(1),
        **settings,
    )
    with trio.move_on_after(seconds):
        await reflector.run()
    return client, reflector, told


FOREVER: Watched = [1e9]


async def test_what_is_there_and_what_comes_is_told_in_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one, two, newer, last = pod("one", 1), pod("two", 11), pod("one", 12), pod("one", 13)
    client, reflector, told = await reflect(
        [names(one)],
        [[Event("ADDED", two), Event("MODIFIED", newer), Event("DELETED", last), *FOREVER]],
    )
    assert [(None, one), (None, two), (one, newer), (newer, last), (last, None)] == told
    assert {"two": two} == dict(reflector.cache)
    assert ["list", "watch 10"] == [what for _, what in client.asked]
    assert reflector.trouble is None


async def test_it_is_started_once_the_first_list_is_in(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    failed = ServerFailed("list pods", "away")
    client = ScriptedClient([failed, failed, names(pod("one", 1))], [FOREVER])
    reflector = Reflector(cast(Client, client), "", "", lambda old, new: None)
    await nursery.start(reflector.run)
    assert ["one"] == list(reflector.cache)
    assert 3 == [what for _, what in client.asked].count("list")
    nursery.cancel_scope.cancel()


async def test_a_watch_that_the_server_ended_goes_on_from_its_bookmark_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bookmark = Event("BOOKMARK", {"metadata": {"resourceVersion": "77"}})
    client, _, told = await reflect([names()], [[100.0, bookmark, 100.0], FOREVER], 250)
    assert [(0, "list"), (0, "watch 10"), (200, "watch 77")] == [
        (round(when - client.asked[0][0]), what) for when, what in client.asked
    ]
    assert [] == told


@pytest.mark.parametrize("opened", [False, True])
async def test_after_gone_the_missed_is_told(
    autojump_clock: trio.testing.MockClock, opened: bool
) -> None:
    gone = Gone("watch pods", "too old", status=410)
    kept, lost, changed, other = pod("kept", 1), pod("lost", 2), pod("changed", 3), pod("name", 4)
    after, replaced, new = pod("changed", 30), pod("name", 31, uid="other"), pod("new", 32)
    client, reflector, told = await reflect(
        [names(kept, lost, changed, other), names(kept, after, replaced, new)],
        [[1.0, gone] if opened else [gone], FOREVER],
    )
    assert [
        (lost, None),
        (changed, after),
        (other, None),
        (None, replaced),
        (None, new),
    ] == told[4:]
    assert ["list", "watch 10", "list", "watch 10"] == [what for _, what in client.asked]
    assert {"kept", "changed", "name", "new"} == set(reflector.cache)


async def test_a_silent_connection_is_given_up_and_the_watch_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, reflector, _ = await reflect([names()], [FOREVER], 300, silence=120)
    assert ["list", "watch 10", "watch 10", "watch 10"] == [what for _, what in client.asked]
    assert reflector.heard_at > client.asked[-1][0] - 0.1


@pytest.mark.parametrize(
    "watch",
    [
        [],
        [ServerFailed("watch pods", "reset")],
        [0.0, Gone("watch pods", "too old")],
        [Event("ADDED", pod("one", 1))],
        [Event("ADDED", pod("one", 1)), Gone("watch pods", "too old")],
    ],
)
async def test_however_watches_end_requests_never_become_a_storm(
    autojump_clock: trio.testing.MockClock, watch: Watched
) -> None:
    client, _, _ = await reflect([names()], [watch], 600)
    assert 600 / LONGEST <= len(client.asked) <= 2 * (600 / (LONGEST / 2) + 6)


async def test_after_a_success_the_pauses_begin_short_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    broken: Watched = [ServerFailed("watch pods", "reset")]
    client, _, _ = await reflect([names()], [*[broken] * 8, [60.0, *broken], broken, FOREVER], 400)
    times = [when for when, what in client.asked if what != "list"]
    assert times[8] - times[7] > LONGEST / 2
    assert times[9] - times[8] < 60 + 1.1
    assert times[10] - times[9] < 2.1


@pytest.mark.parametrize(("asked", "granted"), [(25.0, 25), (3600.0, 60)])
async def test_a_server_that_asks_for_a_pause_gets_it_within_reason(
    autojump_clock: trio.testing.MockClock, asked: float, granted: int
) -> None:
    busy = TooMany("watch pods", "later", status=429)
    busy.retry_after = asked
    client, _, _ = await reflect([names()], [[busy], FOREVER], 100)
    assert [0, 0, granted] == [round(when - client.asked[0][0]) for when, _ in client.asked]


@pytest.mark.parametrize("kind", [Unauthorised, Forbidden])
async def test_a_refusal_that_passes_is_borne_and_one_that_stays_is_raised(
    autojump_clock: trio.testing.MockClock, kind: type[ApiError]
) -> None:
    refused: Watched = [kind("watch pods", "no", status=403)]
    client, reflector, _ = await reflect([names()], [refused, refused, FOREVER], 100)
    assert (4, None) == (len(client.asked), reflector.trouble)
    began = trio.current_time()
    with pytest.raises(kind):
        await reflect([names()], [refused], 1000, patience=60)
    assert 60 <= trio.current_time() - began < 60 + LONGEST


@pytest.mark.parametrize("kind", [Untrusted, NotFound])
async def test_what_only_a_person_can_mend_is_raised_at_once(
    autojump_clock: trio.testing.MockClock, kind: type[ApiError]
) -> None:
    with pytest.raises(kind):
        await reflect([kind("list pods", "no")], [FOREVER])


async def test_a_defect_of_who_is_told_ends_it_loudly(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client = ScriptedClient([names(pod("one", 1))], [FOREVER])

    def fail(old: Object | None, new: Object | None) -> None:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        await Reflector(cast(Client, client), "", "", fail).run()
