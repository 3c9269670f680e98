"""The parent over fake children: descriptors, restarts, hangs, signals, ends."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.unit.parent.children.fake import keyring
from tests.unit.parent.harness import alive, server, wait_for

pytestmark = pytest.mark.system


def test_every_listening_socket_reaches_the_child_that_it_was_made_for() -> None:
    with server() as one:
        one.start().ready()
        pids = {note["name"]: note["pid"] for note in one.notes(event="started")}

        assert f"http-0 {pids['gateway']}" == one.ask_http()
        assert f"core {pids['core']}" == one.ask("core")
        assert f"link {pids['core']}" == one.ask("link")
        assert f"helper {pids['helper']}" == one.ask("helper")
        assert f"helper-connect {pids['helper']}" == one.ask("helper-connect")


def test_a_child_is_given_its_descriptors_and_no_others() -> None:
    with server() as one:
        one.start().ready()
        fds = {note["name"]: note["fds"] for note in one.notes(event="started")}

        assert {
            "core": ["control", "core", "link", "settings", "trace"],
            "gateway": ["control", "http-0", "settings"],
            "helper": ["control", "helper", "helper-connect", "settings"],
        } == fds
        for note in one.notes(event="started"):
            # standard input, output, error and the directory that was just listed
            assert len(note["numbers"]) + 4 == len(note["open"])
            assert set(note["numbers"]) < set(note["open"])


def test_a_child_gets_nothing_of_the_parents_environment() -> None:
    hostile = {"PYTHONPATH": "/nowhere", "LD_LIBRARY_PATH": "/nowhere", "SECRET": "s", "TZ": "UTC"}
    with server() as one:
        one.start(environ=hostile).ready()

        for note in one.notes(event="started"):
            assert {"PATH", "LANG", "HOME", "TZ"} >= set(note["environ"]) - {"XDG_RUNTIME_DIR"}
            assert note["session"]


def test_a_child_has_a_session_keyring_of_its_own() -> None:
    with server() as one:
        one.start().ready()
        rings = [note["keyring"] for note in one.notes(event="started")]

        if min(rings) < 0:
            pytest.skip("not on this kernel: keyrings")
        assert len(rings) == len({*rings, keyring()} - {keyring()})


def test_settings_are_sealed_and_the_gateway_gets_no_secret() -> None:
    with server(settings='[Postgres]\nURL = "postgres://me:secret@db"\n') as one:
        one.start(do={"gateway": ["write-settings"]}).ready()

        assert one.note("gateway", "settings-sealed")["errno"] > 0
        assert "Postgres" in one.note("core", "started")["sections"]
        assert [] == one.note("gateway", "started")["sections"]


def test_no_connect_is_refused_while_the_gateway_is_killed_again_and_again() -> None:
    with server() as one:
        one.start().ready()
        failures: list[str] = []
        answered: set[str] = set()
        stop = threading.Event()

        def connect_for_ever() -> None:
            while not stop.is_set():
                try:
                    sock = socket.create_connection(("127.0.0.1", one.port), timeout=10)
                except OSError as error:
                    failures.append(repr(error))
                    continue
                # a reset is of one that was killed after it had accepted: that is not refused
                with sock, suppress(ConnectionResetError):
                    answered.add(sock.recv(100).decode())

        thread = threading.Thread(target=connect_for_ever)
        thread.start()
        try:
            for generation in range(5):
                pid = one.note("gateway", "ready", nth=generation)["pid"]
                wait_for(lambda pid=pid: f"http-0 {pid}\n" in answered)  # type: ignore[misc]
                os.kill(pid, signal.SIGKILL)
            pid = one.note("gateway", "ready", nth=5)["pid"]
            wait_for(lambda: f"http-0 {pid}\n" in answered)
        finally:
            stop.set()
            thread.join()

        assert [] == failures
        assert 6 == len(answered - {""})
        assert 1 == len(one.notes("core", "started")) == len(one.notes("helper", "started"))


def test_a_child_that_always_dies_is_started_ever_more_slowly() -> None:
    with server() as one:
        one.start(do={"gateway": ["exit:1"]})
        one.note("gateway", "started", nth=5)
        starts = [note["at"] for note in one.notes("gateway", "started")][:6]
        gaps = [later - earlier for earlier, later in pairwise(starts)]

        for least, gap in zip((0.0, 0.1, 0.2, 0.4, 0.8), gaps, strict=True):
            assert least <= gap
        assert one.note("core", "ready")


def test_a_hung_core_is_killed_and_its_successor_is_told_where_it_hung() -> None:
    with server(settings="[Server]\nBeatTimeout = 400ms\n") as one:
        one.start(do={"core": ["hang-once"]}).ready()
        message = one.note("core", "previous")["message"]

        assert message["exit"].startswith("hung: no beat for ")
        assert "hold_the_loop" in message["trace"]
        assert 2 == len(one.notes("core", "started"))
        assert 1 == len(one.notes("gateway", "started")) == len(one.notes("helper", "started"))
        assert not alive(one.notes("core", "started")[0]["pid"])


def test_a_core_that_is_killed_tells_its_successor_how() -> None:
    with server() as one:
        one.start().ready()
        os.kill(one.note("core", "ready")["pid"], signal.SIGKILL)

        assert "signal 9 (SIGKILL)" == one.note("core", "previous")["message"]["exit"]


def test_a_core_that_dies_without_having_read_its_messages_tells_how_all_the_same() -> None:
    with server(settings="[Server]\nBeatTimeout = 30s\n") as one:
        one.start(do={"core": ["hang"]}).ready()
        os.kill(one.note("core", "ready")["pid"], signal.SIGKILL)
        os.kill(one.note("core", "ready", nth=1)["pid"], signal.SIGKILL)  # `previous` stays unread

        wait_for(lambda: 2 == one.log().count("signal 9 (SIGKILL)"))


def test_a_child_that_sends_nonsense_is_replaced() -> None:
    with server() as one:
        one.start(do={"gateway": ["nonsense-once"]}).ready()

        assert 2 == len(one.notes("gateway", "started"))
        assert "broke its control link: not JSON" in one.log()


def test_a_core_that_is_never_ready_is_killed_only_after_the_start_limit() -> None:
    with server(settings="[Server]\nBeatTimeout = 100ms\nStartTimeout = 1s\n") as one:
        one.start(do={"core": ["late"]})
        first = one.note("core", "started")
        second = one.note("core", "started", nth=1)
        message = one.note("core", "previous")["message"]

        # the fake core beats all the time, but only `ready` counts before it is ready
        assert message["exit"].startswith("hung: not ready for ")
        assert 0.9 < second["at"] - first["at"] < 10.0


def test_on_sigterm_core_and_gateway_stop_before_the_helper() -> None:
    with server() as one:
        one.start().ready()
        one.signal(signal.SIGTERM)

        assert 0 == one.wait()
        at = {note["name"]: note["at"] for note in one.notes(event="stop")}
        assert {"core", "gateway", "helper"} == set(at)
        assert at["helper"] > max(at["core"], at["gateway"])
        assert "WARNING" not in one.log()
        assert not any(one.run_dir.glob("*.sock"))


def test_children_that_ignore_the_stop_are_killed_within_shutdown_timeout() -> None:
    deaf = {name: ["deaf"] for name in ("core", "gateway", "helper")}
    with server(settings="[Server]\nShutdownTimeout = 1s\n") as one:
        one.start(do=deaf).ready()
        begun = time.monotonic()
        one.signal(signal.SIGINT)

        assert 0 == one.wait()
        assert 0.9 < time.monotonic() - begun < 5.0  # the deaf would go on for a minute
        assert one.notes("helper", "stop")
        assert not any(alive(pid) for pid in one.pids())


def test_a_second_signal_kills_all_at_once() -> None:
    deaf = {name: ["deaf"] for name in ("core", "gateway", "helper")}
    with server(settings="[Server]\nShutdownTimeout = 30s\n") as one:
        one.start(do=deaf).ready()
        one.signal(signal.SIGTERM)
        one.note("core", "stop")
        begun = time.monotonic()
        one.signal(signal.SIGTERM)

        assert 0 == one.wait()
        assert time.monotonic() - begun < 10.0
        assert not any(alive(pid) for pid in one.pids())


@pytest.mark.parametrize("how", ["in order", "deaf", "hang"])
def test_a_parent_that_is_killed_leaves_no_child_after_one_second(how: str) -> None:
    with server() as one:
        one.start(do={} if how == "in order" else {"core": [how], "gateway": ["deaf"]}).ready()
        one.signal(signal.SIGKILL)
        one.wait()

        assert 3 == len(one.pids())
        wait_for(lambda: not any(alive(pid) for pid in one.pids()), seconds=1.0)


def test_a_parent_that_was_killed_can_be_followed_by_another_at_once() -> None:
    with server() as one:
        one.start().ready()
        one.signal(signal.SIGKILL)
        one.wait()
        (one.directory / "log").write_text("")
        one.start().ready()

        assert one.ask_http().startswith("http-0 ")
        assert one.ask("core").startswith("core ")


def test_a_child_that_refuses_to_start_ends_the_server_with_its_status() -> None:
    with server() as one:
        one.start(do={"core": ["exit:76"]})

        assert 76 == one.wait()
        assert 1 == len(one.notes("core", "started"))
        assert "child-refused" in one.log()
        assert not any(alive(pid) for pid in one.pids())


def test_a_child_whose_service_is_away_is_started_again() -> None:
    with server() as one:
        one.start(do={"core": ["exit-once:69"]}).ready()

        assert 2 == len(one.notes("core", "started"))


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_hears_ready_watchdog_and_stopping(abstract: bool) -> None:
    with server() as one, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(one.directory / "notify")
        manager.bind("\0" + path if abstract else path)
        manager.settimeout(5)
        address = f"@{path}" if abstract else path
        one.start(environ={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"})
        heard = manager.recv(1000).decode()
        while not heard.startswith("READY=1"):
            assert "WATCHDOG=1" == heard
            heard = manager.recv(1000).decode()

        assert f"MAINPID={one.pid}" in heard
        assert "WATCHDOG=1" == manager.recv(1000).decode()
        one.signal(signal.SIGTERM)
        while not heard.startswith("STOPPING=1"):
            heard = manager.recv(1000).decode()
        assert 0 == one.wait()


def test_the_first_lines_name_version_tier_addresses_data_and_log() -> None:
    with server() as one:
        one.start().ready()
        head = one.log().splitlines()[:6]
        tier = "root" if os.geteuid() == 0 else f"rootless (uid {os.geteuid()})"

        assert head[0].startswith("content-supervisor ")
        assert head[0].endswith(f"tier {tier}")
        assert f"  listens on  http://127.0.0.1:{one.port}/" == head[1]
        assert f"  data        {one.directory}/data (new, empty)" == head[2]
        assert "standard error" in head[5]


def test_the_parent_stays_small() -> None:
    with server() as one:
        one.start().ready()
        status = Path(f"/proc/{one.pid}/status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))

        assert int(resident.split()[1]) < 32 * 1024
