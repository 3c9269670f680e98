"""Frames of `ps --watch` and `top`: one overview and the size of a terminal to lines of text.

Widths depend on the terminal alone, never on what is shown, so that no column ever moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from supervisor.cli.rates import Overview, Total, percents, seats, totals
from supervisor.cli.show import age, printable, short_run, size
from supervisor.errors import SupervisorError

WIDE = 100  # columns from which there is room for gaps of two
BAR = 5
COLOURS = {
    "ready": "green",
    "running": "green",
    "working": "green",
    "queued": "yellow",
    "starting": "yellow",
    "probing": "yellow",
    "draining": "cyan",
    "stopping": "cyan",
    "failed": "red",
    "lost": "red",
}


@attrs.frozen(kw_only=True)
class View:
    """What a frame shows: the last two overviews, what is wrong, and how far it is scrolled.

    problem: why there is no newer overview, for `silent` seconds now. top: rows scrolled away.
    """

    before: Overview | None = None
    now: Overview | None = None
    problem: SupervisorError | None = None
    silent: float = 0.0
    top: int = 0
    keys: bool = True


@attrs.frozen(kw_only=True)
class Cell:
    """One cell: text and style, to the right or not."""

    text: str = ""
    style: str = ""
    right: bool = False


Row = Sequence[Cell | Text]


def processes(view: View, width: int, height: int) -> list[Text]:
    """Draw `ps --watch`: one line per process, by content."""
    gap = 2 if width >= WIDE else 1
    fixed = [12, 8, 7, BAR + 1 + 7 if width >= WIDE else BAR + 1 + 5, 4, 5, 6, 6]
    if width < WIDE:
        fixed[4], fixed[5] = 3, 4
    left = width - sum(fixed) - gap * len(fixed)
    reason = max(0, min(40, left - 20 - gap))
    reason = reason if width >= WIDE and reason >= 16 else 0
    widths = [max(8, left - (reason + gap if reason else 0)), *fixed, *([reason] if reason else [])]
    names = "CONTENT RUN STATE PID SESSIONS REQ CPU% MEMORY AGE REASON".split()
    if width < WIDE:
        names[5:8] = ["REQ", "CPU%", "MEM"]
    heads = [Cell(text=text, right=3 <= at <= 8 and at != 4) for at, text in enumerate(names)]
    now = view.now
    if now is None:
        return _frame(view, heads[: len(widths)], widths, gap, [], width, height)
    shares = percents(view.before, now)
    each = {item["guid"]: item["max_conns_per_process"] for item in now["contents"]}
    runs = sorted(now["runs"], key=lambda run: (run["content"]["name"], run["id"]))
    rows: list[Row] = []
    last = None
    for run in runs:
        name = run["content"]["name"]
        rows.append(
            _process(run, name == last, each, shares.get(run["id"]), widths, gap, bool(reason))
        )
        last = name
    return _frame(view, heads[: len(widths)], widths, gap, rows, width, height)


def _process(
    run: dict[str, Any],
    again: bool,
    each: dict[str, int],
    share: float | None,
    widths: Sequence[int],
    gap: int,
    reasons: bool,
) -> Row:
    state = run["state"]
    cells: list[Cell | Text] = [
        Cell(text=shortened(run["content"]["name"], widths[0]), style="dim" if again else "bold"),
        Cell(text=short_run(run["id"]), style="dim"),
        Cell(text=state, style=COLOURS.get(state, "dim")),
        Cell(text="" if run["pid"] is None else str(run["pid"]), right=True),
    ]
    if run["reason"] and not reasons and state != "ready" and not run["sessions"]:
        # No room for a column: the reason takes the place of figures that are all zero.
        room = sum(widths[4:]) + gap * (len(widths) - 5)
        return [*cells, Text(shortened(printable(run["reason"]), room), COLOURS.get(state, "dim"))]
    serves = run["purpose"] == "serve"
    most = each.get(run["content"]["guid"]) if serves and state in ("ready", "draining") else None
    cells += [
        bar(run["sessions"], most, widths[4]) if serves else Cell(text=run["purpose"], style="dim"),
        Cell(text=_count(run["requests"]), right=True),
        Cell(text=_percent(share), right=True, style=_hot(share)),
        Cell(text=_size(run["memory"]), right=True),
        Cell(text=age(run["age"]), right=True, style="dim"),
    ]
    if reasons:
        style = COLOURS.get(state, "dim") if state != "ready" else "dim"
        cells.append(Cell(text=printable(run["reason"]), style=style))
    return cells


def contents(view: View, width: int, height: int) -> list[Text]:
    """Draw `top`: one line per content, who computes most comes first."""
    gap = 2
    fixed = [8, 7, BAR + 1 + 9, 7, 6, 7]
    left = width - sum(fixed) - gap * len(fixed)
    title = max(0, min(40, left - 24 - gap)) if width >= WIDE else 0
    widths = [max(8, left - (title + gap if title else 0)), *fixed, *([title] if title else [])]
    names = ["CONTENT", "STATE", "PROCS", "SESSIONS", "WAITING", "CPU%", "MEMORY", "TITLE"]
    right = {2, 4, 5, 6}
    heads = [Cell(text=text, right=at in right) for at, text in enumerate(names)]
    found = totals(view.before, view.now) if view.now is not None else []
    rows = [_content(total, widths) for total in found]
    return _frame(view, heads[: len(widths)], widths, gap, rows, width, height)


def _content(total: Total, widths: Sequence[int]) -> Row:
    row: list[Cell | Text] = [
        Cell(text=shortened(total.name, widths[0]), style="bold"),
        Cell(text=total.state, style=COLOURS.get(total.state, "dim")),
        Cell(text=f"{total.processes}/{total.most}", right=True),
        bar(total.sessions, total.seats, widths[3]),
        Cell(text=str(total.waiting or ""), right=True, style="yellow"),
        Cell(text=_percent(total.cpu), right=True, style=_hot(total.cpu)),
        Cell(text=_size(total.memory), right=True),
    ]
    if len(widths) > len(row):
        row.append(Cell(text=printable(total.title), style="dim"))
    return row


def _frame(
    view: View,
    heads: Sequence[Cell],
    widths: Sequence[int],
    gap: int,
    rows: Sequence[Row],
    width: int,
    height: int,
) -> list[Text]:
    lines = [*_header(view, width), Text(), _line(heads, widths, gap, width, "dim")]
    room = max(1, height - len(lines) - 1)
    top = max(0, min(view.top, len(rows) - room))
    shown = rows[top : top + room]
    stale = "dim" if view.problem is not None else ""
    lines += [_line(row, widths, gap, width, stale) for row in shown]
    if view.now is not None and not rows:
        lines.append(Text("No process runs.", "dim"))
    lines += [Text() for _ in range(height - 1 - len(lines))]
    part = f"{top + 1} to {top + len(shown)} of {len(rows)}" if len(shown) < len(rows) else ""
    help_ = "q quits" + ("   ↑ ↓ PgUp PgDn scroll" if part else "")
    lines.append(_ends(Text(help_ if view.keys else "", "dim"), Text(part, "dim"), width))
    return lines[: height or None]


def _header(view: View, width: int) -> list[Text]:
    clock = Text(time.strftime("%H:%M:%S"), "dim")
    now = view.now
    if now is None:
        if view.problem is None:
            return [_ends(Text("Asking the server …", "dim"), clock, width), Text()]
        return [_ends(_trouble(view), clock, width), Text(printable(view.problem.hint), "dim")]
    runs, items = now["runs"], now["contents"]
    shares = percents(view.before, now)
    waiting = [item for item in items if item["waiting"]]
    line = Text()
    for count, word in (
        (f"{now['published']:>3}", "contents"),
        (f"{len(runs):>3}", "processes"),
        (f"{sum(run['sessions'] for run in runs):>4}/{seats(now, runs)}", "sessions"),
        (f"{sum(item['waiting'] for item in items):>3}", "waiting"),
    ):
        line.append(count, "bold yellow" if word == "waiting" and waiting else "bold")
        line.append(f" {word}  ", "dim")
    if view.problem is not None:
        return [_ends(line, clock, width), _cut(_trouble(view), width)]
    memory = sum(run["memory"] or 0 for run in runs)
    second = Text("CPU ", "dim")
    second.append(f"{_percent(sum(shares.values()) if shares else None):>5} %", "bold")
    second.append("  memory ", "dim")
    second.append(f"{size(memory):>6}", "bold")
    _append_names(
        second, "waiting", [f"{shortened(i['name'], 24)} {i['waiting']}" for i in waiting], "yellow"
    )
    failed = [shortened(item["name"], 24) for item in items if item["state"] == "failed"]
    _append_names(second, "failed", failed, "red")
    return [_ends(line, clock, width), _cut(second, width)]


def _append_names(line: Text, word: str, names: Sequence[str], style: str) -> None:
    if names:
        line.append(f"   {word} ", "dim")
        line.append(" · ".join(names), style)


def _trouble(view: View) -> Text:
    assert view.problem is not None
    text = f"{printable(view.problem.message)} Trying again"
    return Text(f"{text} ({age(view.silent)})" if view.silent >= 1 else text, "bold red")


def _line(row: Row, widths: Sequence[int], gap: int, width: int, style: str) -> Text:
    line = Text(style=style, no_wrap=True)
    for at, cell in enumerate(row):
        if at:
            line.append(" " * gap)
        if isinstance(cell, Text):
            line.append_text(cell)
            continue
        text = shortened(cell.text, widths[at])
        filling = " " * (widths[at] - cell_len(text))
        line.append(filling + text if cell.right else text + filling, cell.style)
    return _cut(line, width)


def bar(used: int, most: int | None, width: int) -> Text:
    """Draw how many of the seats are taken: a strip and the figures, `width` cells in all."""
    figures = str(used) if not most else f"{used}/{most}"
    if not most:
        return Text(f"{figures if used else '':>{width}}")
    strip = _strip(used / most, max(0, min(BAR, width - len(figures) - 1)))
    strip.append(f"{figures:>{width - strip.cell_len}}", "" if used else "dim")
    return strip


def _strip(share: float, width: int) -> Text:
    full = min(width, max(int(share * width), 1 if share > 0 else 0))  # full is really full
    strip = Text("━" * full, "yellow" if share >= 1 else "green")
    strip.append("─" * (width - full), "bright_black")
    return strip


def _ends(left: Text, right: Text, width: int) -> Text:
    line = _cut(left, width - right.cell_len - 1)
    line.append(" " * (width - line.cell_len - right.cell_len))
    return line.append_text(right)


def _cut(text: Text, width: int) -> Text:
    text.truncate(max(0, width), overflow="ellipsis")
    return text


def shortened(text: str, width: int) -> str:
    """Take the middle out of a text that is too wide: long names often differ at their ends."""
    text = printable(text)
    if cell_len(text) <= width:
        return text
    if width < 8:
        return set_cell_size(text, max(0, width))
    tail = (width - 1) // 3
    end = text
    while cell_len(end) > tail:
        end = end[1:]
    return set_cell_size(text, width - 1 - cell_len(end)).rstrip() + "…" + end


def _count(count: int) -> str:
    return str(count) if count else ""


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0f}"


def _hot(share: float | None) -> str:
    return "bold" if share is not None and share >= 50 else "" if share else "dim"


def _size(count: float | None) -> str:
    return str(size(count)) if count else "-"


Draw = Callable[[View, int, int], list[Text]]
