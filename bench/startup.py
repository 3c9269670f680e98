"""How long commands take before they do anything: against a bare interpreter and a hello by click.

All run in turns, many rounds. `list` asks a server that answers at once with nothing, which is the
fake of the tests.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import support

HELLO = """
import click

@click.command()
@click.option("--name", default="you", help="Who is greeted.")
def hello(name):
    "Greet somebody."
    click.echo(f"Hello, {name}!")

hello()
"""
SUPERVISOR = str(Path(sys.executable).with_name("supervisor"))
CANDIDATES: dict[str, list[str]] = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "a hello by click": [sys.executable, "-c", HELLO],
    "supervisor --version": [SUPERVISOR, "--version"],
    "supervisor --help": [SUPERVISOR, "--help"],
    "supervisor deploy --help": [SUPERVISOR, "deploy", "--help"],
    "supervisor list": [SUPERVISOR, "list"],
    "supervisor list --json": [SUPERVISOR, "list", "--json"],
    "supervisor ps": [SUPERVISOR, "ps"],
}


def once(argv: Sequence[str], environ: dict[str, str]) -> tuple[float, float]:
    """Run it; give milliseconds of CPU and of the clock."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    begun = time.perf_counter()
    pid = os.posix_spawn(argv[0], list(argv), environ, file_actions=quiet)
    _, status, used = os.wait4(pid, 0)
    took = time.perf_counter() - begun
    if status:
        raise SystemExit(f"bench: {argv} ended with status {status}")
    return (used.ru_utime + used.ru_stime) * 1000, took * 1000


@contextmanager
def server() -> Iterator[Path]:
    """A server that knows of nothing; gives its socket."""
    with tempfile.TemporaryDirectory(prefix="csb-") as base:
        path = Path(base, "core.sock")
        command = [sys.executable, "-m", "supervisor.testing.fakes_service", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not path.exists():
                if process.poll() is not None:
                    raise SystemExit("bench: the fake server did not start")
                time.sleep(0.05)
            yield path
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    support.machine()
    cpu: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    wall: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    with server() as path:
        environ = {"PATH": os.environ["PATH"], "SUPERVISOR_SOCKET": str(path)}
        for number in range(rounds + 1):
            for name, argv in CANDIDATES.items():
                used, took = once(argv, environ)
                if number:  # the first compiles and fills the page cache
                    cpu[name].append(used)
                    wall[name].append(took)
    hello = median(cpu["a hello by click"])
    support.table(
        ["command", "CPU ms: median (least to most)", "ratio to click", "wall-clock ms: p10 / p50"],
        [
            (
                f"`{name}`" if " by " not in name else name,
                support.spread(cpu[name], 0),
                f"{median(cpu[name]) / hello:.2f}",
                f"{support.p10(wall[name]):.0f} / {median(wall[name]):.0f}",
            )
            for name in CANDIDATES
        ],
    )


if __name__ == "__main__":
    main()
