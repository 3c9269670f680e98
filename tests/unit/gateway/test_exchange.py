"""One client connection driven with recorders: no socket, no loop, no clock."""

from __future__ import annotations

import pytest

from supervisor.gateway.loop import NEVER
from tests.support.exchange import GUID, OK, Scene


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_head_in_single_bytes_is_a_request(scene: Scene) -> None:
    for byte in scene.get():
        scene.says(bytes([byte]))
    assert scene.gateway.upstream.sent.startswith(b"GET / HTTP/1.1\r\n")
    for byte in OK:
        scene.answers(bytes([byte]))
    assert OK == scene.client.sent


def test_counts_follow_the_request(scene: Scene) -> None:
    worker = scene.gateway.worker
    scene.says(scene.get())
    assert (1, 1) == (worker.requests, worker.total)
    scene.answers(OK)
    scene.says(scene.get())
    scene.exchange.close()
    assert (0, 2) == (worker.requests, worker.total)


def test_a_head_gets_ten_seconds_once_it_has_begun(scene: Scene) -> None:
    scene.says(b"GET / HTTP/1.1\r\n")
    assert 10 == scene.exchange.deadline
    scene.gateway.loop.now = 5.0
    scene.says(b"Host: h\r\n")
    assert 10 == scene.exchange.deadline
    scene.exchange.overdue()
    assert b"HTTP/1.1 408 " in scene.client.sent
    assert scene.client.finished


def test_a_body_gets_a_minute_for_each_piece_while_the_worker_takes_them(scene: Scene) -> None:
    scene.says(scene.get(b"Content-Length: 6", method=b"POST") + b"ab")
    assert 60 == scene.exchange.deadline
    scene.gateway.loop.now = 50.0
    scene.says(b"c")
    assert 110 == scene.exchange.deadline
    scene.gateway.upstream.unsent = bytearray(b"x")
    scene.says(b"d")
    assert NEVER == scene.exchange.deadline
    scene.gateway.upstream.unsent = None
    scene.exchange.drained(scene.gateway.upstream)  # type: ignore[arg-type]
    assert 110 == scene.exchange.deadline
    scene.says(b"ef")
    assert NEVER == scene.exchange.deadline


@pytest.mark.parametrize(
    ("framing", "begin"),
    [(b"Content-Length: 6", b"ab"), (b"Transfer-Encoding: chunked", b"6\r\nab")],
)
def test_a_body_that_stops_lets_go_of_the_worker(
    scene: Scene, framing: bytes, begin: bytes
) -> None:
    scene.says(scene.get(framing, method=b"POST") + begin)
    scene.exchange.overdue()
    assert b"HTTP/1.1 408 " in scene.client.sent
    assert scene.client.finished
    assert scene.gateway.upstream.closed
    assert 0 == scene.gateway.worker.requests


def test_a_computing_worker_has_no_deadline(scene: Scene) -> None:
    scene.says(scene.get().replace(b"supervisor-pin", b"other"))
    assert 61 == scene.exchange.deadline
    scene.exchange.answered({"as": "worker", "run": "01run"})
    assert NEVER == scene.exchange.deadline
    scene.answers(OK)
    assert 75 == scene.exchange.deadline
    assert b"Set-Cookie: supervisor-pin=01run." in scene.client.sent


def test_interim_answers_wait_for_a_client_that_does_not_read(scene: Scene) -> None:
    scene.says(scene.get())
    scene.client.unsent = bytearray(b"x")
    scene.answers(b"HTTP/1.1 102 Processing\r\n\r\n")
    assert scene.gateway.upstream.paused
    scene.client.unsent = None
    scene.exchange.drained(scene.client)  # type: ignore[arg-type]
    assert not scene.gateway.upstream.paused
    scene.answers(OK)
    assert scene.client.sent.endswith(OK)


