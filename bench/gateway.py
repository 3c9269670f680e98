"""Our gateway, nginx and configurable-http-proxy before the same upstream, in alternated rounds.

Small GETs at 64 keep-alive connections (wrk), WebSocket echoes at 100 sockets, memory of 1000 idle
WebSockets. The figure is CPU of the proxy, all its threads and children, per request or message.

The gateway is the real process with a pin cookie on each request, against a stand-in for the core
that names one worker; nginx runs one worker process and keeps upstream connections; both reach the
upstream by Unix sockets. configurable-http-proxy runs with its defaults and has no Unix targets: it
gets TCP. What is not installed is skipped by name. The proxy has one core to itself (as far as the
rest of the machine leaves it), load and upstream share the other one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import attrs
import support

from supervisor import packets
from supervisor.gateway.sessions import Pins

CHP = "configurable-http-proxy@5.3.0"
GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
PREFIX = f"/content/{GUID}"
RUNS = {"get": "01" + "0" * 22 + "g1", "socket": "01" + "0" * 22 + "s1"}
KEY = bytes(range(32))
BODY = "hello from the upstream\n"
BROWSER = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-GB,en;q=0.9",
]
LOAD_CORE, PROXY_CORE = 0, 1
_SOCKETS_PROGRAM = str(support.ROOT / "bench" / "websocket_load.py")


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


# Programs


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
            LOAD_CORE, sys.executable, "-I", "-S", _SOCKETS_PROGRAM,
            "serve", str(echo), str(sockets_port), log=base / "echo.log",
        ),
    ):  # fmt: skip
        until_listening(port, base / "upstream" / "log")
        until_listening(sockets_port, base / "echo.log")
        yield


# The proxies


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


# Load


@attrs.frozen(kw_only=True)
class Load:
    """What a proxy did in one round."""

    cost: float  # CPU microseconds per unit
    rate: float  # units per second
    p50: float  # microseconds
    p99: float


def pin(kind: str) -> str:
    """Give the cookie that belongs to a worker."""
    pins = Pins()
    pins.rekey(KEY)
    value = pins.sign(GUID.encode(), RUNS[kind], "visitor", int(time.time()) + 86400)
    return f"supervisor-pin={value.decode()}"


def check_get(port: int) -> None:
    """End the program where a GET through this port is not answered rightly."""
    lines = [f"GET {PREFIX}/page HTTP/1.1", f"Host: localhost:{port}", *BROWSER]
    lines += [f"Cookie: {pin('get')}", "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall("\r\n".join(lines).encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    if not answer.startswith(b"HTTP/1.1 200") or BODY.encode() not in answer:
        raise SystemExit(f"bench: port {port} answered {answer[:300]!r}")


def get(proxy: Proxy, seconds: int, connections: int) -> Load:
    """Send small GETs by wrk."""
    headers = [word for line in [*BROWSER, f"Cookie: {pin('get')}"] for word in ("-H", line)]
    before = proxy.cpu()
    done = subprocess.run(
        [
            *support.pinned(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
            "--latency", *headers, f"http://127.0.0.1:{proxy.port}{PREFIX}/page",
        ],
        capture_output=True, text=True, timeout=seconds + 60, check=True,
    )  # fmt: skip
    used = proxy.cpu() - before
    if "Non-2xx" in done.stdout:
        raise SystemExit(f"bench: {proxy.name}: {done.stdout}")
    found = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    assert found is not None, done.stdout
    count, took = int(found[1]), float(found[2])
    cost = used / count
    return Load(
        cost=cost, rate=count / took, p50=_latency(done.stdout, 50), p99=_latency(done.stdout, 99)
    )


def _latency(text: str, percentile: int) -> float:
    found = re.search(rf"\b{percentile}%\s+([\d.]+)(us|ms|s)", text)
    assert found is not None, text
    return float(found[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[found[2]]


def echo(proxy: Proxy, seconds: int, sockets: int) -> Load:
    """Send WebSocket messages."""
    with subprocess.Popen(
        [
            *support.pinned(LOAD_CORE), sys.executable, "-I", "-S", _SOCKETS_PROGRAM, "load",
            str(proxy.port), f"{PREFIX}/echo", pin("socket"), str(sockets), str(seconds),
        ],
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        before = proxy.cpu()
        output, _ = process.communicate(timeout=seconds + 60)
        used = proxy.cpu() - before
    if process.returncode:
        raise SystemExit(f"bench: no messages through {proxy.name}")
    report = json.loads(output)
    count = report["messages"]
    return Load(
        cost=used / count, rate=count / report["seconds"], p50=report["p50"], p99=report["p99"]
    )


def weigh(proxy: Proxy, sockets: int) -> float:
    """Give the private KiB of each of many idle WebSockets."""
    before = proxy.private()
    with subprocess.Popen(
        [
            sys.executable, "-I", "-S", _SOCKETS_PROGRAM, "hold",
            str(proxy.port), f"{PREFIX}/echo", pin("socket"), str(sockets),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        if process.stdout.readline().strip() != b"open":
            raise SystemExit(f"bench: {sockets} sockets could not be opened through {proxy.name}")
        time.sleep(0.5)
        after = proxy.private()
        assert process.stdin is not None
        process.stdin.close()
    return (after - before) / sockets


def show(what: str, results: dict[str, list[Load]]) -> None:
    """Print one table; ratios are of the rounds' medians and to our gateway."""
    ours = median(load.cost for load in results["gateway"])
    rows = []
    for name, loads in results.items():
        costs = [load.cost for load in loads]
        latency = f"{median(x.p50 for x in loads):.0f} / {median(x.p99 for x in loads):.0f}"
        rate = f"{median(x.rate for x in loads):.0f}"
        ratio = f"{median(costs) / ours:.2f}"
        rows.append([name, support.spread(costs), f"{min(costs):.1f}", ratio, rate, latency])
    print(f"{what}\n")
    head = ["proxy", "CPU µs each", "least", "ratio to gateway", "a second", "p50 / p99 µs"]
    support.table(head, rows)


