"""The access log: one line for each answer, whatever clients put into their requests."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import packets
from supervisor.gateway.access import MOST_GATHERED, Access, RequestIds, Visit
from supervisor.gateway.head import parse_request
from supervisor.gateway.proxies import Proxies
from tests.support.gateway_world import World

AGENT = "User-Agent: Mozilla/5.0 (X11)"
REFERER = "Referer: http://h/page"


def opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def lines_of(path: Path, count: int) -> list[str]:
    """Wait for so many lines."""
    end = time.monotonic() + 10
    while len(found := path.read_text().splitlines()) < count and time.monotonic() < end:
        time.sleep(0.02)
    assert count == len(found), found
    return found


@pytest.fixture
def start(world: World, tmp_path: Path) -> Callable[..., Path]:
    """Start the gateway with an access log; gives the log's path."""

    def start(form: str, **settings: Any) -> Path:
        path = tmp_path / "access.log"
        fd = opened(path)
        world.start(access=fd, access_form=form, **settings)
        os.close(fd)
        return path

    return start


def test_common_is_the_form_that_every_tool_reads(world: World, start: Callable[..., Path]) -> None:
    path = start("COMMON")
    world.worker()
    answer = world.gateway.get(world.root + "page?a=1", world.pin(), AGENT)
    (line,) = lines_of(path, 1)
    pattern = (
        r"127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\]"
        r' "GET (\S+) HTTP/1\.1" 200 (\d+) [0-9a-f-]+'
    )
    found = re.fullmatch(pattern, line)
    assert found is not None, line
    assert (f"{world.root}page?a=1", str(len(answer.body))) == found.groups()


def test_combined_adds_referer_and_agent(world: World, start: Callable[..., Path]) -> None:
    path = start("COMBINED")
    world.worker()
    world.gateway.get(world.root, world.pin(), AGENT, REFERER)
    (line,) = lines_of(path, 1)
    assert re.search(r' 200 \d+ "http://h/page" "Mozilla/5\.0 \(X11\)" [0-9a-f-]+$', line)


def test_json_says_which_process_answered(world: World, start: Callable[..., Path]) -> None:
    path = start("JSON")
    world.worker()
    world.gateway.get(world.root, world.pin(), AGENT)
    world.gateway.get("/__ping__")
    first, second = map(json.loads, lines_of(path, 2))
    told = (first["run"], first["content"], first["status"], first["agent"], first["host"])
    assert ("01run", world.guid, 200, "Mozilla/5.0 (X11)", "h") == told
    assert ("/__ping__", 200, 2) == (second["target"], second["status"], second["bytes"])
    assert "run" not in second


def test_the_content_is_told_the_id_that_is_in_the_log(
    world: World, start: Callable[..., Path]
) -> None:
    path = start("JSON")
    world.worker()
    answer = world.gateway.get(world.root, world.pin(), "X-Request-ID: mine")
    (told,) = re.findall(rb"X-Request-ID: (\S+)", answer.body)
    (line,) = lines_of(path, 1)
    assert json.loads(line)["request"] == told.decode() != "mine"


def test_a_trusted_proxy_names_the_request_and_its_client(
    world: World, start: Callable[..., Path]
) -> None:
    path = start("JSON", trusted_proxies=["127.0.0.0/8"])
    world.worker()
    said = ("X-Request-ID: abc-1", "X-Forwarded-For: 9.9.9.9, 192.0.2.7, 127.0.0.2")
    answer = world.gateway.get(world.root, world.pin(), *said)
    assert b"X-Request-ID: abc-1\r\n" in answer.body
    assert b"X-Forwarded-For: 192.0.2.7\r\n" in answer.body
    record = json.loads(lines_of(path, 1)[0])
    assert ("abc-1", "192.0.2.7") == (record["request"], record["client"])


def test_the_core_is_told_the_id_of_the_request_that_asks(
    world: World, start: Callable[..., Path]
) -> None:
    path = start("JSON")
    world.core.decide = lambda message: {"as": "missing"}
    answer = world.gateway.get(world.root)
    (asked,) = world.core.kinds("resolve")
    assert asked["request"] == answer.get("x-request-id")
    assert asked["request"] == json.loads(lines_of(path, 1)[0])["request"]