@pytest.mark.parametrize(
    "attack",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Content-Length: 0\r\nContent-Length: 40",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: chunked\nX: y",
        b"X: y\r\n Transfer-Encoding: chunked",
    ],
)
def test_a_smuggled_request_is_never_served(scene: Scene, attack: bytes) -> None:
    inner = scene.get(path=b"inner")
    scene.says(scene.get(attack, method=b"POST") + b"0\r\n\r\n" + inner)
    scene.says(inner)
    assert scene.client.sent.startswith(b"HTTP/1.1 400 ")
    assert 1 == scene.client.sent.count(b"HTTP/1.1 4")
    assert [] == scene.gateway.opened
    assert scene.client.finished


def test_bad_chunks_end_both_connections(scene: Scene) -> None:
    scene.says(scene.get(b"Transfer-Encoding: chunked", method=b"POST") + b"2\r\nabX\r\n")
    assert b"HTTP/1.1 400 " in scene.client.sent
    assert scene.gateway.upstream.closed
    assert b"X" not in scene.gateway.upstream.sent.partition(b"\r\n\r\n")[2]


def test_a_body_waits_for_the_decision_without_being_read_on(scene: Scene) -> None:
    head = scene.get(b"Content-Length: 6", method=b"POST").replace(b"supervisor-pin", b"other")
    scene.says(head + b"abc")
    assert scene.client.paused
    scene.exchange.answered({"as": "worker", "run": "01run"})
    assert not scene.client.paused
    scene.says(b"defGET")
    assert scene.gateway.upstream.sent.endswith(b"\r\n\r\nabcdef")
    assert scene.client.paused  # what came after the body is the next request's


def test_a_slow_worker_pauses_the_client(scene: Scene) -> None:
    scene.says(scene.get(b"Content-Length: 9", method=b"POST"))
    scene.gateway.upstream.unsent = bytearray(b"x")
    scene.says(b"abc")
    assert scene.client.paused
    scene.gateway.upstream.unsent = None
    scene.exchange.drained(scene.gateway.upstream)  # type: ignore[arg-type]
    assert not scene.client.paused


def test_a_slow_client_pauses_the_worker(scene: Scene) -> None:
    scene.says(scene.get())
    scene.client.unsent = bytearray(b"x")
    scene.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    assert scene.gateway.upstream.paused
    scene.client.unsent = None
    scene.exchange.drained(scene.client)  # type: ignore[arg-type]
    assert not scene.gateway.upstream.paused


def test_a_failed_connect_asks_once_more(scene: Scene) -> None:
    scene.gateway.refuses = "unavailable"
    scene.says(scene.get())
    assert (["01run"], [("request", "v", None)]) == (scene.gateway.failed, scene.gateway.asked)
    scene.exchange.answered({"as": "worker", "run": "01run"})
    assert b"HTTP/1.1 502 " in scene.client.sent
    assert 0 == scene.gateway.worker.requests


def test_bytes_from_an_idle_worker_end_its_connection(scene: Scene) -> None:
    scene.says(scene.get())
    scene.answers(OK)
    scene.answers(OK)
    assert OK == scene.client.take()
    assert scene.gateway.upstream.closed


def test_an_upgrade_hands_both_streams_to_a_tunnel(scene: Scene) -> None:
    scene.says(scene.get(b"Upgrade: websocket", b"Connection: upgrade") + b"early")
    scene.exchange.answered({"as": "worker", "run": "01run"})
    scene.answers(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi"
    )
    ((client, upstream, worker, _),) = scene.gateway.tunnels
    assert (scene.client, scene.gateway.upstream, scene.gateway.worker) == (
        client,
        upstream,
        worker,
    )
    assert scene.client.sent.endswith(b"\r\n\r\nhi")
    assert scene.gateway.upstream.sent.endswith(b"early")
    assert (False, True) == (scene.client.closed, scene.gateway.over)
    assert 0 == scene.gateway.worker.requests


