"""The client against a server that misbehaves in every way that has a name."""

from __future__ import annotations

import gc
import json
import ssl
import warnings
from typing import Any

import pytest
import trio
from supervisor_executor_kubernetes.access import Access, Token
from supervisor_executor_kubernetes.client import Client, Event
from supervisor_executor_kubernetes.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    ServerFailed,
    TooMany,
    Unauthorised,
)
from supervisor_executor_kubernetes.transport import TimeLimits

from supervisor import SupervisorError
from tests.support.fake_api import FakeApi, reset, says, silence, streams

JOBS = "/apis/batch/v1/namespaces/apps/jobs"
PODS = "/api/v1/namespaces/apps/pods"
ONE = {"metadata": {"name": "one", "resourceVersion": "7"}}


def status(code: int, message: str, reason: str = "", **details: Any) -> dict[str, Any]:
    return {
        "kind": "Status",
        "code": code,
        "message": message,
        "reason": reason,
        "details": details,
    }


async def all_closed(api: FakeApi) -> None:
    with trio.fail_after(5):
        await api.idle.wait()


async def read(client: Client, **settings: Any) -> list[Event]:
    async with client.watch(PODS, **settings) as events:
        return [event async for event in events]


async def test_an_object_is_created_got_and_deleted(api: FakeApi) -> None:
    api.answers = [says(201, ONE), says(200, ONE), says(200, status(200, ""))]
    async with api.client() as client:
        assert ONE == await client.create(JOBS, {"kind": "Job"})
        assert ONE == await client.get(f"{JOBS}/one")
        await client.delete(f"{JOBS}/one", grace=2)
        assert {"create jobs": 1, "get jobs": 1, "delete jobs": 1} == client.requests
    assert [("POST", JOBS), ("GET", f"{JOBS}/one"), ("DELETE", f"{JOBS}/one")] == [
        (asked.method, asked.target) for asked in api.asked
    ]
    assert {"kind": "Job"} == api.asked[0].body
    assert "Bearer secret" == api.asked[0].headers["authorization"]
    options = {"apiVersion": "v1", "kind": "DeleteOptions"}
    options |= {"propagationPolicy": "Background", "gracePeriodSeconds": 2}  # type: ignore[dict-item]
    assert options == api.asked[2].body


async def test_deleting_what_is_gone_is_no_error(api: FakeApi) -> None:
    api.answers = [says(404, status(404, 'jobs "one" not found', "NotFound"))]
    async with api.client() as client:
        await client.delete(f"{JOBS}/one")


async def test_a_list_is_read_page_by_page(api: FakeApi) -> None:
    api.answers = [
        says(200, {"metadata": {"continue": "more"}, "items": [{"a": 1}]}),
        says(200, {"metadata": {"resourceVersion": "9"}, "items": [{"b": 2}]}),
    ]
    async with api.client() as client:
        listing = await client.list(PODS, labels="a=b", fields="status.phase=Failed")
    assert ([{"a": 1}, {"b": 2}], "9") == (listing.items, listing.version)
    assert "labelSelector=a%3Db" in api.asked[1].target
    assert "continue=more" in api.asked[1].target


async def test_a_list_whose_next_page_expired_is_read_anew_and_whole(api: FakeApi) -> None:
    api.answers = [
        says(200, {"metadata": {"continue": "more"}, "items": [{"a": 1}]}),
        says(410, status(410, "expired", "Expired")),
        says(200, {"metadata": {"resourceVersion": "9"}, "items": [{"a": 1}, {"b": 2}]}),
    ]
    async with api.client() as client:
        assert 2 == len((await client.list(PODS)).items)
    assert "limit" not in api.asked[2].target


@pytest.mark.parametrize(
    ("code", "kind", "public"),
    [
        (400, BadRequest, "bad-request"),
        (401, Unauthorised, "not-signed-in"),
        (403, Forbidden, "not-allowed"),
        (404, NotFound, "not-found"),
        (409, Conflict, "conflict"),
        (410, Gone, "unavailable"),
        (422, BadRequest, "bad-request"),
    ],
)
async def test_a_refusal_is_raised_at_once_with_the_servers_words(
    api: FakeApi, code: int, kind: type[ApiError], public: str
) -> None:
    api.answers = [says(code, status(code, "because", "Why"))]
    async with api.client() as client:
        with pytest.raises(kind) as caught:
            await client.create(JOBS, {})
    error = caught.value
    assert (public, code, "Why") == (error.code, error.status, error.reason)
    assert f"the Kubernetes API refused to create jobs: because ({code})" == error.message
    assert 1 == len(api.asked)


@pytest.mark.parametrize("code", [500, 502, 503, 504])
async def test_a_failing_server_is_asked_again_for_what_may_be_repeated(
    api: FakeApi, code: int
) -> None:
    api.answers = [says(code, b"<html>oops</html>"), says(200, ONE)]
    async with api.client() as client:
        assert ONE == await client.get(f"{PODS}/one")
        assert 2 == client.requests["get pods"]


