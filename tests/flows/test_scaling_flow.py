"""Setting and seeing scaling on the command line: real processes, a fake core behind them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import attrs
import pytest
import trio

from supervisor.core.service import SessionView
from supervisor.model import Overrides
from tests.support.cli import SUPERVISOR, TIMEOUT, Cli

ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


async def test_set_changes_several_keys_at_once_and_shows_where_values_come_from(cli: Cli) -> None:
    await cli.service.create_content("shiny", "Shiny")
    done = await cli(
        "set", "shiny", "max_processes=5", "idle_timeout=10m", "MinProcesses=1", "title=Grüße ✓"
    )
    assert "" == done.stdout
    assert (
        "shiny: title Shiny → Grüße ✓, min_processes 0 → 1, max_processes 3 → 5, "
        "idle_timeout 2m → 10m\n"
    ) == done.stderr
    view = await cli.service.content("shiny")
    assert Overrides(least=1, most=5, idle=600.0) == view.content.scaling
    assert ["scale"] == [call for call, _ in cli.service.calls if call != "create"]
    lines = {
        line.split()[0]: line.split()[1:]
        for line in (await cli("set", "shiny")).stdout.splitlines()
    }
    assert ["5", "content", "3"] == lines["max_processes"]
    assert ["2m", "server"] != lines["idle_timeout"] == ["10m", "content", "2m"]
    assert ["1h", "server"] == lines["read_timeout"]
    assert ["default", "server"] == lines["executor"]


async def test_set_gives_the_server_its_say_back(cli: Cli) -> None:
    await cli.service.create_content("shiny")
    await cli("set", "shiny", "load_factor=0.9", "drain_notice=no", "executor=other")
    await cli("set", "shiny", "load_factor=default", "drain_notice=default", "executor=default")
    content = (await cli.service.content("shiny")).content
    assert (Overrides(), None) == (content.scaling, content.executor)
    assert "nothing has changed" in (await cli("set", "shiny", "load_factor=default")).stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["max_proceses=5"], "Did you mean max_processes?"),
        (["nonsense=5"], "There are title, executor,"),
        (["max_processes"], "Write max_processes=VALUE."),
        (["max_processes="], "max_processes=default"),
        (["max_processes=5", "MaxProcesses=6"], "given twice"),
        (["max_processes=many"], "max_processes: 'many' is not a whole number"),
        (["idle_timeout=10"], "Write 10s for seconds"),
        (["load_factor=2"], "load_factor: '2' is not a number from 0.0 to 1.0"),
        (["drain_notice=perhaps"], "neither true nor false"),
        (["max_processes=21"], "max_processes: 21 is more than the server's MaxProcessesLimit, 20"),
        (["min_processes=4", "title=No"], "min_processes: 4 is more than the 3 processes"),
    ],
)
async def test_set_refuses_what_cannot_be_and_changes_nothing(
    cli: Cli, changes: list[str], said: str
) -> None:
    await cli.service.create_content("shiny")
    assert said in (await cli("set", "shiny", *changes, status=64)).stderr
    content = (await cli.service.content("shiny")).content
    assert (Overrides(), "") == (content.scaling, content.title)


async def test_set_speaks_json(cli: Cli) -> None:
    await cli.service.create_content("shiny")
    facts = await cli.json("set", "shiny", "max_processes=5")
    assert {"value": 5, "own": 5, "server": 3} == facts["settings"]["max_processes"]
    refused = await cli("set", "shiny", "max_processes=0", "--json", status=64)
    assert "max-processes-not-positive" == json.loads(refused.stderr)["code"]


async def test_sessions_shows_seats_and_the_line(cli: Cli) -> None:
    assert "Nobody is here." in (await cli("sessions")).stderr
    content = await cli.service.create_content("shiny")
    seat = SessionView(
        content_name="shiny",
        content_guid=content.guid,
        state="open",
        visitor="ab12",
        run="01m804fw6czt000000",
        age=130.0,
        quiet_client=60.0,
        quiet_worker=5.0,
        bytes_in=1500,
        bytes_out=2_000_000,
    )
    waiting = attrs.evolve(
        seat, state="waiting", run="", position=3, quiet_client=None, quiet_worker=None
    )
    cli.service.session_views = [seat, waiting]
    header, first, second = (await cli("sessions", "shiny")).stdout.splitlines()
    assert "CONTENT RUN STATE VISITOR SINCE QUIET IN OUT POSITION".split() == header.split()
    assert "shiny 01m804fw6czt open ab12 2m10s 5s 1.5 kB 2.0 MB -" == " ".join(first.split())
    assert ["-", "waiting", "3"] == [second.split()[at] for at in (1, 2, -1)]
    assert 3 == (await cli.json("sessions"))[1]["position"]
    await cli("sessions", "nope", status=66)


async def test_restart_rolls_and_reload_reaches_the_core(cli: Cli) -> None:
    await cli.service.create_content("shiny")
    assert "the old ones serve shiny." in (await cli("restart", "shiny", "--rolling")).stderr
    assert "is replacing its parts" in (await cli("reload")).stderr
    assert {"done": "reload"} == await cli.json("reload")
    assert [("restart-rolling", "shiny"), ("reload", ""), ("reload", "")] == cli.service.calls[-3:]


async def test_ps_watches_in_json_with_percents_from_the_second_look_on(
    cli: Cli, folder: Path
) -> None:
    await cli("deploy", str(folder))
    process = await cli.open("ps", "--watch", "--json", "--interval", "0.1")
    assert process.stdout is not None
    received = b""
    with trio.fail_after(TIMEOUT):
        while received.count(b"\n") < 2:
            received += await process.stdout.receive_some()
        process.send_signal(signal.SIGINT)
        assert 130 == await process.wait()
    first, second, *_ = map(json.loads, received.splitlines()[:2])
    assert (None, 0.0) == (first["runs"][0]["cpu_percent"], second["runs"][0]["cpu_percent"])
    assert first["clock"] < second["clock"]


async def test_ps_watch_without_a_terminal_prints_plain_tables(cli: Cli, folder: Path) -> None:
    await cli("deploy", str(folder))
    process = await cli.open("ps", "hello", "--watch", "--interval", "0.1")
    assert process.stdout is not None
    received = b""
    with trio.fail_after(TIMEOUT):
        while b"0.0%" not in received:
            received += await process.stdout.receive_some()
        process.send_signal(signal.SIGINT)
        assert 130 == await process.wait()
    assert b"\x1b" not in received
    assert 2 <= received.count(b"RUN ")
    assert "leave --all out" in (await cli("ps", "--watch", "--all", status=64)).stderr
    await cli("ps", "nope", "--watch", status=66)


async def test_top_sums_up_per_content(cli: Cli, folder: Path) -> None:
    assert "No process runs." in (await cli("top", "--once", "--interval", "0.1")).stderr
    await cli("deploy", str(folder))
    header, row = (await cli("top", "--interval", "0.1")).stdout.splitlines()
    assert "CONTENT STATE PROCESSES SESSIONS WAITING CPU% MEMORY".split() == header.split()
    assert "hello running 1/3 0/20 0 0.0 123 MB" == " ".join(row.split())
    (total,) = await cli.json("top", "--interval", "0.1")
    assert ("hello", 123_456_789, 0.0) == (total["name"], total["memory"], total["cpu"])


@pytest.mark.parametrize("command", [["ps", "--watch"], ["top"]])
@pytest.mark.parametrize("end", [b"q", b"\x03", signal.SIGTERM])
async def test_a_live_screen_shows_what_runs_and_leaves_the_terminal_in_order(
    cli: Cli, folder: Path, command: list[str], end: bytes | signal.Signals
) -> None:
    await cli("deploy", str(folder))
    keyboard, terminal = os.openpty()
    environment = {**os.environ, "SUPERVISOR_SOCKET": str(cli.socket), "TERM": "xterm-256color"}
    process = await trio.lowlevel.open_process(
        [*SUPERVISOR, *command, "--interval", "0.1"],
        env={**environment, "COLUMNS": "80", "LINES": "24"},
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(terminal)
    try:
        with trio.fail_after(TIMEOUT):
            shown = await _until(keyboard, b"hello")
            assert ENTER in shown
            if isinstance(end, signal.Signals):
                process.send_signal(end)
            else:
                os.write(keyboard, end)
            shown += await _until(keyboard, LEAVE)
            status = await process.wait()
    finally:
        process.kill()
        os.close(keyboard)
    assert (143 if isinstance(end, signal.Signals) else 0) == status
    assert SHOW_CURSOR in shown
    assert re.search(rb"q quits", shown)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def _until(descriptor: int, wanted: bytes) -> bytes:
    received = b""
    while wanted not in received:
        await trio.lowlevel.wait_readable(descriptor)
        received += os.read(descriptor, 65536)
    return received
