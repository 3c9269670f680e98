"""What happens between clone and exec without namespaces: Landlock, seccomp, and an init of ours.

For hosts that allow nothing else. Everything of one uid shares it, processes and sockets are seen,
and files stay where they are; what a process may open is all that is decided here.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn

from supervisor.site_mounts import covered
from supervisor_unshare.linux import filters, handing, landlock, syscalls
from supervisor_unshare.root.build import Step
from supervisor_unshare.root.plan_mounts import Bind, Entry
from supervisor_unshare.sandbox import descendants, entry
from supervisor_unshare.sandbox.entry import Kind


class Spec(NamedTuple):
    """What is the job's own. allowed: paths of the host, and the rights of landlock.confine.

    rlimits: resource number → (soft, hard).
    """

    allowed: list[tuple[str, int]]
    argv: tuple[str, ...]
    env: dict[str, str]
    workdir: str
    nice: int
    rlimits: dict[int, tuple[int, int]]


def reachable(shown: Iterable[Entry], hidden: Sequence[str]) -> tuple[str, ...]:
    """Give the paths of the host that entries show, but not what must stay hidden within them."""
    sources = (f"/{'/'.join(entry.parts)}" for entry in shown if isinstance(entry, Bind))
    return tuple(part for source in sources for part in _around(source, hidden))


def _around(path: str, hidden: Sequence[str]) -> list[str]:
    """Landlock allows whole trees: one that holds what is hidden goes in parts."""
    if covered(path, hidden):
        return []
    if not any(covered(other, [path]) for other in hidden) or not os.path.isdir(path):
        return [path]
    return [part for name in os.listdir(path) for part in _around(os.path.join(path, name), hidden)]


def live(kind: Kind, job: int, report: int, groups: Sequence[int]) -> NoReturn:
    """Become the init of the job that comes. As entry.live; never returns."""
    step = Step()
    try:
        _be_init(job, report, groups, step)
        step.name = "job"
        with socket.socket(fileno=job) as sock:
            handed = handing.receive(sock)
        if handed is None:
            os._exit(0)
        spec, streams = Spec(**handed[0]), handed[1]
        step.name = "name"
        syscalls.name_process(entry.NAME)
        descendants.watch(_start(kind, spec, streams, report, step), report)
    except BaseException as error:
        entry.fail(report, step.name, error)
    finally:
        os._exit(127)


def _be_init(job: int, report: int, groups: Sequence[int], step: Step) -> None:
    step.name = "die-with-parent"
    descendants.queue_signals()
    syscalls.die_with_parent(descendants.END)
    entry.leave_service(job, report, groups, step)
    step.name = "limits"
    entry.write("/proc/self/oom_score_adj", entry.OOM_SCORE)
    step.name = "identity"
    syscalls.adopt_orphans()
    syscalls.hide_memory()
    syscalls.forbid_new_privileges()
    os.umask(0o027)


def _start(kind: Kind, spec: Spec, streams: Sequence[int], report: int, step: Step) -> int:
    """Start the content's process and give its pid; ends this one where that fails.

    A fork, since the process is to have what this one must not: a domain that it cannot signal
    its way out of.
    """
    step.name = "fork"
    read, write = os.pipe2(os.O_CLOEXEC)
    own = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become(kind, spec, streams, own, step)
        except BaseException as error:
            entry.fail(report, step.name, error)
            os.write(write, b"x")
        finally:
            os._exit(127)
    for fd in (write, *streams):
        os.close(fd)
    if os.read(read, 1):  # nothing once the exec has closed it
        os._exit(127)
    os.close(read)
    return pid


def _become(kind: Kind, spec: Spec, streams: Sequence[int], parent: int, step: Step) -> NoReturn:
    step.name = "die-with-parent"
    syscalls.die_with_parent()
    if os.getppid() != parent:
        os._exit(127)
    os.setsid()
    step.name = "streams"
    null = os.open("/dev/null", os.O_RDONLY)
    for stream, fd in enumerate((null, *streams)):
        os.dup2(fd, stream)
    step.name = "limits"
    for number, limits in spec.rlimits.items():
        resource.setrlimit(number, limits)
    os.nice(spec.nice)
    step.name = f"workdir {spec.workdir}"
    os.chdir(spec.workdir)
    for caught in entry.CATCHABLE:
        signal.signal(caught, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    step.name = "landlock"
    landlock.confine(kind.landlock, spec.allowed)
    step.name = "seccomp"
    syscalls.filter_calls(filters.program(rules=filters.ONE_USER))
    syscalls.filter_calls(kind.filter)
    step.name = f"exec {spec.argv[0]}"
    os.execve(spec.argv[0], spec.argv, spec.env)