def test_a_request_that_is_refused_is_a_line_too(world: World, start: Callable[..., Path]) -> None:
    path = start("COMMON")
    world.gateway.raw(b"\x16\x03\x01 this is TLS\r\n\r\n")
    assert ' "-" 400 ' in lines_of(path, 1)[0]


def test_a_client_that_leaves_before_the_answer_is_a_line_with_499(
    world: World, start: Callable[..., Path]
) -> None:
    path = start("COMMON")
    asked: list[Any] = []

    def decide(message: Any) -> None:
        asked.append(message)

    world.core.decide = decide
    with world.gateway.connect() as sock:
        upgrade = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        sock.sendall(f"GET {world.root}__x HTTP/1.1\r\n{upgrade}".encode())
        while not asked:
            time.sleep(0.01)
    assert '__x HTTP/1.1" 499 0 ' in lines_of(path, 1)[0]


def test_the_place_in_line_is_not_in_the_log(world: World, start: Callable[..., Path]) -> None:
    path = start("COMBINED")
    world.gateway.get(f"/__supervisor__/wait/{world.guid}?pin=waiting.secret.1.x")
    assert "secret" not in lines_of(path, 1)[0]


def test_reopened_files_get_what_comes_after(
    world: World, start: Callable[..., Path], tmp_path: Path
) -> None:
    path = start("COMMON")
    world.gateway.get("/__ping__")
    lines_of(path, 1)
    path.rename(tmp_path / "access.log.1")
    world.gateway.get("/before")
    fds = (opened(path), opened(tmp_path / "service.log"))
    message = {"type": "logs", "names": ["access", "service"]}
    packets.send(world.gateway.control, message, fds)
    for fd in fds:
        os.close(fd)
    end = time.monotonic() + 10
    while time.monotonic() < end and len(path.read_text().splitlines()) < 1:
        world.gateway.get("/after")
        time.sleep(0.3)
    assert '"GET /before' in (tmp_path / "access.log.1").read_text()
    assert "/before" not in path.read_text()


def test_a_pipe_that_nobody_reads_holds_no_request_up(
    world: World, start: Callable[..., Path]
) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    world.start(access=write, access_form="COMBINED")
    os.close(write)
    world.worker()
    with world.gateway.connect() as sock:
        head = f"GET /__ping__ HTTP/1.1\r\nHost: h\r\nUser-Agent: {'a' * 2000}\r\n\r\n".encode()
        for _ in range(40):  # two megabytes: a pipe takes 64 KiB, the gateway keeps one
            sock.sendall(head * 25)
            answered = b""
            while answered.count(b"HTTP/1.1 200") < 25:
                answered += sock.recv(65536)
    log = world.gateway.log
    assert "access-log-dropped" in log.read_text()
    os.close(read)


# Without sockets


class Clock:
    def __init__(self) -> None:
        self.now, self.wall = 0.0, 1e9
        self.timers: list[Any] = []
        self.log = SimpleNamespace(warning=lambda *a, **k: None)

    def later(self, seconds: float, call: Any) -> None:
        self.timers.append(call)


@given(
    target=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#")),
    agent=st.binary(max_size=60).map(lambda b: bytes(c for c in b if c == 9 or 32 <= c != 127)),
    form=st.sampled_from(["COMMON", "COMBINED", "JSON"]),
)
def test_nothing_in_a_request_forges_a_line_or_a_field(
    target: str, agent: bytes, form: str
) -> None:
    request = parse_request(
        b"GET /%b HTTP/1.1\r\nHost: h\r\nUser-Agent: %b" % (target.encode(), agent)
    )
    read, write = os.pipe()
    access: Any = Access(Clock(), write, form)  # type: ignore[arg-type]
    access.note(Visit(b"1.2.3.4", request, b"id", 0.0, b"", ""), 200, 5)
    access.close()
    line = os.read(read, 65536)
    os.close(read)
    os.close(write)
    assert 1 == line.count(b"\n")
    assert line.isascii()
    assert b"\x1b" not in line
    if form == "JSON":
        record = json.loads(line)
        assert f"/{target}" == record["target"]
        assert agent.strip(b" \t").decode("latin-1") == record["agent"]
    else:
        assert (2 if form == "COMMON" else 6) == line.count(b'"')


