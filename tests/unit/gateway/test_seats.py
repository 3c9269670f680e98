"""Who asks the core, with which seat, and when a seat that was never used is given back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.gateway import activity
from supervisor.gateway.link import Link
from supervisor.gateway.loop import NEVER
from supervisor.gateway.seats import Seat, Seats
from supervisor.gateway.sessions import PIN_SECONDS, WAITING, Pins, Sessions, Worker
from tests.support.exchange import GUID, OK, Scene

UPGRADE = (b"Upgrade: websocket", b"Connection: upgrade")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
PAGE = b"Accept: text/html"
GRANTED = {"as": "worker", "run": "01run"}


@pytest.fixture
def scene() -> Scene:
    return Scene()


def pinned(scene: Scene, run: str, path: bytes, *lines: bytes, expires: int = 1000) -> bytes:
    """Write a GET with a pin of this run."""
    pin = scene.gateway.pins.sign(GUID, run, "v", expires)
    first = b"GET /content/%b/%b HTTP/1.1" % (GUID, path)
    return b"\r\n".join((first, b"Host: h", b"Cookie: supervisor-pin=" + pin, *lines, b"", b""))


def cookie(sent: bytes) -> bytes:
    """Give the pin that an answer sets, or nothing."""
    return sent.partition(b"Set-Cookie: supervisor-pin=")[2].partition(b"\r\n")[0]


# Who asks


@pytest.mark.parametrize(
    ("path", "lines", "asked"),
    [
        (b"", UPGRADE, ["socket"]),
        (b"websocket/", UPGRADE, ["socket"]),
        (b"", (PAGE,), ["page"]),
        (b"?x=1", (PAGE,), ["page"]),
        (b"session/1/download", (PAGE,), []),
        (b"page?x=/", (PAGE,), []),
        (b"", (), []),
    ],
)
def test_sessions_and_new_pages_ask_also_with_a_pin(
    scene: Scene, path: bytes, lines: tuple[bytes, ...], asked: list[str]
) -> None:
    scene.says(scene.get(*lines, path=path))
    assert asked == [want for want, _, _ in scene.gateway.asked]
    assert all(("v", "01run") == (visitor, run) for _, visitor, run in scene.gateway.asked)


@pytest.mark.parametrize(("path", "lines"), [(b"", UPGRADE), (b"", (PAGE,)), (b"page", ())])
def test_without_a_core_the_pin_decides(
    scene: Scene, path: bytes, lines: tuple[bytes, ...]
) -> None:
    scene.gateway.core_is_near = False
    scene.says(scene.get(*lines, path=path))
    assert ([], [scene.gateway.worker]) == (scene.gateway.asked, scene.gateway.opened)
    assert (len(lines) == 2) == bool(scene.gateway.seats.open)


def test_a_download_of_an_old_page_reaches_its_draining_worker(scene: Scene) -> None:
    scene.gateway.worker.draining = True
    scene.says(scene.get(PAGE, path=b"session/1/download"))
    assert [scene.gateway.worker] == scene.gateway.opened


# Grants and ends of seats


def test_a_granted_seat_goes_with_the_tunnel(scene: Scene) -> None:
    scene.says(scene.get(*UPGRADE))
    (name,) = scene.gateway.seats_asked
    assert f"{scene.gateway.seats.gateway}-1" == name
    assert {} == scene.gateway.seats.open
    scene.exchange.answered(GRANTED)
    seat = scene.gateway.seats.open[name]
    assert ("01run", "v") == (seat.worker.run, seat.visitor)
    scene.answers(SWITCH)
    assert [seat] == [seat for *_, seat in scene.gateway.tunnels]
    assert [] == scene.gateway.left_seats


def test_a_worker_that_does_not_switch_gives_the_seat_back(scene: Scene) -> None:
    scene.says(scene.get(*UPGRADE))
    scene.exchange.answered(GRANTED)
    scene.answers(b"HTTP/1.1 200 OK\r\n\r\nan answer without end")
    assert [(scene.gateway.seats_asked[0], True)] == scene.gateway.left_seats


def test_a_client_that_goes_before_the_switch_gives_the_seat_back(scene: Scene) -> None:
    scene.says(scene.get(*UPGRADE))
    scene.exchange.answered(GRANTED)
    scene.exchange.vanished(scene.client)  # type: ignore[arg-type]
    assert [(scene.gateway.seats_asked[0], True)] == scene.gateway.left_seats


def test_a_failed_connect_gives_the_seat_back_and_asks_for_another(scene: Scene) -> None:
    scene.gateway.refuses = "unavailable"
    scene.says(scene.get(*UPGRADE))
    scene.exchange.answered(GRANTED)
    first, second = scene.gateway.seats_asked
    assert first != second
    assert [(first, True)] == scene.gateway.left_seats
    scene.exchange.answered(GRANTED)
    assert [(first, True), (second, True)] == scene.gateway.left_seats
    assert b"HTTP/1.1 502 " in scene.client.sent


def test_a_worker_that_dies_under_a_websockets_request_is_asked_for_another_once(
    scene: Scene,
) -> None:
    scene.says(scene.get(*UPGRADE))
    scene.exchange.answered(GRANTED)
    scene.exchange.ended(scene.gateway.upstream)  # type: ignore[arg-type]
    first, second = scene.gateway.seats_asked
    assert [(first, True)] == scene.gateway.left_seats
    assert b"" == scene.client.sent
    scene.exchange.answered(GRANTED)
    scene.exchange.ended(scene.gateway.upstream)  # type: ignore[arg-type]
    assert [(first, True), (second, True)] == scene.gateway.left_seats
    assert b"HTTP/1.1 502 " in scene.client.sent


def test_a_grant_in_a_run_that_is_gone_gives_the_seat_back(scene: Scene) -> None:
    scene.says(scene.get(*UPGRADE))
    scene.exchange.answered({"as": "worker", "run": "02unknown"})
    assert [(scene.gateway.seats_asked[0], True)] == scene.gateway.left_seats


def test_a_refused_seat_is_not_given_back(scene: Scene) -> None:
    scene.says(scene.get(*UPGRADE))
    scene.exchange.answered({"as": "full", "title": "Plot"})
    assert [] == scene.gateway.left_seats


def test_no_name_is_used_for_two_seats(scene: Scene) -> None:
    scene.says(scene.get(*UPGRADE))
    scene.exchange.answered({"as": "full", "title": "Plot"})
    scene.gateway.core_is_near = False
    scene.says(scene.get(*UPGRADE))
    assert not scene.gateway.seats.open.keys() & set(scene.gateway.seats_asked)
    assert 1 == len(scene.gateway.seats.open)


def test_a_seat_that_is_taken_back_before_the_switch_refuses_the_socket(scene: Scene) -> None:
    scene.says(scene.get(*UPGRADE))
    scene.exchange.answered(GRANTED)
    scene.exchange.end(1001, "the content is stopped")
    assert b"HTTP/1.1 503 " in scene.client.sent
    assert b"the content is stopped" in scene.client.sent
    assert scene.gateway.upstream.closed
    assert [(scene.gateway.seats_asked[0], True)] == scene.gateway.left_seats


def test_no_other_request_has_a_seat(scene: Scene) -> None:
    scene.says(pinned(scene, "02gone", b"page"))
    assert [None] == scene.gateway.seats_asked
    scene.exchange.answered(GRANTED)
    scene.answers(OK)
    assert ({}, []) == (scene.gateway.seats.open, scene.gateway.left_seats)


# Pins


@pytest.mark.parametrize(
    ("run", "expires", "expected"),
    [("01run", 1000 + PIN_SECONDS, b""), ("01run", 1000, b"01run.v"), ("02old", 99999, b"01run.v")],
)
def test_the_101_renews_a_pin_of_another_run_or_an_old_one(
    scene: Scene, run: str, expires: int, expected: bytes
) -> None:
    scene.says(pinned(scene, run, b"", *UPGRADE, expires=expires))
    scene.exchange.answered(GRANTED)
    scene.answers(SWITCH)
    assert expected == cookie(scene.client.sent)


@pytest.mark.parametrize("kind", ["starting", "queued"])
def test_whoever_waits_keeps_a_name_in_cookie_and_page(scene: Scene, kind: str) -> None:
    scene.says(pinned(scene, "02gone", b"", PAGE))
    scene.exchange.answered({"as": kind, "title": "Plot", "position": 2})
    assert b"waiting.v" == cookie(scene.client.sent)
    assert b"?pin=waiting.v" in scene.client.sent


def test_a_reload_of_a_waiting_page_is_the_same_visitor(scene: Scene) -> None:
    scene.says(pinned(scene, WAITING, b"", PAGE))
    assert [("page", "v", None)] == scene.gateway.asked


def test_a_waiting_page_asks_with_its_visitor(scene: Scene) -> None:
    pin = scene.gateway.pins.sign(GUID, WAITING, "v", 1000)
    scene.says(b"GET /__supervisor__/wait/%b?pin=%b HTTP/1.1\r\nHost: h\r\n\r\n" % (GUID, pin))
    assert [("wait", "v", None)] == scene.gateway.asked
    scene.exchange.answered(GRANTED)
    assert b"HTTP/1.1 204 " in scene.client.sent


@pytest.mark.parametrize("query", [b"", b"?pin=", b"?pin=waiting.v.1000." + b"A" * 43])
def test_who_was_never_shown_the_page_that_waits_gets_no_place(scene: Scene, query: bytes) -> None:
    scene.says(b"GET /__supervisor__/wait/%b%b HTTP/1.1\r\nHost: h\r\n\r\n" % (GUID, query))
    assert [] == scene.gateway.asked
    assert b"HTTP/1.1 409 " in scene.client.sent  # upon which a page loads itself again


# The core comes and goes


def test_a_pin_waits_for_the_first_core_that_can_judge_it(scene: Scene) -> None:
    request = scene.get(path=b"page")
    key, scene.gateway.pins._key = scene.gateway.pins._key, b""
    scene.says(request)
    assert ([], [scene.exchange]) == (scene.gateway.asked, scene.gateway.early)
    scene.gateway.pins.rekey(key)
    scene.exchange.core_came()
    assert [scene.gateway.worker] == scene.gateway.opened
    assert NEVER == scene.exchange.deadline
    scene.answers(OK)
    assert OK == scene.client.sent


def test_a_core_that_leaves_without_an_answer_leaves_it_to_the_pin(scene: Scene) -> None:
    scene.says(scene.get(*UPGRADE))
    scene.gateway.core_is_near = False
    scene.exchange.core_left()
    assert [scene.gateway.worker] == scene.gateway.opened
    assert scene.gateway.seats_asked == list(scene.gateway.seats.open)
    assert 1 == scene.gateway.forgotten


@pytest.mark.parametrize("run", ["02gone", WAITING])
def test_without_a_good_pin_the_question_stays(scene: Scene, run: str) -> None:
    scene.says(pinned(scene, run, b"", *UPGRADE))
    scene.exchange.core_left()
    assert ([], 0) == (scene.gateway.opened, scene.gateway.forgotten)


# The table and its messages


def test_a_seat_is_in_the_picture_until_it_is_left() -> None:
    seats = Seats()
    worker = Worker("01run", GUID, "app.sock", 1, -1)
    holder: Any = None
    names = [seats.name(), seats.name()]
    for name in names:
        seats.take(Seat(name, worker, "v", 10.0, holder))
    seats.leave(names[0], True)
    assert [[names[1], "01run", "v", 2.5]] == seats.picture(12.5)
    assert [(names[0], True)] == seats.take_left()
    assert [] == seats.take_left()


def test_a_large_picture_comes_in_parts_and_all_but_the_last_say_more() -> None:
    runs = {f"{number:03}": {"sockets": 1} for number in range(401)}
    seats = [[f"g-{number}", "001", "v", 0.0] for number in range(801)]
    messages = list(activity.picture(runs, seats))
    assert [True, None, None, None] == [message.get("all") for message in messages]
    assert [True, True, True, None] == [message.get("more") for message in messages]
    assert runs == {run: count for message in messages for run, count in message["runs"].items()}
    assert seats == [seat for message in messages for seat in message.get("seats", [])]
    assert all(len(m["runs"]) + len(m.get("seats", [])) <= 400 for m in messages)
    assert [{"type": "activity", "all": True, "runs": {}}] == list(activity.picture({}, []))


def test_changes_are_told_in_parts_and_nothing_is_told_of_nothing() -> None:
    left = [(f"g-{number}", True) for number in range(401)]
    messages = list(activity.changes({"01run": {"sockets": 1}}, left))
    assert [(1, 399), (0, 2)] == [
        (len(message["runs"]), len(message["left"])) for message in messages
    ]
    assert [] == list(activity.changes({}, []))


def test_usage_is_told_in_parts() -> None:
    messages = list(activity.usage(7, [["g-1", 0.0, 0.0, 1, 2]] * 401))
    assert [(7, 400, True), (7, 1, None)] == [
        (message["id"], len(message["seats"]), message.get("more")) for message in messages
    ]
    assert [{"type": "told", "id": 7, "seats": []}] == list(activity.usage(7, []))


def test_what_is_given_up_while_no_core_lives_is_not_remembered() -> None:
    seats = Seats()
    loop: Any = SimpleNamespace(later=lambda seconds, call: call())
    link = Link(loop, "/nonexistent", Sessions(), Pins(), seats)
    askers: list[Any] = [object() for _ in range(3)]
    for asker in askers:
        link.ask(asker, GUID, "socket", "v", None, seats.name())
        link.vacate(seats.name(), True)
        link.forget(asker)
        link.forget(asker)
    assert ({}, {}, {}) == (link._asked, link._abandoned, link._numbers)
    assert [] == seats.take_left()
