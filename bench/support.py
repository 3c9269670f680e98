"""What the benchmarks share: CPU and memory of processes, figures, the machine's line, a helper."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for tests.support

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


# CPU


def cpu(pid: int) -> int:
    """Give the nanoseconds of CPU that a living process has used, in all threads, ended ones too.

    The scheduler's own sum (that of /proc/PID/schedstat), not clock ticks. 0 for one that is gone.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def cpu_of_dead_children(pid: int) -> int:
    """Give the nanoseconds of the children that a process has waited for, in steps of a tick."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0
    return (int(fields[13]) + int(fields[14])) * _TICK


def children(pid: int) -> list[int]:
    """Give the pids of the children of all threads of a process."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            continue
    return found


def tree(pid: int) -> list[int]:
    """Give a process and all that descend from it."""
    found = [pid]
    for one in found:
        found += children(one)
    return found


def tree_cpu(pid: int) -> int:
    """Give the nanoseconds of a process, its descendants, and those that these waited for."""
    return sum(cpu(one) + cpu_of_dead_children(one) for one in tree(pid))


# Memory


def memory(pid: int) -> dict[str, int]:
    """Give rss, pss and private memory of a process in KiB."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0])
    private = fields["Private_Clean"] + fields["Private_Dirty"]
    return {"rss": fields["Rss"], "pss": fields["Pss"], "private": private}


def mounts(pid: int) -> int:
    """Give the number of mounts that a process sees."""
    return len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())


# Figures


def p10(values: Iterable[float]) -> float:
    """Give the 10th percentile: near what an unloaded machine shows."""
    ordered = sorted(values)
    return ordered[len(ordered) // 10]


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Show the median with the least and the largest."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def name(pid: int) -> str:
    """Give the name of a process, "" of one that is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def machine() -> None:
    """Print the line that stands above each table."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{time.strftime('%Y-%m-%d')}; {os.cpu_count()} x {model}; Linux {platform.release()}; "
        f"Python {platform.python_version()}; load {load}\n",
        flush=True,
    )


def note(text: str) -> None:
    """Say on standard error what is going on."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def need_root() -> None:
    """End with a line where we are not root."""
    if os.geteuid() != 0:
        sys.exit("bench: this one needs root: it measures the sandbox of the root tier")


def pinned(core: int) -> list[str]:
    """Give the words before a command that keep it on one core, where there are several."""
    several = len(os.sched_getaffinity(0)) > 1 and shutil.which("taskset")
    return ["taskset", "-c", str(core)] if several else []


def version(*command: str) -> str:
    """Give the first line of what a program says of its version, or nothing."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return ((done.stdout or done.stderr).strip().splitlines() or [""])[0]


# Processes of ours, alone


@contextmanager
def directory() -> Iterator[Path]:
    """A directory with a short path that every user can enter; removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="csb-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def settings_file(settings: dict[str, object]) -> int:
    """Make the memfd in which the parent hands settings to its children."""
    fd = os.memfd_create("settings")
    os.write(fd, json.dumps({"settings": settings, "entries": []}).encode())
    return fd


@contextmanager
def child(module: str, log: Path, fds: dict[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    """One of the services, started as the parent starts it; ends as by the parent's death.

    Yields once it is ready. It never outlives this block.
    """
    from supervisor import packets

    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.settimeout(20)
    fds = {"control": theirs.fileno(), **fds}
    command = [sys.executable, "-I", "-m", module]
    for name, fd in fds.items():
        command += ["--fd", f"{name}={fd}"]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, pass_fds=tuple(fds.values()), stdin=subprocess.DEVNULL, stderr=stream
        )
    theirs.close()
    try:
        while (packet := packets.receive(control)) and packet[0]["type"] != "ready":
            pass
        if packet is None:
            raise SystemExit(f"bench: {module} did not start:\n{log.read_text()}")
        yield process
    finally:
        control.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def helper(base: Path, **more: object) -> Iterator[subprocess.Popen[bytes]]:
    """The privileged helper alone, listening at base/run/helper.sock for this process.

    more: settings besides those that it needs.
    """
    for name in ("data", "run"):
        (base / name).mkdir(mode=0o711)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(base / "run" / "helper.sock"))
    listener.listen(16)
    settings: dict[str, object] = {
        "data_dir": str(base / "data"),
        "run_dir": str(base / "run"),
        "rootless": False,
        "core_uid": os.getuid(),
        "core_gid": 699_002,
        "gateway_uid": 699_001,
        "gateway_gid": 699_001,
        "uid_first": 700_000,
        "uid_last": 701_000,
        "mounts": [],
        "executables": [],
        "log_level": "warning",
        **more,
    }
    memory_file = settings_file(settings)
    fds = {"settings": memory_file, "helper": listener.fileno()}
    with child("supervisor_unshare.launcher", base / "helper.log", fds) as process:
        yield process
    os.close(memory_file)
    listener.close()
