"""The helper executes itself anew in place: new code, same pid, so that its runs stay its children.

What it knows of them goes into a sealed memfd. The new code is asked first, in a process of its
own, whether it reads that; where it does not, everything stays as it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor import Egress
from supervisor_unshare.helper.runs import LiveRun, Phase
from supervisor_unshare.limits.cgroups import Group
from supervisor_unshare.linux.loop import Loop
from supervisor_unshare.requests.jobs import Job

VERSION = 1  # of the state; grows when an older helper could not go on with it
WAITING_SIGNALS = frozenset({signal.SIGUSR1})  # over the exec; see launcher
_PATIENCE = 20.0  # seconds for work under way in forked children
_JOB = ("run", "content", "purpose", "uid", "gid", "grace", "stop_signal")
_RUN = (
    "pid", "pidfd", "report", "stdout", "stderr", "boot", "started", "ends_by", "seen", "begun",
    "phase", "facts", "status", "oom", "stopped", "kill_at", "seconds",
)  # fmt: skip
_DESCRIPTORS = ("pidfd", "report", "stdout", "stderr", "door")


class Renewal:
    """One renewal. descriptors: those of the command line, by name, the settings' new one too.

    declined is called with the reason where the helper stays what it is, leave before it executes
    itself: a child that belongs to no run must not outlive that.
    """

    def __init__(
        self,
        loop: Loop,
        runs: Mapping[str, LiveRun],
        *,
        argv: Sequence[str],
        descriptors: Mapping[str, int],
        declined: Callable[[str], None],
        leave: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._runs = runs
        self._argv = [*argv, *(f"--fd={name}={fd}" for name, fd in descriptors.items())]
        self._descriptors = descriptors
        self._declined = declined
        self._leave = leave
        self._until = time.monotonic() + _PATIENCE
        self._abandoned = False

    def abandon(self) -> None:
        """Stay what we are: the helper is to end."""
        self._abandoned = True

    def start(self) -> None:
        """Ask the new code; become it once nothing is under way. Returns at once."""
        state = seal(self._runs)
        argv = [*self._argv, f"--check={state}"]
        kept = (state, *self._descriptors.values())
        self._loop.aside(lambda: _ask(argv, kept), self._asked)
        os.close(state)

    def _asked(self, error: str) -> None:
        if error:
            self._declined(error)
        elif not self._abandoned:
            self._become_new()

    def _become_new(self) -> None:
        if self._abandoned:
            return
        if self._loop.asides:
            if time.monotonic() < self._until:
                self._loop.after(0.02, self._become_new)
            else:
                self._declined("directories are being removed, which takes long; ask again")
            return
        self._leave()
        state = seal(self._runs)
        kept = [state, *self._descriptors.values(), *_open_in(self._runs)]
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITING_SIGNALS)
        try:
            for fd in kept:
                os.set_inheritable(fd, True)
            os.execve(self._argv[0], [*self._argv, f"--resume={state}"], os.environ)
        except OSError as error:
            for fd in kept:
                os.set_inheritable(fd, False)
            os.close(state)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITING_SIGNALS)
            self._declined(f"the new code cannot be executed: {error}")


def seal(runs: Mapping[str, LiveRun]) -> int:
    """Give a memfd with all that is known of the runs; nothing of their environments."""
    fd = os.memfd_create("runs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(fd), "w", encoding="utf-8") as file:
        json.dump({"v": VERSION, "runs": [_saved(run) for run in runs.values()]}, file)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def read(fd: int) -> list[LiveRun]:
    """Read what `seal` wrote, of this or an earlier helper, and close it; raises ValueError."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        state = json.loads(file.read())
    try:
        if state["v"] != VERSION:
            raise ValueError(f"the runs are in version {state['v']}, not {VERSION}")
        return [_restored(fields) for fields in state["runs"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the runs are not in a form that this helper knows: {error!r}") from None


def keep_to_ourselves(runs: Sequence[LiveRun]) -> None:
    """Let no child inherit what came through the exec."""
    for fd in _open_in({run.job.run: run for run in runs}):
        os.set_inheritable(fd, False)


def _saved(run: LiveRun) -> dict[str, Any]:
    group = run.group
    return {
        "job": {name: getattr(run.job, name) for name in _JOB},
        "group": [list(group.directories), group.unified, group.memory],
        "pids": group.pids,
        "said": run.said.decode(),
        "door": run.door,
        "network": [run.job.egress, run.job.port],
        **{name: getattr(run, name) for name in _RUN},
    }


def _restored(fields: Mapping[str, Any]) -> LiveRun:
    directories, unified, memory = fields["group"]
    own = {name: fields[name] for name in _RUN if name in fields}  # an earlier helper has fewer
    egress, port = fields.get("network", (Egress.HOST, None))  # not written by an earlier helper
    job = {name: fields["job"][name] for name in _JOB}
    return LiveRun(
        job=Job(argv=(), env={}, workdir="/", egress=Egress(egress), port=port, **job),
        door=fields.get("door", -1),
        group=Group(
            directories=tuple(directories),
            unified=unified,
            memory=memory,
            pids=fields.get("pids"),  # of an earlier helper, none
        ),
        said=fields["said"].encode(),
        **{**own, "phase": Phase(own["phase"])},
    )


def _open_in(runs: Mapping[str, LiveRun]) -> list[int]:
    found = [getattr(run, name) for run in runs.values() for name in _DESCRIPTORS]
    return [fd for fd in found if fd != -1]


def _ask(argv: Sequence[str], kept: Sequence[int]) -> None:
    """Run a check of the new code to its end; raises RuntimeError with what it said."""
    import subprocess  # in this forked child alone

    done = subprocess.run(
        argv, pass_fds=kept, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=_PATIENCE, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        how = lines[-1] if lines else f"status {done.returncode}"
        raise RuntimeError(f"the new helper does not start: {how}")