@pytest.mark.parametrize("opened", [False, True], ids=["decided", "opened"])
def test_a_client_that_ends_before_its_socket_is_there_is_let_go(
    scene: Scene, opened: bool
) -> None:
    scene.says(scene.get(b"Upgrade: websocket", b"Connection: upgrade"))
    if opened:
        scene.exchange.answered({"as": "worker", "run": "01run"})
    scene.exchange.ended(scene.client)  # type: ignore[arg-type]
    assert (True, True) == (scene.client.closed, scene.gateway.over)
    assert 0 == scene.gateway.worker.requests


def test_a_waiting_page_that_is_closed_gives_up_its_question(scene: Scene) -> None:
    pin = scene.gateway.pins.sign(GUID, "waiting", "v", 1000)
    scene.says(ours(b"wait/" + GUID + b"?pin=" + pin))
    assert (1, 0) == (len(scene.gateway.asked), scene.gateway.forgotten)
    scene.exchange.ended(scene.client)  # type: ignore[arg-type]
    assert (True, True) == (scene.client.closed, scene.gateway.over)
    assert 1 == scene.gateway.forgotten


def test_a_plain_request_may_come_from_a_client_that_has_ended_its_side(scene: Scene) -> None:
    scene.says(scene.get())
    scene.exchange.ended(scene.client)  # type: ignore[arg-type]
    scene.answers(OK)
    assert scene.client.sent.startswith(b"HTTP/1.1 200 ")