async def test_a_create_that_the_server_failed_is_not_sent_twice(api: FakeApi) -> None:
    api.answers = [says(500, b"oops"), says(201, ONE)]
    async with api.client() as client:
        with pytest.raises(ServerFailed) as caught:
            await client.create(JOBS, {})
    assert (1, True) == (len(api.asked), caught.value.sent)


async def test_a_server_that_asks_for_time_gets_it(api: FakeApi) -> None:
    api.answers = [says(429, b"busy", Retry_After="1"), says(201, ONE)]
    async with api.client() as client:
        began = trio.current_time()
        assert ONE == await client.create(JOBS, {})
        assert 1 <= trio.current_time() - began < 3


async def test_a_server_that_asks_for_more_time_than_there_is_is_told_at_once(
    api: FakeApi,
) -> None:
    api.answers = [says(429, b"busy", Retry_After="60")]
    async with api.client() as client:
        with trio.fail_after(2), pytest.raises(TooMany) as caught:
            await client.get(f"{PODS}/one")
    assert 60 == caught.value.retry_after
    assert caught.value.recoverable


async def test_a_broken_connection_is_tried_again_only_where_that_is_safe(api: FakeApi) -> None:
    api.answers = [reset, says(200, ONE)]
    async with api.client() as client:
        assert ONE == await client.get(f"{PODS}/one")
        api.answers = [reset]
        with pytest.raises(ServerFailed) as caught:
            await client.create(JOBS, {})
    assert caught.value.sent


async def test_where_nobody_listens_even_a_create_is_tried_again_until_its_time_is_over(
    api: FakeApi,
) -> None:
    access = Access(server="http://127.0.0.1:1", tls=None, token=Token())
    async with Client(access, limits=TimeLimits(whole=1)) as client:
        with pytest.raises(ServerFailed) as caught:
            await client.create(JOBS, {})
        assert not caught.value.sent
        assert 2 <= client.requests["create jobs"] <= 6


async def test_a_silent_server_costs_no_more_than_the_whole_time_limit(api: FakeApi) -> None:
    api.answers = [silence]
    async with api.client(limits=TimeLimits(connect=1, read=0.2, whole=1)) as client:
        began = trio.current_time()
        with pytest.raises(ServerFailed):
            await client.get(f"{PODS}/one")
        assert trio.current_time() - began < 1.5
        await all_closed(api)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe"])
async def test_what_is_no_json_object_is_a_failure_of_the_server(api: FakeApi, body: bytes) -> None:
    api.answers = [says(201, body)]
    async with api.client() as client:
        with pytest.raises(ServerFailed, match="no JSON object"):
            await client.create(JOBS, {})


async def test_a_cancelled_call_holds_no_connection(api: FakeApi) -> None:
    api.answers = [silence]
    async with api.client(calls=2) as client:
        for _ in range(5):  # more than there are connections
            with trio.move_on_after(0.05) as scope:
                await client.get(f"{PODS}/one")
            assert scope.cancelled_caught
        await all_closed(api)
        api.answers = [says(200, ONE)]
        assert ONE == await client.get(f"{PODS}/one")


async def test_many_calls_at_once_share_a_few_connections(api: FakeApi) -> None:
    most = 0

    async def slow(asked: object, stream: trio.SocketStream) -> None:
        nonlocal most
        most = max(most, api.open)
        await trio.sleep(0.02)
        await says(200, ONE)(asked, stream)  # type: ignore[arg-type]

    api.answers = [slow]
    async with api.client(calls=3) as client, trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(client.get, f"{PODS}/one")
    assert (30, 3) == (len(api.asked), most)


async def test_a_watch_gives_events_and_bookmarks_however_they_are_cut(api: FakeApi) -> None:
    events = [
        {"type": "ADDED", "object": ONE},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}},
        {"type": "DELETED", "object": {"metadata": {"name": "\x85 \u2028"}}},
    ]
    sent = b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in events)
    api.answers = [streams(sent[:10], sent[10:70], sent[70:])]
    async with api.client() as client:
        async with client.watch(PODS, labels="a=b", version="5", seconds=250) as found:
            expected = [Event(each["type"], each["object"]) for each in events]  # type: ignore[arg-type]
            assert expected == [event async for event in found]
        assert {"watch pods": 1} == client.requests
    asked = api.asked[0].target
    for part in ("watch=true", "allowWatchBookmarks=true", "resourceVersion=5", "Seconds=250"):
        assert part in asked


async def test_a_version_that_is_no_longer_kept_is_gone_in_both_forms(api: FakeApi) -> None:
    expired = status(410, "too old resource version", "Expired")
    api.answers = [says(410, expired), streams({"type": "ERROR", "object": expired})]
    async with api.client() as client:
        for _ in range(2):
            with pytest.raises(Gone, match="too old"):
                await read(client)


