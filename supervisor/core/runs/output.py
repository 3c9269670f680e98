"""Lines of a run: tail in memory, file on disk, subscribers.

Content may print anything at any rate. Lines are cut at LINE_LIMIT, bytes that are no text are
replaced, what comes faster than RATE is counted and dropped but for its newest lines (they often
say why a process ended), the file keeps its newest part, the disk the newest runs. The pipe is
always drained, so that no process ever waits for its log.
"""

from __future__ import annotations

import calendar
import os
import shutil
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from supervisor.core.service import LogLine

LINE_LIMIT = 8 * 1024
TAIL = 200
KEPT = 20  # runs of a content whose logs stay; one has two files of FILE_LIMIT
FILE_LIMIT = 8 * 1024 * 1024
RATE = 1024 * 1024  # bytes per second that are kept in the long run
BURST = 8 * 1024 * 1024
LINE_COST = 64  # bytes that a line costs besides its text: a gigabyte of newlines is no work either
NEWEST = 20  # lines kept of what came too fast
_CURSOR = ".cursor"
_CONTROL = {i: f"\\x{i:02x}" for i in (*range(9), *range(10, 32), 127)}


class Lines:
    """Cut one stream of bytes into lines of text. Sans-IO."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._cut = 0  # bytes of the present line that were dropped

    def feed(self, data: bytes) -> list[str]:
        """Take bytes, give the lines that they complete."""
        lines: list[str] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._keep(data[start:end])
            lines.append(self._take())
            start = end + 1
        self._keep(data[start:])
        return lines

    def end(self) -> list[str]:
        """Give the last line, if it had no newline."""
        return [self._take()] if self._rest or self._cut else []

    def _keep(self, data: bytes) -> None:
        room = max(0, LINE_LIMIT - len(self._rest))
        self._rest += data[:room]
        self._cut += max(0, len(data) - room)

    def _take(self) -> str:
        text = self._rest.decode("utf-8", "replace").rstrip("\r").translate(_CONTROL)
        if self._cut:
            text += f" … ({self._cut} more bytes of this line were not kept)"
        self._rest.clear()
        self._cut = 0
        return text


class Budget:
    """A token bucket of bytes: what a run may have kept of its output."""

    def __init__(self, now: float) -> None:
        self._tokens = float(BURST)
        self._at = now

    def take(self, size: int, now: float) -> bool:
        """Tell whether `size` more bytes are kept."""
        passed = max(0.0, now - self._at)  # clocks are set back sometimes
        self._tokens = min(BURST, self._tokens + passed * RATE)
        self._at = now
        if self._tokens < size:
            return False
        self._tokens -= size
        return True


@attrs.define(eq=False)
class Kept:
    """Whose logs stay on the disk: the newest runs of a content, and those that still write.

    most: how many of a content; 0 is no limit.
    """

    most: int = KEPT
    living: set[str] = attrs.field(factory=set)

    def make_room(self, directory: str) -> None:
        """Remove the oldest logs of a content; ids of runs are in their order. In a thread."""
        names = sorted(os.listdir(directory))
        for run in names[: -self.most] if self.most else ():
            if run not in self.living:
                shutil.rmtree(os.path.join(directory, run), ignore_errors=True)


@attrs.define(eq=False)
class Output:
    """What one run wrote. `path` is its file; a full disk costs only the file.

    in_thread: calls the blocking part of writing it. cursor: where to read on, for a core to come:
    kept beside the file, once that has all before it.
    """

    run: str
    path: str
    clock: Callable[[], float] = time.time
    in_thread: Callable[..., Awaitable[Any]] = trio.to_thread.run_sync
    cursor: str = ""
    kept: Kept = attrs.field(factory=Kept)
    tail: deque[LogLine] = attrs.field(factory=lambda: deque(maxlen=TAIL))
    _errors: deque[LogLine] = attrs.field(factory=lambda: deque(maxlen=NEWEST))
    _streams: dict[str, Lines] = attrs.field(factory=dict)
    _pending: bytearray = attrs.field(factory=bytearray)
    _subscribers: set[trio.MemorySendChannel[LogLine]] = attrs.field(factory=set)
    _budget: Budget = attrs.field(init=False)
    _dropped: int = 0
    _newest: dict[str, bytes] = attrs.field(factory=dict)  # of what was dropped, by stream
    _written: int = 0  # calls of write
    _size: int = 0
    _news: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._budget = Budget(self.clock())
        self.kept.living.add(self.run)

    def write(self, stream: str, data: bytes) -> None:
        """Take bytes of "stdout" or "stderr"."""
        now = self.clock()
        self._written += 1
        if not self._budget.take(len(data) + LINE_COST * data.count(b"\n"), now):
            self._dropped += len(data)
            self._newest[stream] = (self._newest.get(stream, b"") + data)[-LINE_LIMIT:]
            self._news.set()
            return
        self._catch_up()
        for text in self._streams.setdefault(stream, Lines()).feed(data):
            self._add(stream, now, text)

    def say(self, text: str) -> None:
        """Add a line of the supervisor's own."""
        self._add("supervisor", self.clock(), text)

    def close(self) -> None:
        """Take what has no newline, wake up the subscribers for the last time."""
        self._catch_up()
        self._end_lines()
        for channel in self._subscribers:
            channel.close()
        self._subscribers.clear()
        self._news.set()
        self.kept.living.discard(self.run)

    def _end_lines(self) -> None:
        """Take the lines that have no newline yet."""
        for stream, lines in self._streams.items():
            for text in lines.end():
                self._add(stream, self.clock(), text)

    def _catch_up(self) -> None:
        """Say how much was dropped, and take the newest lines of it after all."""
        if not self._dropped:
            return
        self._end_lines()
        newest = {stream: _last_lines(data) for stream, data in self._newest.items()}
        lost = self._dropped - sum(map(len, newest.values()))
        self._dropped, self._newest = 0, {}
        self.say(f"… {lost} bytes came too fast and were not kept")
        for stream, data in newest.items():
            for text in self._streams.setdefault(stream, Lines()).feed(data):
                self._add(stream, self.clock(), text)

    def last_lines(self, count: int = 20) -> list[str]:
        """Give the newest lines as text, for pages and tasks.

        Where standard error is not among them, half of them are its newest: the two pipes are read
        in no order, and a flood on one must not drown the reason on the other.
        """
        newest = list(self.tail)[-count:]
        if not any(line.stream == "stderr" for line in newest):
            errors = list(self._errors)[-(count // 2) :]
            newest = [*errors, *newest[len(errors) - count :]]
        return [line.text for line in newest]

    def subscribe(self) -> trio.MemoryReceiveChannel[LogLine]:
        """Give a channel of the lines to come; a reader 1,000 lines behind loses some."""
        send, receive = trio.open_memory_channel[LogLine](1000)
        self._subscribers.add(send)
        return receive

    def _add(self, stream: str, at: float, text: str) -> None:
        line = LogLine(run=self.run, stream=stream, at=at, text=text)
        self.tail.append(line)
        if stream == "stderr":
            self._errors.append(line)
        whole = int(at)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        self._pending += f"{stamp}.{int((at - whole) * 1e6):06d}Z {stream} {text}\n".encode(
            "utf-8", "replace"
        )
        self._news.set()
        for channel in tuple(self._subscribers):
            try:
                channel.send_nowait(line)
            except trio.WouldBlock:
                pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._subscribers.discard(channel)

    async def keep(self) -> None:
        """Write lines to the file, in a thread, until cancelled; then what is left."""
        written = self._written
        try:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                if self._written == written:
                    self._catch_up()  # the flood is over
                elif self._dropped:
                    self._news.set()
                written = self._written
                await self._flush()
                await trio.sleep(0.2)
        finally:
            with trio.CancelScope(shield=True):
                await self._flush()

    async def _flush(self) -> None:
        data, self._pending = bytes(self._pending), bytearray()
        if data:
            await self.in_thread(self._append, data, self.cursor)

    def _make_room(self) -> None:
        own = os.path.dirname(self.path)
        if not os.path.isdir(own):
            os.makedirs(own, mode=0o700)
            self.kept.make_room(os.path.dirname(own))

    def _append(self, data: bytes, cursor: str) -> None:
        try:
            self._make_room()
            if self._size + len(data) > FILE_LIMIT and os.path.exists(self.path):
                os.replace(self.path, f"{self.path}.1")
                self._size = 0
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, data)
                self._size = os.fstat(fd).st_size
            finally:
                os.close(fd)
            if cursor:
                _put(f"{self.path}{_CURSOR}", cursor)
        except OSError:
            self._size = 0  # a full disk costs the log on disk, never the run


def _put(path: str, text: str) -> None:
    """Write a small file such that it is read as it was or as it is."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def read_cursor(path: str) -> str:
    """Give where to read on the output of a run whose file this is; "" for its beginning."""
    try:
        with open(f"{path}{_CURSOR}", encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _last_lines(data: bytes) -> bytes:
    """Give the last lines of dropped bytes; the first one has lost its beginning."""
    return b"\n".join(data.split(b"\n")[1:][-NEWEST:])


def read_tail(path: str, run: str, count: int) -> list[LogLine]:
    """Give the newest lines of a finished run's file, oldest first; [] where there is none."""
    lines: list[LogLine] = []
    for name in (f"{path}.1", path):
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                lines.extend(filter(None, (_parse(line, run) for line in file)))
        except OSError:
            continue
    return lines[-count:] if count else []


def _parse(line: str, run: str) -> LogLine | None:
    try:
        stamp, stream, text = line.rstrip("\n").split(" ", 2)
        seconds, _, fraction = stamp.rstrip("Z").partition(".")
        parsed = time.strptime(seconds + "+0000", "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None
    at = calendar.timegm(parsed) + int(fraction or 0) / 1e6
    return LogLine(run=run, stream=stream, at=at, text=text)
