"""What the server needs and cannot have: one clear message, an exit status, nothing left."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.leftovers import no_process_is_left, nothing_is_left
from tests.support.server import CORE, GATEWAY, LiveServer, kill, live_server, server_directory
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system

PRIVATE = ("unshare", "-m", "sh", "-ec")  # mounts made within are gone with the server


@pytest.fixture
def server() -> Iterator[LiveServer]:
    """A server that has not been started."""
    if os.geteuid() != 0:
        pytest.skip("needs root: ./dev test as root runs the system tests")
    with live_server(start=False) as made:
        yield made


def within(script: str) -> Sequence[str]:
    """Run a server after a script, in a mount namespace of its own."""
    return (*PRIVATE, f'{script}; exec "$@"', "sh")


def refusal(server: LiveServer, *, mounts: str = "true") -> tuple[int, str]:
    """Start it; give the exit status and what it said."""
    server.start(wait=False, within=within(mounts))
    assert server.process is not None
    status = server.process.wait(30)
    said = server.log()
    assert "Traceback" not in said
    no_process_is_left(server)
    return status, said


def keep_free(server: LiveServer, amount: str) -> None:
    """Let it refuse uploads while less than this is left."""
    text = server.config.read_text()
    server.config.write_text(f"{text}[Housekeeping]\nMinFreeSpace = {amount}\n")


def test_a_port_in_use_is_named_with_its_address_and_holder(server: LiveServer) -> None:
    with socket.create_server(("127.0.0.1", server.port)):
        status, said = refusal(server)

    assert status == 69
    assert f"HTTP.Listen = 127.0.0.1:{server.port} is in use by" in said
    assert f"(pid {os.getpid()})" in said
    assert "port-in-use" in said


def test_it_starts_once_the_port_is_free_again(server: LiveServer) -> None:
    with socket.create_server(("127.0.0.1", server.port)):
        refusal(server)

    server.start()
    server.stop()

    no_process_is_left(server)


def test_a_data_directory_that_is_a_file_is_refused_and_stays(server: LiveServer) -> None:
    server.data_dir.write_text("precious")

    status, said = refusal(server)

    assert status == 73
    assert f"Server.DataDir = {server.data_dir} cannot be used" in said
    assert server.data_dir.read_text() == "precious"


def test_a_data_directory_on_a_read_only_file_system_is_refused(server: LiveServer) -> None:
    server.data_dir.mkdir()

    status, said = refusal(server, mounts=f"mount -t tmpfs -o ro,mode=750 none {server.data_dir}")

    assert status == 73
    assert f"Server.DataDir = {server.data_dir} cannot be used: Read-only file system" in said


def test_a_data_directory_that_became_read_only_is_refused(server: LiveServer) -> None:
    server.start()
    server.stop()

    status, said = refusal(
        server,
        mounts=f"mount --bind {server.data_dir} {server.data_dir};"
        f" mount -o remount,bind,ro {server.data_dir}",
    )

    assert status in (73, 69)
    assert "ead-only" in said or "readonly" in said
    assert str(server.data_dir) in said


def test_a_data_directory_of_another_user_is_refused_without_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    stranger = 61999
    with server_directory(stranger) as base:
        server = LiveServer(base, uid=stranger)
        os.chown(server.config, stranger, stranger)
        server.data_dir.mkdir(0o755)

        server.start(wait=False)
        assert server.process is not None
        status = server.process.wait(30)

        assert status == 73
        assert f"Server.DataDir = {server.data_dir}" in server.log()
        assert os.listdir(server.data_dir) == []


def test_a_full_data_directory_is_named_at_the_start(server: LiveServer) -> None:
    server.data_dir.mkdir()
    fill = f"mount -t tmpfs -o size=64k,mode=755 none {server.data_dir}"

    status, said = refusal(server, mounts=fill)

    assert status in (69, 73)
    assert str(server.data_dir) in said


def test_a_data_directory_that_fills_up_refuses_a_deployment_and_serves_on(
    server: LiveServer, tmp_path: Path
) -> None:
    server.data_dir.mkdir()
    keep_free(server, "0 MB")
    server.start(within=within(f"mount -t tmpfs -o size=24m,mode=755 none {server.data_dir}"))
    path = server.deploy(EXAMPLES / "shiny-python-core", "small")
    (tmp_path / "app.py").write_text((EXAMPLES / "shiny-python-core" / "app.py").read_text())
    (tmp_path / "data.bin").write_bytes(os.urandom(30_000_000))

    done = server.supervisor("deploy", str(tmp_path), "--name", "small", check=False)

    assert done.returncode == 73
    assert "has no room for an upload" in done.stderr
    assert "Traceback" not in done.stderr
    assert _get(server, path) == 200
    nothing_is_left(server)

    (tmp_path / "data.bin").write_bytes(os.urandom(16_000) * 1900)  # small until it is unpacked
    done = server.supervisor("deploy", str(tmp_path), "--name", "small", check=False)

    assert done.returncode == 69
    assert "could not be unpacked" in done.stderr
    assert "No space left on device" in done.stderr
    assert _get(server, path) == 200
    server.deploy(EXAMPLES / "shiny-python-core", "small")
    nothing_is_left(server)


def test_a_disk_that_is_nearly_full_refuses_uploads_and_serves_on(
    server: LiveServer, tmp_path: Path
) -> None:
    server.data_dir.mkdir()
    keep_free(server, "8 MB")
    server.start(within=within(f"mount -t tmpfs -o size=16m,mode=755 none {server.data_dir}"))
    path = server.deploy(EXAMPLES / "shiny-python-core", "small")
    ballast = Path(f"/proc/{server.parent}/root{server.data_dir}/ballast")
    (tmp_path / "app.py").write_text((EXAMPLES / "shiny-python-core" / "app.py").read_text())
    (tmp_path / "data.bin").write_bytes(os.urandom(10_000_000))

    announced = server.supervisor("deploy", str(tmp_path), "--name", "large", check=False)
    ballast.write_bytes(bytes(9_500_000))
    small = server.supervisor(
        "deploy", str(EXAMPLES / "shiny-r-hello"), "--name", "more", check=False
    )
    status, said = post(server, f"/v1/content/{server.row('list', name='small')['guid']}/bundles")

    for done in (announced, small):
        assert done.returncode == 73, done.stderr
        assert "The server has no room for an upload of" in done.stderr
        assert "supervisor gc" in done.stderr
    assert (507, "disk-full") == (status, said["code"])
    assert "stay free" in said["error"]
    assert ["small"] == [row["name"] for row in server.json("list")]
    assert "uploads are refused below 8.0 MB" in server.supervisor("doctor").stdout
    assert [_get(server, path) for _ in range(5)] == [200] * 5
    kill(server.row("ps")["pid"])
    server.until(lambda: _get(server, path) == 200, 40, "a new process is started on a full disk")

    ballast.unlink()
    server.deploy(EXAMPLES / "shiny-python-core", "small")
    nothing_is_left(server)


def post(server: LiveServer, path: str) -> tuple[int, dict[str, Any]]:
    """POST a few bytes as a client of the publishing API does; give status and answer."""
    transport = httpx2.HTTPTransport(uds=str(server.run_dir / "core.sock"))
    with httpx2.Client(transport=transport, base_url="http://supervisor/__api__") as client:
        answer = client.post(path, content=b"x" * 1000)
        return answer.status_code, answer.json()


def test_a_disk_that_is_full_for_a_while_costs_no_visitor_anything(server: LiveServer) -> None:
    server.data_dir.mkdir()
    keep_free(server, "0 MB")
    server.start(within=within(f"mount -t tmpfs -o size=24m,mode=755 none {server.data_dir}"))
    path = server.deploy(EXAMPLES / "shiny-python-core", "small")
    pid, core = server.row("ps")["pid"], server.core
    ballast = Path(f"/proc/{server.parent}/root{server.data_dir}/ballast")
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))

    done = server.supervisor(
        "deploy", str(EXAMPLES / "shiny-r-hello"), "--name", "more", check=False, timeout=60
    )

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "full" in done.stderr or "No space" in done.stderr
    assert [_get(server, path) for _ in range(5)] == [200] * 5
    assert server.row("ps")["pid"] == pid
    kill(pid)
    server.until(lambda: not server.json("ps"), 20, "its end is seen")
    ballast.unlink()
    server.until(lambda: _get(server, path) == 200, 40, "it is served again")
    server.deploy(EXAMPLES / "shiny-python-core", "more")
    assert server.core == core
    nothing_is_left(server)


def _get(server: LiveServer, path: str) -> int:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        line = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        sock.sendall(line.encode())
        return int(sock.recv(4096).split()[1])


@pytest.fixture(scope="module")
def running() -> Iterator[LiveServer]:
    """A server that runs, for those who want to get in by its sockets."""
    if os.geteuid() != 0:
        pytest.skip("needs root: ./dev test as root runs the system tests")
    with live_server() as made:
        yield made
        nothing_is_left(made)


@pytest.mark.parametrize("name", ["core.sock", "link.sock", "helper.sock", "helper-connect.sock"])
def test_nobody_else_can_use_the_sockets_of_the_server(running: LiveServer, name: str) -> None:
    assert connect(running, name, 61999) == "PermissionError"


def connect(server: LiveServer, name: str, uid: int) -> str:
    """Connect as somebody; give the name of the error, or what came back."""
    kind = "SOCK_STREAM" if name == "core.sock" else "SOCK_SEQPACKET"
    code = f"""
