"""What all contents may use together, by settings and machine; and how an end is explained."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest
from supervisor_unshare.limits import endings, totals
from supervisor_unshare.limits.cgroups import Group, Hierarchies
from supervisor_unshare.limits.endings import Hits
from supervisor_unshare.limits.totals import Totals
from supervisor_unshare.linux import filters

MACHINE = Totals(memory=8_000_000_000, pids=32768)
MIB = 1 << 20
KEYCTL = filters.NUMBERS[platform.machine()]["keyctl"]


@pytest.mark.parametrize(
    ("settings", "machine", "expected"),
    [
        ({}, MACHINE, MACHINE),
        ({"memory_reserve": [[256_000_000, 0.0], [0, 0.05]]}, MACHINE, (7_600_000_000, 32768)),
        ({"memory_reserve": [[900_000_000, 0.0], [0, 0.05]]}, MACHINE, (7_100_000_000, 32768)),
        ({"memory_reserve": [[256, 0.9]]}, MACHINE, (6_000_000_000, 32768)),  # a quarter at most
        ({"pids_reserve": 1024}, MACHINE, (8_000_000_000, 31744)),
        ({"pids_reserve": 1024}, Totals(memory=10, pids=400), (10, 300)),
        ({"total_memory": 77, "total_pids": 88, "pids_reserve": 5}, MACHINE, (77, 88)),
        ({"total_pids": 0, "pids_reserve": 5}, Totals(), (None, None)),
    ],
)
def test_contents_get_what_the_machine_has_without_the_reserve(
    settings: dict[str, Any], machine: Totals, expected: Any
) -> None:
    if not isinstance(expected, Totals):
        expected = Totals(memory=expected[0], pids=expected[1])
    assert expected == totals.of(settings, machine)


def machine_at(tmp_path: Path, *, memory: str, pids: str) -> tuple[Hierarchies, str]:
    """A group of ours in a container's, as v2 has them, and a /proc."""
    own = tmp_path / "cgroup" / "ours"
    own.mkdir(parents=True)
    for name, text in (("memory.max", memory), ("pids.max", pids), ("cgroup.procs", "")):
        (own.parent / name).write_text(text)
        (own / name).write_text("max" if name != "cgroup.procs" else "")
    kernel = tmp_path / "proc" / "sys" / "kernel"
    kernel.mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:        8000000 kB\nMemFree: 1 kB\n")
    (kernel / "pid_max").write_text("32768\n")
    (kernel / "threads-max").write_text("9000\n")
    names = ("memory", "pids", "cpu")
    found = Hierarchies(
        unified=str(own), controllers=dict.fromkeys(names, str(own)), v2=frozenset(names)
    )
    return found, str(tmp_path / "proc")


@pytest.mark.parametrize(
    ("memory", "pids", "expected"),
    [
        ("max\n", "max\n", Totals(memory=8_192_000_000, pids=9000)),
        ("1000000\n", "500\n", Totals(memory=1_000_000, pids=500)),
    ],
)
def test_the_machine_is_the_container_where_that_has_less(
    tmp_path: Path, memory: str, pids: str, expected: Totals
) -> None:
    found, proc = machine_at(tmp_path, memory=memory, pids=pids)
    assert expected == totals.machine(found, proc=proc)


def test_totals_are_written_and_read_back(tmp_path: Path) -> None:
    found, _ = machine_at(tmp_path, memory="max", pids="max")
    (tmp_path / "cgroup/ours/cpu.weight").write_text("100")
    assert Totals() == totals.applied(found)
    assert [] == totals.apply(found, Totals(memory=5 * MIB, pids=7))
    assert Totals(memory=5 * MIB, pids=7) == totals.applied(found)
    assert "50" == (tmp_path / "cgroup/ours/cpu.weight").read_text()


def test_in_v2_contents_cannot_go_on_in_swap_where_their_memory_ends(tmp_path: Path) -> None:
    found, _ = machine_at(tmp_path, memory="max", pids="max")
    swap = tmp_path / "cgroup/ours/memory.swap.max"
    swap.write_text("max")  # only a kernel that counts swap has it
    assert [] == totals.apply(found, Totals(pids=7))
    assert "max" == swap.read_text()
    assert [] == totals.apply(found, Totals(memory=5 * MIB))
    assert "0" == swap.read_text()


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    found = Hierarchies(controllers={"memory": str(tmp_path / "gone")})
    troubles = totals.apply(found, Totals(memory=1, pids=1))
    assert ["memory.limit_in_bytes: No such file or directory"] == troubles


