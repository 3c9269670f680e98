"""Two servers on one database and one DataDir: each content on one of them, whatever happens."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import psutil
import pytest

from tests.support.postgres import new_postgres
from tests.support.server import LiveServer, gone, kill, live_server, server_directory
from tests.system.conftest import BAD

pytestmark = pytest.mark.system
APP = BAD / "python-accepts-anything"
TTL = 6.0  # LeaseTimeout: longer than the start of a core on a busy machine
SLACK = 4.0  # seconds for starting processes and for a busy machine


@attrs.define(eq=False)
class Pair:
    """Two nodes. What they need to start again stays the same."""

    one: LiveServer
    two: LiveServer

    def other(self, node: LiveServer) -> LiveServer:
        return self.two if node is self.one else self.one


@pytest.fixture(scope="module")
def pair(needs: Any) -> Iterator[Pair]:
    needs.root()
    needs.python("shiny")
    needs.postgres()
    with new_postgres() as postgres:
        url = postgres.new_database()
        with started(f'[Database]\nProvider = postgres\n[Postgres]\nURL = "{url}"\n') as both:
            yield both


@contextmanager
def started(database: str = "") -> Iterator[Pair]:
    shared = f"[Server]\nSeveralNodes = yes\nSeats = 2\nLeaseTimeout = {TTL:.0f}s\n{database}"
    with server_directory() as base, live_server(extra=shared) as one:
        two = LiveServer(base, extra=f"{shared}[Server]\nDataDir = {one.data_dir}\n")
        try:
            yield Pair(one, two.start())
        finally:
            two.end()


def node_of(server: LiveServer) -> str:
    return (server.run_dir / "core" / "node").read_text().strip()


def holder(asked: LiveServer, name: str) -> str:
    """Who holds a content, as `supervisor leases` of a node says it; "" for nobody."""
    wanted = [f"content/{row['id']}" for row in asked.rows("list", name=name)]
    for lease in asked.json("leases"):
        if lease["name"] in wanted and lease["left"] > 0:
            return str(lease["node"])
    return ""


def seated(asked: LiveServer) -> set[str]:
    """The nodes that have a seat; each has one."""
    leases = [lease for lease in asked.json("leases") if lease["name"].startswith("seat/server/")]
    nodes = [lease["node"] for lease in leases if lease["left"] > 0]
    assert len(nodes) == len(set(nodes))
    return set(nodes)


def runs(asked: LiveServer, name: str, *options: str) -> list[dict[str, Any]]:
    return [run for run in asked.json("ps", *options) if run["content"]["name"] == name]


def visit(server: LiveServer, name: str) -> tuple[int, str]:
    """Load a content's page, once it is not starting any more."""
    url = f"{server.url}{server.path(name)}"
    while True:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            if "is starting" not in text:
                return error.code, text
        time.sleep(0.1)


def tree(server: LiveServer) -> list[int]:
    """Every process of a node, the parent first."""
    parent = psutil.Process(server.parent)
    return [parent.pid, *(process.pid for process in parent.children(recursive=True))]


def kill_tree(server: LiveServer) -> None:
    for pid in tree(server):
        with suppress(ProcessLookupError):  # it ended with its parent
            kill(pid)
    assert server.process is not None
    server.process.wait(10)
    server.process = None


def serves(server: LiveServer, name: str) -> bool:
    return holder(server, name) == node_of(server) and visit(server, name)[0] == 200


def test_both_show_what_runs_where_and_only_the_holder_serves(pair: Pair) -> None:
    for server, name in ((pair.one, "first"), (pair.two, "second")):
        server.deploy(APP, name)
        assert 200 == visit(server, name)[0]
    for asked in (pair.one, pair.two):
        other = pair.other(asked)
        asked.until(lambda a=asked: len(a.json("list")) == 2, 5, "both contents are known")  # type: ignore[misc]
        shown = {run["content"]["name"]: (run["node"], run["here"]) for run in asked.json("ps")}
        theirs = "second" if asked is pair.one else "first"
        mine = "first" if asked is pair.one else "second"
        assert {mine: (node_of(asked), True), theirs: (node_of(other), False)} == shown
        assert {"elsewhere", "running"} == {
            row["supervisor"]["state"] for row in asked.json("list")
        }
        assert node_of(other)[:8] in asked.supervisor("ps").stdout
        status, page = visit(asked, theirs)
        assert (503, True) == (
            status,
            f"another node of this server ({node_of(other)[:8]})" in page,
        )
        refused = asked.supervisor("restart", theirs, "--json", check=False)
        assert "other-node" == json.loads(refused.stderr)["code"]
        assert asked.supervisor("logs", theirs).returncode == 0
        held = {lease["name"]: lease["node"] for lease in asked.json("leases")}
        assert held == {
            f"node/{node_of(asked)}": node_of(asked),
            f"node/{node_of(other)}": node_of(other),
            "content/1": node_of(pair.one),
            "content/2": node_of(pair.two),
            "seat/server/1": node_of(pair.one),
            "seat/server/2": node_of(pair.two),
        }


def test_what_one_changes_the_other_tells_at_once(pair: Pair) -> None:
    pair.one.supervisor("set", "first", "title=Told at once")
    begun = time.monotonic()
    pair.two.until(lambda: pair.two.row("list", name="first")["title"] == "Told at once", 5)
    assert time.monotonic() - begun < 3.0


