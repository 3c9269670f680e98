"""The resources: shapes, statuses and refusals, over the real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import trio

from supervisor.api import server
from supervisor.errors import SupervisorError

if TYPE_CHECKING:
    from conftest import Needs, Served, Start  # type: ignore[attr-defined]
else:
    Needs = Served = Start = object

BAD_JSON = [b"{", b"[]", b'"x"', b'{"name": 7}', b"{}", b'{"name": "\\ud800"}', b"\xff"]


async def _deployed(served: Served, archive: bytes, name: str = "hello") -> dict[str, Any]:
    async with served.client() as client:
        item = (await client.post("/v1/content", json={"name": name})).json()
        await client.post(f"/v1/content/{item['guid']}/bundles", content=archive)
        await client.post(f"/v1/content/{item['guid']}/deploy", json={})
        found = await client.get(f"/v1/content/{item['guid']}")
    answer: dict[str, Any] = found.json()
    return answer


async def test_a_content_is_made_found_retitled_and_removed(served: Served) -> None:
    async with served.client() as client:
        made = await client.post("/v1/content", json={"name": "hello"})
        assert 201 == made.status_code
        guid = made.json()["guid"]
        assert "1" == made.json()["id"]
        assert "hello" == made.json()["title"]
        again = await client.post("/v1/content", json={"name": "hello"})
        assert (409, "conflict") == (again.status_code, again.json()["code"])
        titled = await client.patch(f"/v1/content/{guid}", json={"title": "Grüße"})
        assert "Grüße" == titled.json()["title"]
        for ref in (guid, "hello", "1"):
            assert "Grüße" == (await client.get(f"/v1/content/{ref}")).json()["title"]
        assert 204 == (await client.delete(f"/v1/content/{guid}")).status_code
        gone = await client.get(f"/v1/content/{guid}")
    assert (404, "not-found") == (gone.status_code, gone.json()["code"])


async def test_the_list_is_filtered_by_the_exact_name(served: Served) -> None:
    async with served.client() as client:
        for name in ("hello", "hello1"):
            await client.post("/v1/content", json={"name": name})
        found = (await client.get("/v1/content", params={"name": "hello"})).json()
        assert ["hello"] == [item["name"] for item in found]
        assert [] == (await client.get("/v1/content", params={"name": "hell"})).json()
        assert 2 == len((await client.get("/v1/content")).json())


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_bundle_is_uploaded_deployed_and_its_task_followed(
    served: Served, archive: bytes, chunked: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(archive), 7000):
            yield archive[at : at + 7000]

    async with served.client() as client:
        guid = (await client.post("/v1/content", json={"name": "hello"})).json()["guid"]
        body = pieces() if chunked else archive
        bundle = (await client.post(f"/v1/content/{guid}/bundles", content=body)).json()
        assert ("1", len(archive)) == (bundle["id"], bundle["size"])
        begun = await client.post(f"/v1/content/{guid}/deploy", json={"bundle_id": bundle["id"]})
        output: list[str] = []
        finished = False
        while not finished:
            address = f"/v1/tasks/{begun.json()['task_id']}"
            task = (await client.get(address, params={"first": len(output), "wait": 1})).json()
            output += task["output"]
            assert len(output) == task["last"]
            finished = task["finished"]
        item = (await client.get(f"/v1/content/{guid}")).json()
    assert ("Unpacking the bundle", "Started") == (output[0], output[-1])
    assert ("1", "running") == (item["bundle_id"], item["supervisor"]["state"])


@pytest.mark.parametrize("declared", [True, False])
async def test_a_bundle_beyond_the_limit_is_refused(served: Served, declared: bool) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(65536)

    async with served.client() as client:
        guid = (await client.post("/v1/content", json={"name": "hello"})).json()["guid"]
        body = bytes(5_000_000) if declared else endless()
        answer = await client.post(f"/v1/content/{guid}/bundles", content=body)
        assert (413, "too-large") == (answer.status_code, answer.json()["code"])
        assert not served.service.bundles
        assert 200 == (await client.get("/v1/content")).status_code


async def test_an_upload_for_an_unknown_content_is_refused_early(served: Served) -> None:
    async with served.client() as client:
        answer = await client.post("/v1/content/nope/bundles", content=bytes(900_000))
    assert 404 == answer.status_code


@pytest.mark.parametrize("body", BAD_JSON)
async def test_a_body_that_does_not_fit_is_a_bad_request(served: Served, body: bytes) -> None:
    async with served.client() as client:
        answer = await client.post("/v1/content", content=body)
    assert (400, "bad-request") == (answer.status_code, answer.json()["code"])


async def test_a_json_body_has_a_limit(served: Served) -> None:
    async with served.client() as client:
        answer = await client.post("/v1/content", content=b" " * 1_100_000)
    assert 413 == answer.status_code


@pytest.mark.parametrize("bundle", ["x", "-1", True, 1.5, [], "٣"])
async def test_a_bundle_id_is_a_number(served: Served, archive: bytes, bundle: object) -> None:
    await _deployed(served, archive)
    async with served.client() as client:
        answer = await client.post("/v1/content/hello/deploy", json={"bundle_id": bundle})
    assert 400 == answer.status_code


async def test_drafts_are_refused_not_activated(served: Served, archive: bytes) -> None:
    await _deployed(served, archive)
    async with served.client() as client:
        answer = await client.post("/v1/content/hello/deploy", json={"activate": False})
    assert 400 == answer.status_code


@pytest.mark.parametrize("query", ["first=x", "wait=-1", "wait=nan", "first=inf"])
async def test_parameters_are_checked(served: Served, query: str) -> None:
    async with served.client() as client:
        answer = await client.get(f"/v1/tasks/x?{query}")
    assert (400, "bad-request") == (answer.status_code, answer.json()["code"])


async def test_runs_are_listed_stopped_and_killed(served: Served, archive: bytes) -> None:
    item = await _deployed(served, archive)
    async with served.client() as client:
        (run,) = (await client.get("/v1/supervisor/runs")).json()
        assert (4711, "ready", item["guid"]) == (run["pid"], run["state"], run["content"]["guid"])
        killed = await client.post(f"/v1/supervisor/runs/{run['id']}/kill")
        assert 200 == killed.status_code
        assert [] == (await client.get("/v1/supervisor/runs")).json()
        (ended,) = (await client.get("/v1/supervisor/runs?ended=1&content=hello")).json()
        assert "failed" == ended["state"]
        await client.post("/v1/supervisor/content/hello/stop")
        await client.post("/v1/supervisor/content/hello/restart")
        unknown = await client.get("/v1/supervisor/runs?content=nope")
    assert 404 == unknown.status_code
    assert [("kill", run["id"]), ("stop", "hello"), ("restart", "hello")] == (
        served.service.calls[-3:]
    )


async def test_doctor_and_plugins_answer(served: Served) -> None:
    async with served.client() as client:
        findings = (await client.get("/v1/supervisor/doctor")).json()
        plugins = (await client.get("/v1/supervisor/plugins")).json()
    assert {
        "name": "disk",
        "ok": False,
        "text": "nearly full",
        "fix": "make room",
        "fatal": False,
    } == (findings[1])
    assert "could not be imported" == plugins[1]["problem"]


async def test_what_is_not_there_is_json_with_code_and_error(served: Served) -> None:
    async with served.client() as client:
        missing = await client.get("/v1/nothing")
        wrong = await client.delete("/v1/supervisor/doctor")
    assert (404, "not-found") == (missing.status_code, missing.json()["code"])
    assert (405, "bad-request") == (wrong.status_code, wrong.json()["code"])
    fields = {"code", "name", "error", "hint", "plugin", "recoverable", "payload"}
    assert fields == set(missing.json())


async def test_errors_of_the_core_keep_code_status_and_hint(served: Served) -> None:
    served.service.surprise = SupervisorError(
        "store-unavailable", "no database", hint="wait", recoverable=True
    )
    async with served.client() as client:
        answer = await client.get("/v1/content")
    assert (503, "store-unavailable", "wait") == (
        answer.status_code,
        answer.json()["code"],
        answer.json()["hint"],
    )
    assert "5" == answer.headers["retry-after"]


async def test_a_defect_is_logged_under_the_reference_that_the_client_got(served: Served) -> None:
    served.service.surprise = ZeroDivisionError("secret detail")
    async with served.client() as client:
        answer = await client.get("/v1/content")
    assert (500, "internal") == (answer.status_code, answer.json()["code"])
    assert "secret" not in answer.text
    reference = answer.json()["hint"].rpartition("reference=")[2].rstrip(".")
    assert f"reference={reference}" in served.logged()
    assert "secret detail" in served.logged()
    assert 1 == served.logged().count("api-failed")


async def test_a_log_is_followed_until_the_client_goes(served: Served, archive: bytes) -> None:
    await _deployed(served, archive)
    async with served.client() as client:
        async with client.stream("GET", "/v1/supervisor/logs/hello?follow=1&tail=1") as answer:
            lines = answer.aiter_lines()
            assert '"text":"listening"' in await anext(lines)
            await served.service.write("hello", "line\x1b[2J\nforged")
            line = await anext(lines)
            assert '"text":"line\\u001b[2J\\nforged"' in line
        with trio.fail_after(5):
            while served.service.followers:
                await trio.testing.wait_all_tasks_blocked()


async def test_a_silent_log_answers_at_once(served: Served, archive: bytes) -> None:
    await _deployed(served, archive)
    async with served.client() as client:
        with trio.fail_after(5):
            async with client.stream("GET", "/v1/supervisor/logs/hello?follow=1&tail=0") as answer:
                assert 200 == answer.status_code


async def test_the_log_of_nothing_is_not_found(served: Served) -> None:
    async with served.client() as client:
        answer = await client.get("/v1/supervisor/logs/nope")
    assert (404, "not-found") == (answer.status_code, answer.json()["code"])


ASK = """
import socket, sys
for path in ("/", "/__api__/server_settings", "/__api__/v1/content", "/nothing"):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(sys.argv[1])
        s.sendall(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
        print(s.makefile("rb").readline().split()[1].decode())
"""


@pytest.mark.system
@pytest.mark.parametrize(
    ("uid", "groups", "expected"),
    [
        (54321, [], "200 200 401 401"),  # the gateway
        (54322, [], "200 200 401 401"),  # anybody else
        (54322, [54400], "200 200 200 404"),  # a member of the administrators' group
    ],
)
async def test_the_kernel_tells_who_asks(
    start: Start, needs: Needs, uid: int, groups: list[int], expected: str
) -> None:
    needs.root()
    served = await start(admin_gid=54400)
    done = await trio.run_process(
        ["/usr/bin/python3", "-c", ASK, str(served.path)],
        user=uid,
        group=uid,
        extra_groups=groups,
        capture_stdout=True,
    )
    assert expected.split() == done.stdout.decode().split()


async def test_a_visitor_hears_in_a_sentence_why(start: Start) -> None:
    served = await start(core_uid=0, gateway_uid=0, token="secret")
    async with served.client() as client:
        refused = await client.get("/v1/content")
        passed = await client.get("/v1/content", headers={"authorization": "Key secret"})
    assert (401, "not-signed-in") == (refused.status_code, refused.json()["code"])
    assert refused.json()["error"].endswith(".")
    assert 200 == passed.status_code


async def test_visitors_who_hold_all_connections_lock_no_administrator_out(
    start: Start, needs: Needs, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs.root()
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    served = await start(gateway_uid=54321)
    held = []
    os.seteuid(54321)  # whom the kernel takes for the peer is settled by connect
    try:
        for _ in range(4):
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(str(served.path))
    finally:
        os.seteuid(0)
    await trio.lowlevel.wait_readable(held[-1])
    assert b"" == held[-1].recv(1)
    async with served.client() as client:
        assert 200 == (await client.get("/v1/content")).status_code
    for sock in held:
        sock.close()
