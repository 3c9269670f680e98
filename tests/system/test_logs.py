"""The three logs of a real server: written, moved away, opened again, and tied by request ids."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import LiveServer, live_server, server_directory

pytestmark = pytest.mark.system

APP = Path(__file__).parents[1] / "content" / "python-tells-what-it-saw"
GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "logs.md"
FILES = {
    "ServiceLog": "log/service.log",
    "AccessLog": "log/access.log",
    "AuditLog": "log/audit.log",
}


@pytest.fixture(scope="module")
def server(needs: Any) -> Iterator[LiveServer]:
    needs.root()
    with server_directory() as base:
        paths = [f"{key} = {base}/{name}" for key, name in FILES.items()]
        forms = ["ServiceLogFormat = JSON", "AccessLogFormat = JSON", "AuditLogFormat = JSON"]
        extra = "\n".join(["[Logging]", *paths, *forms, ""])
        server = LiveServer(base, extra=extra)
        try:
            yield server.start()
        finally:
            server.end()


def records(server: LiveServer, name: str) -> list[dict[str, Any]]:
    return records_of(server.base / "log" / f"{name}.log")


def records_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def get(server: LiveServer, path: str, *lines: str) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        head = [f"GET {path} HTTP/1.1", "Host: h", "Connection: close", *lines, "", ""]
        sock.sendall("\r\n".join(head).encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return answer


def test_each_log_is_a_file_of_root_that_others_cannot_read(server: LiveServer) -> None:
    for name in ("service", "access", "audit"):
        found = (server.base / "log" / f"{name}.log").stat()
        assert (0, 0o640) == (found.st_uid, found.st_mode & 0o777)
    assert {"parent", "core", "gateway", "helper"} <= {
        record["process"] for record in records(server, "service")
    }


def test_a_change_is_in_the_audit_log_with_its_values(server: LiveServer) -> None:
    server.supervisor("deploy", str(APP), "--name", "told")
    server.supervisor("set", "told", "max_processes=2")
    server.supervisor("set", "told", "max_processes=9999", check=False)
    server.until(lambda: records(server, "audit")[-1]["outcome"] == "refused", 5)
    done = [(r["action"], r["outcome"]) for r in records(server, "audit")]
    assert [("create", "done"), ("upload", "done"), ("deploy", "done")] == done[:3]
    assert [("update", "done"), ("update", "refused")] == done[-2:]
    change = records(server, "audit")[-2]
    assert (2, 0) == (change["set_max_processes"], change["uid"])


def test_a_deploy_has_one_id_in_audit_and_service_log(server: LiveServer) -> None:
    (deploy,) = [r for r in records(server, "audit") if r["action"] == "deploy"]
    events = {
        r["event"] for r in records(server, "service") if r.get("request") == deploy["request"]
    }
    assert {"published", "run-ready"} <= events


def test_a_stranger_who_tries_to_change_something_is_in_the_audit_log(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        sock.sendall(
            b"POST /__api__/v1/content HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n"
            b"Connection: close\r\n\r\n{}"
        )
        assert b" 401 " in sock.recv(65536)
    server.until(lambda: records(server, "audit")[-1]["status"] == 401, 5)
    record = records(server, "audit")[-1]
    assert ("refused", 401, "127.0.0.1") == (
        record["outcome"],
        record["status"],
        record["client"],
    )
    server.until(lambda: record["request"] in (server.base / FILES["AccessLog"]).read_text(), 5)
    (seen,) = [r for r in records(server, "access") if r["request"] == record["request"]]
    assert 401 == seen["status"]


@pytest.mark.parametrize("by", ["command", "signal"])
def test_moved_logs_are_opened_again(server: LiveServer, by: str) -> None:
    log = server.base / "log"
    before = {name: (log / f"{name}.log").stat().st_ino for name in ("service", "access", "audit")}
    for name in before:
        (log / f"{name}.log").rename(log / f"{name}.log.1")
    assert 0 == len(list(log.glob("*.log")))
    get(server, f"/__ping__?old-{by}")
    if by == "command":
        server.supervisor("reopen-logs")
    else:
        os.kill(server.parent, signal.SIGUSR1)
        server.until(lambda: (log / "audit.log").exists(), 5)
        (audit,) = [r for r in records_of(log / "audit.log.1") if r.get("signal")]
        assert ("reopen-logs", "SIGUSR1") == (audit["action"], audit["signal"])
    server.until(lambda: len(list(log.glob("*.log"))) == 3, 5)
    server.until(lambda: "logs-reopened" in (log / "service.log").read_text(), 5)
    get(server, f"/__ping__?new-{by}")
    server.until(lambda: f"?new-{by}" in (log / "access.log").read_text(), 5)
    assert f"?new-{by}" not in (log / "access.log.1").read_text()
    assert f"?old-{by}" in (log / "access.log.1").read_text()
    server.supervisor("stop", "told", check=False)
    server.until(lambda: [r["action"] for r in records(server, "audit")][-1:] == ["stop"], 5)
    for name in before:
        assert before[name] == (log / f"{name}.log.1").stat().st_ino


def test_a_core_and_a_gateway_that_come_anew_write_to_the_new_files(server: LiveServer) -> None:
    for module in ("core", "gateway"):
        pid = server.child(f"supervisor.{module}")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    server.until(lambda: server.ping() == 200, 20)
    server.until(lambda: server.supervisor("list", check=False).returncode == 0, 20)
    server.supervisor("stop", "told", check=False)
    get(server, "/__ping__?again")
    server.until(lambda: "?again" in (server.base / "log" / "access.log").read_text(), 5)
    server.until(lambda: [r["action"] for r in records(server, "audit")][-1:] == ["stop"], 5)


def test_every_line_of_every_log_is_an_object(server: LiveServer) -> None:
    get(server, '/"x\\y', 'User-Agent: "} {"forged": 1', "Referer: \x1b[31m")
    get(server, '/"x\\y', 'User-Agent: "} {"forged": 1')
    server.until(lambda: "forged" in (server.base / "log" / "access.log").read_text(), 5)
    assert not any("forged" in r for r in records(server, "access"))
    for name in ("service", "audit"):
        assert records(server, name)


@pytest.fixture
def logrotate(needs: Any, server: LiveServer) -> Callable[[str], None]:
    """Rotate with the configuration of the docs, by the script of its language there."""
    program = needs.program("logrotate")
    text = GUIDE.read_text()
    (configuration,) = re.findall(r"```\n(/var/log/.*?)```", text, re.DOTALL)
    (signal_,) = re.findall(r"```sh\n(kill -USR1 .*?)\n```", text)
    command = "supervisor reopen-logs >/dev/null"
    assert command in configuration
    asking = f"SUPERVISOR_SOCKET={server.run_dir}/core.sock {server.command.parent}/{command}"
    told = signal_.replace("/run/content-supervisor", str(server.run_dir))
    file = server.base / "logrotate.conf"

    def rotate(by: str) -> None:
        script = asking if by == "command" else told
        found = configuration.replace("/var/log/content-supervisor", f"{server.base}/log")
        file.write_text(found.replace(command, script))
        file.chmod(0o644)
        state = server.base / "logrotate.state"
        subprocess.run([program, "--force", "--state", state, file], check=True, timeout=60)

    return rotate


def everything_of(server: LiveServer, name: str) -> list[str]:
    """The lines of a log and of all that was moved away, the oldest first."""
    files = sorted((server.base / "log").glob(f"{name}.log*"), key=lambda file: _age(file.name))
    opened = (gzip.open if file.suffix == ".gz" else open for file in files)
    return [
        line
        for open_, file in zip(opened, files, strict=True)
        for line in open_(file, "rt").read().splitlines()
    ]


def _age(name: str) -> int:
    """0 for the newest, less the older a file is."""
    return -int((re.findall(r"\.log\.(\d+)", name) or ["0"])[0])


def test_logrotate_loses_no_line_and_doubles_none(
    server: LiveServer, logrotate: Callable[[str], None]
) -> None:
    done = threading.Event()
    asked = itertools.count()

    def ask() -> None:
        while not done.is_set():
            get(server, f"/__ping__?turn-{next(asked)}-")

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        try:
            for n, by in enumerate(("command", "signal", "command", "signal")):
                server.supervisor("set", "told", f"title=turn-{n}-")
                before = everything_of(server, "service")
                logrotate(by)
                server.until(
                    lambda was=before: (
                        reopenings(everything_of(server, "service"))  # type: ignore[misc]
                        == reopenings(was) + 1
                    ),
                    10,
                )
        finally:
            done.set()
        asking.result(10)
    last = next(asked)
    assert last > 20
    server.until(lambda: f"turn-{last - 1}-" in everything_of(server, "access")[-1], 5)
    turns = re.findall(r"turn-(\d+)-", "\n".join(everything_of(server, "access")))
    assert [str(n) for n in range(last)] == turns
    assert list("0123") == re.findall(r"turn-(\d+)-", "\n".join(everything_of(server, "audit")))
    for name in ("service", "access", "audit"):
        assert all(json.loads(line) for line in everything_of(server, name))
    assert list((server.base / "log").glob("access.log.*.gz"))


def reopenings(lines: Sequence[str]) -> int:
    return sum('"logs-reopened"' in line for line in lines)


def test_a_reader_of_standard_error_that_hangs_stops_nothing(needs: Any) -> None:
    needs.root()
    with server_directory() as base:
        extra = "[Logging]\nServiceLogLevel = debug\nAccessLog = STDERR\nAccessLogFormat = JSON\n"
        server = LiveServer(base, extra=extra)
        command = [
            str(server.python),
            "-I",
            "-m",
            "supervisor.parent",
            "--config",
            str(server.config),
        ]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": str(base)},
        )
        server.process = process
        try:
            server.until(lambda: server.ping() == 200, 30)
            agent = f"User-Agent: {'a' * 1500}"
            for _ in range(150):  # far more than a pipe holds
                get(server, "/__ping__", agent)
            assert 200 == server.ping()
            assert 0 == server.supervisor("list").returncode
            process.send_signal(signal.SIGTERM)
            assert 0 == process.wait(20)
            assert process.stderr is not None
            lines = process.stderr.read().splitlines()
            assert all(re.match(rb"\d{4}-|\{", line) for line in lines[:-1])
        finally:
            server.end()


def test_a_log_that_cannot_be_opened_refuses_the_start(needs: Any) -> None:
    needs.root()
    with live_server(start=False, extra="[Logging]\nAccessLog = /dev/null/access.log\n") as server:
        server.start(wait=False)
        assert server.process is not None
        assert 73 == server.process.wait(20)
        assert "the log /dev/null/access.log cannot be opened" in server.log()
