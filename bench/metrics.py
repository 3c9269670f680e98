"""What it costs to look at many processes: kept-open files of /proc against psutil, in turns.

The figure is CPU of the one who looks, for CPU time and resident memory of every process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import psutil
import support

from supervisor.sampling import Processes

SLEEP = (
    "import os, time\nfor _ in range({count}):\n    if not os.fork():\n        time.sleep(600)\n"
)
MOST = 0.3  # of psutil's cost


def kept(pids: Sequence[int]) -> Callable[[], int]:
    """Look by files that stay open."""
    processes = Processes()

    def look() -> int:
        return sum(1 for pid in pids if processes.read(pid) is not None)

    return look


def by_objects(pids: Sequence[int]) -> Callable[[], int]:
    """Look by psutil's objects, made once: the least that psutil can do."""
    known = [psutil.Process(pid) for pid in pids]

    def look() -> int:
        for process in known:
            with process.oneshot():
                process.cpu_times()
                process.memory_info()
        return len(known)

    return look


def by_walk(pids: Sequence[int]) -> Callable[[], int]:
    """Look by psutil's walk over all processes of the machine, as exporters do."""
    wanted = set(pids)

    def look() -> int:
        found = psutil.process_iter(["cpu_times", "memory_info"])
        return sum(1 for process in found if process.pid in wanted)

    return look


def main(count: int, rounds: int) -> int:
    """Start the processes, look at them in turns, print the table; 1 where it costs too much."""
    support.machine()
    script = SLEEP.format(count=count) + "print('ready', flush=True)\ntime.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", script], stdout=subprocess.PIPE
    ) as root:
        assert root.stdout is not None
        root.stdout.readline()
        pids = [process.pid for process in psutil.Process(root.pid).children()]
        ways = {
            "kept-open files": kept(pids),
            "psutil, kept objects": by_objects(pids),
            "psutil, walk": by_walk(pids),
        }
        costs: dict[str, list[float]] = {name: [] for name in ways}
        try:
            for look in ways.values():
                assert look() == count
            for _ in range(rounds):
                for name, look in ways.items():
                    before = time.process_time()
                    look()
                    costs[name].append((time.process_time() - before) * 1e3)
        finally:
            for pid in pids:
                psutil.Process(pid).kill()
            root.kill()
    ours = median(costs["kept-open files"])
    print(f"{count} processes, {rounds} rounds, CPU ms a look\n")
    rows = [
        [name, support.spread(values), f"{ours / median(values):.2f}"]
        for name, values in costs.items()
    ]
    support.table(["way", "CPU ms", "ours to it"], rows)
    ratio = ours / median(costs["psutil, kept objects"])
    print(f"ratio {ratio:.2f}; at most {MOST} wanted")
    return int(ratio > MOST)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    sys.exit(main(given.processes, given.rounds))
