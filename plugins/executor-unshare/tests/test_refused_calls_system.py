"""Every system call of a start refused in turn: no process and nothing else left, and why.

The calls are those of a traced start that went well, so a call that is new is refused too. One that
may fail without ending the start is listed here with its reason, and the sandbox that then comes
about must be the same as ever.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from supervisor import Job, Limits, packets, to_json
from tests.support.refusals import refusing, tracing

pytestmark = pytest.mark.system

Node = Any

OF_NO_START = {  # or without a way to fail
    "close": "Linux closes whatever it answers; a call that is not made shows nothing",
    "epoll_wait": "waits for what comes next",
    "exit_group": "cannot fail",
    "geteuid": "cannot fail",
    "getegid": "cannot fail",
    **dict.fromkeys(("brk", "mmap", "munmap"), "memory, whenever Python needs some"),
    "recvmsg": "the request, or the job of a process that ends without one",
    "rt_sigaction": "of posix_spawn, for each signal; cannot fail with its constants",
    "rt_sigprocmask": "cannot fail with its constants",
    "rt_sigreturn": "cannot fail",
    "rt_sigtimedwait": "init, when the start is over",
    "sendmsg": "the answer, or to a process that is found to be gone",
    "umask": "cannot fail",
    "uname": "cannot fail",
    "wait4": "init, when the start is over",
}
GOES_ON = {  # and the sandbox is the same
    r"epoll_ctl\(\d+, EPOLL_CTL_DEL, ": "nothing comes through that pipe any more",
    r"fcntl\(\d+, F_SETPIPE_SZ, ": "a pipe keeps its usual size where its user has many",
    r"getsockname\(": "Python looks of which family a socket is",
    r'newfstatat\(AT_FDCWD, "/sys/fs/cgroup': "what is not there is made",
    r"newfstatat\(.*, AT_SYMLINK_NOFOLLOW\)": "a path of the host is taken for what it is",
    r"poll\(.* 20000\)": "the zygote does not answer: another is asked",
    r"prlimit64\(0, \w+, NULL, ": "of the C library, which has defaults for what it asks",
    r"write\(2, ": "a line of the log",
}
_FULL, _FEW = ("EIO", "ENOSPC", "EDQUOT", "EROFS"), ("ENOMEM", "EMFILE", "ENFILE")
ERRORS = {  # what a call answers where a host is short of something or forbids it; else EIO
    **dict.fromkeys(("openat", "openat2"), (*_FEW, "EACCES", "EIO", "ELOOP")),
    **dict.fromkeys(("mkdir", "mkdirat", "symlinkat"), (*_FULL, "ENOMEM", "EACCES")),
    "mknodat": (*_FULL, "ENOMEM"),  # forbidden, the host's device is shown
    **dict.fromkeys(("pipe2", "socketpair", "dup", "dup2", "dup3", "pidfd_open"), _FEW[1:]),
    **dict.fromkeys(("socket", "memfd_create", "epoll_create1", "signalfd4"), _FEW),
    **dict.fromkeys(("clone", "clone3", "fork", "vfork"), ("EAGAIN", "ENOMEM", "EPERM", "ENOSPC")),
    **dict.fromkeys(("fsopen", "fsmount", "open_tree"), (*_FEW, "EPERM")),
    **dict.fromkeys(("fsconfig", "move_mount", "mount"), ("ENOMEM", "EPERM", "EINVAL", "ENOSPC")),
    **dict.fromkeys(("mount_setattr", "umount2", "pivot_root"), ("EBUSY", "ENOMEM", "EIO")),
    **dict.fromkeys(("chown", "fchown", "fchownat", "lchown"), ("EPERM", "EROFS", "EDQUOT")),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat"), ("EPERM", "EROFS")),
    **dict.fromkeys(("setgroups", "setresuid", "setresgid", "capset", "capget"), ("EPERM",)),
    **dict.fromkeys(("prctl", "keyctl", "setsid"), ("EPERM", "ENOMEM", "EACCES")),
    **dict.fromkeys(("landlock_create_ruleset", "landlock_add_rule"), ("ENOMEM", "EMFILE")),
    **dict.fromkeys(("landlock_restrict_self", "seccomp"), ("ENOMEM", "E2BIG")),
    **dict.fromkeys(("setpriority", "kill"), ("EPERM",)),  # prlimit64: Python hides the number
    "unshare": ("EPERM", "ENOSPC", "ENOMEM"),
    "setns": ("EPERM", "ENOMEM"),
    "write": ("ENOSPC", "EDQUOT", "EIO"),
    "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "execve": ("ENOMEM", "EACCES", "E2BIG"),
}
ENDS_THE_HELPER = {"setns": "it cannot return to its own mounts"}
STEPS = {
    "prepare", "cgroup", "pipes", "template", "clone", "plan", "job", "receipt", "watch", "report",
    "die-with-parent", "descriptors", "keyring", "mounts", "new-root", "mount /proc", "mount /dev",
    "enter-root", "limits", "identity", "landlock", "seccomp", "workdir /tmp", "exec /bin/sh",
}  # fmt: skip
_ANSWER = '{\\"type\\":\\"ok\\"'  # as strace shows it
MOST = 5  # calls of one name that are refused, where not all are

LOOK = """
cat /proc/self/status /proc/self/limits /proc/self/mountinfo /proc/self/oom_score_adj
(echo 0 > /proc/self/oom_score_adj) 2>&1; ls -l /proc/self/fd; ls -al / /dev; id; umask; env
cat /proc/sys/kernel/hostname; ls /proc/1/root 2>&1; echo done; exec sleep 600
"""
_KEPT = re.compile(
    r"(Uid|Gid|Groups|Umask|NoNewPrivs|Seccomp.*|Cap.*|Sig(Blk|Ign|Cgt)|Max .*):?\s.*"
)


def same(text: str, run: str) -> list[str]:
    """Give the lines of what LOOK printed, in order, without what differs from run to run."""
    lines = []
    for line in text.replace(run, "RUN").splitlines():
        if re.match(r"\w+:\t", line) and not _KEPT.match(line):
            continue
        if re.match(r"\d+ \d+ \d+:\d+ ", line):  # of mountinfo: ids and device numbers
            line = line.split(" ", 3)[3]
        line = re.sub(r"^(\S{10}) +\d+ |total \d+", r"\1 ", line)  # how many links
        line = re.sub(r"pipe:\[\d+\]|\d+ \w+ +\d+ +\d\d:\d\d|/proc/\d+", "-", line)
        lines.append(line)
    return sorted(lines)  # mounts are copied in no order


def children(pid: int, name: str) -> list[int]:
    """Give the children of a process that have this name."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child) for child in listed if Path(f"/proc/{child}/comm").read_text() == f"{name}\n"
    ]


