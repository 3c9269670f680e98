"""Lines of a run: whatever content prints, at whatever rate."""

# ruff: noqa: ASYNC240  (small files of a test)

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.runs import output as output_module
from supervisor.core.runs.output import (
    BURST,
    FILE_LIMIT,
    KEPT,
    LINE_COST,
    LINE_LIMIT,
    NEWEST,
    RATE,
    TAIL,
    Kept,
    Lines,
    Output,
    read_tail,
)
from supervisor.testing.house import at_once


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def output(tmp_path: Path, clock: Clock) -> Output:
    return Output(run="r", path=str(tmp_path / "r" / "log"), clock=clock, in_thread=at_once)


def texts(output: Output) -> list[str]:
    return output.last_lines(TAIL)


@given(pieces=st.lists(st.binary(max_size=20), max_size=20))
def test_lines_do_not_depend_on_how_the_bytes_were_cut(pieces: list[bytes]) -> None:
    whole, parts = Lines(), Lines()
    expected = [*whole.feed(b"".join(pieces)), *whole.end()]
    assert expected == [*(line for piece in pieces for line in parts.feed(piece)), *parts.end()]
    assert not any("\n" in line or "\0" in line or "\x1b" in line for line in expected)


def test_bytes_that_are_no_text_are_shown_and_break_nothing(output: Output) -> None:
    output.write("stdout", b"a\0b\xff\x1b[31mred\r\nnext\ttab\n")
    assert ["a\\x00b�\\x1b[31mred", "next\ttab"] == texts(output)


def test_a_character_that_was_cut_in_two_is_put_together(output: Output) -> None:
    output.write("stdout", "é".encode()[:1])
    output.write("stdout", "é".encode()[1:] + b"\n")
    assert ["é"] == texts(output)


def test_streams_do_not_mix(output: Output) -> None:
    output.write("stdout", b"one ")
    output.write("stderr", b"two\n")
    output.write("stdout", b"line\n")
    assert [("stderr", "two"), ("stdout", "one line")] == [
        (line.stream, line.text) for line in output.tail
    ]


def test_a_line_of_a_hundred_megabytes_costs_no_memory(output: Output, clock: Clock) -> None:
    for _ in range(1600):
        output.write("stdout", b"x" * 65536)
        clock.now += 0.1
    output.write("stdout", b"\nafter\n")
    long, after = texts(output)
    assert "after" == after
    assert long.startswith("x" * LINE_LIMIT)
    assert f"({1600 * 65536 - LINE_LIMIT} more bytes of this line were not kept)" in long
    assert len(long) < LINE_LIMIT + 100


def test_what_comes_too_fast_is_counted_and_dropped(output: Output, clock: Clock) -> None:
    chunk = b"y" * 65535 + b"\n"
    for _ in range(1000):
        output.write("stdout", chunk)
    kept = sum(text.startswith("y") for text in texts(output))
    assert BURST // 65536 - 1 <= kept <= BURST // 65536
    clock.now += 1.0
    output.write("stdout", b"later\n")
    dropped, later = texts(output)[-2:]
    assert "later" == later
    assert f"{(1000 - kept) * 65536} bytes came too fast" in dropped


def test_the_last_lines_of_what_came_too_fast_are_kept(output: Output) -> None:
    output.write("stdout", b"y" * BURST)
    output.write("stdout", b"y" * BURST + b"\nfirst\nError: no da")
    output.write("stderr", b"?" * BURST)
    output.write("stdout", b"tabase\n")
    output.close()
    assert ["first", "Error: no database"] == texts(output)[-2:]
    assert f"{2 * BURST + 1} bytes came too fast" in texts(output)[-3]


def test_standard_error_is_not_drowned_by_standard_output(output: Output) -> None:
    output.write("stderr", b"Error: no database\n")
    output.write("stdout", b"flood\n" * TAIL * 2)
    assert ["Error: no database", *["flood"] * 19] == output.last_lines(20)
    output.write("stderr", b"Execution halted\n")
    assert [*["flood"] * 19, "Execution halted"] == output.last_lines(20)


async def test_they_are_kept_at_once_when_the_flood_is_over(
    output: Output, autojump_clock: trio.testing.MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.keep)
        output.write("stdout", b"y" * BURST)
        output.write("stdout", b"y" * BURST + b"\nlistening\n")
        await trio.sleep(1)
        assert "listening" == texts(output)[-1]
        nursery.cancel_scope.cancel()


def test_newlines_alone_are_charged_for_the_work_they_are(output: Output) -> None:
    before = len(output.tail)
    for _ in range(100):
        output.write("stdout", b"\n" * 65536)
    assert before + BURST // (65536 * (LINE_COST + 1)) * 65536 >= len(output.tail)
    output.close()
    assert "came too fast" in texts(output)[-NEWEST]


def test_a_clock_that_is_set_back_drops_nothing(output: Output, clock: Clock) -> None:
    clock.now -= 1_000_000
    output.write("stdout", b"still here\n")
    assert ["still here"] == texts(output)


