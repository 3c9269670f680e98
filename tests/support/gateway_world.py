"""A real gateway on loopback between a fake core, fake workers and plain sockets."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from supervisor import packets
from supervisor.gateway.sessions import Pins

KEY = bytes(range(32))
GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER_GUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
Message = dict[str, Any]


def read_until(sock: socket.socket, mark: bytes, data: bytes = b"") -> bytes:
    """Read until `mark` has come; raises EOFError at an end before it."""
    while mark not in data:
        piece = sock.recv(65536)
        if not piece:
            raise EOFError(data)
        data += piece
    return data


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Read so many bytes; raises EOFError at an end before."""
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = sock.recv_into(view[:65536])
        if not got:
            raise EOFError
        view = view[got:]
    return bytes(data)


class Answer:
    """One response as a client sees it, read strictly by length or chunks."""

    def __init__(self, sock: socket.socket, method: str = "GET", data: bytes = b"") -> None:
        data = read_until(sock, b"\r\n\r\n", data)
        self.head, _, rest = data.partition(b"\r\n\r\n")
        lines = self.head.split(b"\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = [
            (name.decode().lower(), value.strip().decode("latin-1"))
            for name, _, value in (line.partition(b":") for line in lines[1:])
        ]
        self.body = b""
        length = self.get("content-length")
        if method == "HEAD" or self.status in (101, 204, 304) or self.status < 200:
            self.rest = rest
        elif self.get("transfer-encoding") == "chunked":
            while True:
                rest = read_until(sock, b"\r\n", rest)
                size, _, rest = rest.partition(b"\r\n")
                count = int(size, 16)
                while len(rest) < count + 2:
                    piece = sock.recv(65536)
                    if not piece:
                        raise EOFError(rest)
                    rest += piece
                self.body += rest[:count]
                assert rest[count : count + 2] == b"\r\n"
                rest = rest[count + 2 :]
                if not count:
                    break
            self.rest = rest
        elif length is not None:
            rest += read_exactly(sock, max(0, int(length) - len(rest)))
            self.body, self.rest = rest[: int(length)], rest[int(length) :]
        else:
            while piece := sock.recv(65536):
                rest += piece
            self.body, self.rest = rest, b""

    def get(self, name: str) -> str | None:
        """Give the first field of this name."""
        return next((value for found, value in self.fields if found == name), None)

    def all(self, name: str) -> list[str]:
        """Give all fields of this name."""
        return [value for found, value in self.fields if found == name]

    @property
    def pin(self) -> str:
        """The pair of the pin that the answer set."""
        (cookie,) = [c for c in self.all("set-cookie") if c.startswith("supervisor-pin=")]
        return cookie.partition(";")[0]


Serve = Callable[[socket.socket], None]


class Worker:
    """A Unix socket in a directory of its own; `serve` runs once per connection, in a thread."""

    def __init__(self, base: Path, run: str, serve: Serve) -> None:
        self.run = run
        self.directory = base / "w" / run
        self.directory.mkdir(parents=True)
        self.path = self.directory / "app.sock"
        self.connections = 0
        self._serve = serve
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(512)
        self._socks: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._socks.append(sock)
                threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), sock:
            self._serve(sock)

    def close(self) -> None:
        """Die: nothing listens any more and all connections are cut."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
                sock.close()


def requests(sock: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Yield head and body of each request that a worker is sent (bodies by length only)."""
    data = b""
    while True:
        try:
            data = read_until(sock, b"\r\n\r\n", data)
        except EOFError:
            return
        head, _, data = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(data) < length:
            data += sock.recv(65536)
        yield head, data[:length]
        data = data[length:]


def echo(sock: socket.socket) -> None:
    """Answer each request with its own head and body."""
    for head, body in requests(sock):
        text = head + b"\r\n\r\n" + body
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


