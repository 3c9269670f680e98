"""The server's own processes get more of a busy processor than all contents together."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_unshare.limits import priority
from supervisor_unshare.limits.cgroups import Hierarchies


@pytest.fixture
def child() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


def first_version(top: Path, *held: int) -> Hierarchies:
    """The hierarchy of cpu in v1, with those processes at its top."""
    (top / "ours").mkdir()
    (top / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in held))
    return Hierarchies(controllers={"cpu": str(top / "ours")})


def test_where_cgroup_v2_is_delegated_the_servers_group_gets_the_weight(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server/cpu.weight").write_text("100")
    ours = str(tmp_path / "ours")
    found = Hierarchies(unified=ours, controllers={"cpu": ours}, v2=frozenset({"cpu"}))
    assert "" == priority.prefer(found, os.getpid())
    assert "1600" == (tmp_path / "server/cpu.weight").read_text()
    priority.leave(found)
    assert (tmp_path / "server").is_dir()


def test_in_cgroup_v1_parent_and_children_move_into_a_group_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: int
) -> None:
    found = first_version(tmp_path, os.getpid())
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(priority, "write", lambda path, text: written.append((path, text)))
    assert "" == priority.prefer(found, os.getpid())
    group = f"{tmp_path}/ours-server"
    assert [(f"{group}/cpu.shares", "16384"), (f"{group}/cgroup.procs", str(os.getpid()))] == (
        written[:2]
    )
    assert (f"{group}/cgroup.procs", str(child)) in written[2:]


def test_whoever_a_service_manager_has_put_into_a_group_stays_there(tmp_path: Path) -> None:
    found = first_version(tmp_path, 1)
    assert "" == priority.prefer(found, os.getpid())
    assert not (tmp_path / "ours-server").exists()


@pytest.mark.parametrize("found", [Hierarchies(), Hierarchies(controllers={"memory": "/m"})])
def test_without_control_groups_for_processors_nothing_is_done(found: Hierarchies) -> None:
    assert "" == priority.prefer(found, os.getpid())
    priority.leave(found)


def test_what_the_kernel_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, text: str) -> None:
        raise OSError(22, "Invalid argument", path)

    found = first_version(tmp_path, os.getpid())
    monkeypatch.setattr(priority, "write", refuse)
    told = f"{tmp_path}/ours-server/cpu.shares: Invalid argument"
    assert told == priority.prefer(found, os.getpid())


def test_at_the_end_all_go_back_to_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = first_version(tmp_path)
    group = tmp_path / "ours-server"
    group.mkdir()
    (group / "cgroup.procs").write_text("17\n18\n")
    written: list[tuple[str, str]] = []
    removed: list[str] = []
    monkeypatch.setattr(priority, "write", lambda path, text: written.append((path, text)))
    monkeypatch.setattr(os, "rmdir", removed.append)
    priority.leave(found)
    assert [(f"{tmp_path}/cgroup.procs", pid) for pid in ("17", "18")] == written
    assert [str(group)] == removed