def test_the_budget_fills_again_at_its_rate(output: Output, clock: Clock) -> None:
    output.write("stdout", b"y" * BURST)  # all of it
    clock.now += 1.0
    output.write("stdout", b"z" * RATE)  # a second's worth
    output.write("stdout", b"dropped\n")
    output.close()
    assert f"({BURST + RATE - LINE_LIMIT} more bytes" in texts(output)[0]
    assert "8 bytes came too fast" in texts(output)[1]


def test_a_line_that_was_torn_by_dropping_is_not_glued_together(
    output: Output, clock: Clock
) -> None:
    output.write("stdout", b"begin")
    output.write("stdout", b"z" * (BURST + 1))
    clock.now += 60
    output.write("stdout", b"end\n")
    begin, dropped, end = texts(output)
    assert ("begin", "end") == (begin, end)
    assert "came too fast" in dropped


def test_only_the_newest_lines_are_in_memory(output: Output) -> None:
    output.write("stdout", b"".join(b"%d\n" % n for n in range(1000)))
    assert TAIL == len(output.tail)
    assert ["998", "999"] == output.last_lines(2)


async def test_the_file_has_every_line_with_its_time_and_can_be_read_back(output: Output) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.keep)
        output.write("stdout", b"one\ntwo words\n")
        output.write("stderr", b"no newline")
        output.close()
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    text = Path(output.path).read_text()
    assert text.startswith("2023-11-14T22:13:20.250000Z stdout one\n")
    assert list(output.tail) == read_tail(output.path, "r", 10)
    assert 0o600 == os.stat(output.path).st_mode & 0o777


async def test_the_file_keeps_its_newest_part(output: Output, clock: Clock) -> None:
    for number in range(40):
        output.write("stdout", f"{number} ".encode() + b"x" * 8000 + b"\n" + b"y\n" * 100)
        for _ in range(70):
            output.say("z" * 8000)
        clock.now += 10
        await output._flush()
    sizes = [os.path.getsize(path) for path in (output.path, f"{output.path}.1")]
    assert all(0 < size <= FILE_LIMIT for size in sizes)
    assert not os.path.exists(f"{output.path}.2")
    last = read_tail(output.path, "r", 1)[0]
    assert "z" * 8000 == last.text


async def test_a_disk_that_is_full_costs_only_the_file(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").write_text("in the way")
    output = Output(run="r", path=str(tmp_path / "file" / "log"), clock=clock, in_thread=at_once)
    output.write("stdout", b"one\n")
    await output._flush()
    assert ["one"] == texts(output)


def test_nothing_is_read_where_there_is_no_file(tmp_path: Path) -> None:
    assert [] == read_tail(str(tmp_path / "log"), "r", 10)


def test_lines_of_a_file_that_are_none_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xff\xfe garbage\n\n2023-11-14T22:13:20.5Z stdout good\ntorn 2023")
    assert ["good"] == [line.text for line in read_tail(str(path), "r", 10)]


async def test_subscribers_hear_the_lines_to_come_until_the_end(output: Output) -> None:
    output.write("stdout", b"before\n")
    heard: list[str] = []
    async with output.subscribe() as lines:
        output.write("stdout", b"one\ntw")
        output.close()
        with trio.fail_after(5):
            async for line in lines:
                heard.append(line.text)
    assert ["one", "tw"] == heard


async def test_a_subscriber_that_is_behind_loses_lines_and_holds_nobody_up(output: Output) -> None:
    async with output.subscribe() as lines:
        for number in range(1500):
            output.say(str(number))
        first = await lines.receive()
        assert "0" == first.text
    output.say("after it has gone")
    assert not output._subscribers
    assert output_module.TAIL == len(output.tail)


async def write_logs(folder: Path, kept: Kept, numbers: range, *, ended: bool) -> None:
    """Let runs write a line each, the oldest first."""
    for number in numbers:
        run = f"{number:026}"
        path = str(folder / run / "log")
        output = Output(run=run, path=path, in_thread=at_once, kept=kept)
        output.say("hello")
        with trio.CancelScope() as scope:
            scope.cancel()
            await output.keep()
        if ended:
            output.close()


async def test_the_log_of_a_run_that_lives_stays_however_many_came_after_it(tmp_path: Path) -> None:
    kept = Kept(most=3)
    await write_logs(tmp_path / "7", kept, range(2), ended=False)
    await write_logs(tmp_path / "7", kept, range(2, 9), ended=True)
    assert [0, 1, 6, 7, 8] == sorted(int(name) for name in os.listdir(tmp_path / "7"))


async def test_the_logs_of_the_oldest_runs_make_room(tmp_path: Path) -> None:
    await write_logs(tmp_path / "7", Kept(), range(KEPT + 3), ended=True)
    left = sorted(os.listdir(tmp_path / "7"))
    assert [f"{number:026}" for number in range(3, KEPT + 3)] == left
