"""What a sandbox costs: start to end of /bin/true, starts a second, memory, the end of a tree.

The helper is the real one and builds its real sandbox. It is asked by bare packets, and by the
real executor, which is trio in this process. Beside it: a bare spawn (posix_spawn, a vfork and
exec: less cannot be done), a fork and exec, the steps alone (launch_subset.py), and bubblewrap with
the same 15 read-only binds, which has no control group, no filter, no Landlock and no init of ours.
They take turns, one start each.

On a busy machine run it with `chrt -r 1`. Where the kernel lets no real-time process into a group
of the cpu controller (EINVAL in the step cgroup), first unmount that one, in mounts of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import launch_layers
import support
import trio
from launch_job import ENV, job
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Egress, Exit, Running, packets, to_json

TRUE = "/bin/true"
BINDS = [
    path
    for path in (
        "/usr /bin /lib /lib64 /sbin /opt /srv /home /var/lib /var/cache /etc/alternatives "
        "/etc/fonts /etc/ssl /etc/perl /usr/share"
    ).split()
    if Path(path).exists()
]
PACKAGE = support.ROOT / "plugins" / "executor-unshare"
AT_ONCE = (1, 2, 4, 8)
TREE = 100
UNSHARE_ALL = "--unshare-all --die-with-parent --proc /proc --dev /dev --tmpfs /tmp".split()
LIFE = 0.1
SLEEP = ("/bin/sleep", str(LIFE))
PAUSE = 0.3  # seconds between starts that come one by one, as they do on a server

Way = Callable[[], float]  # start once; seconds until it has ended


class Asking:
    """The helper's socket, without an executor."""

    def __init__(self, base: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.connect(str(base / "run" / "helper.sock"))
        self._ask({"type": "hello", "v": packets.VERSION})

    def run(self, egress: Egress, argv: Sequence[str] = (TRUE,)) -> float:
        """Start a command, wait for its end, forget it; give the seconds to the end."""
        one = job(*argv, egress=egress)
        asked = to_json(one)
        del asked["runtime"]
        begun = time.perf_counter()
        packets.send(self._sock, {"type": "start", "id": 1, "job": asked})
        while (message := self._next())["type"] != "exited":
            if message["type"] == "error":
                raise SystemExit(f"bench: {message['message']}")
        seconds = time.perf_counter() - begun
        if message["status"]:
            raise SystemExit(f"bench: {argv} ended with {message}")
        self._ask({"type": "forget", "run": one.run})
        return seconds

    def _ask(self, message: packets.Message) -> None:
        packets.send(self._sock, {"id": 1, **message})
        self._next()

    def _next(self) -> packets.Message:
        packet = packets.receive(self._sock)
        if packet is None:
            raise SystemExit("bench: the helper has gone")
        return packet[0]


@contextmanager
def small() -> Iterator[Callable[[str], float]]:
    """A process of launch_subset.py; give what asks it for one start."""
    command = [sys.executable, "-I", "-S", str(support.ROOT / "bench" / "launch_subset.py")]
    command += [str(PACKAGE), *BINDS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(way: str) -> float:
            stdin.write(f"{way}\n")
            stdin.flush()
            return int(stdout.readline()) / 1e6

        yield ask
        stdin.close()


def spawned(argv: Sequence[str]) -> float:
    """Spawn and wait; give the seconds to the end."""
    begun = time.perf_counter()
    _, status = os.waitpid(os.posix_spawn(argv[0], list(argv), ENV), 0)
    if status:
        raise SystemExit(f"bench: {argv} ended with status {status}")
    return time.perf_counter() - begun


def bubblewrap(*options: str, argv: Sequence[str] = (TRUE,)) -> Way | None:
    """Give what starts bwrap with the binds, or None where there is none."""
    program = shutil.which("bwrap")
    if program is None:
        support.note("bubblewrap is skipped: there is no bwrap (apt-get install bubblewrap)")
        return None
    command = [program, *options]
    for path in BINDS:
        command += ["--ro-bind", path, path]
    command += argv
    return lambda: spawned(command)


def take_turns(ways: dict[str, Way | None], rounds: int) -> dict[str, list[float]]:
    """Let each way start once in every round; give the seconds of each."""
    here = {name: way for name, way in ways.items() if way is not None}
    taken: dict[str, list[float]] = {name: [] for name in here}
    for round_ in range(rounds + 5):
        for name, way in here.items():
            seconds = way()
            if round_ >= 5:
                taken[name].append(seconds)
    return taken


def show(taken: dict[str, list[float]], *bases: str) -> None:
    """Print microseconds, and the ratios of the p10 to those of some candidates."""
    present = [base for base in bases if base in taken]
    rows = []
    for name, values in taken.items():
        low = support.p10(values)
        ratios = [f"{low / support.p10(taken[base]):.2f}" for base in present]
        micros = [f"{value * 1e6:.0f}" for value in (min(values), low, median(values))]
        rows.append([name, *micros, *ratios])
    support.table(["µs", "min", "p10", "median", *(f"to {base}" for base in present)], rows)


def compare_steps(rounds: int) -> None:
    """Print what the steps alone cost."""
    with small() as ask:
        ways: dict[str, Way | None] = {
            "spawn": lambda: ask("spawn"),
            "fork and exec": lambda: ask("fork"),
            "namespaces, binds copied": lambda: ask("subset"),
            "namespaces, binds made": lambda: ask("each"),
            "bwrap": bubblewrap(
                *("--unshare-user --unshare-pid --die-with-parent --uid 700001".split())
            ),
        }
        show(take_turns(ways, rounds), "spawn", "fork and exec", "bwrap")


def compare_whole(base: Path, rounds: int) -> None:
    """Print what whole sandboxes cost."""
    asking = Asking(base)
    with small() as ask:
        ways: dict[str, Way | None] = {
            "spawn": lambda: ask("spawn"),
            "helper, the host's network": lambda: asking.run(Egress.HOST),
            "bwrap --unshare-all": bubblewrap(*UNSHARE_ALL),
        }
        show(take_turns(ways, rounds), "spawn", "bwrap --unshare-all")
        del ways["helper, the host's network"]
        ways = {"helper, its own network": lambda: asking.run(Egress.NONE), **ways}
        show(take_turns(ways, rounds), "spawn", "bwrap --unshare-all")


def compare_one_by_one(base: Path, rounds: int) -> None:
    """Print the same for starts with pauses between them, of something that lives for a moment."""
    asking = Asking(base)
    bwrap = bubblewrap(*UNSHARE_ALL, argv=SLEEP)

    def rested(way: Way) -> Way:
        def start() -> float:
            time.sleep(PAUSE)
            return way() - LIFE

        return start

    ways: dict[str, Way | None] = {
        "spawn": rested(lambda: spawned(SLEEP)),
        "helper, the host's network": rested(lambda: asking.run(Egress.HOST, SLEEP)),
        "helper, its own network": None,
        "bwrap --unshare-all": bwrap and rested(bwrap),
    }
    show(take_turns(ways, rounds), "spawn", "bwrap --unshare-all")
    ways["helper, the host's network"] = None
    ways["helper, its own network"] = rested(lambda: asking.run(Egress.NONE, SLEEP))
    show(take_turns(ways, rounds), "spawn", "bwrap --unshare-all")


async def through(executor: UnshareExecutor) -> float:
    """Start once by the executor; give the seconds to the end with nothing of the run left."""
    begun = time.perf_counter()
    receipt = await executor.start(job(TRUE))
    async for seen in executor.watch(receipt):
        if isinstance(seen, Exit) and seen.code != 0:
            raise SystemExit(f"bench: /bin/true ended with {seen}")
    return time.perf_counter() - begun


async def flood(executor: UnshareExecutor, helper: int, count: int) -> None:
    """Print how many starts and ends a second there are, some at a time, and their CPU."""

    def used() -> float:
        zygotes = [pid for pid in support.children(helper) if "zygote" in support.name(pid)]
        dead = support.cpu_of_dead_children(helper)
        return (support.cpu(helper) + sum(map(support.cpu, zygotes)) + dead) / 1e6

    rows = []
    for at_once in AT_ONCE:
        slots = trio.CapacityLimiter(at_once)
        taken: list[float] = []

        async def one(slots: trio.CapacityLimiter, taken: list[float]) -> None:
            async with slots:
                taken.append(await through(executor))

        before, begun = used(), time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one, slots, taken)
        seconds = time.perf_counter() - begun
        rows.append(
            [
                at_once,
                f"{count / seconds:.0f}",
                f"{support.p10(taken) * 1e3:.1f}",
                f"{median(taken) * 1e3:.1f}",
                f"{(used() - before) / count:.2f}",
            ]
        )
    support.table(["at a time", "a second", "p10 ms", "median ms", "CPU ms a start"], rows)


async def weigh(executor: UnshareExecutor, helper: int, count: int) -> None:
    """Print the memory of the init processes of idle runs, and of what waits for the next."""
    for _ in range(count):
        receipt = await executor.start(job("/bin/sleep", "60"))
        async for seen in executor.watch(receipt):
            assert isinstance(seen, Running)
            break
    await trio.sleep(PAUSE)  # until the next ones wait
    rows = []
    for kind in ("content-init", "content-next", "content-zygote"):
        found = [support.memory(p) for p in support.children(helper) if support.name(p) == kind]
        private, pss = ([one[what] for one in found] for what in ("private", "pss"))
        if found:
            rows.append([kind, len(found), support.spread(private, 0), support.spread(pss, 0)])
    support.table(["KiB", "of them", "private", "PSS"], rows)


async def fell(executor: UnshareExecutor, rounds: int) -> None:
    """Print how long it takes to kill a tree of processes, until nothing of the run is left."""
    script = f"for i in $(seq {TREE - 1}); do sleep 600 & done; wait"
    taken = []
    for _ in range(rounds):
        run = job("/bin/sh", "-c", script)
        receipt = await executor.start(run)
        while (await executor.usage([run.run]))[run.run].processes < TREE:  # noqa: ASYNC110
            await trio.sleep(0.05)
        begun = time.perf_counter()
        await executor.stop(receipt, 0)
        async for _ in executor.watch(receipt):
            pass
        taken.append((time.perf_counter() - begun) * 1e3)
    print(f"a tree of {TREE} processes killed, nothing of it left: {support.spread(taken)} ms\n")


async def main(rounds: int) -> None:
    """Start a helper of our own and measure."""
    support.need_root()
    support.machine()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    compare_steps(rounds)
    with support.directory() as base, support.helper(base) as process:
        compare_whole(base, rounds)
        compare_one_by_one(base, max(1, rounds // 4))
        executor = UnshareExecutor(run_dir=str(base / "run"), forget_after=0.5)
        async with trio.open_nursery() as nursery:
            await nursery.start(executor.serve)
            await flood(executor, process.pid, rounds)
            await fell(executor, 5)
            await weigh(executor, process.pid, 10)
            nursery.cancel_scope.cancel()
    print(f"bubblewrap: {support.version('bwrap', '--version') or 'none'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    trio.run(main, parser.parse_args().rounds)
    trio.run(launch_layers.main, 5)
