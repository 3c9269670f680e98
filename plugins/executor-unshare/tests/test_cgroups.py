"""Which control groups are found, and what is written for a run's limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from supervisor_unshare.limits import cgroups
from supervisor_unshare.requests.jobs import Limits

RUN_DIR = "/run/content-supervisor"
NAME = cgroups.directory_name(RUN_DIR)
EVERYTHING = Limits(memory_max=1 << 30, memory_high=1 << 29, pids=10, cpu=1.5)


def hierarchy(top: Path, name: str, controllers: str) -> str:
    """Make a directory that looks like a mounted hierarchy; give its line of mountinfo."""
    path = top / name
    (path / NAME).mkdir(parents=True)
    (path / "cgroup.procs").touch()
    (path / NAME / "cgroup.procs").touch()
    kind = "cgroup2" if name == "unified" else "cgroup"
    return f"40 31 0:37 / {path} rw,relatime - {kind} {kind} rw{controllers}"


def test_v1_gives_limits_and_no_unified_directory(tmp_path: Path) -> None:
    lines = [hierarchy(tmp_path, name, f",{name}") for name in ("memory", "pids", "cpu")]
    found = cgroups.find(RUN_DIR, mountinfo="\n".join(lines), own="4:memory:/somewhere\n")
    assert found.unified is None
    assert frozenset({"memory_max", "pids", "cpu"}) == found.limits


def test_hybrid_gives_both(tmp_path: Path) -> None:
    lines = [hierarchy(tmp_path, "unified", ""), hierarchy(tmp_path, "memory", ",memory")]
    found = cgroups.find(RUN_DIR, mountinfo="\n".join(lines), own="4:memory:/x\n0::/\n")
    assert f"{tmp_path}/unified/{NAME}" == found.unified
    assert {"memory": f"{tmp_path}/memory/{NAME}"} == found.controllers
    assert frozenset({"memory_max"}) == found.limits


def test_v2_lies_beneath_our_own_group(tmp_path: Path) -> None:
    line = hierarchy(tmp_path, "unified", "")
    own = tmp_path / "unified/system.slice/server.service"
    (own / NAME).mkdir(parents=True)
    (own / "cgroup.procs").touch()
    (own / NAME / "cgroup.procs").touch()
    found = cgroups.find(RUN_DIR, mountinfo=line, own="0::/system.slice/server.service\n")
    assert (f"{own}/{NAME}", frozenset()) == (found.unified, found.limits)


def test_in_a_delegated_group_the_server_moves_down_and_runs_lie_beside_it(tmp_path: Path) -> None:
    line = hierarchy(tmp_path, "unified", "")
    own = tmp_path / "unified/system.slice/server.service"
    for group in (own, own / NAME, own / "server"):
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").touch()
    try:
        os.setxattr(own, "user.delegate", b"1")
    except OSError:
        pytest.skip("not on this kernel: extended attributes of users in the temporary directory")
    (own / "cgroup.procs").write_text("4711\n")
    for joined in ("/system.slice/server.service", "/system.slice/server.service/server"):
        found = cgroups.find(RUN_DIR, mountinfo=line, own=f"0::{joined}\n")
        assert f"{own}/{NAME}" == found.unified
    assert "4711" == (own / "server" / "cgroup.procs").read_text()


def own_group(top: Path, group: str, *, processes: str = "", kind: str = "domain") -> str:
    """Make the group in which a server was started, below a mounted v2; give mountinfo's line."""
    line = hierarchy(top, "unified", "")
    own = top / "unified" / group
    for path in (own, own / NAME, own / "server"):
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.procs").write_text(processes if path == own else "")
        (path / "cgroup.type").write_text(f"{kind if path == own / NAME else 'domain'}\n")
        (path / "cgroup.subtree_control").touch()
    return line


def test_a_group_with_processes_that_is_not_ours_is_asked_for_no_controller(tmp_path: Path) -> None:
    """It would hand down pids and cpu, for threads alone, and take no process beneath it."""
    line = own_group(tmp_path, "session.scope", processes="4711\n")
    found = cgroups.find(RUN_DIR, mountinfo=line, own="0::/session.scope\n")
    assert f"{tmp_path}/unified/session.scope/{NAME}" == found.unified
    assert {} == found.controllers
    assert "" == (tmp_path / "unified/session.scope/cgroup.subtree_control").read_text()
    assert "4711\n" == (tmp_path / "unified/session.scope/cgroup.procs").read_text()


@pytest.mark.parametrize("joined", ["/", "/server"])
def test_in_a_container_the_server_moves_down_and_runs_lie_beside_it(
    joined: str, tmp_path: Path
) -> None:
    line = own_group(tmp_path, "", processes="1\n")
    found = cgroups.find(RUN_DIR, mountinfo=line, own=f"0::{joined}\n")
    assert f"{tmp_path}/unified/{NAME}" == found.unified
    expected = "1" if joined == "/" else ""
    assert expected == (tmp_path / "unified/server/cgroup.procs").read_text()