def until_empty(groups: Iterable[str]) -> None:
    """Wait until no process is in any of these control groups."""
    for group in groups:
        until = time.monotonic() + 10
        while Path(group, "cgroup.procs").read_text() and time.monotonic() < until:
            time.sleep(0.005)


@attrs.define
class Core:
    """What a core asks of a helper, one packet at a time."""

    node: Node
    new_job: Callable[[], Job]
    sock: socket.socket = attrs.field(init=False)
    usual: list[str] = attrs.field(init=False)
    descriptors: int = attrs.field(init=False)
    last_traced: list[int] = attrs.field(init=False, factory=list)
    ahead: int = attrs.field(init=False, default=0)  # how many sandboxes wait when all is quiet
    refills: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.settle()

    def settle(self) -> None:
        """Connect to a helper that has just started and see what is usual with it."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(10)
        self.sock.connect(f"{self.node.run_dir}/helper.sock")
        job, answer = self.start()
        assert "ok" == answer["type"], answer
        self.usual = self.look(job)
        self.descriptors = self.open()
        time.sleep(0.5)  # nothing tells from outside that no more are made ahead
        self.ahead = len(self.waiting())

    def ask(self, verb: str, **fields: Any) -> tuple[Mapping[str, Any], list[int]]:
        packets.send(self.sock, {"type": verb, "id": 1, **fields})
        return self.answer("ok", "error")

    def answer(self, *types: str) -> tuple[Mapping[str, Any], list[int]]:
        while (packet := packets.receive(self.sock)) is not None:
            if packet[0]["type"] in types:
                return packet
        raise ConnectionError("the helper has ended")

    def start(self) -> tuple[Job, Mapping[str, Any]]:
        """Give the job and how the helper answered: ok, error, or that it has ended."""
        job = self.new_job()
        asked = json.loads(json.dumps(to_json(job)))
        del asked["runtime"]
        try:
            answer = self.ask("start", job=asked)[0]
        except OSError as error:
            return job, {"type": "ended", "message": str(error)}
        self.refills = self.refills or answer["type"] == "ok"
        return job, answer

    def look(self, job: Job) -> list[str]:
        """Give how the sandbox of a run looks from inside, and end the run."""
        _, (output, errors) = self.ask("output", run=job.run)
        text = b""
        while not text.endswith(b"done\n"):
            piece = os.read(output, 65536)
            assert piece, text
            text += piece
        for fd in (output, errors):
            os.close(fd)
        self.ask("stop", run=job.run, grace=0)
        self.answer("exited")
        self.ask("forget", run=job.run)
        return same(text.decode(), job.run)

    def traced(self) -> list[int]:
        """Give the helper and, where it runs, its zygote."""
        helper = self.node.process.pid
        self.last_traced = [helper, *children(helper, "content-zygote")]
        return self.last_traced

    def empty_pool(self) -> None:
        """End the sandboxes that wait, so that the next is made for the start that is looked at.

        After a start that has succeeded they are on their way still.
        """
        until = time.monotonic() + 5
        while self.refills and self.ahead > len(self.waiting()) and time.monotonic() < until:
            time.sleep(0.001)
        self.refills = False
        for pid in self.waiting():
            os.kill(pid, signal.SIGKILL)
        while left := self.node.all_groups():
            assert time.monotonic() < until + 10, left
            time.sleep(0.001)

    def waiting(self) -> list[int]:
        """Give the sandboxes that were made ahead."""
        return children(self.node.process.pid, "content-next")

    def open(self) -> int:
        """Give how many descriptors the helper has open."""
        return len(os.listdir(f"/proc/{self.node.process.pid}/fd"))


class Sweep:
    """Refuse one call at a time and collect what came out otherwise than it must."""

    def __init__(self, core: Core, before: Callable[[], None] = lambda: None) -> None:
        self._core = core
        self._before = before
        self.steps: set[str] = set()
        self.wrong: list[str] = []

    def survey(self) -> dict[str, Counter[str]]:
        """Give how often each process of a start makes each call, up to the answer.

        The processes are `helper`, `zygote` and `clone`: that which becomes the sandbox, and what
        it starts.
        """
        self._core.empty_pool()
        self._before()
        with tracing(self._core.traced()) as calls:
            job, answer = self._core.start()
        assert "ok" == answer["type"], answer
        assert self._core.usual == self._core.look(job)
        end = next(n for n, call in enumerate(calls) if _ANSWER in call.text)
        begun = {call.pid for call in calls[:end]}
        found: dict[int, Counter[str]] = {}
        for number, call in enumerate(calls):
            of_the_start = number < end or self._role(call.pid) == "clone"
            if call.pid in begun and of_the_start and call.name not in OF_NO_START:
                found.setdefault(call.pid, Counter())[call.name] += 1
        roles = {role: Counter[str]() for role in ("helper", "zygote", "clone")}
        for pid, counted in found.items():
            roles[self._role(pid)] |= counted
        return roles

    def refuse(self, name: str, number: int, roles: int) -> None:
        """Refuse a call to as many processes as make it so often, with a start each.

        Helper and zygote count on from one start to the next: then it is another one's turn.
        """
        for _ in range(3):  # a mount on the host makes the helper build the shared root anew
            self._core.empty_pool()
            traced = self._core.traced()
            with tracing(traced, *refusing(name, number, error_of(name, number))) as calls:
                starts = [self._start() for _ in range(roles)]
            refused = [call for call in calls if call.refused]
            texts, answers = [call.text for call in refused], [answer for _, answer in starts]
            self._judge(name, error_of(name, number), texts, answers)
            reached = {self._role(call.pid) for call in refused}
            self._clean_up(f"{name} {number}", starts)
            if len(reached) >= roles:
                return
        most = max(counted[name] for counted in self.survey().values())
        if number > most:  # other mounts have gone from the host since it was counted
            return
        self.wrong.append(f"{name} {number}: not reached by {roles} starts")

    def _role(self, pid: int) -> str:
        helper, *zygote = self._core.last_traced
        return "helper" if pid == helper else "zygote" if pid in zygote else "clone"

    def _start(self) -> tuple[Job, Mapping[str, Any]]:
        self._before()
        return self._core.start()

    def _judge(
        self, name: str, error: str, texts: list[str], answers: list[Mapping[str, Any]]
    ) -> None:
        harmless = [text for text in texts if any(re.match(it, text) for it in GOES_ON)]
        unrefused = max(0, len(answers) - len(texts))
        if [answer["type"] for answer in answers].count("ok") > len(harmless) + unrefused:
            self.wrong.append(f"a start went on: {texts}")
        for answer in answers:
            if answer["type"] == "ended" and name not in ENDS_THE_HELPER:
                self.wrong.append(f"the helper ended: {answer['message']}: {texts}")
            if answer["type"] == "error":
                self.steps.add(answer["step"])
                if not answer["step"] or answer["errno"] != getattr(errno, error):
                    self.wrong.append(f"no cause: {answer}: {texts}")

    def _clean_up(self, what: str, starts: Iterable[tuple[Job, Mapping[str, Any]]]) -> None:
        node = self._core.node
        if any(answer["type"] == "ended" for _, answer in starts):
            node.process.kill()
            node.process.wait(10)
            until_empty(node.all_groups())
            node.start()  # sweeps
            self._core.settle()
        else:
            for job, answer in starts:
                if answer["type"] == "ok" and self._core.look(job) != self._core.usual:
                    self.wrong.append(f"{what}: another sandbox")
            if self._core.open() != self._core.descriptors:  # or the shared root is to be built
                self._core.look(self._core.start()[0])
            if (now := self._core.open()) != self._core.descriptors:
                self.wrong.append(f"{what}: {now} descriptors are open")
                self._core.descriptors = now
        # A sandbox that is made ahead has groups for a moment before it is in them.
        until = time.monotonic() + 5
        while (left := node.leftovers()) and time.monotonic() < until:
            time.sleep(0.005)
        if left:
            self.wrong.append(f"{what}: left: {left}")
            node.kill()
            node.start()
            self._core.settle()


def error_of(name: str, number: int) -> str:
    """Give what the call of this number answers: one after another of what it may."""
    known = ERRORS.get(name, ("EIO",))
    return known[number % len(known)]


def spread(count: int) -> list[int]:
    """Give numbers from 1 to count: all, or the first, the last and some between."""
    if count <= MOST:
        return [*range(1, count + 1)]
    return sorted({1 + (count - 1) * part // (MOST - 1) for part in range(MOST)})


def test_every_call_of_a_start_may_fail(node: Node, shell_job: Callable[..., Job]) -> None:
    pids = Limits(pids=64) if "pids" in node.log.partition("limits=")[2] else Limits()
    sweep = Sweep(Core(node, lambda: shell_job(LOOK, limits=pids)))
    roles = sweep.survey()
    for name in sorted({name for counted in roles.values() for name in counted}):
        counts = [counted[name] for counted in roles.values()]
        for number in range(1, max(counts) + 1):
            sweep.refuse(name, number, sum(number <= count for count in counts))
    assert "" == "\n".join(sweep.wrong)
    assert STEPS <= sweep.steps


def test_every_kind_of_call_that_makes_the_shared_root_may_fail(
    node: Node, shell_job: Callable[..., Job], tmp_path: Path
) -> None:
    def change_mounts() -> None:  # otherwise than at the start before
        change = ["umount"] if os.path.ismount(tmp_path) else ["mount", "-t", "tmpfs", "none"]
        subprocess.run([*change, tmp_path], check=True)

    sweep = Sweep(Core(node, lambda: shell_job(LOOK)), change_mounts)
    try:
        for name, count in sorted(sweep.survey()["helper"].items()):
            for number in spread(count):
                sweep.refuse(name, number, 1)
    finally:
        if os.path.ismount(tmp_path):
            change_mounts()
    assert "" == "\n".join(sweep.wrong)


def test_every_kind_of_call_of_a_start_without_root_may_fail(
    new_node: Callable[..., Node], shell_job: Callable[..., Job], caller: int
) -> None:
    node = new_node(caller=caller)
    sweep = Sweep(Core(node, lambda: shell_job(LOOK, uid=0)))
    roles = sweep.survey()
    for name, count in sorted(roles["clone"].items()):
        for number in spread(count):
            sweep.refuse(name, number, sum(number <= counted[name] for counted in roles.values()))
    assert "" == "\n".join(sweep.wrong)
