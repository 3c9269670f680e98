"""The command line as people run it: real processes, a real socket, a fake core behind it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import trio

from supervisor.api.access import ApiSettings, write_token
from supervisor.api.server import serve_api
from supervisor.errors import SupervisorError
from supervisor.log import Log
from supervisor.testing.fakes_service import DEPLOY_LINES, FakeService
from tests.support.cli import SUPERVISOR, TIMEOUT, Cli

if TYPE_CHECKING:
    from conftest import Needs
else:
    Needs = object


async def test_a_folder_is_deployed_and_its_address_is_all_of_stdout(
    cli: Cli, folder: Path
) -> None:
    done = await cli("deploy", str(folder), "--title", "Grüße")
    (view,) = await cli.service.contents()
    assert f"/content/{view.content.guid}/\n" == done.stdout
    assert ("hello", "Grüße") == (view.content.name, view.content.title)
    assert all(f"  {line}\n" in done.stderr for line in DEPLOY_LINES)
    assert "new content hello" in done.stderr


async def test_the_same_name_again_updates_and_says_so(cli: Cli, folder: Path) -> None:
    await cli("deploy", str(folder))
    again = await cli("deploy", ".", "--title", "New", cwd=str(folder))
    assert "update of hello" in again.stderr
    (view,) = await cli.service.contents()
    assert (2, "New") == (view.bundle, view.content.title)


async def test_new_makes_another_content_of_a_free_name(cli: Cli, folder: Path) -> None:
    await cli("deploy", str(folder))
    facts = await cli.json("deploy", str(folder), "--new")
    assert ("hello-2", True, "2") == (facts["name"], facts["created"], facts["bundle_id"])
    assert list(DEPLOY_LINES) == facts["output"]


async def test_a_deployment_that_fails_ends_with_the_status_of_its_code(
    cli: Cli, folder: Path
) -> None:
    cli.service.fail_deploy = SupervisorError("no-app-found", "Nothing to run.", hint="Add app.R.")
    done = await cli("deploy", str(folder), status=65)
    assert "supervisor: Nothing to run.\n  Add app.R.\n" in done.stderr
    assert "supervisor remove hello" in done.stderr
    assert "" == done.stdout
    as_json = await cli("deploy", str(folder), "--json", status=65)
    assert "no-app-found" == json.loads(as_json.stderr)["code"]


async def test_a_bundle_that_the_server_would_refuse_is_not_sent(cli: Cli, folder: Path) -> None:
    (folder / "big.bin").write_bytes(os.urandom(3_000_000))
    done = await cli("deploy", str(folder), status=65)
    assert "3.0 MB" in done.stderr
    assert [] == list(await cli.service.contents())


@pytest.mark.parametrize(
    ("name", "status"), [("ab", 64), ("a b c", 64), ("x/../y", 64), ("-" * 65, 64)]
)
async def test_a_bad_name_is_refused(cli: Cli, folder: Path, name: str, status: int) -> None:
    await cli("deploy", str(folder), f"--name={name}", status=status)


async def test_a_folder_that_is_none_is_refused_before_the_server_is_asked(
    cli: Cli, folder: Path
) -> None:
    for path, status in ((folder / "app.py", 64), (folder / "nope", 64), (folder.parent, 65)):
        await cli("deploy", str(path), "--socket", "/nowhere", status=status)


@pytest.mark.system
async def test_an_unreadable_file_is_named(cli: Cli, folder: Path, needs: Needs) -> None:
    needs.root()
    (folder / "key.pem").write_text("secret")
    (folder / "key.pem").chmod(0)
    cli.socket.chmod(0o666)
    done = await cli("deploy", str(folder), status=65, user=1, group=1, extra_groups=[])
    assert "key.pem' cannot be read: Permission denied." in done.stderr


async def test_an_interrupted_upload_leaves_nothing(cli: Cli, folder: Path) -> None:
    cli.service.hold_uploads = trio.Event()
    (folder / "data.bin").write_bytes(os.urandom(1_900_000))
    process = await cli.open("deploy", str(folder), stderr=subprocess.PIPE)
    assert process.stderr is not None
    with trio.fail_after(TIMEOUT):
        await until(lambda: cli.service.uploads == 1)
        process.send_signal(signal.SIGINT)
        assert 130 == await process.wait()
        cli.service.hold_uploads.set()
        await until(lambda: cli.service.uploads == 0)
        assert b"Traceback" not in b"".join([bytes(part) async for part in process.stderr])
    assert {} == cli.service.bundles


async def test_without_root_the_token_beside_the_socket_opens_the_door(directory: Path) -> None:
    write_token(directory)
    token = (directory / "admin.token").read_text()
    settings = ApiSettings(core_uid=os.getuid(), gateway_uid=os.getuid(), token=token)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "core.sock"))
        listener.listen()
        async with trio.open_nursery() as nursery:
            service = FakeService()
            await nursery.start(partial(serve_api, listener, service, settings, log=Log("core")))
            cli = Cli(directory / "core.sock", service)
            assert [] == await cli.json("list")
            (directory / "admin.token").unlink()
            assert "administrator" in (await cli("list", status=77)).stderr
            nursery.cancel_scope.cancel()


async def test_serve_becomes_the_parent_and_its_refusal_is_ours(cli: Cli) -> None:
    done = await cli("serve", "--config", "/nowhere/file.gcfg", status=78)
    assert "/nowhere/file.gcfg" in done.stderr


async def test_setup_prints_what_it_would_do(cli: Cli, directory: Path) -> None:
    config = directory / "s.gcfg"
    config.write_text(f"[Server]\nDataDir = {directory}/data\n")
    done = await cli("setup", "--print", "--config", str(config))
    assert f"{directory}/data" in done.stdout
    assert not (directory / "data").exists()
    commands = json.loads((await cli("setup", "--print", "--json", "--config", str(config))).stdout)
    assert (done.stdout.splitlines(), False) == (commands["commands"], commands["done"])


async def test_list_and_ps_show_what_runs(cli: Cli, folder: Path) -> None:
    assert "Nothing is published" in (await cli("list")).stderr
    await cli("deploy", str(folder))
    header, row = (await cli("list")).stdout.splitlines()
    assert "NAME STATE PROCESSES SESSIONS URL TITLE".split() == header.split()
    assert ["hello", "running", "1", "0"] == row.split()[:4]
    header, row = (await cli("ps")).stdout.splitlines()
    assert "RUN CONTENT PURPOSE STATE PID SESSIONS CPU MEMORY AGE REASON".split() == header.split()
    assert ["hello", "serve", "ready", "4711", "0", "1.5s", "123", "MB"] == row.split()[1:9]
    assert "\x1b" not in header
    (run,) = await cli.json("ps")
    assert run["id"].startswith(row.split()[0])


async def test_stop_restart_kill_and_remove_reach_the_core(cli: Cli, folder: Path) -> None:
    await cli("deploy", str(folder))
    (run,) = await cli.json("ps")
    await cli("stop", "hello")
    await cli("restart", "hello")
    await cli("kill", run["id"])
    assert [] == await cli.json("ps")
    refused = await cli("remove", "hello", status=64, stdin=b"")
    assert "--yes" in refused.stderr
    await cli("remove", "hello", "--yes")
    verbs = [verb for verb, _ in cli.service.calls]
    assert ["stop", "restart", "kill", "remove"] == verbs[-4:]


@pytest.mark.parametrize(
    "command", [["stop", "no/pe"], ["logs", "nöpe"], ["kill", "%2e"], ["remove", "x", "--yes"]]
)
async def test_what_is_unknown_is_not_found(cli: Cli, command: list[str]) -> None:
    first, *hint = (await cli(*command, status=66)).stderr.splitlines()
    assert first.lower().startswith("supervisor: there is no")
    assert len(hint) <= 1


async def test_logs_shows_the_last_lines_and_follows(cli: Cli, folder: Path) -> None:
    await cli("deploy", str(folder))
    assert (await cli("logs", "hello", "-n", "1")).stdout.endswith("| listening\n")
    (run,) = await cli.json("ps")
    assert "starting\nlistening\n" == (await cli("logs", run["id"][:12])).stdout
    process = await cli.open("logs", run["id"], "-f", "-n", "0")
    assert process.stdout is not None
    with trio.fail_after(TIMEOUT):
        await until(lambda: cli.service.followers == 1)
        await cli.service.write("hello", "news")
        assert b"news\n" == await process.stdout.receive_some()
        process.send_signal(signal.SIGINT)
        assert 130 == await process.wait()
        await until(lambda: cli.service.followers == 0)


async def test_path_names_a_file_inside_and_outside_the_sandbox(cli: Cli, folder: Path) -> None:
    await cli("deploy", str(folder))
    (run,) = await cli.json("ps")
    data_dir, run_dir = "/var/lib/content-supervisor", "/run/content-supervisor"
    inside = "/opt/content-supervisor/mnt/app/app.R"
    seen = (await cli("path", inside, "--content", "hello")).stdout.splitlines()
    assert re.fullmatch(rf"{data_dir}/apps/1/(\d+|{{deployment}})/app.R", seen[0])
    assert f"    => {inside}" == seen[1]
    (socket,) = await cli.json(
        "path", "/opt/content-supervisor/mnt/socket/x", "--run", run["id"][:12]
    )
    assert f"{run_dir}/w/{run['id']}/x" == socket["physical"]
    (hidden,) = await cli.json("path", f"{data_dir}/db/x")
    assert hidden["sandbox"] is None
    assert "not an absolute path" in (await cli("path", "app.R", status=64)).stderr
    assert "no run" in (await cli("path", inside, "--run", "nope", status=66)).stderr


async def test_a_reader_that_goes_ends_logs_quietly(cli: Cli, folder: Path) -> None:
    await cli("deploy", str(folder))
    for _ in range(2000):
        await cli.service.write("hello", "x" * 200)
    process = await cli.open("logs", "hello", "-n", "3000", stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with trio.fail_after(TIMEOUT):
        await process.stdout.receive_some(10)
        await process.stdout.aclose()
        assert b"" == await process.stderr.receive_some()
        assert await process.wait() in (1, 141)


async def test_doctor_and_plugins_show_what_is_wrong(cli: Cli) -> None:
    assert "note  disk: nearly full\n      fix: make room\n" in (await cli("doctor")).stdout
    assert "could not be imported" in (await cli("plugins")).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_prints_a_script_that_names_us(cli: Cli, shell: str) -> None:
    assert "_SUPERVISOR_COMPLETE" in (await cli("completion", shell)).stdout


async def test_names_of_contents_are_completed(cli: Cli, folder: Path) -> None:
    await cli("deploy", str(folder))
    words = {"COMP_WORDS": "supervisor stop he", "COMP_CWORD": "2"}
    environment = {**os.environ, **words, "_SUPERVISOR_COMPLETE": "bash_complete"}
    with trio.fail_after(TIMEOUT):
        done = await trio.run_process(
            SUPERVISOR,
            env={**environment, "SUPERVISOR_SOCKET": str(cli.socket)},
            capture_stdout=True,
        )
    assert b"plain,hello\n" == done.stdout


async def test_no_server_is_one_message_with_a_way_out(cli: Cli) -> None:
    done = await cli("list", "--socket", "/nowhere/core.sock", status=69)
    assert 2 == len(done.stderr.splitlines())
    assert "supervisor serve" in done.stderr
    as_json = await cli("list", "--json", "--socket", "/nowhere/core.sock", status=69)
    assert "unavailable" == json.loads(as_json.stderr)["code"]


@pytest.mark.system
async def test_a_socket_that_is_closed_to_us_names_the_group(cli: Cli, needs: Needs) -> None:
    needs.root()
    cli.socket.chmod(0o660)
    os.chown(cli.socket, 0, 4)  # adm, on Debian
    done = await cli("list", status=77, user=1, group=1, extra_groups=[])
    assert "sudo usermod --append --groups adm" in done.stderr


async def test_usage_errors_are_json_too(cli: Cli) -> None:
    done = await cli("logs", "x", "--tail", "many", "--json", status=2)
    assert "bad-request" == json.loads(done.stderr)["code"]


async def test_version_and_help_load_nothing_heavy() -> None:
    code = (
        "import sys\nfrom supervisor.cli import main\nassert main([sys.argv[1]]) == 0\n"
        "heavy = {'trio', 'sqlalchemy', 'rich', 'httpx2', 'starlette', 'psutil', 'msgspec', 'h11',"
        " 'attrs', 'importlib.metadata', 'supervisor.model', 'supervisor.settings'}\n"
        "print('heavy:', heavy & set(sys.modules))"
    )
    for option in ("--version", "--help"):
        done = await trio.run_process([sys.executable, "-c", code, option], capture_stdout=True)
        assert done.stdout.endswith(b"heavy: set()\n")


async def test_200_megabytes_go_through_in_little_memory(directory: Path) -> None:
    path = directory / "big.sock"
    fake = "supervisor.testing.fakes_service"
    size, chunk = 200 * 2**20, os.urandom(2**20)
    async with trio.open_nursery() as nursery:
        process = await nursery.start(trio.run_process, [sys.executable, "-m", fake, str(path)])
        with trio.fail_after(TIMEOUT):
            await until(path.exists)
            await post(path, "/v1/content", [b'{"name": "big"}'], 15)
            before = psutil.Process(process.pid).memory_info().rss
            peak = before
            stream = [chunk] * (size // len(chunk))

            def look() -> None:
                nonlocal peak
                peak = max(peak, psutil.Process(process.pid).memory_info().rss)

            answer = await post(path, "/v1/content/big/bundles", stream, size, each=look)
        assert size == json.loads(answer)["size"]
        assert peak - before < 20 * 2**20
        nursery.cancel_scope.cancel()


async def post(path: Path, to: str, chunks: list[bytes], size: int, each: Any = None) -> bytes:
    """Send a body in pieces; give the body of the answer."""
    head = f"POST /__api__{to} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Length: {size}\r\n\r\n"
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(head.encode())
        for chunk in chunks:
            await stream.send_all(chunk)
            if each is not None:
                each()
        answer = b"".join([bytes(part) async for part in stream])
    return answer.partition(b"\r\n\r\n")[2]


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that only another process makes true."""
    while not true():  # noqa: ASYNC110
        await trio.sleep(0.01)
