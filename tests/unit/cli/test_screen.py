"""Frames of the live screens: whole, within the terminal, and with columns that stay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from supervisor.cli.rates import narrowed, percents, totals
from supervisor.cli.screen import View, bar, contents, processes, shortened
from supervisor.errors import SupervisorError


def run(name: str = "iris", number: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"{number:012}{name}",
        "content": {"guid": name, "name": name},
        "purpose": "serve",
        "state": "ready",
        "reason": "",
        "pid": 4_194_304,
        "sessions": 3,
        "requests": 0,
        "cpu": 1.0,
        "memory": 123_000_000,
        "age": 130.0,
        **fields,
    }


def overview(*runs: dict[str, Any], clock: float = 1.0, **fields: Any) -> dict[str, Any]:
    names = sorted({item["content"]["name"] for item in runs})
    return {
        "clock": clock,
        "time": "2026-11-21T12:00:00Z",
        "published": len(names),
        "contents": [
            {
                "guid": name,
                "name": name,
                "title": name.upper(),
                "state": "running",
                "reason": "",
                "processes": 1,
                "max_processes": 3,
                "max_conns_per_process": 20,
                "sessions": 3,
                "waiting": 0,
                **fields,
            }
            for name in names
        ],
        "runs": list(runs),
    }


def drawn(lines: list[Text]) -> list[str]:
    return [line.plain.rstrip() for line in lines]


def test_percents_come_from_the_servers_clock_and_leave_out_what_is_new_or_began_anew() -> None:
    before = overview(run(number=1, cpu=10.0), run(number=2, cpu=5.0), clock=100.0)
    now = overview(
        run(number=1, cpu=11.0), run(number=2, cpu=1.0), run(number=3, cpu=9.0), clock=102.0
    )
    assert {"000000000001iris": 50.0} == percents(before, now)
    assert {} == percents(None, now)
    assert {} == percents(now, now)


def test_totals_are_sums_with_the_busiest_first() -> None:
    before = overview(run("a", 1, cpu=0), run("b", 2, cpu=0), run("b", 3, cpu=0), clock=1.0)
    now = overview(
        run("a", 1, cpu=0.5),
        run("b", 2, cpu=1.0),
        run("b", 3, cpu=0.5, state="draining", memory=None),
        clock=2.0,
    )
    first, second = totals(before, now)
    assert ("b", 150.0, 123_000_000, 2, 6, 23) == (
        first.name,
        first.cpu,
        first.memory,
        first.processes,
        first.sessions,
        first.seats,
    )
    assert ("a", 50.0) == (second.name, second.cpu)
    assert ["a"] == [total.name for total in totals(before, narrowed(now, "a"))]


def test_a_line_shows_a_process() -> None:
    lines = drawn(processes(View(now=overview(run())), 80, 24))
    assert "CONTENT         RUN          STATE        PID SESSIONS    REQ CPU%    MEM    AGE" in (
        lines
    )
    assert (
        "iris            000000000000 ready    4194304 ━────  3/20        - 123 MB  2m10s" in lines
    )
    assert 24 == len(lines)


def test_a_wide_line_shows_the_reason_in_a_column_a_narrow_one_instead_of_zeros() -> None:
    view = View(now=overview(run(state="failed", sessions=0, reason="no package 'x'")))
    (narrow,) = (line for line in drawn(processes(view, 80, 24)) if line.startswith("iris"))
    (wide,) = (line for line in drawn(processes(view, 140, 24)) if line.startswith("iris"))
    assert "4194304 no package 'x'" in narrow
    assert wide.endswith("123 MB   2m10s  no package 'x'")


def test_the_header_sums_up_and_names_who_waits_and_what_failed() -> None:
    view = View(
        before=overview(run(cpu=1.0), clock=1.0),
        now=overview(run(cpu=3.0), clock=3.0, waiting=7, state="failed"),
    )
    first, second = drawn(processes(view, 100, 24))[:2]
    assert "1 contents    1 processes     3/20 sessions    7 waiting" in first
    assert second.endswith("CPU   100 %  memory 123 MB   waiting iris 7   failed iris")


def test_a_server_that_is_away_is_told_and_the_last_figures_stay() -> None:
    problem = SupervisorError("unavailable", "No server answers.", hint="Start one.")
    lines = drawn(processes(View(now=overview(run()), problem=problem, silent=12.0), 80, 24))
    assert "No server answers. Trying again (12s)" == lines[1]
    assert any(line.startswith("iris") for line in lines)
    first, second = drawn(processes(View(problem=problem), 80, 24))[:2]
    assert first.startswith("No server answers. Trying again")
    assert "Start one." == second
    assert "Asking the server" in drawn(processes(View(), 80, 24))[0]


def test_a_screen_that_is_too_small_scrolls() -> None:
    view = View(now=overview(*(run(number=n) for n in range(50))), top=10)
    lines = drawn(processes(view, 80, 24))
    assert lines[4].startswith("iris            000000000010")
    assert lines[-1].endswith("11 to 29 of 50")
    over = drawn(processes(View(now=view.now, top=1000), 80, 24))
    assert over[-1].endswith("32 to 50 of 50")


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)


@given(
    names=st.lists(NAMES, max_size=6),
    reason=NAMES,
    state=st.sampled_from(["ready", "starting", "draining", "failed"]),
    sessions=st.integers(0, 10_000),
    width=st.integers(20, 200),
    height=st.integers(6, 60),
)
def test_a_frame_never_leaves_the_terminal(
    names: list[str], reason: str, state: str, sessions: int, width: int, height: int
) -> None:
    runs = [
        run(name, n, reason=reason, state=state, sessions=sessions) for n, name in enumerate(names)
    ]
    view = View(before=overview(*runs, clock=0.5), now=overview(*runs, waiting=3))
    for draw in (processes, contents):
        lines = draw(view, width, height)
        assert len(lines) == height
        assert max(line.cell_len for line in lines) <= width
        assert not any("\n" in line.plain or "\x1b" in line.plain for line in lines)


def test_columns_stay_whatever_is_shown() -> None:
    small = processes(View(now=overview(run(sessions=0, pid=7, memory=1, age=0.0))), 120, 24)
    big = processes(
        View(now=overview(run("x" * 64, sessions=20, reason="y" * 99, age=9e6))), 120, 24
    )
    assert small[3].plain == big[3].plain


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 10, "short"),
        ("forecast-europe-north", 12, "forecast…rth"),
        ("forecast", 5, "forec"),
        ("売上ダッシュボード", 10, "売上ダ…ド"),
        ("tab\there", 10, "tab here"),
    ],
)
def test_a_long_name_keeps_both_ends(text: str, width: int, expected: str) -> None:
    assert expected == shortened(text, width)


def test_a_bar_is_full_only_where_no_seat_is_left() -> None:
    assert ["───── 0/20", "━──── 1/20", "━━━━─ 19/20", "━━━━━ 20/20"] == [
        " ".join(bar(used, 20, 11).plain.split()) for used in (0, 1, 19, 20)
    ]


@given(used=st.integers(0, 10**6), most=st.integers(1, 10**4), width=st.integers(11, 20))
def test_a_bar_is_as_wide_as_its_column(used: int, most: int, width: int) -> None:
    assert max(width, len(f"{used}/{most}")) == cell_len(bar(used, most, width).plain)
