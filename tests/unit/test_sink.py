"""A sink holds nobody up: what does not fit waits within a bound, the rest is counted."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.log import Log
from supervisor.sink import Sink


class Pipe:
    """A pipe of which nobody reads until `take`."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        os.set_blocking(self.write, False)

    def fill(self) -> None:
        try:
            while True:
                os.write(self.write, b"x" * 4096)
        except BlockingIOError:
            pass

    def take(self) -> bytes:
        data = b""
        try:
            while piece := os.read(self.read, 65536):
                data += piece
        except BlockingIOError:
            pass
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.read)
    os.close(made.write)


def test_a_line_goes_out_at_once(pipe: Pipe) -> None:
    sink = Sink(pipe.write)
    sink.write(b"one\n")
    assert (b"one\n", True) == (pipe.take(), sink.clear)


def test_a_reader_that_hangs_loses_lines_and_is_told_how_many(pipe: Pipe) -> None:
    sink = Sink(pipe.write, most=10, told=lambda lost: b"lost %d\n" % lost)
    pipe.fill()
    for text in (b"1234\n", b"5678\n", b"9\n", b"0\n"):
        sink.write(text)
    assert 2 == sink.dropped
    pipe.take()
    assert sink.flush()
    sink.write(b"more\n")
    assert b"1234\n5678\nlost 2\nmore\n" == pipe.take()


def test_a_line_that_was_cut_is_finished_first(pipe: Pipe) -> None:
    sink = Sink(pipe.write)
    long = b"y" * 100_000 + b"\n"
    sink.write(long)
    sink.write(b"next\n")
    data = b""
    while not sink.flush():
        data += pipe.take()
    assert long + b"next\n" == data + pipe.take()


def test_after_a_move_the_new_file_gets_whole_lines_alone(pipe: Pipe, tmp_path: Path) -> None:
    sink = Sink(pipe.write)
    sink.write(b"y" * 100_000 + b"\n")
    sink.write(b"next\n")
    new = os.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sink.replace(new)
    assert b"next\n" == (tmp_path / "new").read_bytes()
    assert 1 == sink.dropped


def test_a_full_disk_raises_nothing_and_is_left_with_whole_lines() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError) as error:
        os.write(full, b"x")
    assert errno.ENOSPC == error.value.errno
    sink = Sink(full, most=16)
    for _ in range(10):
        sink.write(b"a line\n")
    assert 8 == sink.dropped
    os.close(full)


def test_a_file_that_was_truncated_is_written_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sink = Sink(fd)
    sink.write(b"before\n")
    shutil.copy(path, tmp_path / "log.1")
    os.truncate(path, 0)
    sink.write(b"after\n")
    assert (b"before\n", b"after\n") == ((tmp_path / "log.1").read_bytes(), path.read_bytes())
    os.close(fd)


@pytest.mark.parametrize("form", ["TEXT", "JSON"])
def test_the_service_log_says_how_many_lines_it_lost(pipe: Pipe, form: str) -> None:
    log = Log("core", form=form, fd=pipe.write)
    pipe.fill()
    for _ in range(10_000):
        log.info("flood", text="z" * 50)
    assert log.sink.dropped
    pipe.take()
    while not log.sink.flush():
        pipe.take()
    pipe.take()
    log.info("again")
    first, second = pipe.take().splitlines()
    assert b"log-lines-dropped" in first
    assert str(log.sink.dropped).encode() in first
    assert b"again" in second
