"""The log of a container is read whole, once, and on into the file that takes its place."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path

import trio
from supervisor_podman.log import follow, pieces


def line(text: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"2026-11-22T01:57:29.156035309+00:00 {stream} {tag} {text}\n"


async def read(path: Path, cursor: str = "", most: int = 1000) -> tuple[list[bytes], str]:
    seen = []
    async with aclosing(follow(str(path), cursor, lambda: True)) as chunks:
        async for chunk in chunks:
            seen.append(chunk.data)
            cursor = chunk.cursor
            if len(seen) == most:
                break
    return seen, cursor


def test_lines_in_a_row_are_one_piece_and_parts_are_joined() -> None:
    lines = line("a") + line("b\rc  d", tag="P") + line("") + line("e", "stderr") + line("f")
    found = [*pieces(lines.encode())]
    assert [("stdout", b"a\nb\rc  d\n"), ("stderr", b"e\n"), ("stdout", b"f\n")] == [
        piece[:2] for piece in found
    ]
    assert len(lines) == sum(length for _, _, length in found)


async def test_reading_goes_on_at_the_cursor(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line("a") + line("b", "stderr") + line("c"))
    first, cursor = await read(path, most=1)
    assert ([b"a\n"], [b"b\n", b"c\n"]) == (first, (await read(path, cursor))[0])


async def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line("a") + line("b")[:-1])
    seen, cursor = await read(path)
    path.write_text(line("a") + line("b"))
    assert ([b"a\n"], [b"b\n"]) == (seen, (await read(path, cursor))[0])


async def test_a_file_that_takes_the_place_is_read_after_the_rest(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    path, other = tmp_path / "log", tmp_path / "other"
    path.write_text(line("a"))
    over, seen = trio.Event(), []
    async with aclosing(follow(str(path), "", over.is_set)) as chunks:
        seen.append((await anext(chunks)).data)
        with path.open("a") as log:
            log.write(line("b"))
        other.write_text(line("c"))
        os.rename(other, path)
        over.set()
        async for chunk in chunks:
            seen.append(chunk.data)
            cursor = chunk.cursor
    assert [b"a\n", b"b\n", b"c\n"] == seen
    assert f"{os.stat(path).st_ino}:" in cursor


async def test_a_cursor_of_a_file_that_is_gone_means_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line("a"))
    assert [b"a\n"] == (await read(path, "1:999"))[0]


async def test_without_a_log_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert ([], "") == await read(tmp_path / "log")