class Core:
    """Speaks the core's side of the link; `decide` answers `resolve`."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.decide: Callable[[Message], Message | None] = lambda message: {"as": "missing"}
        self.seen: list[Message] = []
        self.wait = 5.0
        self.serve: Serve = echo
        self.workers: dict[str, tuple[str, Worker, str, int]] = {}
        self.facts: dict[str, Message] = {}  # run → more of what its `worker` message says
        self._changed = threading.Condition()
        self._sock: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._http: socket.socket | None = None

    def start(self, *, http: bool = True) -> None:
        """Listen, as a core that has just been started."""
        path = self.run_dir / "link.sock"
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(8)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        if http:
            path = self.run_dir / "core.sock"
            path.unlink(missing_ok=True)
            self._http = socket.socket(socket.AF_UNIX)
            self._http.bind(str(path))
            self._http.listen(64)
            threading.Thread(target=self._serve_http, args=(self._http,), daemon=True).start()

    def stop(self) -> None:
        """Die."""
        for sock in (self._listener, self._sock, self._http):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        for name in ("link.sock", "core.sock"):
            (self.run_dir / name).unlink(missing_ok=True)
        self._sock = self._listener = self._http = None

    def add(self, worker: Worker, guid: str = GUID, state: str = "live", uid: int = -1) -> None:
        """Name a worker to the gateway."""
        uid = os.getuid() if uid < 0 else uid
        self.workers[worker.run] = (guid, worker, state, uid)
        if self._sock is not None:
            self._send_worker(worker.run)

    def gone(self, run: str) -> None:
        """Tell that a run is gone."""
        del self.workers[run]
        self.send({"type": "gone", "run": run, "reason": "test"})

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send one message to the gateway."""
        assert self._sock is not None
        packets.send(self._sock, message, fds)

    def until(self, wanted: Callable[[Message], bool], seconds: float = 10) -> Message:
        """Wait for a message from the gateway."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for message in self.seen:
                    if wanted(message):
                        return message
                if not self._changed.wait(max(0, deadline - time.monotonic())):
                    raise AssertionError(f"not seen among {self.seen}")

    def kinds(self, kind: str) -> list[Message]:
        """Give all messages of a type seen so far."""
        with self._changed:
            return [message for message in self.seen if message["type"] == kind]

    def left(self) -> dict[str, bool]:
        """Give the seats that were reported as left, and whether in order."""
        return {seat: clean for m in self.kinds("activity") for seat, clean in m.get("left", [])}

    def _send_worker(self, run: str) -> None:
        guid, worker, state, uid = self.workers[run]
        fd = os.open(worker.directory, os.O_PATH | os.O_DIRECTORY)
        message = {
            "type": "worker", "run": run, "content": guid, "state": state,
            "name": "app.sock", "uid": uid, **self.facts.get(run, {}),
        }  # fmt: skip
        self.send(message, (fd,))
        os.close(fd)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=self._speak, args=(sock,), daemon=True).start()

    def _speak(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (packet := packets.receive(sock)) is not None:
                message, _ = packet
                if message["type"] == "hello":
                    hello = {
                        "type": "hello", "v": 1, "key": KEY.hex(), "core": "c", "wait": self.wait,
                        "workers": len(self.workers),
                    }  # fmt: skip
                    packets.send(sock, hello)
                    self._sock = sock
                    for run in list(self.workers):
                        self._send_worker(run)
                with self._changed:
                    self.seen.append(message)
                    self._changed.notify_all()
                if message["type"] == "resolve":
                    answer = self.decide(message)
                    if answer is not None:
                        packets.send(sock, {"type": "answer", "id": message["id"], **answer})

    def _serve_http(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), sock:
            self.serve(sock)


class Running:
    """The gateway as a process of its own, as the parent starts it."""

    def __init__(
        self,
        run_dir: Path,
        host: str = "127.0.0.1",
        access: int | None = None,
        **settings: object,
    ) -> None:
        listener = socket.socket()
        listener.bind((host, 0))
        listener.listen(512)
        self.host, self.port = listener.getsockname()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(20)
        memory = os.memfd_create("settings")
        settings = {"run_dir": str(run_dir), "log_form": "TEXT", "log_level": "info", **settings}
        os.write(memory, json.dumps({"settings": settings, "entries": []}).encode())
        fds = {"control": theirs.fileno(), "settings": memory, "http-0": listener.fileno()}
        if access is not None:
            fds["access"] = access
        command = [sys.executable, "-I", "-m", "supervisor.gateway"]
        for name, fd in fds.items():
            command += ["--fd", f"{name}={fd}"]
        self.log = run_dir / "gateway.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, pass_fds=tuple(fds.values()), stderr=log)
        self.listener = listener  # the parent keeps it
        theirs.close()
        os.close(memory)
        self.heard = [packets.receive(self.control), packets.receive(self.control)]

    def connect(self, timeout: float = 15) -> socket.socket:
        """Open one client connection."""
        sock = socket.create_connection((self.host, self.port), timeout)
        return sock

    def get(self, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> Answer:
        """Make one request on a connection of its own."""
        with self.connect() as sock:
            sock.sendall(request(path, *lines, method=method) + body)
            return Answer(sock, method)

    def raw(self, data: bytes) -> bytes:
        """Send bytes and read to the end."""
        with self.connect() as sock:
            sock.sendall(data)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := sock.recv(65536):
                    answer += piece
            return answer

    @property
    def memory(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(status.split()[1]) * 4096

    def stop(self) -> None:
        """End it as the parent's death does."""
        self.control.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.listener.close()


