"""What seccomp and Landlock cost content: loops of system calls inside sandboxes with and without.

Four helpers, each with another set of layers, take turns with a process outside; each time a Python
program inside measures itself. Nanoseconds of one round of a loop, the least of all rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from contextlib import ExitStack
from statistics import median

import support
import trio
from launch_job import job
from supervisor_unshare.executor import UnshareExecutor

PYTHON = "/usr/bin/python3"
PROGRAM = """
import json, os, time
def each(count, call):
    begun = time.perf_counter_ns()
    for _ in range(count):
        call()
    return (time.perf_counter_ns() - begun) / count
def file():
    os.close(os.open("/etc/localtime", os.O_RDONLY))
print(json.dumps([min(each(20000, os.getppid) for _ in range(5)),
                  min(each(4000, file) for _ in range(5))]))
"""
SETS = {
    "namespaces alone": ["seccomp", "landlock"],
    "and seccomp": ["landlock"],
    "and Landlock": ["seccomp"],
    "all": [],
}


async def inside(executor: UnshareExecutor) -> list[float]:
    """Let a sandbox measure itself; nanoseconds of getppid, and of open and close."""
    receipt = await executor.start(job(PYTHON, "-I", "-S", "-c", PROGRAM))
    said = b"".join([chunk.data async for chunk in executor.output(receipt)])
    async for _ in executor.watch(receipt):
        pass
    found: list[float] = json.loads(said)
    return found


def outside() -> list[float]:
    """Measure the same without any sandbox."""
    command = [PYTHON, "-I", "-S", "-c", PROGRAM]
    found: list[float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE).stdout)
    return found


async def main(rounds: int) -> None:
    """Measure all sets in turns."""
    support.need_root()
    support.machine()
    taken: dict[str, list[list[float]]] = {name: [] for name in ("outside", *SETS)}
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            executors = {}
            for name, without in SETS.items():
                base = stack.enter_context(support.directory())
                stack.enter_context(support.helper(base, without=without))
                executors[name] = UnshareExecutor(run_dir=str(base / "run"), forget_after=0.5)
                await nursery.start(executors[name].serve)
            for _ in range(rounds):
                taken["outside"].append(outside())
                for name, executor in executors.items():
                    taken[name].append(await inside(executor))
            nursery.cancel_scope.cancel()
    base_of = [min(one[place] for one in taken["outside"]) for place in (0, 1)]
    rows = []
    for name, found in taken.items():
        row = [name]
        for place in (0, 1):
            values = [one[place] for one in found]
            low = min(values)
            row += [f"{low:.0f}", f"{median(values):.0f}", f"{low / base_of[place]:.2f}"]
        rows.append(row)
    head = ["layers", "getppid min ns", "median", "ratio", "open and close min ns", "median"]
    support.table([*head, "ratio"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    trio.run(main, parser.parse_args().rounds)
