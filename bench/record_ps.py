"""Record `supervisor ps --watch` while visitors come, wait and go: docs/images/ps-watch.{cast,svg}.

A real server, real apps and browsers' sessions; the terminal is a pty of ours. Needs root.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio
from support import ROOT

from docs.animate import svg
from tests.support.guests import Guest, Guests
from tests.support.server import LiveServer, live_server
from tests.support.shiny_client import SessionEnded

COLUMNS, ROWS = 100, 20
TITLE = "supervisor ps --watch while visitors come, wait in line and go"
SETTINGS = {
    "dashboard": ["max_processes=3", "max_conns_per_process=6", "load_factor=0.6"],
    "forecast": ["min_processes=1", "max_processes=2", "max_conns_per_process=4"],
    "heavy-model": ["max_processes=2", "max_conns_per_process=1", "idle_timeout=8s"],
}


def deploy(server: LiveServer, folder: Path) -> dict[str, str]:
    """Deploy the apps: one of R, two of Python that compute; give name → address."""
    app = (ROOT / "tests/content/python-counts-its-visitors/app.py").read_text()
    for name, steps in (("forecast", 200_000), ("heavy-model", 12_000_000)):
        (folder / name).mkdir()
        busy = app.replace("computed += 1", f"computed += 1\n        sum(range({steps}))")
        (folder / name / "app.py").write_text(busy)
    sources = {"dashboard": ROOT / "tests/content/r-counts-its-visitors"}
    addresses = {}
    for name, changes in SETTINGS.items():
        path = server.deploy(sources.get(name, folder / name), name)
        server.supervisor("set", name, *changes)
        addresses[name] = server.url + path
    return addresses


class Recorder:
    """A terminal of ours: what a command writes there, and when."""

    def __init__(self) -> None:
        self.events: list[tuple[float, str, str]] = []
        self._began = time.monotonic()

    async def record(self, command: list[str], environment: dict[str, str]) -> None:
        """Run a command until cancelled, then let it end in order."""
        master, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
        process = await trio.lowlevel.open_process(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        os.close(terminal)
        try:
            pending = b""
            while True:
                await trio.lowlevel.wait_readable(master)
                pending += os.read(master, 65536)
                text = pending.decode(errors="ignore")
                pending = b"" if text.encode() == pending else pending[len(text.encode()) :]
                at = round(time.monotonic() - self._began, 3)
                self.events.append((at, "o", text))
        finally:
            process.terminate()
            with trio.move_on_after(5, shield=True):
                await process.wait()
            process.kill()
            os.close(master)

    def cast(self) -> str:
        """Give the recording as asciicast, version 2."""
        head = {"version": 2, "width": COLUMNS, "height": ROWS, "title": TITLE}
        lines = [json.dumps(head), *(json.dumps(event) for event in self.events)]
        return "\n".join(lines) + "\n"


async def play(server: LiveServer, addresses: dict[str, str], pace: float) -> None:
    """Let visitors come, be busy, wait in line and go; replace the dashboard's processes."""
    async with trio.open_nursery() as nursery:
        party = Guests(nursery)

        async def come(name: str, count: int, apart: float) -> list[Guest]:
            found = []
            for _ in range(count):
                (guest,) = party.invite([addresses[name]])
                nursery.start_soon(keep_busy, guest)
                found.append(guest)
                await trio.sleep(apart * pace)
            return found

        await trio.sleep(2 * pace)
        crowd = await come("dashboard", 8, 0.6)
        others = await come("forecast", 6, 0.3)
        models = await come("heavy-model", 4, 0.5)
        crowd += await come("dashboard", 8, 0.3)
        others += await come("forecast", 4, 0.3)
        await trio.sleep(3 * pace)
        await party.leave(models[:2])  # whoever waits in line comes in
        await trio.sleep(3 * pace)
        await trio.to_thread.run_sync(
            partial(server.supervisor, "restart", "dashboard", "--rolling")
        )
        await trio.sleep(3 * pace)
        await come("dashboard", 4, 0.3)
        for guest in [*crowd, *others[:7]]:
            await party.leave([guest])
            await trio.sleep(0.2 * pace)
        await trio.sleep(9 * pace)
        nursery.cancel_scope.cancel()


async def keep_busy(guest: Guest) -> None:
    """Move the slider again and again while there is a session."""
    while True:
        await trio.sleep(0.4)
        try:
            await guest.move()
        except (SessionEnded, trio.TooSlowError, AssertionError):
            await trio.sleep(0.2)


async def record(server: LiveServer, addresses: dict[str, str], pace: float) -> str:
    """Record one play and give it as an asciicast."""
    recorder = Recorder()
    command = [str(Path(sys.executable).parent / "supervisor"), "ps", "--watch", "--interval", "1"]
    socket = str(server.run_dir / "core.sock")
    environment = {
        **os.environ,
        "SUPERVISOR_SOCKET": socket,
        "TERM": "xterm-256color",
        "COLORTERM": "",
    }
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.record, command, environment)
        await play(server, addresses, pace)
        nursery.cancel_scope.cancel()
    return recorder.cast()


@contextmanager
def stage() -> Iterator[tuple[LiveServer, dict[str, str]]]:
    """A server with the apps of the play."""
    with tempfile.TemporaryDirectory() as folder, live_server() as server:
        yield server, deploy(server, Path(folder))


def main() -> None:
    """Write the recording and its drawing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=ROOT / "docs/images/ps-watch")
    parser.add_argument("--pace", type=float, default=1.0, help="of the play; 2 is half as fast")
    given = parser.parse_args()
    with stage() as (server, addresses):
        cast = trio.run(record, server, addresses, given.pace)
    given.to.with_suffix(".cast").write_text(cast)
    drawing = svg(cast, TITLE)
    given.to.with_suffix(".svg").write_text(drawing)
    print(f"{len(cast) / 1024:.0f} KiB of cast, {len(drawing) / 1024:.0f} KiB of drawing")


if __name__ == "__main__":
    main()
