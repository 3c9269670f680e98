"""A parent over fake children reads its settings again: who is told what, and what is refused."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any

import pytest

from tests.unit.parent.harness import Server, alive, server, wait_for

pytestmark = pytest.mark.system


def asked(one: Server, text: str) -> dict[str, Any]:
    """Write the file anew, let the core ask, and give what it is told."""
    before = len(one.notes("core", "configured"))
    one.config.write_text(text)
    [core] = [note["pid"] for note in one.notes("core", "started")][-1:]
    os.kill(core, signal.SIGHUP)
    answer: dict[str, Any] = one.note("core", "configured", nth=before)["message"]
    return answer


def hung_up(one: Server) -> None:
    done = one.log().count(" parent configured ") + one.log().count("settings-refused")
    one.signal(signal.SIGHUP)
    wait_for(
        lambda: one.log().count(" parent configured ") + one.log().count("settings-refused") > done
    )


def test_what_may_change_is_in_force_in_the_same_processes_and_the_rest_is_named() -> None:
    with server() as one:
        one.start().ready()
        text = one.config.read_text()
        answer = asked(
            one,
            f"{text}[Scheduler]\nIdleTimeout = 7s\n[HTTP]\nListen = 127.0.0.1:1\n"
            f"[Applications]\nUidFirst = 70000\n[Moon]\nPhase = 1\n",
        )

        assert answer["ok"] is True
        assert ["Scheduler.IdleTimeout"] == answer["applied"]
        assert [
            {"key": "HTTP.Listen", "change": "reload"},
            {"key": "Applications.UidFirst", "change": "restart"},
            {"key": "Moon.Phase", "change": "reload"},
        ] == answer["kept"]
        for name in ("helper", "core", "gateway"):
            one.note(name, "settings")
        told = one.note("core", "settings")["told"]
        assert (7.0, 66_000, ["127.0.0.1:" + str(one.port)]) == (
            told["idle"], told["uid_first"], told["listen"],
        )  # fmt: skip
        assert 3 == len(one.notes(event="started"))


def test_a_child_that_is_started_later_has_the_settings_in_force() -> None:
    with server() as one:
        one.start().ready()
        text = one.config.read_text()
        asked(one, f"{text}[Scheduler]\nIdleTimeout = 7s\n[Fresh]\nKey = 1\n")
        core = one.notes("core", "started")[-1]["pid"]
        os.kill(core, signal.SIGKILL)
        second = one.note("core", "started", nth=1)

        assert 7.0 == second["idle"]
        assert "Fresh" not in second["sections"]


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("[Scheduler]\nIdleTimeout = soon\n", "IdleTimeout: 'soon' is not a duration"),
        ("[Scheduler\n", "this is not a section header"),
        ("[HTTP]\nListen = :1\n", "open to other machines"),
    ],
)
def test_a_file_that_does_not_hold_changes_nothing(added: str, said: str) -> None:
    with server() as one:
        one.start().ready()
        text = one.config.read_text()
        answer = asked(one, f"{text}[Logging]\nServiceLogLevel = debug\n{added}")

        assert (False, "settings-invalid") == (answer["ok"], answer["code"])
        assert said in answer["reason"]
        assert [] == one.notes("core", "settings")
        assert ["Logging.ServiceLogLevel"] == asked(
            one, f"{text}[Logging]\nServiceLogLevel = debug\n"
        )["applied"]


def test_a_file_that_is_gone_changes_nothing() -> None:
    with server() as one:
        one.start().ready()
        one.config.unlink()
        hung_up(one)

        assert "no configuration file" in one.log()
        assert [] == one.notes("core", "settings")


def test_a_file_that_others_can_write_changes_nothing() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with server() as one:
        one.start().ready()
        one.config.write_text(f"{one.config.read_text()}[Scheduler]\nIdleTimeout = 7s\n")
        one.config.chmod(0o666)
        hung_up(one)

        assert "settings-refused" in one.log()
        assert [] == one.notes("core", "settings")


def test_the_parents_own_limits_change_too() -> None:
    with server() as one:
        one.start(do={"core": ["deaf"]}).ready()
        text = one.config.read_text()
        asked(one, f"{text}[Server]\nShutdownTimeout = 500ms\n")
        began = time.monotonic()
        one.signal(signal.SIGTERM)

        assert 0 == one.wait()
        assert time.monotonic() - began < 4.0  # the default is 8 s, and the core is deaf


def test_hanging_up_reads_the_file_and_the_service_manager_hears_of_it() -> None:
    with server() as one, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(one.directory / "notify")
        manager.bind(path)
        manager.settimeout(10)
        one.start(environ={"NOTIFY_SOCKET": path}).ready()
        assert manager.recv(1000).startswith(b"READY=1")
        one.signal(signal.SIGHUP)

        assert manager.recv(1000).startswith(b"RELOADING=1")
        assert manager.recv(1000).startswith(b"READY=1")
        assert 3 == len(one.notes(event="started"))
        assert all(alive(pid) for pid in one.pids())


def test_a_server_that_is_not_ready_yet_does_not_say_so_for_having_read_its_file() -> None:
    with server() as one, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(one.directory / "notify")
        manager.bind(path)
        manager.setblocking(False)
        one.start(do={"core": ["late"]}, environ={"NOTIFY_SOCKET": path})
        one.note("core", "started")
        hung_up(one)

        with pytest.raises(BlockingIOError):
            manager.recv(1000)


def test_what_was_kept_comes_with_the_reload_that_it_waits_for() -> None:
    with server() as one:
        one.start().ready()
        text = one.config.read_text()
        asked(one, f"{text}[Fresh]\nKey = 1\n[Applications]\nUidFirst = 70000\n")
        one.signal(signal.SIGUSR2)
        wait_for(lambda: " parent reloaded " in one.log())

        assert "Fresh" in one.notes("core", "started")[-1]["sections"]
        assert "Applications.UidFirst has changed" in one.log()
