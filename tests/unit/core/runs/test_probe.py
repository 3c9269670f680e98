"""Asking a starting process whether it answers, over real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from supervisor.core.runs.probe import BETWEEN, LOOKS, answers, gone_deaf, listens, until_ready
from supervisor.model import Ready, TcpEndpoint, UnixEndpoint

Answer = Callable[[trio.SocketStream], Awaitable[None]]
HTTP = Ready()


def endpoint(directory: Path) -> UnixEndpoint:
    return UnixEndpoint(directory=str(directory), name="app.sock", uid=os.geteuid())


def says(*answers: bytes) -> Answer:
    """Answer one connection after the other; the last answer again and again."""
    left = list(answers)

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(4096)
            await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    return answer


@asynccontextmanager
async def app(directory: Path, answer: Answer) -> AsyncIterator[list[str]]:
    """Serve app.sock; gives a list that the reasons to wait go to."""
    with trio.socket.socket(socket.AF_UNIX) as sock:
        await sock.bind(str(directory / "app.sock"))
        sock.listen(10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(sock)])
            yield []
            nursery.cancel_scope.cancel()


async def ready(where: Path, rule: Ready, reasons: list[str], seconds: float = 5.0) -> bool:
    with trio.move_on_after(seconds):
        await until_ready(endpoint(where), rule, reasons.append)
        return True
    return False


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"404 Not Found", b"499 x"])
async def test_any_answer_below_500_will_do(short: Path, status: bytes) -> None:
    async with app(short, says(b"HTTP/1.1 " + status + b"\r\n\r\n")) as reasons:
        assert await ready(short, HTTP, reasons)


async def test_it_waits_while_the_answer_is_an_error_and_says_so(short: Path) -> None:
    answers = (b"HTTP/1.1 503 Busy\r\n\r\n", b"HTTP/1.1 500 x\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n")
    async with app(short, says(*answers)) as reasons:
        assert await ready(short, Ready(path="/health"), reasons)
    assert "it answers GET /health with status 503" in reasons
    assert "it answers GET /health with status 500" in reasons


async def test_only_the_statuses_of_the_plan_count(short: Path) -> None:
    answers = (b"HTTP/1.1 404 x\r\n\r\n", b"HTTP/1.1 500 x\r\n\r\n")
    async with app(short, says(*answers)) as reasons:
        assert await ready(short, Ready(statuses=(500,)), reasons)
    assert "it answers GET / with status 404" in reasons


async def test_an_app_that_accepts_and_never_answers_is_told_apart(short: Path) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with app(short, silent) as reasons:
        assert not await ready(short, HTTP, reasons, 0.3)
    assert ["it has not answered GET / yet"] == reasons


async def test_connecting_is_enough_where_the_plan_says_so(short: Path) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with app(short, silent) as reasons:
        assert await ready(short, Ready(connect_only=True), reasons)


@pytest.mark.parametrize(("away", "deaf"), [(0.0, False), (0.9, False), (9.0, True)])
async def test_who_accepts_again_within_some_looks_is_not_deaf(
    short: Path, autojump_clock: trio.testing.MockClock, away: float, deaf: bool
) -> None:
    async def come_back(app: socket.socket) -> None:
        await trio.sleep(away)
        app.bind(str(short / "app.sock"))
        app.listen()

    with socket.socket(socket.AF_UNIX) as one:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_back, one)
            await trio.sleep(0.01)
            begun = trio.current_time()
            found = await gone_deaf(endpoint(short))
            took = trio.current_time() - begun
            nursery.cancel_scope.cancel()
    assert deaf is (found is not None)
    looks = LOOKS if away else 1
    assert (looks - 1) * BETWEEN == pytest.approx(took)


async def test_a_connection_is_no_pulse(short: Path) -> None:
    rest = trio.Event()

    async def compute(stream: trio.SocketStream) -> None:
        async with stream:
            await rest.wait()
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")

    async with app(short, compute):
        with trio.move_on_after(0.2) as patience:
            await answers(endpoint(short), Ready(connect_only=True, pulse="/"))
        assert patience.cancelled_caught
        rest.set()
        with trio.fail_after(5):
            await answers(endpoint(short), Ready(connect_only=True, pulse="/"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-x\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 abc\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 " + b"9" * 5000 + b"\r\n", "it does not speak HTTP"),
        (b"", "it closed the connection without an answer"),
        (b"x" * 10_000, "it does not speak HTTP"),
    ],
)
async def test_what_is_no_answer_is_told(short: Path, answer: bytes, reason: str) -> None:
    async with app(short, says(answer, b"HTTP/1.1 200 OK\r\n\r\n")) as reasons:
        assert await ready(short, HTTP, reasons)
    assert reason in reasons


async def test_it_waits_for_the_socket_to_appear(short: Path) -> None:
    reasons: list[str] = []
    assert not await ready(short, HTTP, reasons, 0.2)
    assert ["it does not listen yet"] == reasons


async def test_a_socket_that_was_swapped_is_told_and_not_used(short: Path) -> None:
    (short / "app.sock").symlink_to("/run/somebody-else.sock")
    reasons: list[str] = []
    assert not await ready(short, HTTP, reasons, 0.2)
    assert "is a link, not a socket of uid" in reasons[0]


async def test_nothing_stays_open_however_often_it_asks(short: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with app(short, says(b"HTTP/1.1 500 x\r\n\r\n")) as reasons:
        opened = len(os.listdir("/proc/self/fd"))
        assert not await ready(short, HTTP, reasons, 0.5)
        assert opened >= len(os.listdir("/proc/self/fd")) - 1
    assert before >= len(os.listdir("/proc/self/fd")) - 1


async def test_a_tcp_endpoint_is_asked_in_the_same_way() -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        answer = says(b"HTTP/1.1 200 OK\r\n\r\n")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        with trio.fail_after(5):
            await until_ready(TcpEndpoint(host="127.0.0.1", port=port), HTTP, lambda reason: None)
        nursery.cancel_scope.cancel()


SECRET = b"supervisor s3cret\n"


@asynccontextmanager
async def remote(answer: Answer, *, accepts: bool = True) -> AsyncIterator[TcpEndpoint]:
    """What stands before a process elsewhere: it hangs up on others, and where nobody accepts."""

    async def guard(stream: trio.SocketStream) -> None:
        async with stream:
            line = b""
            while not line.endswith(b"\n"):
                data = await stream.receive_some(1)
                if not data:
                    return
                line += data
            if line == SECRET and accepts:
                await answer(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, guard, [listener])
        yield TcpEndpoint(host="127.0.0.1", port=port, secret="s3cret")
        nursery.cancel_scope.cancel()


async def stay(stream: trio.SocketStream) -> None:
    await stream.receive_some(4096)


async def is_ready(there: TcpEndpoint, rule: Ready, reasons: list[str]) -> bool:
    with trio.move_on_after(1.0):
        await until_ready(there, rule, reasons.append)
        return True
    return False


@pytest.mark.parametrize("connect_only", [False, True])
async def test_the_secret_comes_before_the_question(connect_only: bool) -> None:
    answer = stay if connect_only else says(b"HTTP/1.1 200 OK\r\n\r\n")
    async with remote(answer) as there:
        assert await is_ready(there, Ready(connect_only=connect_only), [])
        assert await listens(there) is None


@pytest.mark.parametrize("connect_only", [False, True])
async def test_with_another_secret_it_is_not_ready(connect_only: bool) -> None:
    reasons: list[str] = []
    async with remote(stay) as there:
        other = attrs.evolve(there, secret="another")
        assert not await is_ready(other, Ready(connect_only=connect_only), reasons)
    assert reasons


async def test_a_connection_that_is_ended_at_once_leads_to_nobody_who_listens() -> None:
    reasons: list[str] = []
    async with remote(stay, accepts=False) as there:
        assert not await is_ready(there, Ready(connect_only=True), reasons)
        error = await listens(there)
    assert ["it does not listen yet"] == reasons
    assert error is not None
    assert "it does not accept connections any more" in error.message


async def test_an_address_where_nobody_answers_is_given_up(autojump_clock: object) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address, port = listener.getsockname()
        with socket.create_connection((address, port)):
            error = await listens(TcpEndpoint(host=address, port=port))
    assert error is not None
    assert "Connection timed out" in error.message
