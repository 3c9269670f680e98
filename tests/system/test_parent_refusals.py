"""What the parent refuses: each with one clear message, and nothing started or left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.parent.harness import Server, server

pytestmark = pytest.mark.system


def refusal(one: Server) -> tuple[int, str]:
    """Start it, and give exit status and message."""
    one.start()
    status = one.wait()
    assert [] == one.notes()
    assert "Traceback" not in one.log()
    return status, one.log()


def test_a_port_in_use_is_named_with_its_holder() -> None:
    with server() as one, socket.socket() as holder:
        holder.bind(("127.0.0.1", one.port))
        holder.listen()
        status, message = refusal(one)

        assert 69 == status
        assert f"HTTP.Listen = 127.0.0.1:{one.port} is in use by" in message
        assert f"(pid {os.getpid()})" in message
        assert not list(one.run_dir.glob("*.sock"))


def test_a_second_parent_on_the_same_run_dir_is_refused_and_told_who_holds_it() -> None:
    with server() as one:
        one.start().ready()
        second = subprocess.run(
            one.command(programs=("core",), do={}), capture_output=True, text=True, timeout=20
        )

        assert 75 == second.returncode
        assert f"held by another living server (pid {one.pid})" in second.stderr
        assert "run-dir-held" in second.stderr
        assert one.ask_http().startswith("http-0 ")
        assert one.ask("core").startswith("core ")


def test_a_second_parent_on_the_same_data_dir_is_refused_and_told_who_holds_it() -> None:
    with server() as one, server() as other:
        one.start().ready()
        text = other.config.read_text()
        other.config.write_text(text.replace(f"{other.directory}/data", f"{one.directory}/data"))
        status, message = refusal(other)

        assert 75 == status
        assert f"the data directory {one.directory}/data is held by" in message
        assert f"(pid {one.pid})" in message


def test_listening_for_everybody_is_refused_until_somebody_said_so() -> None:
    with server() as one:
        text = one.config.read_text().replace("Listen = 127.0.0.1:", "Listen = :")
        one.config.write_text(text)
        status, message = refusal(one)
        assert 78 == status
        assert f"HTTP.Listen = :{one.port} is open to other machines" in message
        assert "Provider = none" in message

        one.config.write_text(text + "[Authentication]\nProvider = none\n")
        one.start().ready()
        assert one.ask_http().startswith("http-0 ")


def test_a_data_dir_that_holds_other_things_is_left_alone() -> None:
    with server() as one:
        data = one.directory / "data"
        data.mkdir()
        (data / "precious").write_text("mine")
        status, message = refusal(one)

        assert 73 == status
        assert "holds other things (precious)" in message
        assert ["precious"] == os.listdir(data)


def test_a_data_dir_that_cannot_be_made_is_named() -> None:
    with server() as one:
        (one.directory / "data").write_text("a file")
        status, message = refusal(one)

        assert 73 == status
        assert f"Server.DataDir = {one.directory}/data cannot be used" in message


def test_a_run_dir_that_is_a_link_is_refused() -> None:
    with server() as one:
        (one.directory / "elsewhere").mkdir()
        one.run_dir.symlink_to(one.directory / "elsewhere")
        status, message = refusal(one)

        assert 73 == status
        assert f"{one.run_dir} is not a directory of uid" in message
        assert [] == os.listdir(one.directory / "elsewhere")


def test_a_run_dir_too_long_for_a_socket_is_refused() -> None:
    with server() as one:
        deep = one.directory / ("d" * 100)
        one.config.write_text(one.config.read_text().replace(f"{one.run_dir}\n", f"{deep}\n"))
        status, message = refusal(one)

        assert 73 == status
        assert "too long for a Unix socket" in message


def test_a_wrong_configuration_is_one_message_with_line_and_column() -> None:
    with server(settings="[Scheduler]\nIdleTimeout = 30\n") as one:
        line = len(one.config.read_text().splitlines())
        status, message = refusal(one)

        assert 78 == status
        assert (
            f"{one.config}:{line}:15: IdleTimeout: 30 without a unit means nanoseconds" in message
        )
        assert "write 30s" in message


def test_the_command_itself_says_what_is_wrong_with_its_file(tmp_path: Path) -> None:
    missing = tmp_path / "missing.gcfg"
    done = subprocess.run(
        [sys.executable, "-I", "-m", "supervisor.parent", "--config", str(missing)],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert 78 == done.returncode
    assert f"supervisor serve: there is no configuration file {missing}" in done.stderr
    assert "Traceback" not in done.stderr