@pytest.mark.parametrize(
    "answer",
    [
        streams(then=silence),
        streams({"type": "ADDED", "object": ONE}, then=reset),
        streams(b"no json\n"),
        streams({"type": "ADDED"}),
        streams({"type": "ERROR", "object": {"message": "etcd is away"}}),
        reset,
        says(503, b"", Connection="close"),
    ],
)
async def test_a_watch_that_breaks_or_goes_silent_raises_and_is_not_repeated(
    api: FakeApi, answer: Any
) -> None:
    api.answers = [answer]
    async with api.client() as client:
        with pytest.raises(ServerFailed):
            await read(client, silence=0.2)
        await all_closed(api)
    assert 1 == len(api.asked)


async def test_a_watch_can_be_left_and_cancelled_at_once(api: FakeApi) -> None:
    api.answers = [streams({"type": "ADDED", "object": ONE}, then=silence)]
    async with api.client() as client:
        async with client.watch(PODS) as events:
            assert "ADDED" == (await anext(events)).kind
        with trio.move_on_after(0.1) as scope:
            await read(client)
        assert scope.cancelled_caught
        await all_closed(api)


async def test_streams_that_are_left_leave_nothing_to_the_garbage_collector(
    api: FakeApi,
) -> None:
    api.answers = [streams({"type": "ADDED", "object": ONE}, then=silence)]
    async with api.client(streams=2) as client:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            async with client.watch(PODS) as events:
                await anext(events)
            for milliseconds in range(40):  # more than there are connections, at every point
                with trio.move_on_after(milliseconds / 2000):
                    await read(client)
            gc.collect()
        assert [] == [str(each.message) for each in warned if "generator" in str(each.message)]
        await all_closed(api)


async def test_a_log_is_given_as_bytes_line_by_line(api: FakeApi) -> None:
    api.answers = [streams(b"one\r", b"\ntw", b"o \xff\n", b"x" * 70_000 + b"\nend")]
    async with (
        api.client() as client,
        client.log("apps", "pod", "content", since="2026-11-21T00:00:00Z", follow=True) as lines,
    ):
        found = [line async for line in lines]
    assert [b"one\r\n", b"two \xff\n"] == found[:2]
    assert [65536, 70_001 - 65536, 3] == [len(line) for line in found[2:]]
    assert api.asked[0].target.startswith(f"{PODS}/pod/log?container=content&sinceTime=2026")
    assert "follow=true&timestamps=true" in api.asked[0].target


async def test_a_followed_log_may_be_silent_for_as_long_as_it_likes(api: FakeApi) -> None:
    async def later(asked: object, stream: trio.SocketStream) -> None:
        await trio.sleep(1.5)  # longer than the limits of calls
        await stream.send_all(b"3\r\nend\r\n0\r\n\r\n")

    api.answers = [streams(b"begin\n", then=later)]
    async with (
        api.client(limits=TimeLimits(read=0.3, whole=0.6)) as client,
        client.log("apps", "pod", "content", follow=True) as lines,
    ):
        assert [b"begin\n", b"end"] == [line async for line in lines]


async def test_the_log_of_a_container_that_has_not_begun_is_a_bad_request(api: FakeApi) -> None:
    api.answers = [says(400, status(400, "container is waiting to start: ContainerCreating"))]
    async with api.client() as client:
        with pytest.raises(BadRequest, match="ContainerCreating"):
            async with client.log("apps", "pod", "content"):
                pass


async def test_open_streams_keep_no_call_waiting_and_too_many_say_so(api: FakeApi) -> None:
    api.answers = [streams(then=silence)]
    limits = TimeLimits(connect=0.3, read=1, whole=2)
    async with (
        api.client(limits=limits, streams=1, calls=1) as client,
        client.watch(PODS),
    ):
        with pytest.raises(TooMany):
            async with client.watch(PODS):
                pass
        api.answers = [says(200, ONE)]
        assert ONE == await client.get(f"{PODS}/one")


async def test_a_token_file_is_read_again_when_it_changes(api: FakeApi, tmp_path: Any) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    access = Access(server=f"http://127.0.0.1:{api.port}", tls=None, token=Token(path=path))
    api.answers = [says(200, ONE)]
    async with Client(access) as client:
        await client.get(f"{PODS}/one")
        path.write_text("the second\n")
        await client.get(f"{PODS}/one")
        path.unlink()  # renewed this very moment: the last one serves
        await client.get(f"{PODS}/one")
        api.answers = [says(401, b"expired"), says(200, ONE)]
        assert ONE == await client.get(f"{PODS}/one")
    sent = [asked.headers["authorization"] for asked in api.asked]
    assert ["Bearer first", *["Bearer the second"] * 4] == sent


async def test_a_server_that_does_not_speak_tls_is_no_connection(api: FakeApi) -> None:
    api.answers = [reset]
    access = Access(
        server=f"https://127.0.0.1:{api.port}", tls=ssl.create_default_context(), token=Token()
    )
    async with Client(access, limits=TimeLimits(whole=0.5)) as client:
        with pytest.raises(SupervisorError) as caught:
            await client.get(f"{PODS}/one")
    assert "unavailable" == caught.value.code
