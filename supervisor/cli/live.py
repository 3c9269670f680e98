"""Live screens: ask the server at intervals, draw on the alternate screen, obey keys at once."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import attrs
from rich.console import Console, Group
from rich.live import Live

from supervisor.cli.rates import Overview, narrowed
from supervisor.cli.screen import Draw, View
from supervisor.errors import SupervisorError

if TYPE_CHECKING:
    from supervisor.cli.client import Client

FIRST = 0.5  # seconds between the first two looks: figures come soon
PATIENCE = 5.0  # seconds that an answer may take
OVERVIEW = "/v1/supervisor/overview"
TERMINATED = 128 + signal.SIGTERM

_KEY = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
_QUIT = frozenset({b"q", b"Q", b"\x03", b"\x04"})
_ALL = 1_000_000
_MOVES = {
    b"\x1b[A": -1, b"\x1bOA": -1, b"k": -1, b"\x1b[B": 1, b"\x1bOB": 1, b"j": 1,
    b"\x1b[5~": -10, b"\x1b[6~": 10, b" ": 10,
    b"\x1b[H": -_ALL, b"\x1bOH": -_ALL, b"\x1b[1~": -_ALL, b"g": -_ALL,
    b"\x1b[F": _ALL, b"\x1bOF": _ALL, b"\x1b[4~": _ALL, b"G": _ALL,
}  # fmt: skip


@attrs.define(eq=False)
class Feed:
    """Asks the server in a thread of its own, so that keys answer also while the server does not.

    wake: a descriptor that gets a byte with all news. guid: of the only content to show, or None.
    """

    connect: Callable[[], Client]
    interval: float
    wake: int
    guid: str | None = None
    view: View = View()
    _since: float = attrs.field(factory=time.monotonic)
    _stop: threading.Event = attrs.field(factory=threading.Event)

    def run(self) -> None:
        """Ask until `stop`; what goes wrong is shown, and tried again on a new connection."""
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                with self.connect() as client:
                    while not self._stop.is_set():
                        began = time.monotonic()
                        self._take(narrowed(client.get(OVERVIEW), self.guid))
                        first = self.view.before is None
                        wait = min(FIRST, self.interval) if first else self.interval
                        self._stop.wait(max(0.05, began + wait - time.monotonic()))
            except SupervisorError as error:
                silent = time.monotonic() - self._since
                self._tell(attrs.evolve(self.view, problem=error, silent=silent))
            pause = min(1.0, self.interval)

    def stop(self) -> None:
        """Let `run` end when it next looks."""
        self._stop.set()

    def _take(self, now: Overview) -> None:
        self._since = time.monotonic()
        before = self.view.now
        self._tell(View(before=before, now=now))

    def _tell(self, view: View) -> None:
        self.view = view
        os.write(self.wake, b".")


def live(
    connect: Callable[[float], Client], draw: Draw, interval: float, guid: str | None = None
) -> int:
    """Show frames until q or Ctrl-C, of one content or of all; give the exit status."""
    console = Console(highlight=False)
    top = 0
    with ExitStack() as stack:
        read, write = os.pipe()
        for end in (read, write):
            os.set_blocking(end, False)
            stack.callback(os.close, end)
        feed = Feed(connect=lambda: connect(PATIENCE), interval=interval, wake=write, guid=guid)
        keys = stack.enter_context(_key_descriptor())
        screen = stack.enter_context(
            Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False)
        )
        stack.enter_context(_signals(write))
        thread = threading.Thread(target=feed.run, daemon=True)
        thread.start()
        stack.callback(thread.join, 0.2)  # before the pipe is closed under its hands
        stack.callback(feed.stop)
        try:
            while True:
                view = attrs.evolve(feed.view, top=top, keys=keys is not None)
                width, height = console.size
                frame = draw(view, width, height)
                screen.update(Group(*frame), refresh=True)
                ready, _, _ = select.select(
                    [read, *([keys] if keys is not None else [])], [], [], 5
                )
                if read in ready:
                    os.read(read, 4096)
                if keys in ready and keys is not None:
                    pressed = _KEY.findall(os.read(keys, 256))
                    if not pressed or _QUIT.intersection(pressed):
                        return 0
                    now = feed.view.now
                    last = 0 if now is None else max(0, len(now["runs"]) - height + 5)
                    for key in pressed:
                        top = max(0, min(top + _MOVES.get(key, 0), last))
        except KeyboardInterrupt:
            return 0


@contextmanager
def _key_descriptor() -> Iterator[int | None]:
    """Give where keys can be read one by one; None where standard input is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    saved = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        changed = termios.tcgetattr(descriptor)
        changed[6][termios.VSUSP] = b"\0"  # a stopped command would leave its screen behind
        termios.tcsetattr(descriptor, termios.TCSANOW, changed)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)


@contextmanager
def _signals(wake: int) -> Iterator[None]:
    """Draw anew when the size changes; leave the terminal in order when told to end."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {
        signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda number, frame: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, end),
        signal.SIGHUP: signal.signal(signal.SIGHUP, end),
    }
    old = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
