"""The audit log: every change asked of the API is a record, whatever came of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from supervisor import packets
from supervisor.api.app import API_ROUTES
from supervisor.api.audit import MOST_STRANGERS, READING, Strangers
from supervisor.errors import SupervisorError
from tests.unit.api.conftest import Start


class Parent:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.reopened = 0
        self.refusal: SupervisorError | None = None

    async def audit(self, record: Mapping[str, object]) -> None:
        self.records.append(dict(record))

    async def reopen_logs(self) -> None:
        self.reopened += 1
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def parent() -> Parent:
    return Parent()


CHANGES = sorted(
    (method, route.path) for route in API_ROUTES for method in (route.methods or set()) - READING
)


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_every_route_that_changes_something_is_noted(
    start: Start, parent: Parent, method: str, path: str
) -> None:
    served = await start(parent=parent)
    target = path.replace("{ref}", "nobody").replace("{id}", "1").replace("{name}", "x")
    async with served.client() as client:
        answer = await client.request(method, target, json={})
    (record,) = parent.records
    assert (answer.status_code, answer.headers["x-request-id"]) == (
        record["status"],
        record["request"],
    )
    assert record["action"] not in ("", method.lower()) or method == "DELETE"


async def test_a_backup_is_noted_though_it_only_reads(start: Start, parent: Parent) -> None:
    served = await start(parent=parent)
    async with served.client() as client:
        await client.get("/v1/supervisor/backup")
    assert ["backup"] == [record["action"] for record in parent.records]


async def test_reading_is_not_noted(start: Start, parent: Parent) -> None:
    served = await start(parent=parent)
    async with served.client() as client:
        await client.get("/v1/content")
    assert [] == parent.records


async def test_a_change_says_who_what_and_with_which_values(start: Start, parent: Parent) -> None:
    served = await start(parent=parent)
    async with served.client() as client:
        made = (await client.post("/v1/content", json={"name": "report"})).json()
        await client.patch(f"/v1/content/{made['guid']}", json={"title": "New\nline"})
        await client.patch(f"/v1/content/{made['guid']}", json={"nonsense": 1})
    create, update, refused = parent.records
    assert ("create", "done", "report", made["guid"]) == (
        create["action"],
        create["outcome"],
        create["name"],
        create["ref"],
    )
    assert ("New\nline", made["guid"]) == (update["set_title"], update["ref"])
    assert ("refused", "bad-request") == (refused["outcome"], refused["code"])
    assert {"uid", "pid", "request"} <= set(update)


async def test_logs_are_reopened_by_the_parent(start: Start, parent: Parent) -> None:
    served = await start(parent=parent)
    async with served.client() as client:
        assert 200 == (await client.post("/v1/supervisor/reopen-logs")).status_code
        parent.refusal = SupervisorError("log-unusable", "the log /x cannot be opened")
        answer = await client.post("/v1/supervisor/reopen-logs")
    assert (500, "log-unusable") == (answer.status_code, answer.json()["code"])
    assert 2 == parent.reopened


async def test_without_a_parent_there_is_nothing_to_reopen(start: Start) -> None:
    served = await start()
    async with served.client() as client:
        answer = await client.post("/v1/supervisor/reopen-logs")
    assert 503 == answer.status_code


async def test_a_change_that_ends_in_a_defect_is_noted(
    start: Start, parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await start(parent=parent)

    async def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(served.service, "remove", broken)
    async with served.client() as client:
        answer = await client.delete("/v1/content/report")
    (record,) = parent.records
    assert (500, 500, "failed") == (answer.status_code, record["status"], record["outcome"])
    assert ("remove", "report") == (record["action"], record["ref"])


class Linked(Parent):
    """Is told in packets, as the real one is."""

    async def audit(self, record: Mapping[str, object]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            packets.send(ours, {"type": "audit", "record": dict(record)})
        await super().audit(record)


async def test_a_path_of_any_length_is_refused_and_noted_in_one_packet(start: Start) -> None:
    parent = Linked()
    served = await start(parent=parent)
    async with await trio.open_unix_socket(str(served.path)) as stream:
        path = b"/" + b"\\" * 32_700
        await stream.send_all(b"POST %b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % path)
        answer = await stream.receive_some(65536)
    assert answer.startswith(b"HTTP/1.1 404 ")
    (record,) = parent.records
    assert 2006 == len(record["path"])
    assert "api-failed" not in served.logged()


async def test_many_long_values_are_noted_in_one_packet(start: Start) -> None:
    parent = Linked()
    served = await start(parent=parent)
    async with served.client() as client:
        ref, title = "\U0001f600" * 2600, "\U0001f600" * 400
        answer = await client.request("PATCH", "/v1/content/" + ref, json={"title": title})
        assert 404 == answer.status_code
    (record,) = parent.records
    assert len(json.dumps(record)) < packets.LIMIT


def test_strangers_cause_no_more_lines_than_fit() -> None:
    now = 0.0
    strangers = Strangers(clock=lambda: now)
    noted = sum(strangers.may_be_noted() for _ in range(1000))
    assert (MOST_STRANGERS, 1000 - MOST_STRANGERS) == (noted, strangers.left_out)
    now = 61.0
    assert strangers.may_be_noted()
