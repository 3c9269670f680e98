"""The proxies that bench/gateway.py compares, and the upstream that they all stand before."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import support

from supervisor import packets

CHP = "configurable-http-proxy@5.3.0"
GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
PREFIX = f"/content/{GUID}"
RUNS = {"get": "01" + "0" * 22 + "g1", "socket": "01" + "0" * 22 + "s1"}
KEY = bytes(range(32))
BODY = "hello from the upstream\n"
LOAD_CORE, PROXY_CORE = 0, 1
SOCKETS_PROGRAM = str(support.ROOT / "bench" / "websocket_load.py")


@attrs.frozen(kw_only=True)
class Proxy:
    """A proxy that runs. roots: its processes; their descendants count too."""

    name: str
    port: int
    roots: tuple[int, ...]

    def pids(self) -> list[int]:
        """Give all its processes."""
        return [pid for root in self.roots for pid in support.tree(root)]

    def cpu(self) -> float:
        """Give its CPU microseconds so far."""
        return sum(support.cpu(pid) for pid in self.pids()) / 1e3

    def private(self) -> int:
        """Give its private memory in KiB."""
        return sum(support.memory(pid)["private"] for pid in self.pids())


def free_ports(count: int) -> list[int]:
    """Give ports that nobody listens on."""
    socks = [socket.socket() for _ in range(count)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    ports = [int(sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return ports


@contextmanager
def program(
    core: int, *command: str, log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program on one core, ended with this block."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [*support.pinned(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **(env or {})},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until_listening(port: int, log: Path) -> None:
    """Return when something accepts on the port; end with the log where nothing does."""
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                text = log.read_text(errors="replace")
                raise SystemExit(f"bench: port {port}: {text}") from None
            time.sleep(0.05)


@contextmanager
def nginx(base: Path, name: str, core: int, http: str) -> Iterator[int]:
    """An nginx with one worker and this http block; gives the pid of its master."""
    home = base / name
    home.mkdir()
    config = home / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {home}/pid; error_log {home}/error.log warn;\n"
        + ("user root;\n" if os.geteuid() == 0 else "")
        + "events { worker_connections 8192; }\n"
        + "worker_rlimit_nofile 20000;\n"
        + "http { access_log off; keepalive_requests 100000000; keepalive_timeout 600s;\n"
        + "".join(
            f"{kind}_temp_path {home}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + http
        + "}\n"
    )
    with program(core, "nginx", "-c", str(config), log=home / "log") as process:
        yield process.pid


@contextmanager
def upstream(base: Path, port: int, sockets_port: int) -> Iterator[None]:
    """The file server and the echo server: a Unix socket and a TCP port each."""
    for run in RUNS.values():
        (base / "w" / run).mkdir(parents=True)
    page = f"""
        server {{
            listen 127.0.0.1:{port}; listen unix:{base}/w/{RUNS["get"]}/app.sock;
            location / {{ default_type text/plain; return 200 "{BODY.strip()}\\n"; }}
        }}
    """
    echo = base / "w" / RUNS["socket"] / "app.sock"
    with (
        nginx(base, "upstream", LOAD_CORE, page),
        program(
            LOAD_CORE, sys.executable, "-I", "-S", SOCKETS_PROGRAM,
            "serve", str(echo), str(sockets_port), log=base / "echo.log",
        ),
    ):  # fmt: skip
        until_listening(port, base / "upstream" / "log")
        until_listening(sockets_port, base / "echo.log")
        yield


class StandInCore:
    """Speaks the core's side of the link: names the two workers, grants every seat."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self.known = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(run_dir / "link.sock"))
        self._listener.listen(4)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        sock, _ = self._listener.accept()
        while (packet := packets.receive(sock)) is not None:
            message = packet[0]
            if message["type"] == "resolve":
                granted = {"type": "answer", "id": message["id"], "as": "worker"}
                packets.send(sock, {**granted, "run": RUNS["socket"]})
                continue
            if message["type"] != "hello":
                self.known.set()  # its first report comes after it has read what we said
                continue
            hello = {"type": "hello", "v": 1, "key": KEY.hex(), "core": "bench", "wait": 5}
            packets.send(sock, {**hello, "workers": len(RUNS)})
            for run in RUNS.values():
                fd = os.open(self._run_dir / "w" / run, os.O_PATH | os.O_DIRECTORY)
                worker = {"type": "worker", "run": run, "content": GUID, "state": "live"}
                packets.send(sock, {**worker, "name": "app.sock", "uid": os.getuid()}, (fd,))
                os.close(fd)


