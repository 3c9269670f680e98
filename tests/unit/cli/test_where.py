"""Finding the server's socket, and what is said when none answers."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from supervisor.cli.client import check_socket
from supervisor.cli.where import SYSTEM_RUN_DIR, find_socket
from supervisor.errors import SupervisorError


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)


@pytest.mark.usefixtures("as_user")
def test_a_server_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "content-supervisor" / "core.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert SYSTEM_RUN_DIR / "core.sock" == find_socket(None)
    own.parent.mkdir()
    own.touch()
    assert own == find_socket(None)
    assert Path("/given") == find_socket("/given")


@pytest.mark.parametrize("kind", ["missing", "file", "dead", "long"])
def test_no_server_says_how_to_start_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x" * 200 if kind == "long" else "core.sock")
    if kind == "file":
        path.touch()
    if kind == "dead":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    with pytest.raises(SupervisorError) as caught:
        check_socket(path)
    assert "unavailable" == caught.value.code
    assert str(path) in caught.value.message
    assert "supervisor serve" in caught.value.hint
