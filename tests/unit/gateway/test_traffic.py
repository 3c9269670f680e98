"""The gateway as a process: requests, answers, tunnels, and what goes wrong."""

from __future__ import annotations

from typing import Any

World = Any  # the fixture of conftest.py


def test_a_visitor_reaches_the_worker_and_is_pinned(world: World) -> None:
    world.worker()
    answer = world.gateway.get(world.root + "a?b=1")
    assert 200 == answer.status
    assert answer.body.startswith(b"GET /a?b=1 HTTP/1.1\r\nHost: h\r\n")
    assert answer.pin.startswith("supervisor-pin=01run.")
    asked = len(world.core.kinds("resolve"))
    again = world.gateway.get(world.root, f"Cookie: {answer.pin}")
    assert 200 == again.status
    assert [] == again.all("set-cookie")
    assert asked == len(world.core.kinds("resolve"))


def test_the_gateway_answers_a_ping(world: World) -> None:
    answer = world.gateway.get("/__ping__")
    assert (200, b"{}") == (answer.status, answer.body)