@contextmanager
def our_gateway(base: Path, access: str = "") -> Iterator[Proxy]:
    """The gateway process as the parent starts it; access: the form of its access log, if any."""
    base = base / access if access else base
    if access:
        base.mkdir()
        (base / "w").symlink_to(base.parent / "w")
    core = StandInCore(base)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        facts: dict[str, object] = {"run_dir": str(base), "log_level": "warning"}
        settings = support.settings_file({**facts, "access_form": access})
        fds = {"settings": settings, "http-0": listener.fileno()}
        if access:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            fds["access"] = os.open(base / "access.log", flags)
        with support.child("supervisor.gateway", base / "gateway.log", fds) as process:
            if support.pinned(PROXY_CORE):
                os.sched_setaffinity(process.pid, {PROXY_CORE})
            core.known.wait(10)
            port = listener.getsockname()[1]
            yield Proxy(name=f"gateway {access}".strip(), port=port, roots=(process.pid,))


@contextmanager
def nginx_proxy(base: Path, port: int) -> Iterator[Proxy]:
    """nginx with keep-alive to both upstreams, prefix stripped, the usual forwarding headers."""
    http = f"""
        map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
        upstream get {{ server unix:{base}/w/{RUNS["get"]}/app.sock; keepalive 128; }}
        upstream echo {{ server unix:{base}/w/{RUNS["socket"]}/app.sock; }}
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_read_timeout 600s;
        server {{
            listen 127.0.0.1:{port};
            location {PREFIX}/ {{ proxy_pass http://get/; }}
            location {PREFIX}/echo {{ proxy_pass http://echo/; }}
        }}
    """
    with nginx(base, "nginx", PROXY_CORE, http) as pid:
        until_listening(port, base / "nginx" / "log")
        yield Proxy(name="nginx", port=port, roots=(pid,))


def install_chp(base: Path) -> Path | None:
    """Install configurable-http-proxy with npm; None, said by name, where that cannot be done."""
    if shutil.which("npm") is None:
        support.note("configurable-http-proxy is skipped: there is no npm")
        return None
    command = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(base), CHP]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        support.note("configurable-http-proxy is skipped: npm took over five minutes")
        return None
    found = base / "node_modules" / ".bin" / "configurable-http-proxy"
    if done.returncode or not found.exists():
        support.note(f"configurable-http-proxy is skipped: {command} failed: {done.stderr[-500:]}")
        return None
    return found


@contextmanager
def chp(base: Path, path: Path, targets: dict[str, int]) -> Iterator[Proxy]:
    """configurable-http-proxy with its defaults and two routes, prefix stripped."""
    port, api = free_ports(2)
    log = base / "chp.log"
    with program(
        PROXY_CORE, str(path), "--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1",
        "--api-port", str(api), "--no-include-prefix", "--log-level", "error", log=log,
        env={"CONFIGPROXY_AUTH_TOKEN": "bench", "NODE_ENV": "production"},
    ) as process:  # fmt: skip
        until_listening(api, log)
        until_listening(port, log)
        for route, target in targets.items():
            body = json.dumps({"target": f"http://127.0.0.1:{target}"})
            with socket.create_connection(("127.0.0.1", api), 10) as sock:
                sock.sendall(
                    f"POST /api/routes{route} HTTP/1.1\r\nHost: localhost\r\n"
                    "Authorization: token bench\r\nConnection: close\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                answer = sock.recv(4096)
            if b" 201 " not in answer:
                raise SystemExit(f"bench: configurable-http-proxy refused a route: {answer!r}")
        yield Proxy(name="configurable-http-proxy", port=port, roots=(process.pid,))
