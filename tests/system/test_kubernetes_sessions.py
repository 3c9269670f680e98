"""People use apps in Pods while the core dies, the API server is silent, the executor changes."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.browser import open_tab
from tests.support.guests import Guest, guests
from tests.support.pods import PodServer, pod_server
from tests.support.sessions import Open, open_sessions
from tests.system.conftest import BAD, EXAMPLES

if TYPE_CHECKING:
    from tests.kube.place import Place

pytestmark = pytest.mark.system

STARTS = 90.0  # seconds
COUNTS = BAD / "python-counts-its-visitors"


@pytest.fixture(scope="module")
def server(
    everything: None, kube_cluster: Place, kube_python_image: str, kube_r_image: str
) -> Iterator[PodServer]:
    """One server for these tests, with an app of either language."""
    with pod_server(kube_cluster, kube_python_image, kube_r_image) as running:
        running.deploy(EXAMPLES / "shiny-r-hello", "in-r")
        running.deploy(EXAMPLES / "shiny-python-core", "in-python")
        yield running


def both(server: PodServer) -> list[tuple[str, str]]:
    """The apps of both languages, and the output to look at."""
    r, python = (server.url + server.path(name) for name in ("in-r", "in-python"))
    return [(r, "double"), (python, "total")]


async def answers(sessions: list[Open], n: int, *, seconds: float = 10.0) -> None:
    """Let everybody move the slider."""
    async with trio.open_nursery() as nursery:
        for one in sessions:
            nursery.start_soon(partial(one.answers, n, seconds=seconds))


def test_with_the_rights_and_settings_of_the_how_to_doctor_finds_nothing(server: PodServer) -> None:
    found = json.loads(server.supervisor("doctor", "--json", check=False).stdout)
    said = {one["name"]: one for one in found if one["name"].startswith("kubernetes")}
    assert ["kubernetes", "kubernetes-claim", "kubernetes-rights"] == sorted(said)
    assert [] == [one["text"] for one in said.values() if not one["ok"]]
    assert "is bound" in said["kubernetes-claim"]["text"]


def test_a_browser_sees_what_apps_of_both_languages_compute_in_pods(
    server: PodServer, tmp_path: Path
) -> None:
    shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
    r, python = (url for url, _ in both(server))
    with open_tab() as tab:
        tab.page.goto(r)
        tab.page.locator("#double", has_text="40").wait_for(timeout=STARTS * 1000)
        tab.page.wait_for_selector("#plot img", timeout=30_000)
        tab.move_slider("n", 33)
        tab.wait_for_text("#double", "66")
        tab.screenshot(shots / "r-in-a-pod.png")
        tab.page.goto(python)
        tab.page.locator("#total", has_text="376").wait_for(timeout=STARTS * 1000)
        tab.screenshot(shots / "python-in-a-pod.png")
        assert [] == tab.errors
    assert {"kubernetes"} == {row["executor"] for row in server.json("ps")}
    assert {row["id"] for row in server.json("ps")} == set(server.pods())
    told: list[dict[str, Any]] = []  # by their Pods, where those answer in time

    def is_told() -> bool:
        told[:] = server.json("ps")
        return all(row["cpu"] and row["memory"] for row in told)

    server.until(is_told, 20, "what the Pods use")
    for row in told:
        assert 0.1 < row["cpu"] < 600
        assert 20 << 20 < row["memory"] < 2 << 30


async def test_no_session_closes_when_the_core_is_killed_and_the_pods_are_the_same(
    server: PodServer,
) -> None:
    async with open_sessions(both(server) * 3, seconds=STARTS) as sessions:
        before = server.pods()
        assert 2 == len(before)
        for round_ in range(3):
            killed = time.monotonic()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, server.kill_core)
                nursery.start_soon(answers, sessions, 20 + round_)
            await answers(sessions, 10 + round_)
            assert all(one.session.is_open for one in sessions)
            print(f"round {round_}: a new core after {time.monotonic() - killed:.1f} s")
        assert before == server.pods()
        assert set(before) == {row["id"] for row in server.json("ps")}


async def test_sessions_go_on_while_the_api_is_silent_and_nothing_is_started_twice(
    server: PodServer,
) -> None:
    server.deploy(COUNTS, "sleeping")
    (row,) = (row for row in server.json("ps") if row["content"]["name"] == "sleeping")
    server.supervisor("stop", row["id"])
    server.until(lambda: not server.rows("ps", id=row["id"]), 20, "it sleeps")
    async with open_sessions(both(server), seconds=STARTS) as sessions, guests() as party:
        before = server.pods()
        assert 2 == len(before)
        with server.silent_api():
            (newcomer,) = party.invite([server.url + server.path("sleeping")])
            await party.until(lambda: newcomer.places == ["starting"], 10, "it waits")
            for moment in range(5):
                await answers(sessions, 10 + moment)
                await trio.sleep(1)
            assert newcomer.session is None
        waited = await party.served(STARTS)
        print(f"the newcomer was served {waited:.1f} s after the API answered again")
        assert [] == newcomer.refusals
        await answers(sessions, 30)
        await trio.sleep(3)  # a second one would come by now
        assert {newcomer.run, *before} == set(server.pods()) == set(server.all_pods())
        assert 3 == len(server.jobs())
        assert before.items() <= server.pods().items()
    server.supervisor("remove", "sleeping", "--yes")


async def test_six_visitors_end_on_three_pods_and_the_seventh_is_queued(server: PodServer) -> None:
    url = server.url + server.deploy(COUNTS, "crowded")
    server.supervisor("set", "crowded", "max_processes=3", "max_conns_per_process=2")
    begun = time.monotonic()
    async with guests([url] * 6, seconds=STARTS) as party:
        print(f"six are served after {time.monotonic() - begun:.1f} s")
        seats = Counter(guest.run for guest in party)
        assert [2, 2, 2] == sorted(seats.values())
        assert set(seats) <= set(server.pods())
        assert 3 == len({_process(guest) for guest in party})
        (seventh,) = party.invite([url])
        await party.until(lambda: 1 in seventh.places, 10, "the seventh is next in line")
        leaver = next(iter(party))
        await party.leave([leaver])
        print(f"entered after {await party.served(10.0, [seventh]):.1f} s")
        assert leaver.run == seventh.run
    server.supervisor("remove", "crowded", "--yes")


def _process(guest: Guest) -> str:
    assert guest.seen is not None
    return guest.seen.process


async def test_another_executor_takes_over_by_itself_and_the_open_session_ends_in_its_time(
    server: PodServer,
) -> None:
    url = server.url + server.deploy(COUNTS, "moving")

    def runs() -> dict[str, Any]:
        rows = server.json("ps")
        return {row["executor"]: row for row in rows if row["content"]["name"] == "moving"}

    for old, new in (("kubernetes", "unshare"), ("unshare", "kubernetes")):
        async with guests([url], seconds=STARTS) as party:
            (first,) = party
            assert {old: first.run} == {name: row["id"] for name, row in runs().items()}
            server.supervisor("set", "moving", f"executor={new}")
            end = trio.current_time() + STARTS
            while new not in (now := runs()) or now[new]["state"] != "ready":
                assert trio.current_time() < end, now
                await trio.sleep(0.2)
            await first.move()
            assert "draining" == runs()[old]["state"]
            (second,) = party.invite([url])
            await party.served(10, [second])
            assert now[new]["id"] == second.run
            await first.move()
            assert [] == party.cuts()
            await party.leave([first])
            end = trio.current_time() + 20
            while old in runs():
                assert trio.current_time() < end, runs()
                await trio.sleep(0.2)
            await second.move()
    server.supervisor("remove", "moving", "--yes")
