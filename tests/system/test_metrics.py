"""Metrics of a real server: asked on their own listener, and nowhere else."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from supervisor.core.figures import Figures
from tests.support.server import LiveServer, free_port, server_directory

pytestmark = pytest.mark.system

APP = Path(__file__).parents[1] / "content" / "python-tells-what-it-saw"


class Measured(LiveServer):
    """A server whose metrics are asked at a port of their own."""

    metrics_port = 0

    def ask(self, path: str = "/metrics", method: str = "GET", port: int = 0) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.metrics_port, timeout=20)
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def figure(self, figure: str, /, **labels: str) -> float:
        status, text = self.ask()
        assert 200 == status, text
        found = [
            sample.value
            for family in parse(text)
            for sample in family.samples
            if sample.name == figure and labels.items() <= sample.labels.items()
        ]
        return sum(found)


@pytest.fixture(scope="module")
def server(needs: Any) -> Iterator[Measured]:
    needs.root()
    with server_directory() as base:
        port = free_port(above=free_port())
        server = Measured(base, extra=f"[Metrics]\nListen = 127.0.0.1:{port}\n")
        server.metrics_port = port
        try:
            server.start()
            server.supervisor("deploy", str(APP), "--name", "told")
            yield server
        finally:
            server.end()


def test_a_parser_of_prometheus_reads_every_family(server: Measured) -> None:
    told = {family.name for family in parse(server.ask()[1])}
    ours = {family.name.removesuffix("_total") for family in Figures().families}
    assert set() == told - ours
    assert {"supervisor_content_cpu_seconds", "supervisor_cold_start_seconds"} <= told


def test_what_happens_is_counted(server: Measured) -> None:
    assert 1 == server.figure("supervisor_cold_start_seconds_count")
    assert 1 == server.figure("supervisor_runs_started_total", purpose="serve")
    assert 1 == server.figure("supervisor_runs_ended_total", purpose="unpack", cause="finished")
    assert 1 == server.figure("supervisor_contents", state="running")
    assert server.figure("supervisor_content_memory_bytes", name="told") > 5_000_000
    assert server.figure("supervisor_store_write_seconds_count") > 0
    for process in ("parent", "core", "gateway", "helper"):
        assert server.figure("supervisor_process_memory_bytes", process=process) > 1_000_000


def test_answers_of_visitors_are_counted_and_those_to_prometheus_are_not(server: Measured) -> None:
    time.sleep(0.3)
    before = server.figure("supervisor_http_answers_total", **{"class": "2xx"})
    for _ in range(5):
        assert 200 == server.ping()
    server.until(
        lambda: server.figure("supervisor_http_answers_total", **{"class": "2xx"}) == before + 5, 5
    )


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/metrics", 401),
        ("/__metrics__", 404),
        ("/__metrics__?x=1", 404),
        ("/%5f_metrics__", 401),
        ("//__metrics__", 401),
        ("/__metrics__/", 401),
        ("/__api__/v1/supervisor/metrics", 401),
    ],
)
def test_a_visitor_cannot_ask_for_them(server: Measured, path: str, status: int) -> None:
    found, text = server.ask(path, port=server.port)
    assert (status, False) == (found, "supervisor_build_info" in text)


def test_the_listener_of_metrics_leads_nowhere_else(server: Measured) -> None:
    for path in ("/", "/__api__/v1/content", server.path("told"), "/__ping__", "/__metrics__"):
        assert 404 == server.ask(path)[0]
    assert 405 == server.ask(method="POST")[0]


def test_a_part_that_was_started_again_is_counted(server: Measured) -> None:
    for part in ("gateway", "core"):
        before = server.figure("supervisor_process_starts_total", process=part)
        pid = server.child(f"supervisor.{part}")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        def more(part: str = part, before: float = before) -> bool:
            try:
                starts = server.figure("supervisor_process_starts_total", process=part)
            except (OSError, AssertionError, http.client.HTTPException):
                return False
            return starts == before + 1

        server.until(more, 20, f"{part} counted")


def test_ten_who_ask_at_once_all_get_an_answer(server: Measured) -> None:
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(server.ask()[0])) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [200] * 10 == answers


def test_the_listener_lives_through_a_reload(server: Measured) -> None:
    server.supervisor("reload")
    server.until(lambda: '"reloaded"' in server.log() or " reloaded " in server.log(), 40)
    server.until(lambda: server.ask()[0] == 200, 20)
