"""What the services cost while nothing happens, and how soon a killed core is back.

Two apps run (R and Python Shiny, nobody visits): memory of each process of ours, its CPU and its
wake-ups over half a minute; then the core is killed again and again, and the clock stops when the
list of processes is answered and names both.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path

import support

from supervisor import SupervisorError
from supervisor.cli.client import Client
from tests.support.server import LiveServer, live_server

EXAMPLES = support.ROOT / "examples"
APPS = ("shiny-r-hello", "shiny-python-core")
_PATIENCE = 60.0
_LONG_LIFE = 10.5  # seconds, after which the parent starts a new core without a pause


NAMES = {"content-init": "init", "content-next": "sandbox made ahead", "content-zygote": "zygote"}


def services(server: LiveServer) -> dict[str, int]:
    """Give the pids of our processes by name: an init for each run, and what waits for the next."""
    found = {
        "parent": server.parent,
        "core": server.core or 0,
        "gateway": server.gateway or 0,
        "helper": server.helper or 0,
    }
    for number, pid in enumerate(support.children(found["helper"]), 1):
        kind = NAMES.get(support.name(pid), support.name(pid))
        found[kind if kind == "zygote" else f"{kind} {number}"] = pid
    return found


def wakes(pid: int) -> int:
    """Give how often the main thread of a process has waited and gone on."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    return 0


def threads(pid: int) -> int:
    """Give the number of threads."""
    return len(os.listdir(f"/proc/{pid}/task"))


def rest(server: LiveServer, seconds: float) -> None:
    """Print memory of each process, and what it does while nothing happens."""
    pids = services(server)
    before = {name: (support.cpu(pid), wakes(pid)) for name, pid in pids.items()}
    begun = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    rows, all_cpu, all_pss = [], 0.0, 0
    for name, pid in pids.items():
        used = (support.cpu(pid) - before[name][0]) / 1e6
        woken = (wakes(pid) - before[name][1]) / took
        memory = support.memory(pid)
        all_cpu += used
        all_pss += memory["pss"]
        sizes = [f"{memory[key] / 1024:.1f}" for key in ("rss", "pss", "private")]
        rows.append([name, *sizes, threads(pid), f"{used:.1f}", f"{woken:.1f}"])
    rows.append(["all", "", f"{all_pss / 1024:.1f}", "", "", f"{all_cpu:.1f}", ""])
    print(f"At rest for {took:.0f} s with {len(APPS)} apps running\n")
    head = ["process", "RSS MiB", "PSS MiB", "private MiB", "threads"]
    support.table([*head, "CPU ms", "main thread's wake-ups a second"], rows)
    print(f"all together: {all_cpu / took / 10:.3f} % of one core\n")


def answered(server: LiveServer, runs: set[str]) -> bool:
    """Whether the core lists all these runs, each with its process."""
    try:
        with Client(server.run_dir / "core.sock") as client:
            listed = client.get("/v1/supervisor/runs")
    except SupervisorError:
        return False
    return runs <= {run["id"] for run in listed if run["state"] == "ready" and run["pid"]}


def kill_core(server: LiveServer, rounds: int, apart: float) -> None:
    """Kill the core, each time after `apart` seconds of life, and print how long it was away."""
    runs = {row["id"] for row in server.json("ps")}
    times, costs = [], []
    for _ in range(rounds):
        time.sleep(apart)
        core = server.core
        assert core is not None
        begun = time.perf_counter()
        os.kill(core, signal.SIGKILL)
        while not answered(server, runs):
            if time.perf_counter() - begun > _PATIENCE:
                raise SystemExit(f"bench: the core did not come back:\n{server.log()[-3000:]}")
            time.sleep(0.005)
        times.append((time.perf_counter() - begun) * 1e3)
        new = server.core
        assert new is not None
        costs.append(support.tree_cpu(new) / 1e6)
    print(
        "From SIGKILL of the core to an answer that lists both runs, "
        f"{rounds} rounds, each after {apart:g} s of life\n"
    )
    head = ["wall ms: median (least to most)", "p10", "CPU ms of the new core until then"]
    cells = [support.spread(times, 0), f"{support.p10(times):.0f}", support.spread(costs, 0)]
    support.table(head, [cells])


def main(rounds: int, seconds: float) -> None:
    """Start a server with two apps, then measure."""
    support.need_root()
    support.machine()
    with live_server() as server:
        for app in APPS:
            server.deploy(EXAMPLES / app, app)
        ready = 'state="ready"'
        server.until(lambda: len(server.rows("ps", state="ready")) == len(APPS), _PATIENCE, ready)
        time.sleep(5)  # let what starts end
        rest(server, seconds)
        kill_core(server, rounds, _LONG_LIFE)
        kill_core(server, min(rounds, 5), 0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    main(given.rounds, given.seconds)