def request(path: str, *lines: str, method: str = "GET") -> bytes:
    """Write a request head."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *lines, "", ""]).encode("latin-1")


class World:
    """A gateway, its core and any number of workers, in one temporary directory."""

    guid = GUID
    other_guid = OTHER_GUID
    root = f"/content/{GUID}/"
    browser = ("Accept: text/html,*/*", "Sec-Fetch-Mode: navigate")

    def __init__(self, base: Path) -> None:
        self.base = base
        self.core = Core(base)
        self._gateway: Running | None = None
        self._workers: list[Worker] = []

    @property
    def gateway(self) -> Running:
        """The gateway, started when it is first used."""
        if self._gateway is None:
            self.start()
        assert self._gateway is not None
        return self._gateway

    def start(
        self, host: str = "127.0.0.1", *, access: int | None = None, **settings: object
    ) -> Running:
        """Start the gateway with settings; host: where it listens; access: a descriptor."""
        self._gateway = Running(self.base, host, access, **settings)
        return self._gateway

    def worker(
        self, serve: Serve = echo, *, run: str = "01run", add: bool = True, uid: int = -1
    ) -> Worker:
        """Start a worker and, with `add`, let the core name it and send everybody there."""
        worker = Worker(self.base, run, serve)
        self._workers.append(worker)
        if add:
            self.core.add(worker, uid=uid)
            self.core.decide = lambda message: {"as": "worker", "run": run}
        return worker

    def pin(self, run: str = "01run", guid: str = GUID, seconds: int = 3600) -> str:
        """Make a Cookie line with a good pin."""
        pins = Pins()
        pins.rekey(KEY)
        value = pins.sign(guid.encode(), run, "visitor1", int(time.time()) + seconds)
        return f"Cookie: supervisor-pin={value.decode()}"

    def close(self) -> None:
        """End everything."""
        if self._gateway is not None:
            self._gateway.stop()
        for worker in self._workers:
            worker.close()
        self.core.stop()


class Wire:
    """What a test needs to speak HTTP by hand."""

    Answer = Answer
    request = staticmethod(request)
    requests = staticmethod(requests)
    read_until = staticmethod(read_until)
    read_exactly = staticmethod(read_exactly)
    echo = staticmethod(echo)
