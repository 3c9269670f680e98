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
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

import attrs
import support
from proxies import (
    BODY,
    CHP,
    GUID,
    KEY,
    LOAD_CORE,
    PREFIX,
    RUNS,
    SOCKETS_PROGRAM,
    Proxy,
    chp,
    free_ports,
    install_chp,
    nginx_proxy,
    our_gateway,
    upstream,
)

from supervisor.gateway.sessions import Pins

BROWSER = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-GB,en;q=0.9",
]


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
            *support.pinned(LOAD_CORE), sys.executable, "-I", "-S", SOCKETS_PROGRAM, "load",
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
            sys.executable, "-I", "-S", SOCKETS_PROGRAM, "hold",
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
