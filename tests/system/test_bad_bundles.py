"""Folders and bundles that are no app: refused with a reason, nothing written, nothing changed."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.leftovers import api, nothing_is_left
from tests.support.server import LiveServer
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system

APP = (EXAMPLES / "shiny-python-core" / "app.py").read_bytes()


@pytest.fixture(scope="module")
def guid(server: LiveServer) -> Iterator[str]:
    """A content that is served, on which all of this is tried."""
    server.deploy(EXAMPLES / "shiny-python-core", "good")
    yield server.row("list", name="good")["guid"]
    nothing_is_left(server)


def state(server: LiveServer) -> dict[str, Any]:
    """What must not change: the contents, their processes, and what is deployed."""
    return {
        "contents": [(one["name"], one["bundle_id"]) for one in api(server, "/v1/content")],
        "pids": [run["pid"] for run in api(server, "/v1/supervisor/runs")],
        "apps": sorted(str(path) for path in (server.data_dir / "apps").glob("*/*")),
    }


def administrator(server: LiveServer) -> httpx2.Client:
    """Speak to core.sock as an administrator, without the command line's own checks."""
    transport = httpx2.HTTPTransport(uds=str(server.run_dir / "core.sock"))
    return httpx2.Client(transport=transport, base_url="http://supervisor/__api__", timeout=60)


def publish(server: LiveServer, guid: str, data: bytes) -> tuple[str, list[str]]:
    """Upload bytes as a bundle and deploy it; give the task's error and its output."""
    with administrator(server) as client:
        uploaded = client.post(f"/v1/content/{guid}/bundles", content=data)
        if uploaded.is_error:
            return uploaded.json()["code"], []
        bundle = {"bundle_id": uploaded.json()["id"]}
        task = client.post(f"/v1/content/{guid}/deploy", json=bundle).json()["task_id"]
        shown: dict[str, Any] = {"finished": False}
        while not shown["finished"]:
            shown = client.get(f"/v1/tasks/{task}", params={"wait": 10}).json()
        return shown["error"], shown["output"]


