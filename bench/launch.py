"""From the request to the exec of /bin/true: the resident helper, a bare spawn, bubblewrap.

The helper is the real one and builds its real sandbox; the client is the real executor in this
process. The bare spawn is posix_spawn, which is a vfork and exec: less cannot be done. Bubblewrap
makes the same namespaces with 15 read-only binds. They take turns, one start each.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import support
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Exit, Job, Plan, Purpose, Running
from supervisor.model import new_run_id

TRUE = "/bin/true"
UID = 700_001
BINDS = (
    "/usr /bin /lib /lib64 /sbin /opt /srv /home /var/lib /var/cache /etc/alternatives /etc/fonts "
    "/etc/ssl /etc/perl /usr/share"
).split()


def job(*argv: str) -> Job:
    """Make a job that runs a command in the sandbox of one content."""
    plan = Plan(argv=argv, env={"PATH": "/usr/bin:/bin"}, workdir="/tmp")
    purpose = Purpose.SERVE
    return Job(run=new_run_id(), content=1, purpose=purpose, plan=plan, uid=UID, gid=UID)  # type: ignore[arg-type]


async def through_helper(executor: UnshareExecutor) -> tuple[float, float]:
    """Start once; give seconds to the exec, and to the exit with nothing of the run left."""
    begun = time.perf_counter()
    receipt = await executor.start(job(TRUE))
    executed = time.perf_counter() - begun
    async for seen in executor.watch(receipt):
        if isinstance(seen, Exit) and seen.code != 0:
            raise SystemExit(f"bench: /bin/true ended with {seen}")
    return executed, time.perf_counter() - begun


def spawned(argv: list[str]) -> tuple[float, float]:
    """Spawn and wait; give seconds to the exec, and to the exit."""
    begun = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, {"PATH": "/usr/bin:/bin"})
    executed = time.perf_counter() - begun
    _, status = os.waitpid(pid, 0)
    ended = time.perf_counter() - begun
    if status:
        raise SystemExit(f"bench: {argv} ended with status {status}")
    return executed, ended


def bubblewrap() -> list[str] | None:
    """Give the command of comparable isolation, or None where there is no bwrap."""
    program = shutil.which("bwrap")
    if program is None:
        support.note("bubblewrap is skipped: there is no bwrap (apt-get install bubblewrap)")
        return None
    argv = [program, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent"]
    for path in [path for path in BINDS if Path(path).exists()]:
        argv += ["--ro-bind", path, path]
    return [*argv, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", TRUE]


def own_children_cpu() -> float:
    """Give the CPU seconds of the children that this process has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Times:
    """What one candidate's starts took."""

    def __init__(self) -> None:
        self.executed: list[float] = []
        self.ended: list[float] = []
        self.cpu = 0.0

    def add(self, times: tuple[float, float], used: float) -> None:
        """Add one start."""
        self.executed.append(times[0])
        self.ended.append(times[1])
        self.cpu += used


async def alternate(executor: UnshareExecutor, helper: int, rounds: int) -> None:
    """Let the candidates take turns and print what each took."""
    bwrap = bubblewrap()
    results = {"bare spawn": Times(), "helper": Times()} | ({"bwrap": Times()} if bwrap else {})

    def alone(name: str, argv: list[str]) -> None:
        before = own_children_cpu()
        times = spawned(argv)
        results[name].add(times, own_children_cpu() - before)

    def helper_cpu() -> float:
        return (support.cpu(helper) + support.cpu_of_dead_children(helper)) / 1e9

    for _ in range(5):
        await through_helper(executor)
    before = helper_cpu()
    for _ in range(rounds):
        alone("bare spawn", [TRUE])
        results["helper"].add(await through_helper(executor), 0.0)
        if bwrap:
            alone("bwrap", bwrap)
        await trio.lowlevel.checkpoint()
    results["helper"].cpu = helper_cpu() - before
    show(results)


def show(results: dict[str, Times]) -> None:
    """Print the table of all candidates, times in microseconds."""
    base = results["bare spawn"]

    def row(name: str, pick: Callable[[Times], list[float]]) -> list[str]:
        values = pick(results[name])
        low, middle = support.p10(values), median(values)
        ratio = low / support.p10(pick(base))
        return [f"{low * 1e6:.0f}", f"{middle * 1e6:.0f}", f"{ratio:.1f}"]

    rows = []
    for name, times in results.items():
        executed = ["-"] * 3 if name == "bwrap" else row(name, lambda times: times.executed)
        used = times.cpu / len(times.ended) * 1e3
        rows.append([name, *executed, *row(name, lambda times: times.ended), f"{used:.2f}"])
    support.table(
        [
            "candidate", "exec p10 µs", "p50", "ratio", "exit p10 µs", "p50", "ratio",
            "CPU ms a start",
        ],
        rows,
    )  # fmt: skip


async def flood(executor: UnshareExecutor, helper: int, count: int, at_once: int) -> None:
    """Start many at once and print how many a second."""
    slots = trio.CapacityLimiter(at_once)

    async def one() -> None:
        async with slots:
            await through_helper(executor)

    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    seconds = time.perf_counter() - begun
    print(f"{count} starts, {at_once} at a time: {count / seconds:.0f} starts and ends a second\n")


async def weigh(executor: UnshareExecutor, count: int) -> None:
    """Print the memory of the init processes of idle runs."""
    found = []
    for _ in range(count):
        receipt = await executor.start(job("/bin/sleep", "60"))
        async for seen in executor.watch(receipt):
            assert isinstance(seen, Running)
            assert seen.pid is not None
            found.append(support.memory(seen.pid))
            mounts = support.mounts(seen.pid)
            break
    private = [one["private"] for one in found]
    pss = [one["pss"] for one in found]
    print(
        f"init process, {count} of them: private {support.spread(private, 0)} KiB, "
        f"pss {support.spread(pss, 0)} KiB; {mounts} mounts in its namespace\n"
    )


async def main(rounds: int) -> None:
    """Start a helper of our own and measure through it."""
    support.need_root()
    support.machine()
    with support.directory() as base, support.helper(base) as process:
        executor = UnshareExecutor(run_dir=str(base / "run"), forget_after=0.5)
        async with trio.open_nursery() as nursery:
            await nursery.start(executor.serve)
            await alternate(executor, process.pid, rounds)
            await flood(executor, process.pid, rounds, 1)
            await flood(executor, process.pid, rounds, 8)
            await weigh(executor, 10)
            nursery.cancel_scope.cancel()
    print(f"bubblewrap: {support.version('bwrap', '--version') or 'none'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    trio.run(main, parser.parse_args().rounds)