import socket
s = socket.socket(socket.AF_UNIX, socket.{kind}); s.settimeout(5)
try:
    s.connect({str(server.run_dir / name)!r})
    s.send(b'{{"type": "hello", "v": 1, "id": 1}}')
    print(s.recv(65536).decode() or "closed")
except OSError as error:
    print(type(error).__name__)
"""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", code],
        user=uid, group=uid, extra_groups=[], capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize(("name", "uid"), [("link.sock", 0), ("helper.sock", 0)])
def test_root_itself_is_not_the_gateway_nor_the_core(
    running: LiveServer, name: str, uid: int
) -> None:
    assert connect(running, name, uid) in ("closed", "ConnectionResetError", "BrokenPipeError")
    assert f"uid={uid}" in running.log() or f"uid {uid}" in running.log()
    assert running.supervisor("doctor").returncode == 0


PACKETS = [
    b"",
    b"\0" * 1000,
    b"[" * 60_000,
    b'"hello"',
    b'{"type": 7}',
    b'{"type": "nothing", "id": 1}',
    b'{"type": "start", "id": 1}',
    b'{"type": "start", "id": 1, "job": {"run": "../../etc", "uid": 0}}',
    b'{"type": "remove", "id": 1, "place": {"kind": "deployment", "ids": ["..", 1]}}',
    b'{"type": "connect", "id": 1, "run": "../core.sock"}',
    b'{"type": "kill", "id": [], "run": {}}',
    b'{"type": "hello", "v": 99}',
    b'{"type": "activity", "runs": {"x": {"sockets": "many"}}}',
    b'{"type": "resolve"}',
]


@pytest.mark.parametrize(
    ("name", "uid"),
    [("helper.sock", CORE), ("helper-connect.sock", GATEWAY), ("link.sock", GATEWAY)],
)
def test_garbage_from_a_child_that_was_taken_over_harms_no_other(
    running: LiveServer, name: str, uid: int
) -> None:
    if not running.rows("list", name="served"):
        running.deploy(EXAMPLES / "shiny-python-core", "served")
    path = running.path("served")
    pids = running.core, running.gateway, running.helper
    code = f"""
import socket
for packet in {PACKETS!r}:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(0.2)
    s.connect({str(running.run_dir / name)!r})
    try:
        s.send(b'{{"type": "hello", "v": 1, "id": 0, "pid": 1, "gateway": "x"}}')
        s.recv(65536)
        s.send(packet)
        s.recv(65536)
    except OSError:
        pass
"""
    subprocess.run(
        ["/usr/bin/python3", "-c", code],
        user=uid, group=uid, extra_groups=[], timeout=60, check=True,
    )  # fmt: skip

    running.until(lambda: _get(running, path) == 200, 10)
    running.until(lambda: running.supervisor("doctor", check=False).returncode == 0, 10)
    assert pids == (running.core, running.gateway, running.helper)
    running.supervisor("restart", "served")
    running.until(lambda: _get(running, path) == 200, 20)
    nothing_is_left(running)