def test_a_group_in_a_tree_of_threads_is_left_alone(tmp_path: Path) -> None:
    line = own_group(tmp_path, "threads", kind="domain invalid")
    removed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rmdir", removed.append)
        found = cgroups.find(RUN_DIR, mountinfo=line, own="0::/threads\n")
    assert found.unified is None
    assert [f"{tmp_path}/unified/threads/{NAME}"] == removed


def test_what_v2_delegates_can_be_limited() -> None:
    where = dict.fromkeys(("memory", "pids"), "/x")
    found = cgroups.Hierarchies(unified="/x", controllers=where, v2=frozenset(where))
    assert frozenset({"memory_max", "pids"}) == found.limits


def test_without_groups_nothing_is_claimed() -> None:
    found = cgroups.find(RUN_DIR, mountinfo="", own="")
    assert (None, frozenset(), []) == (found.unified, found.limits, found.directories)
    assert frozenset() == cgroups.needed(found, EVERYTHING)
    assert () == cgroups.make(found, (), "run").directories


def test_a_run_has_groups_that_count_and_joins_the_others(tmp_path: Path) -> None:
    lines = [hierarchy(tmp_path, name, f",{name}") for name in ("memory", "pids", "cpu")]
    lines.append(hierarchy(tmp_path, "unified", ""))
    found = cgroups.find(RUN_DIR, mountinfo="\n".join(lines), own="0::/\n")
    group = cgroups.make(found, cgroups.needed(found, Limits()), "run")
    own = {f"{tmp_path}/{name}/{NAME}/run" for name in ("unified", "memory", "pids")}
    assert own == set(group.directories)
    assert (f"{tmp_path}/cpu/{NAME}",) == group.joined


@pytest.mark.parametrize(
    ("v2", "expected"),
    [
        (
            frozenset({"memory", "pids", "cpu"}),
            {
                "memory": {"memory.max": "1073741824", "memory.swap.max": "0"},
                "pids": {"pids.max": "11"},
                "cpu": {"cpu.max": "150000 100000"},
            },
        ),
        (
            frozenset(),
            {
                "memory": {
                    "memory.limit_in_bytes": "1073741824",
                    "memory.memsw.limit_in_bytes": "1073741824",
                },
                "pids": {"pids.max": "11"},
                "cpu": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"},
            },
        ),
    ],
)
def test_limits_are_written_in_the_words_of_each_version(
    v2: frozenset[str], expected: dict[str, dict[str, str]]
) -> None:
    assert expected == cgroups.settings(EVERYTHING, v2)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("memory.events", "low 0\noom 3\noom_kill 2\n", 2),
        ("memory.events", "low 0\noom 0\noom_kill 0\n", 0),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
    ],
)
def test_who_was_killed_for_memory_is_counted_and_not_guessed(
    tmp_path: Path, name: str, text: str, expected: int
) -> None:
    (tmp_path / name).write_text(text)
    assert expected == cgroups.Group(memory=str(tmp_path)).memory_kills()


def test_a_process_of_another_container_is_not_killed_as_process_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))
    monkeypatch.setattr(cgroups, "_SWEEP_SECONDS", 0.0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cgroup.procs").write_text("0\n17\n")
    cgroups.sweep(cgroups.Hierarchies(unified=str(tmp_path), controllers={}, v2=frozenset()))
    assert [17] == killed


def test_a_group_without_memory_counts_nobody() -> None:
    assert (0, None) == (cgroups.Group().memory_kills(), cgroups.Group().memory_used())


@pytest.mark.parametrize(
    ("used", "cached"),
    [("memory.current", "inactive_file"), ("memory.usage_in_bytes", "total_inactive_file")],
)
def test_cached_files_do_not_count_as_used(tmp_path: Path, used: str, cached: str) -> None:
    (tmp_path / used).write_text("5000\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\n{cached} 2000\n")
    assert 3000 == cgroups.Group(memory=str(tmp_path)).memory_used()


def test_the_nicer_the_less_of_the_processor() -> None:
    nice = Limits(nice=10)
    assert {"cpu": {"cpu.weight.nice": "10"}} == cgroups.settings(nice, frozenset({"cpu"}))
    assert {"cpu": {"cpu.shares": "110"}} == cgroups.settings(nice, frozenset())


@pytest.mark.parametrize(
    ("controllers", "unified", "v2", "expected"),
    [
        ({}, None, frozenset(), "resource limits alone"),
        ({"memory": "/m"}, None, frozenset(), "cgroup v1"),
        ({"memory": "/m"}, "/u", frozenset(), "cgroup v1 and v2 (hybrid)"),
        ({"memory": "/u"}, "/u", frozenset({"memory"}), "cgroup v2"),
    ],
)
def test_doctor_names_what_was_found(
    controllers: dict[str, str], unified: str | None, v2: frozenset[str], expected: str
) -> None:
    found = cgroups.Hierarchies(unified=unified, controllers=controllers, v2=v2)
    assert expected == found.kind