def bundle(*entries: tarfile.TarInfo, app: bool = True) -> bytes:
    """Make a tar.gz of an app and of these entries, which are given as many bytes as they say."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for info in (*([entry("app.py", size=len(APP))] if app else ()), *entries):
            data = APP if info.name == "app.py" else b"x" * info.size
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    return entry(name, kind, linkname=target)


def bomb() -> bytes:
    """Three hundred kilobytes that unpack to three hundred megabytes."""
    whole = io.BytesIO()
    with gzip.GzipFile(fileobj=whole, mode="wb", compresslevel=9) as out:
        out.write(entry("zeros", size=300 << 20).tobuf())
        piece = bytes(1 << 20)
        for _ in range(300):
            out.write(piece)
    return whole.getvalue()


BUNDLES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "no gz": ("not a readable tar.gz", lambda: APP),
    "noise": ("not a readable tar.gz", lambda: os.urandom(100_000)),
    "no tar": ("", lambda: gzip.compress(os.urandom(2000))),
    "cut short": ("", lambda: bundle(entry("data", size=100_000))[:-200]),
    "cut in the middle of a file": (
        "cut short",
        lambda: gzip.compress(entry("app.py", size=5000).tobuf() + APP[:100]),
    ),
    "a bomb": ("unpacks to more than", bomb),
    "up": ("leads out", lambda: bundle(entry("../evil", size=4))),
    "up, further in": ("leads out", lambda: bundle(entry("a/../../evil", size=4))),
    "absolute": ("an absolute name", lambda: bundle(entry("/tmp/evil", size=4))),
    "a link that leads out": ("a symbolic link", lambda: bundle(link("evil", "/etc/shadow"))),
    "a link and a file beneath it": (
        "a symbolic link",
        lambda: bundle(link("www", "/tmp"), entry("www/evil", size=4)),
    ),
    "a hard link that leads out": (
        "", lambda: bundle(link("evil", "/etc/shadow", tarfile.LNKTYPE))
    ),
    "a device": ("a block device", lambda: bundle(entry("sda", tarfile.BLKTYPE, devmajor=8))),
    "a FIFO": ("a FIFO", lambda: bundle(entry("pipe", tarfile.FIFOTYPE))),
    "set-uid": ("a set-uid", lambda: bundle(entry("tool", size=4, mode=0o4755))),
    "set-gid": ("a set-uid or set-gid", lambda: bundle(entry("tool", size=4, mode=0o2755))),
    "a file twice": ("", lambda: bundle(entry("app.py", size=len(APP)))),
    "a file as a directory": ("", lambda: bundle(entry("app.py/evil", size=4))),
    "a new line in a name": ("a control character", lambda: bundle(entry("a\nb", size=4))),
    "a name that is not UTF-8": ("not UTF-8", lambda: bundle(entry("a\udcff", size=4))),
    "a manifest that is no JSON": ("manifest.json", lambda: bundle(entry("manifest.json", size=9))),
}  # fmt: skip


@pytest.mark.parametrize("what", BUNDLES)
def test_a_bundle_that_cannot_be_trusted_is_refused_whole(
    server: LiveServer, guid: str, what: str
) -> None:
    said, make = BUNDLES[what]
    before = state(server)

    error, _ = publish(server, guid, make())

    assert "(Error code: bundle-invalid)" in error
    assert said in error
    assert "\n" not in error
    assert before == state(server)
    assert not Path("/tmp/evil").exists()
    assert not list(server.data_dir.rglob("evil"))


def test_nothing_of_all_that_is_left(server: LiveServer, guid: str) -> None:
    nothing_is_left(server)


def test_an_empty_upload_and_one_that_is_too_large_are_refused(
    server: LiveServer, guid: str
) -> None:
    assert publish(server, guid, b"")[0] == "bundle-invalid"
    with administrator(server) as client:
        head = {"content-length": str(1 << 50)}
        path = f"/v1/content/{guid}/bundles"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(server.run_dir / "core.sock"))
            sock.settimeout(10)
            lines = f"POST /__api__{path} HTTP/1.1\r\nHost: x\r\n"
            lines += "".join(f"{key}: {value}\r\n" for key, value in head.items())
            sock.sendall(f"{lines}\r\nabc".encode())
            assert b" 413 " in sock.recv(4096)
        assert client.get(path.removesuffix("/bundles")).status_code == 200
    nothing_is_left(server)


def test_owners_and_modes_of_a_bundle_count_for_nothing(server: LiveServer, guid: str) -> None:
    error, _ = publish(server, guid, bundle(entry("tool", size=4, mode=0o1777, uid=0, gid=0)))

    assert error == ""
    (tool,) = server.data_dir.glob("apps/*/*/tool")
    assert tool.stat().st_mode & 0o7777 == 0o750
    assert tool.stat().st_uid not in (0, os.getuid())
    server.until(lambda: len(api(server, "/v1/supervisor/runs")) == 1, 10, "the old one's end")
    nothing_is_left(server)


@pytest.mark.parametrize("where", ["empty", "without an app"])
def test_the_command_line_refuses_a_folder_without_an_app(
    server: LiveServer, guid: str, tmp_path: Path, where: str
) -> None:
    if where == "without an app":
        (tmp_path / "notes.txt").write_text("nothing to see")
    before = state(server)

    done = server.supervisor("deploy", str(tmp_path), "--name", "nothing", "--json", check=False)

    assert done.returncode == 65
    assert json.loads(done.stderr)["code"] == "no-app-found"
    assert before == state(server)


def test_the_server_refuses_a_bundle_without_an_app(server: LiveServer, guid: str) -> None:
    before = state(server)

    error, output = publish(server, guid, bundle(entry("notes.txt", size=9), app=False))

    assert "(Error code: no-app-found)" in error
    assert output
    assert before == state(server)
    nothing_is_left(server)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("fly",), 2, "No such command 'fly'"),
        (("deploy",), 2, "Missing argument 'DIR'"),
        (("list", "--fast"), 2, "No such option"),
        (("deploy", "/nowhere"), 64, "'/nowhere' does not exist"),
        (("logs", "nobody"), 66, "there is no content or run 'nobody'"),
        (("logs", "../../etc/passwd"), 66, "there is no content or run '../../etc/passwd'"),
        (("stop", ".."), 66, "there is no content or run '..'"),
        (("logs", ""), 66, "there is no content or run ''"),
        (("stop", "nobody"), 66, "there is no"),
        (("restart", "nobody"), 66, "there is no content 'nobody'"),
        (("kill", "good\0"), 66, "there is no"),
        (("remove", "nobody", "--yes"), 66, "there is no content 'nobody'"),
        (("deploy", "{examples}/shiny-python-core", "--name", "a/b"), 64, "cannot be a name"),
        (("deploy", "{examples}/shiny-python-core", "--name", "x" * 100), 64, "cannot be a name"),
        (("list", "--socket", "/nowhere.sock"), 69, "No server answers at /nowhere.sock"),
    ],
)
def test_a_wrong_command_is_one_message_and_a_status(
    server: LiveServer, guid: str, arguments: tuple[str, ...], status: int, said: str
) -> None:
    given = [one.replace("{examples}", str(EXAMPLES)).replace("\0", "%00") for one in arguments]

    done = server.supervisor(*given, check=False)

    assert (status, "") == (done.returncode, done.stdout)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An app of a size that takes a while to upload."""
    folder = tmp_path_factory.mktemp("big")
    (folder / "app.py").write_bytes(APP)
    with (folder / "data.bin").open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(1 << 20))
    return folder