def compare(proxies: Sequence[Proxy], rounds: int, seconds: int, idle: int) -> None:
    """Measure all proxies in turns and print the tables."""
    gets: dict[str, list[Load]] = {proxy.name: [] for proxy in proxies}
    echoes: dict[str, list[Load]] = {proxy.name: [] for proxy in proxies}
    weights = []
    for proxy in proxies:
        check_get(proxy.port)
        weigh(proxy, 50)  # what the first connections bring in counts for none of them
        weights.append([proxy.name, f"{weigh(proxy, idle):.2f}"])
    for proxy in proxies:  # after the weighing: a heap that has grown hides what comes next
        get(proxy, 1, 64)
        echo(proxy, 1, 100)
    for number in range(rounds):
        support.note(f"round {number + 1} of {rounds}")
        for proxy in proxies:
            gets[proxy.name].append(get(proxy, seconds, 64))
        for proxy in proxies:
            echoes[proxy.name].append(echo(proxy, seconds, 100))
    show(f"Small GET, 64 keep-alive connections, {rounds} rounds of {seconds} s", gets)
    show(f"WebSocket echo, 100 sockets, 64 bytes, {rounds} rounds of {seconds} s", echoes)
    print(f"Memory of {idle} idle WebSockets\n")
    support.table(["proxy", "private KiB each"], weights)


def main(rounds: int, seconds: int, idle: int, names: list[str], forms: list[str]) -> None:
    """Start upstream and proxies, then compare; forms: of access logs, a gateway each."""
    for needed in ("wrk", "nginx"):
        if shutil.which(needed) is None:
            sys.exit(f"bench: needs {needed}: ./dev system says how to install it")
    support.machine()
    nginx_port, page_port, sockets_port = free_ports(3)
    with support.directory() as base, ExitStack() as running:
        running.enter_context(upstream(base, page_port, sockets_port))
        proxies = [running.enter_context(our_gateway(base, form)) for form in ("", *forms)]
        if "nginx" in names:
            proxies.append(running.enter_context(nginx_proxy(base, nginx_port)))
        installed = install_chp(base / "npm") if "chp" in names else None
        if installed is not None:
            targets = {f"{PREFIX}/": page_port, f"{PREFIX}/echo": sockets_port}
            proxies.append(running.enter_context(chp(base, installed, targets)))
        compare(proxies, rounds, seconds, idle)
    versions = [support.version(*command) for command in (("nginx", "-v"), ("wrk", "-v"))]
    print("; ".join([*versions, CHP, f"node {support.version('node', '--version') or 'none'}"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--against", nargs="*", default=["nginx", "chp"], help="nginx, chp")
    parser.add_argument("--access", nargs="*", default=[], help="COMMON, COMBINED, JSON")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(given.rounds, given.seconds, given.idle, given.against, given.access)
