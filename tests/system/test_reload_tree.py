"""A parent over fake children executes itself anew: who lives on, who is replaced, who refuses."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.unit.parent.harness import Server, alive, free_port, server, wait_for

pytestmark = pytest.mark.system


def reloads(one: Server) -> int:
    return one.log().count(" parent reloaded ")


def reload(one: Server) -> None:
    before = reloads(one)
    one.signal(signal.SIGUSR2)
    wait_for(lambda: reloads(one) > before or one.over())
    assert not one.over(), one.log()


def last(one: Server, name: str) -> int:
    pid = one.notes(name, "started")[-1]["pid"]
    assert isinstance(pid, int)
    return pid


def test_parent_and_helper_keep_their_pids_and_gateway_and_core_are_replaced() -> None:
    with server() as one:
        one.start().ready()
        first = {name: last(one, name) for name in ("helper", "gateway", "core")}
        reload(one)

        assert "resumed" in one.log()
        assert alive(one.pid)
        assert first["helper"] == last(one, "helper")
        assert 2 == len(one.notes("helper", "ready"))
        assert first["gateway"] != last(one, "gateway")
        assert first["core"] != last(one, "core")
        assert f"core {last(one, 'core')}" == one.ask("core")
        assert f"helper {first['helper']}" == one.ask("helper")
        assert f"http-0 {last(one, 'gateway')}" == one.ask_http()
        assert not alive(first["core"])
        assert alive(first["gateway"])
        assert 3600.0 == one.note("gateway", "leave")["message"]["seconds"]


def test_a_lock_that_the_code_before_did_not_know_is_taken_by_the_new() -> None:
    with server() as one:
        one.start().ready()
        held = sorted((one.directory / "data").glob(".held-*"))
        assert 2 == len(held)
        for path in held:
            path.unlink()  # as if nobody had made it
            path.touch()
        reload(one)
        for path in held:
            with path.open() as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_steps_come_one_after_the_other() -> None:
    with server() as one:
        one.start().ready()
        reload(one)
        wanted = [
            ("helper", "renew"), ("helper", "started"), ("gateway", "started"),
            ("gateway", "leave"), ("core", "leave"), ("core", "started"), ("core", "reloaded"),
        ]  # fmt: skip
        wait_for(lambda: one.notes("core", "reloaded"))

        begun = [(note["name"], note["event"]) for note in one.notes()]
        begun = begun[begun.index(("helper", "renew")) :]
        came = [each for each in begun if each in wanted]
        # The old gateway and the old core are told one after the other, and note it at once.
        together = {("gateway", "leave"), ("core", "leave")}
        assert together == set(came[3:5])
        assert wanted == [*came[:3], *wanted[3:5], *came[5:]]
        assert one.note("core", "reloaded")["message"]["ok"] is True


def test_a_core_that_asks_is_told_that_it_begins() -> None:
    with server() as one:
        one.start().ready()
        os.kill(last(one, "core"), signal.SIGUSR1)

        assert one.note("core", "reloading")
        wait_for(lambda: reloads(one) == 1)


def test_settings_that_do_not_hold_refuse_the_reload_and_nothing_changes() -> None:
    with server() as one:
        one.start().ready()
        text = one.config.read_text()
        one.config.write_text(f"{text}[Server]\nBeatTimeout = soon\n")
        os.kill(last(one, "core"), signal.SIGUSR1)
        answer = one.note("core", "reloaded")["message"]

        assert answer["ok"] is False
        assert "BeatTimeout" in answer["reason"]
        assert "BeatTimeout = soon" in answer["hint"]
        assert 3 == len(one.notes(event="started"))
        one.config.write_text(text)
        reload(one)


def test_new_settings_reach_every_child_and_new_addresses_are_listened_on() -> None:
    with server() as one:
        one.start().ready()
        port = free_port() + 1
        text = one.config.read_text()
        one.config.write_text(f'{text}[HTTP]\nListen = 127.0.0.1:{port}\n[Fresh]\nKey = "1"\n')
        reload(one)

        for name in ("core", "helper"):
            assert "Fresh" in one.notes(name, "started")[-1]["sections"]
        assert ["control", "http-0", "http-1", "settings"] == one.notes("gateway", "started")[-1][
            "fds"
        ]
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            assert f"http-1 {last(one, 'gateway')}" == sock.recv(100).decode().strip()


def test_what_a_reload_cannot_change_stays_and_is_named() -> None:
    with server() as one:
        one.start().ready()
        text = one.config.read_text()
        one.config.write_text(text.replace(f"{one.directory}/data", f"{one.directory}/other"))
        reload(one)

        assert "Server.DataDir has changed" in one.log()
        assert f"{one.directory}/data" == one.notes("core", "started")[-1]["data_dir"]
        assert not Path(f"{one.directory}/other").exists()


def test_after_many_reloads_no_descriptor_has_leaked_and_three_old_gateways_are_left() -> None:
    with server() as one:
        one.start().ready()
        reload(one)
        fds = len(os.listdir(f"/proc/{one.pid}/fd"))
        for _ in range(5):
            reload(one)
        gateways = {note["pid"] for note in one.notes("gateway", "started")}
        wait_for(lambda: sum(map(alive, gateways)) == 4)

        assert fds + 2 == len(os.listdir(f"/proc/{one.pid}/fd"))  # two more gateways that leave
        for note in one.notes(event="started"):
            assert len(note["numbers"]) + 4 == len(note["open"]), note
        one.signal(signal.SIGTERM)
        assert 0 == one.wait()
        assert not any(alive(pid) for pid in one.pids())


def test_a_gateway_that_leaves_is_not_started_again_when_it_dies() -> None:
    with server() as one:
        one.start().ready()
        old = last(one, "gateway")
        reload(one)
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: not alive(old))
        reload(one)

        assert 3 == len(one.notes("gateway", "started"))


def test_a_gateway_that_does_not_leave_in_time_is_killed() -> None:
    with server(settings="[Server]\nGatewayDrainTimeout = 1s\n") as one:
        one.start().ready()
        old = last(one, "gateway")
        reload(one)

        wait_for(lambda: not alive(old), seconds=20)
        assert alive(last(one, "gateway"))


def test_a_new_gateway_that_does_not_start_leaves_the_old_one_serving() -> None:
    with server() as one:
        one.start(do={"gateway": ["exit-next:78"]}).ready()
        old = last(one, "gateway")
        reload(one)

        assert f"http-0 {old}" == one.ask_http()
        assert 2 == len(one.notes("gateway", "started"))
        assert [] == one.notes("gateway", "leave")
        told = one.note("core", "reloaded")["message"]
        assert (False, "gateway: ") == (told["ok"], told["reason"][:9])


def test_a_new_core_that_refuses_to_start_is_tried_again_and_nobody_else_ends() -> None:
    with server(settings="[Server]\nStartTimeout = 1s\n") as one:
        one.start(do={"core": ["exit-next:78"]}).ready()
        gateway = last(one, "gateway")
        reload(one)

        assert len(one.notes("core", "started")) > 2
        assert not one.over()
        assert alive(last(one, "gateway"))
        assert alive(gateway)
        assert "child=core reason=" in one.log()


def test_a_helper_that_declines_goes_on_with_a_new_core() -> None:
    with server() as one:
        one.start(do={"helper": ["declines"]}).ready()
        reload(one)

        assert 1 == len(one.notes("helper", "started"))
        assert 2 == len(one.notes("core", "started"))
        told = one.note("core", "reloaded")["message"]
        assert (False, "helper: it does not want to") == (told["ok"], told["reason"])


def test_a_helper_that_dies_when_it_should_renew_itself_is_started_again() -> None:
    with server() as one:
        one.start(do={"helper": ["dies-renewing"]}).ready()
        reload(one)

        assert "child=helper reason=" in one.log()
        wait_for(lambda: 2 == len(one.notes("helper", "ready")))
        assert 2 == len(one.notes("core", "started")) == len(one.notes("gateway", "started"))
        told = one.note("core", "reloaded")["message"]
        assert (False, "helper: it has ended") == (told["ok"], told["reason"])


def test_children_that_die_while_the_parent_executes_itself_are_reaped_and_replaced() -> None:
    with server() as one:
        one.start().ready()
        core, gateway = last(one, "core"), last(one, "gateway")
        one.signal(signal.SIGUSR2)
        wait_for(lambda: " parent reloading" in one.log())
        os.kill(core, signal.SIGKILL)
        os.kill(gateway, signal.SIGKILL)
        wait_for(lambda: reloads(one) == 1)

        assert not Path(f"/proc/{core}").exists()  # not even a zombie
        assert not Path(f"/proc/{gateway}").exists()
        assert f"core {last(one, 'core')}" == one.ask("core")
        # On a busy machine one that was started later may say so first.
        newer = {note["pid"] for note in one.notes("gateway", "started")} - {gateway}
        wait_for(lambda: one.ask_http() in {f"http-0 {pid}" for pid in newer})


def test_a_stop_in_the_middle_of_a_reload_ends_everything() -> None:
    for delay in (0.0, 0.1, 0.2, 0.3):
        with server() as one:
            one.start().ready()
            one.signal(signal.SIGUSR2)
            time.sleep(delay)
            one.signal(signal.SIGTERM)

            assert 0 == one.wait()
            assert not any(alive(pid) for pid in one.pids())
            assert not any(one.run_dir.glob("*.sock"))


def test_children_still_die_with_a_parent_that_was_killed_after_a_reload() -> None:
    with server() as one:
        one.start(do={name: ["deaf"] for name in ("core", "gateway")}).ready()
        reload(one)
        pids = one.pids()
        one.signal(signal.SIGKILL)

        wait_for(lambda: not any(alive(pid) for pid in pids))


def test_the_service_manager_hears_of_a_reload_and_of_its_end() -> None:
    with server() as one, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(one.directory / "notify")
        manager.bind(path)
        manager.settimeout(10)
        one.start(environ={"NOTIFY_SOCKET": path}).ready()
        assert manager.recv(1000).decode().startswith("READY=1")
        before = time.monotonic_ns() // 1000
        one.signal(signal.SIGUSR2)
        heard = manager.recv(1000).decode().splitlines()

        assert "RELOADING=1" == heard[0]
        name, _, at = heard[1].partition("=")
        assert "MONOTONIC_USEC" == name
        assert before <= int(at) <= time.monotonic_ns() // 1000
        assert manager.recv(1000).decode().startswith("READY=1")
        wait_for(lambda: reloads(one) == 1)


def test_as_pid_1_of_a_container_it_reloads_all_the_same() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with server() as one:
        one.start(within=["unshare", "--pid", "--fork", "--mount-proc"]).ready()
        [inner] = Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text().split()
        os.kill(int(inner), signal.SIGUSR2)

        wait_for(lambda: reloads(one) == 1)
        assert 2 == len(one.notes("helper", "ready"))
        os.kill(int(inner), signal.SIGTERM)
        assert 0 == one.wait()
