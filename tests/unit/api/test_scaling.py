"""What publishers and administrators set and see of scaling, over the real socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from supervisor.core.service import SessionView
from supervisor.model import Overrides
from supervisor.settings.sections import Scheduler

if TYPE_CHECKING:
    from conftest import Served, Start  # type: ignore[attr-defined]
else:
    Served = Start = object

OURS = "/v1/supervisor/content/hello"
UNSET = (
    "min_processes max_processes max_conns_per_process load_factor init_timeout idle_timeout "
    "connection_timeout read_timeout"
).split()


@pytest.fixture
async def hello(served: Served) -> Served:
    """A server with one content."""
    await served.service.create_content("hello", "Hello")
    return served


async def patched(served: Served, path: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    async with served.client() as client:
        answer = await client.patch(path, json=fields)
    return answer.status_code, answer.json()


async def test_what_is_not_set_is_null(hello: Served) -> None:
    async with hello.client() as client:
        item = (await client.get("/v1/content/hello")).json()
    assert dict.fromkeys(UNSET) == {name: item[name] for name in UNSET}
    assert 3 == item["supervisor"]["scaling"]["max_processes"]


async def test_executor_and_limits_are_assigned_as_one(hello: Served) -> None:
    status, said = await patched(hello, OURS, executor="nowhere", memory_limit=1000)
    view = await hello.service.content("hello")
    assert (400, None) == (status, view.content.limits.memory_max)
    status, said = await patched(hello, OURS, executor="other", memory_limit=1000)
    assert (200, 1000) == (status, said["settings"]["memory_limit"]["own"])
    assert 1 == hello.service.calls.count(("assign", view.content.guid))


async def test_scaling_is_set_and_given_back(hello: Served) -> None:
    status, item = await patched(
        hello, "/v1/content/hello", max_processes=5, load_factor=1, idle_timeout=600
    )
    assert (200, 5, 1.0, 600) == (
        status,
        item["max_processes"],
        item["load_factor"],
        item["idle_timeout"],
    )
    _, item = await patched(hello, "/v1/content/hello", max_processes=None, title="Servus")
    assert (None, 600, "Servus") == (item["max_processes"], item["idle_timeout"], item["title"])
    view = await hello.service.content("hello")
    assert Overrides(load_factor=1.0, idle=600.0) == view.content.scaling
    assert 2 == hello.service.calls.count(("scale", item["guid"]))


async def test_a_part_of_a_second_is_not_never(hello: Served) -> None:
    await patched(hello, OURS, idle_timeout=0.5)
    async with hello.client() as client:
        assert 1 == (await client.get("/v1/content/hello")).json()["idle_timeout"]


@pytest.mark.parametrize(
    ("fields", "number", "name"),
    [
        ({"min_processes": -1}, 191, "min-processes-negative"),
        ({"min_processes": 11, "max_processes": 20}, 45, "min-processes-over-limit"),
        ({"min_processes": 4}, 114, "min-processes-over-max"),
        ({"max_processes": 0}, 192, "max-processes-not-positive"),
        ({"max_processes": 21}, 113, "max-processes-over-limit"),
        ({"load_factor": 1.1}, 150, "load-factor-out-of-range"),
        ({"read_timeout": 2_592_001}, 151, "timeout-out-of-range"),
        ({"max_conns_per_process": 0}, "max-conns-not-positive", "max-conns-not-positive"),
    ],
)
async def test_a_bound_answers_clients_with_its_number_and_ours_with_its_name(
    hello: Served, fields: dict[str, Any], number: object, name: str
) -> None:
    status, body = await patched(hello, "/v1/content/hello", title="No", **fields)
    assert (400, number, name, None) == (status, body["code"], body["name"], body["payload"])
    status, body = await patched(hello, OURS, title="No", **fields)
    assert (400, name) == (status, body["code"])
    view = await hello.service.content("hello")
    assert ("Hello", Overrides()) == (view.content.title, view.content.scaling)


async def test_bounds_are_those_of_the_settings(start: Start) -> None:
    served = await start(scheduler=Scheduler(most=6, most_limit=6, least_limit=0))
    await served.service.create_content("hello")
    assert 113 == (await patched(served, "/v1/content/hello", max_processes=7))[1]["code"]
    assert 45 == (await patched(served, "/v1/content/hello", min_processes=1))[1]["code"]


@pytest.mark.parametrize("path", ["/v1/content/hello", OURS])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_processes", "5"),
        ("max_processes", 5.0),
        ("max_processes", True),
        ("max_processes", 2**31),
        ("max_conns_per_process", [1]),
        ("load_factor", "0.5"),
        ("load_factor", 10**400),
        ("idle_timeout", -(10**300)),
        ("idle_timeout", "10m"),
        ("idle_timeout", False),
        ("title", None),
        ("title", "x" * 1025),
        ("max_procesess", 5),
        ("executor", 7),
        ("drain_notice", "yes"),
    ],
)
async def test_an_unknown_or_wrong_field_is_named(
    hello: Served, path: str, name: str, value: object
) -> None:
    status, body = await patched(hello, path, **{name: value})
    assert (400, "bad-request") == (status, body["code"])
    assert f"'{name}'" in body["error"]


async def test_ours_tells_each_value_and_where_it_comes_from(hello: Served) -> None:
    status, body = await patched(hello, OURS, max_processes=5, drain_notice=False, executor="other")
    assert 200 == status
    settings = body["settings"]
    assert {"value": 5, "own": 5, "server": 3} == settings["max_processes"]
    assert {"value": False, "own": False, "server": True} == settings["drain_notice"]
    assert {"value": 120.0, "own": None, "server": 120.0} == settings["idle_timeout"]
    assert {"value": "other", "own": "other", "server": None} == settings["executor"]
    assert "Hello" == settings["title"]["value"]
    async with hello.client() as client:
        assert body == (await client.get(OURS)).json()


async def test_an_executor_that_is_not_there_changes_nothing(hello: Served) -> None:
    status, body = await patched(hello, OURS, executor="nope", max_processes=5)
    assert (400, "bad-request") == (status, body["code"])
    assert "executor: There is no executor 'nope'" in body["error"]
    assert Overrides() == (await hello.service.content("hello")).content.scaling


async def test_changes_at_the_same_time_all_count(hello: Served) -> None:
    async def change(name: str) -> None:
        assert 200 == (await patched(hello, OURS, **{name: 7}))[0]

    names = "max_processes max_conns_per_process idle_timeout reconnect_timeout".split()
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(change, name)
    own = (await hello.service.content("hello")).content.scaling
    assert Overrides(most=7, sessions_each=7, idle=7.0, reconnect=7.0) == own


@pytest.mark.parametrize("mode", ["", "/python-shiny", "/shiny"])
async def test_the_scheduler_settings_are_told(start: Start, mode: str) -> None:
    served = await start(scheduler=Scheduler(most=4, idle=0.2, least_limit=2))
    async with served.client() as client:
        found = (await client.get(f"/server_settings/scheduler{mode}")).json()
    assert (4, 1, 2, 20, 0) == (
        found["max_processes"],
        found["idle_timeout"],
        found["min_processes_limit"],
        found["max_processes_limit"],
        found["max_memory_limit"],
    )
    assert set(UNSET) < set(found)


async def test_sessions_are_listed_of_all_or_of_one(hello: Served) -> None:
    guid = (await hello.service.content("hello")).content.guid
    seat = SessionView(
        content_name="hello", content_guid=guid, state="waiting", visitor="ab", position=2
    )
    other = SessionView(content_name="x", content_guid="y", state="open", visitor="cd", run="r")
    hello.service.session_views = [seat, other]
    async with hello.client() as client:
        assert 2 == len((await client.get("/v1/supervisor/sessions")).json())
        (found,) = (await client.get("/v1/supervisor/sessions?content=hello")).json()
        unknown = await client.get("/v1/supervisor/sessions?content=nope")
    assert ({"guid": guid, "name": "hello"}, 2, "waiting") == (
        found["content"],
        found["position"],
        found["state"],
    )
    assert 404 == unknown.status_code


async def test_the_overview_leaves_sleeping_contents_out_and_its_clock_goes_on(
    hello: Served,
) -> None:
    content = await hello.service.create_content("busy")
    await hello.service.receive_bundle("busy", _nothing())
    await hello.service.deploy("busy")
    async with hello.client() as client:
        first = (await client.get("/v1/supervisor/overview")).json()
        second = (await client.get("/v1/supervisor/overview")).json()
    assert first["clock"] < second["clock"]
    assert (2, ["busy"]) == (first["published"], [item["name"] for item in first["contents"]])
    assert [content.guid] == [run["content"]["guid"] for run in first["runs"]]
    assert 20 == first["contents"][0]["max_conns_per_process"]


async def _nothing() -> Any:
    yield b""


async def test_restart_can_roll_and_reload_reaches_the_core(hello: Served) -> None:
    async with hello.client() as client:
        for body in ({"rolling": True}, {"rolling": False}, {}):
            path = "/v1/supervisor/content/hello/restart"
            assert 200 == (await client.post(path, json=body)).status_code
        wrong = await client.post("/v1/supervisor/content/hello/restart", json={"rolling": 1})
        assert 200 == (await client.post("/v1/supervisor/reload")).status_code
    assert (400, "bad-request") == (wrong.status_code, wrong.json()["code"])
    assert ["restart-rolling", "restart", "restart", "reload"] == [
        call for call, _ in hello.service.calls[-4:]
    ]