@pytest.mark.parametrize("name", ["good", "new"])
def test_a_deployment_interrupted_in_the_middle_of_its_upload_leaves_nothing(
    server: LiveServer, guid: str, big: Path, name: str
) -> None:
    before = state(server)
    bundles = set((server.data_dir / "bundles").iterdir())
    uploads = server.data_dir / "uploads"
    deploying = subprocess.Popen(
        [Path(sys.executable).parent / "supervisor", "deploy", big, "--name", name],
        env={**os.environ, "SUPERVISOR_SOCKET": str(server.run_dir / "core.sock")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    server.until(lambda: any(size(part) > 1 << 20 for part in uploads.iterdir()), 60)

    deploying.send_signal(signal.SIGINT)
    said, _ = deploying.communicate(timeout=20)

    assert deploying.returncode == 130
    assert b"Traceback" not in said
    server.until(lambda: not list(uploads.iterdir()), 10, "an empty uploads")
    assert bundles == set((server.data_dir / "bundles").iterdir())
    assert before == state(server)
    nothing_is_left(server)


def size(path: Path) -> int:
    """Bytes of a file, 0 where it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


GARBAGE = [
    os.urandom(4096),
    b"\0" * 100_000,
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /__api__/v1/content HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /__api__/v1/content/%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /__api__/v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\xff\xfe{}",
    b"POST /__api__/v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
    b"POST /__api__/v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{",
    b"POST /__api__/v1/content HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b'POST /__api__/v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{"name": 17}',
    b"POST /__api__/v1/content HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n" + b"[" * 9_999,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
]  # fmt: skip


def test_garbage_on_the_socket_of_the_core_is_refused_and_harms_nobody(
    server: LiveServer, guid: str
) -> None:
    core = server.core
    for data in GARBAGE:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(server.run_dir / "core.sock"))
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                answer = sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                answer = b""
            assert answer == b"" or answer.split()[1][:1] == b"4", (data[:60], answer[:300])
    half_open = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for sock in half_open:
        sock.connect(str(server.run_dir / "core.sock"))
        sock.sendall(b"GET /__api__/v1/content HTTP/1.1\r\nHo")
    begun = time.monotonic()
    server.json("list")
    assert time.monotonic() - begun < 5
    for sock in half_open:
        sock.close()
    assert core == server.core
    assert "Traceback" not in server.log()