def test_a_switch_that_nobody_asked_for_is_a_bad_gateway(scene: Scene) -> None:
    scene.says(scene.get())
    scene.answers(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    assert scene.client.sent.startswith(b"HTTP/1.1 502 ")


def test_the_core_is_given_up_only_while_it_is_away(scene: Scene) -> None:
    scene.says(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert [None] == scene.gateway.opened
    scene.exchange.overdue()
    assert b"" == scene.client.sent
    scene.gateway.core_is_near = False
    scene.exchange.overdue()
    assert b"HTTP/1.1 503 " in scene.client.sent


def test_an_idle_client_holds_no_connection_to_the_core(scene: Scene) -> None:
    scene.says(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    core = scene.gateway.upstream
    scene.answers(OK)
    assert core.closed
    assert not scene.client.finished
    scene.says(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    scene.answers(OK)
    assert OK + OK == scene.client.sent


def test_connect_and_trace_are_not_served(scene: Scene) -> None:
    scene.says(b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert scene.client.sent.startswith(b"HTTP/1.1 405 ")


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
TAIL = b'<script src="/__supervisor__/notice.js?run=01run" async></script>'


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_the_notice_stands_after_a_counted_page(scene: Scene, pieces: int) -> None:
    scene.gateway.worker.notice = True
    scene.says(scene.get(b"Accept: text/html", path=b"page"))
    answer = PAGE + b"Content-Length: 6\r\n\r\n<p>hi\n"
    size = -(-len(answer) // pieces)
    for start in range(0, len(answer), size):
        scene.answers(answer[start : start + size])
    whole = PAGE + b"Content-Length: %d\r\n\r\n<p>hi\n" % (6 + len(TAIL)) + TAIL
    assert whole == scene.client.take()
    scene.says(scene.get())  # the next answer of this connection is left alone
    scene.answers(OK)
    assert OK == scene.client.take()


@pytest.mark.parametrize(
    ("accept", "coding"), [(b"text/html", b"identity"), (b"text/css", b"gzip")]
)
def test_only_pages_are_asked_for_without_compression(
    scene: Scene, accept: bytes, coding: bytes
) -> None:
    scene.gateway.worker.notice = True
    scene.says(scene.get(b"Accept: " + accept, b"Accept-Encoding: gzip", path=b"page"))
    assert b"\r\nAccept-Encoding: %b\r\n" % coding in scene.gateway.upstream.sent


def test_the_notice_is_one_more_chunk(scene: Scene) -> None:
    scene.gateway.worker.notice = True
    scene.says(scene.get(b"Accept: text/html", path=b"page"))
    scene.answers(PAGE + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    chunks = b"2\r\nhi\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(TAIL), TAIL)
    assert scene.client.sent.endswith(b"\r\n\r\n" + chunks)


def test_the_notice_ends_a_page_that_ends_with_its_connection(scene: Scene) -> None:
    scene.gateway.worker.notice = True
    scene.says(scene.get(b"Accept: text/html", path=b"page").replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    scene.answers(PAGE + b"\r\nhi")
    scene.exchange.ended(scene.gateway.upstream)  # type: ignore[arg-type]
    assert scene.client.sent.endswith(b"\r\n\r\nhi" + TAIL)


@pytest.mark.parametrize("length", [b"Content-Length: 0", b"Content-Length: 6"])
def test_a_head_or_an_empty_page_is_as_the_content_says(scene: Scene, length: bytes) -> None:
    scene.gateway.worker.notice = True
    scene.says(
        scene.get(b"Accept: text/html", path=b"page", method=b"HEAD" if b"6" in length else b"GET")
    )
    scene.answers(PAGE + length + b"\r\n\r\n")
    assert PAGE + length + b"\r\n\r\n" == scene.client.sent


def ours(path: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    first = b"%b /__supervisor__/%b HTTP/1.1" % (method, path)
    return b"\r\n".join([first, b"Host: h", *lines, b"", b""])


@pytest.mark.parametrize(
    "lines", [(), (b"Origin: http://h",), (b"Origin: http://proxy", b"Sec-Fetch-Site: same-origin")]
)
def test_a_person_asks_for_another_try(scene: Scene, lines: tuple[bytes, ...]) -> None:
    scene.says(ours(b"retry/" + GUID, *lines, method=b"POST"))
    assert [GUID] == scene.gateway.retried
    assert scene.client.sent.startswith(b"HTTP/1.1 303 ")
    assert b"\r\nLocation: /content/%b/\r\n" % GUID in scene.client.sent


@pytest.mark.parametrize(
    "line",
    [b"Origin: http://elsewhere", b"Origin: null", b"Sec-Fetch-Site: cross-site"],
)
def test_a_page_of_another_site_asks_in_vain(scene: Scene, line: bytes) -> None:
    scene.says(ours(b"retry/" + GUID, line, method=b"POST"))
    assert scene.client.sent.startswith(b"HTTP/1.1 403 ")
    assert [] == scene.gateway.retried


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        (b"retry/" + GUID, b"GET", b"POST"),
        (b"notice/01run", b"POST", b"GET, HEAD"),
        (b"notice.js", b"DELETE", b"GET, HEAD"),
    ],
)
def test_addresses_of_ours_take_their_methods_only(
    scene: Scene, path: bytes, method: bytes, allowed: bytes
) -> None:
    scene.says(ours(path, method=method))
    assert scene.client.sent.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: %b\r\n" % allowed in scene.client.sent
    assert [] == scene.gateway.retried


def test_what_notices_ask_never_reaches_content(scene: Scene) -> None:
    worker = scene.gateway.worker
    worker.draining, worker.ends = True, 60.0
    scene.says(ours(b"notice/01run"))
    assert scene.client.take().endswith(b'{"draining": true, "ends": 60}')
    scene.says(ours(b"notice.js?run=01run"))
    assert b"\r\nCache-Control: max-age=" in scene.client.take()
    scene.says(ours(b"notice/02gone"))
    assert scene.client.take().endswith(b'{"gone": true}')
    assert ([], 0) == (scene.gateway.opened, worker.total)


def test_a_connection_is_not_idle_while_a_request_waits_to_be_read(scene: Scene) -> None:
    assert scene.exchange.idle
    scene.client.unread = True
    assert not scene.exchange.idle