def test_lines_are_gathered(tmp_path: Path) -> None:
    clock = Clock()
    access: Any = Access(clock, opened(tmp_path / "log"), "COMMON")  # type: ignore[arg-type]
    visit = Visit(b"1.2.3.4", None, b"id", 0.0, b"", "")
    access.note(visit, 400, 0)
    assert ("", 1) == ((tmp_path / "log").read_text(), len(clock.timers))
    clock.timers.pop()()
    for _ in range(MOST_GATHERED):
        access.note(visit, 400, 0)
    assert 1 + MOST_GATHERED == len((tmp_path / "log").read_text().splitlines())


@pytest.mark.parametrize("name", [b"", b"a b", b'a"b', b"x" * 129, b"\xff"])
def test_a_name_that_is_none_is_replaced(name: bytes) -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\nX-Request-ID: " + name)
    assert name != RequestIds().of(request, True)


@pytest.mark.parametrize(
    ("said", "client"),
    [
        (b"192.0.2.1", b"192.0.2.1"),
        (b"9.9.9.9, 192.0.2.1", b"192.0.2.1"),
        (b"192.0.2.1, 10.0.0.3", b"192.0.2.1"),
        (b"2001:db8::1", b"2001:db8::1"),
        (b"unknown, 10.0.0.3", b"10.0.0.1"),
        (b'192.0.2.1", "x', b"10.0.0.1"),
        (b"", b"10.0.0.1"),
        (b"10.0.0.9", b"10.0.0.9"),
        (b'fe80::1%x" 200 "y', b"10.0.0.1"),
        (b"fe80::1%eth0, 10.0.0.3", b"10.0.0.1"),
        (b"::ffff:192.0.2.1", b"192.0.2.1"),
        (b"192.0.2.1, ::FFFF:10.0.0.3", b"192.0.2.1"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_is(said: bytes, client: bytes) -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: " + said)
    proxies = Proxies(["10.0.0.0/8"])
    assert proxies.trusts(b"10.0.0.1")
    assert not proxies.trusts(b"unknown")
    assert client == proxies.client(request, b"10.0.0.1")


def test_a_client_that_no_proxy_is_says_nothing_about_itself(
    world: World, start: Callable[..., Path]
) -> None:
    path = start("JSON", trusted_proxies=["10.0.0.0/8"])
    world.worker()
    answer = world.gateway.get(world.root, world.pin(), "X-Forwarded-For: 9.9.9.9")
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in answer.body
    assert "127.0.0.1" == json.loads(lines_of(path, 1)[0])["client"]


def test_a_session_is_a_line_when_it_ends(world: World, start: Callable[..., Path]) -> None:
    path = start("JSON")

    def switch(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\n\r\n12345"
        )
        sock.recv(100)
        sock.sendall(b"67890")

    world.worker(switch)
    with world.gateway.connect() as sock:
        head = [
            f"GET {world.root}websocket HTTP/1.1", "Host: h", "Upgrade: websocket",
            "Connection: Upgrade", world.pin(), "", "",
        ]  # fmt: skip
        sock.sendall("\r\n".join(head).encode())
        data = b""
        while b"12345" not in data:
            data += sock.recv(65536)
        sock.sendall(b"x")
        while b"67890" not in data:
            data += sock.recv(65536)
    record = json.loads(lines_of(path, 1)[0])
    assert (101, 5, "01run") == (record["status"], record["bytes"], record["run"])


def test_a_full_disk_stops_no_request(world: World) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    world.start(access=full, access_form="COMBINED")
    os.close(full)
    world.worker()
    for _ in range(100):
        assert 200 == world.gateway.get(world.root, world.pin(), AGENT).status