@pytest.mark.parametrize(
    ("status", "hits", "facts", "expected"),
    [
        (0, Hits(kills=3, refused=2), {"blocked": [KEYCTL], "tmp_full": 1}, ("", "")),
        (9, Hits(kills=1, memory=MIB), {}, ("memory", "the kernel killed it: memory limit, 1 MiB")),
        (
            9,
            Hits(kills=1, all_memory=3_000_000),
            {},
            ("memory", "the kernel killed it: memory limit of all contents together, 3 MB"),
        ),
        (
            3 << 8,
            Hits(kills=2),
            {},
            ("memory", "the kernel killed 2 of its processes: the machine had no memory left"),
        ),
        (
            1 << 8,
            Hits(refused=1),
            {"blocked": [KEYCTL]},
            (
                "pids",
                "it could start no process beyond those that all contents together have as their"
                " limit; the sandbox had refused the system call keyctl",
            ),
        ),
        (11, Hits(), {}, ("", "")),
    ],
)
def test_an_end_is_explained_by_what_the_kernel_counted(
    status: int, hits: Hits, facts: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert expected == endings.explain(status, hits, facts)


def group_at(path: Path, **files: str) -> str:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return str(path)


def test_v2_says_whose_limit_was_reached(tmp_path: Path) -> None:
    own = {"memory__events": "oom 0\noom_kill 1\n", "memory__events__local": "oom 0\n"}
    group_at(tmp_path / "all", memory__max="1000", memory__events__local="oom 4\n")
    run = group_at(tmp_path / "all/run", memory__max="500", **own)
    assert Hits(kills=1, all_memory=1000) == endings.hits(Group(memory=run))
    group_at(tmp_path / "all/run", memory__events__local="oom 1\n")
    assert Hits(kills=1, memory=500) == endings.hits(Group(memory=run))


def test_v2_blames_no_limit_of_all_that_only_another_run_has_reached_alone(tmp_path: Path) -> None:
    """memory.events counts what happens beneath a group too."""
    events = {"memory__events": "oom 1\noom_kill 2\n", "memory__events__local": "oom 0\n"}
    group_at(tmp_path / "all", memory__max="1000", **events)
    own = {"memory__events": "oom 0\noom_kill 1\n", "memory__events__local": "oom 0\n"}
    run = group_at(tmp_path / "all/run", memory__max="max", **own)
    assert Hits(kills=1) == endings.hits(Group(memory=run))


def test_v1_says_whose_limit_was_reached(tmp_path: Path) -> None:
    limit, most = {"memory__limit_in_bytes": str(64 * MIB)}, "memory__max_usage_in_bytes"
    group_at(tmp_path / "all", **limit, **{most: str(64 * MIB)})
    files = {**limit, "memory__oom_control": "oom_kill 1\n"}
    run = group_at(tmp_path / "all/run", **files, **{most: str(40 * MIB)})
    assert Hits(kills=1, all_memory=64 * MIB) == endings.hits(Group(memory=run))
    group_at(tmp_path / "all/run", **{most: str(64 * MIB - 4096)})
    assert Hits(kills=1, memory=64 * MIB) == endings.hits(Group(memory=run))


def test_the_limit_of_processes_is_told_without_init(tmp_path: Path) -> None:
    run = group_at(tmp_path / "run", pids__max="21", pids__events="max 5\n")
    assert Hits(refused=5, pids=20) == endings.hits(Group(pids=run))


@pytest.mark.parametrize(("most", "expected"), [("21", 20), ("14", None)])
def test_a_limit_of_processes_that_was_never_reached_is_not_blamed(
    tmp_path: Path, most: str, expected: int | None
) -> None:
    """Each fork that the limit of all contents refuses counts in the group of the run as well."""
    files = {"pids__max": "21", "pids__peak": most, "pids__events": "max 5\n"}
    run = group_at(tmp_path / "run", **files)
    assert Hits(refused=5, pids=expected) == endings.hits(Group(pids=run))