def test_a_server_that_wants_to_be_alone_is_refused(pair: Pair) -> None:
    with server_directory() as base:
        alone = LiveServer(base, extra=f"[Server]\nDataDir = {pair.one.data_dir}\n")
        alone.start(wait=False)
        assert alone.process is not None
        assert 75 == alone.process.wait(20)
        assert "data-dir-held" in alone.log()
        assert "SeveralNodes = yes" in alone.log()


def test_a_killed_core_finds_its_contents_its_own(pair: Pair) -> None:
    before = [(run["id"], run["pid"]) for run in runs(pair.one, "first")]
    fence = [lease for lease in pair.one.json("leases") if lease["name"] == "content/1"]
    old = pair.one.core
    kill(old)
    pair.one.until(lambda: pair.one.core not in (None, old), 10)
    pair.one.until(lambda: pair.one.supervisor("ps", check=False).returncode == 0, 10)
    assert before == [(run["id"], run["pid"]) for run in runs(pair.one, "first")]
    now = [lease for lease in pair.one.json("leases") if lease["name"] == "content/1"]
    assert [(one["node"], one["fence"]) for one in fence] == [(o["node"], o["fence"]) for o in now]


def test_a_node_that_stood_still_too_long_stops_what_another_has_taken_over(pair: Pair) -> None:
    (run,) = runs(pair.one, "first")
    content = [process.pid for process in pair.one.strangers()]
    assert content
    stopped = tree(pair.one)
    for pid in stopped:
        kill(pid, signal.SIGSTOP)
    try:
        pair.two.until(lambda: serves(pair.two, "first"), TTL + SLACK, "the other takes over")
        ended = next(r for r in pair.two.json("ps", "--all") if r["id"] == run["id"])
        assert "lost" == ended["state"]
        assert f"its node {node_of(pair.one)[:8]} is gone" == ended["reason"]
    finally:
        for pid in reversed(stopped):
            kill(pid, signal.SIGCONT)
    assert gone(content, SLACK)
    pair.one.until(lambda: "content-lost" in pair.one.log(), 5)
    assert f"holder={node_of(pair.two)[:8]}" in pair.one.log()
    assert 503 == visit(pair.one, "first")[0]
    assert [False] == [run["here"] for run in runs(pair.one, "first")]
    after = next(r for r in pair.two.json("ps", "--all") if r["id"] == run["id"])
    assert ended == {**after, "age": ended["age"]}  # whatever the first wrote late was refused
    assert {node_of(pair.two)} == {holder(pair.one, "first"), holder(pair.one, "second")}


def test_what_a_killed_node_had_is_lost_and_another_goes_on(pair: Pair) -> None:
    had = {run["id"] for run in pair.one.json("ps")}
    assert len(had) == 2
    kill_tree(pair.two)
    killed = time.monotonic()
    free = ("first", "second")
    pair.one.until(lambda: all(holder(pair.one, n) == node_of(pair.one) for n in free), TTL + 2.0)
    print(f"taken after {time.monotonic() - killed:.1f} s of {TTL:.0f}")
    lost = {run["id"]: run["state"] for run in pair.one.json("ps", "--all") if run["id"] in had}
    assert dict.fromkeys(had, "lost") == lost
    assert [200, 200] == [visit(pair.one, name)[0] for name in free]


def test_a_node_that_is_stopped_gives_back_what_it_has_at_once(pair: Pair) -> None:
    pair.two.start()
    content = [process.pid for process in pair.one.strangers()]
    assert 0 == pair.one.stop()
    stopped = time.monotonic()
    assert gone(content, 0.5)
    names = {lease["name"] for lease in pair.two.json("leases") if lease["left"] > 0}
    assert f"node/{node_of(pair.one)}" not in names
    assert {node_of(pair.two)} == seated(pair.two)
    pair.two.until(lambda: holder(pair.two, "first") == node_of(pair.two), TTL - 0.5)
    pair.two.until(lambda: holder(pair.two, "second") == node_of(pair.two), 1.0)
    print(f"taken {time.monotonic() - stopped:.1f} s after the end")
    assert 200 == visit(pair.two, "first")[0]
    assert "lost" not in {run["state"] for run in pair.two.json("ps", "--all")[:2]}


def test_scratch_directories_of_the_other_node_are_left_alone(pair: Pair) -> None:
    """A helper that starts removes what an earlier one has left, not what another uses."""
    used = {run["id"] for run in pair.two.json("ps")}
    assert used
    pair.one.start()
    scratch = pair.one.data_dir / "tmp"
    assert used <= {path.name for path in scratch.iterdir()}


def test_one_file_serves_two_nodes_of_one_machine(needs: Any) -> None:
    needs.root()
    needs.python("shiny")
    with started() as pair:
        pair.one.deploy(APP, "first")
        pair.two.until(lambda: holder(pair.two, "first") == node_of(pair.one), 5)
        kill_tree(pair.one)
        pair.two.until(lambda: serves(pair.two, "first"), TTL + SLACK)
        assert ["lost"] == [run["state"] for run in runs(pair.two, "first", "--all")][1:2]
