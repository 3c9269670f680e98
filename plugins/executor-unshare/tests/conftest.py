"""A real helper in temporary directories, and jobs for it."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from supervisor_unshare.connection import Connection
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.limits.cgroups import directory_name

from supervisor import (
    Egress,
    Job,
    Limits,
    Mount,
    PlaceRef,
    Plan,
    Purpose,
    RunId,
    new_run_id,
    packets,
)

# Numbers of this process's own: what is left of a run is found by its uid.
UID_FIRST = 1_000_000 + os.getpid() % 100_000 * 2000
GATEWAY = 699_001
CORE_GID = 699_002
HELPERS_GROUP = 699_003  # which no content may have
RANGE = 300_000_000 + os.getpid() % 50_000 * 65_536  # as many uids, of this process's own too
_SETRESUID = {"x86_64": 117, "aarch64": 147}
RANGER = Path(__file__).parents[3] / "tests" / "support" / "ranger.sh"


@attrs.define
class Node:
    """One helper process with its directories and sockets. start() again is a restart.

    within: the command that executes the helper's, which becomes the caller by itself.
    """

    root: str
    caller: int | None = None
    settings: dict[str, Any] = attrs.field(factory=dict)
    within: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    control: socket.socket | None = None
    sockets: dict[str, socket.socket] = attrs.field(factory=dict)

    @property
    def data_dir(self) -> str:
        return f"{self.root}/data"

    @property
    def run_dir(self) -> str:
        return f"{self.root}/run"

    @property
    def log(self) -> str:
        with open(f"{self.root}/log", encoding="utf-8", errors="replace") as file:
            return file.read()

    def __attrs_post_init__(self) -> None:
        for path in (self.data_dir, self.run_dir):
            os.mkdir(path, 0o711)
            if self.caller is not None:
                os.chown(path, self.caller, self.caller)
        for name in ("helper", "helper-connect"):
            self.sockets[name] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.sockets[name].bind(f"{self.run_dir}/{name}.sock")
            os.chmod(f"{self.run_dir}/{name}.sock", 0o666)
            self.sockets[name].listen(16)

    def settings_memory(self) -> int:
        """A memfd with the settings; the caller closes it."""
        core = os.getuid() if self.caller is None else self.caller
        settings = {
            "data_dir": self.data_dir,
            "run_dir": self.run_dir,
            "rootless": self.caller is not None,
            "core_uid": os.getuid(),
            "core_gid": CORE_GID if self.caller is None else core,
            "gateway_uid": GATEWAY if self.caller is None else os.getuid(),
            "gateway_gid": GATEWAY if self.caller is None else core,
            "uid_first": UID_FIRST,
            "uid_last": UID_FIRST + 1000,
            "mounts": [],
            "executables": [],
            **self.settings,
        }
        message = {"settings": settings, "entries": []}
        memory = os.memfd_create("settings")
        os.write(memory, json.dumps(message, default=dataclasses.asdict).encode())
        return memory

    @property
    def _groups(self) -> list[int] | None:
        if self.within:
            return None
        return [HELPERS_GROUP] if self.caller is None and os.geteuid() == 0 else []

    def start(self) -> None:
        memory = self.settings_memory()
        self.control, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = {
            "control": child.fileno(),
            "settings": memory,
            "helper": self.sockets["helper"].fileno(),
            "helper-connect": self.sockets["helper-connect"].fileno(),
        }
        command = [*self.within, sys.executable, "-I", "-m", "supervisor_unshare.launcher"]
        for name, fd in fds.items():
            command += ["--fd", f"{name}={fd}"]
        with open(f"{self.root}/log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=list(fds.values()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=None if self.within else self.caller,
                group=None if self.within else self.caller,
                extra_groups=self._groups,
            )
        os.close(memory)
        child.close()
        self.control.settimeout(20)
        for expected in ("hello", "ready"):
            packet = packets.receive(self.control)
            assert packet is not None, self.log
            assert expected == packet[0]["type"]

    def renew(self, *, argv: Sequence[str] = ()) -> packets.Message:
        """Let the helper execute itself anew; give its answer: `ready`, or why it does not."""
        assert self.control is not None
        command = argv or (sys.executable, "-I", "-m", "supervisor_unshare.launcher")
        memory = self.settings_memory()
        packets.send(self.control, {"type": "renew", "argv": [*command]}, (memory,))
        os.close(memory)
        while True:
            packet = packets.receive(self.control)
            assert packet is not None, self.log
            if packet[0]["type"] != "hello":
                return packet[0]

    def kill(self) -> None:
        """SIGKILL the helper."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def hang_up(self) -> None:
        """Do what the parent's death does: end the control link."""
        assert self.process is not None
        assert self.control is not None
        self.control.close()
        self.process.wait(10)

    def free_sockets(self) -> None:
        """Unmount what a killed helper has left, which the next would have done."""
        left = [run for run in Path(self.run_dir).glob("w/*") if run.is_mount()]
        if left:
            subprocess.run(["umount", "--lazy", *left], check=True)

    def processes(self) -> list[int]:
        """The pids of every living process of the content uids, or of the caller in a sandbox."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                uid = os.stat(f"/proc/{name}").st_uid
                apart = os.readlink(f"/proc/{name}/ns/pid") != os.readlink("/proc/self/ns/pid")
                with open(f"/proc/{name}/status", encoding="utf-8") as file:
                    status = file.read()
            except OSError:
                continue
            owner = int(status.split("Uid:")[1].split()[0])
            if self.tier == "landlock":  # which has no namespaces
                apart = int(name) != self._helper and "Name:\tcontent-zygote" not in status
            ended = "State:\tZ" in status  # and not waited for yet by the machine's own init
            if apart and not ended and (uid in self.uids or owner in self.uids):
                found.append(int(name))
        return found

    @property
    def _helper(self) -> int:
        return -1 if self.process is None else self.process.pid

    @property
    def uids(self) -> range:
        """Whose processes are contents'."""
        if self.tier == "subuid":
            return range(RANGE, RANGE + 65_536)
        if self.caller is not None:
            return range(self.caller, self.caller + 1)
        return range(UID_FIRST, UID_FIRST + 1001)

    @property
    def tier(self) -> str:
        """The tier that it has been told to have, or ""."""
        return str(self.settings.get("tier", ""))

    def groups(self) -> list[str]:
        """The control groups of the runs of this node."""
        return [group for group in self.all_groups() if not _waits(group)]

    def all_groups(self) -> list[str]:
        """Its control groups, those of sandboxes that have no job yet too."""
        name = directory_name(self.run_dir)
        found = []
        for top, directories, _ in os.walk("/sys/fs/cgroup"):
            found += [f"{top}/{run}" for run in directories if os.path.basename(top) == name]
        return found

    def directories(self) -> list[str]:
        """What is left of runs under DataDir and RunDir."""
        return [*os.listdir(f"{self.data_dir}/tmp"), *os.listdir(f"{self.run_dir}/w")]

    def leftovers(self) -> list[object]:
        """Whatever of any run is left on this node, and our mounts in the host's namespace."""
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line for line in file if self.root in line]
        return [*self.processes(), *self.groups(), *self.directories(), *mounts]

    def wait_for_nothing(self, seconds: float = 1.0) -> float:
        """Wait until nothing is left; give how long it took. Fails after `seconds`."""
        begun = time.monotonic()
        while left := self.leftovers():
            waited = time.monotonic() - begun
            assert waited < seconds, left
            time.sleep(0.005)
        return time.monotonic() - begun


def _waits(group: str) -> bool:
    """Whether the group holds a sandbox that has no job yet."""
    with contextlib.suppress(OSError):
        with open(f"{group}/cgroup.procs", encoding="ascii") as file:
            pids = file.read().split()
        for pid in pids:
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                return file.read().strip() in ("content-zygote", "content-next")
    return False


@pytest.fixture
def new_node() -> Iterator[Callable[..., Node]]:
    """Make nodes; what they leave is removed, and their processes with them."""
    made: list[Node] = []

    def new(**fields: Any) -> Node:
        if os.geteuid() != 0:
            pytest.skip("needs root")
        root = tempfile.mkdtemp(prefix="supervisor-node-")
        os.chmod(root, 0o755)
        node = Node(root, **fields)
        made.append(node)
        node.start()
        return node

    yield new
    for node in made:
        if node.process is not None and node.process.poll() is None:
            node.hang_up()
        for sock in node.sockets.values():
            sock.close()
        node.free_sockets()
        shutil.rmtree(node.root)


class _Called(UnshareExecutor):
    """An executor of a server that runs as this user."""

    def __init__(self, uid: int, *, run_dir: str, **fields: Any) -> None:
        super().__init__(run_dir=run_dir, **fields)
        self._helper = _CallingAs(
            uid, f"{run_dir}/helper.sock", connected=self._adopt, event=self._heard
        )


class _CallingAs(Connection):
    def __init__(self, uid: int, path: str, **fields: Any) -> None:
        super().__init__(path, **fields)
        self._uid = uid

    async def _connect(self) -> socket.socket:
        with _being(self._uid):
            return await super()._connect()


@contextlib.contextmanager
def _being(uid: int) -> Iterator[None]:
    """Be this user to whom one connects: root outside is nobody in the namespace of a ranger.

    This thread alone, by the call itself: the C library's would change all of them.
    """
    _set_effective_uid(uid)
    try:
        yield
    finally:
        _set_effective_uid(0)


def _set_effective_uid(uid: int) -> None:
    if ctypes.CDLL(None).syscall(_SETRESUID[os.uname().machine], -1, uid, -1) != 0:
        raise OSError(f"this thread cannot be uid {uid}")


@pytest.fixture
def new_ranger(new_node: Callable[..., Node], caller: int) -> Callable[..., Node]:
    """Make a node of an ordinary user who has a range of uids, from RANGE on."""

    def new(*, within: Sequence[str] = (), **settings: Any) -> Node:
        if shutil.which("newuidmap") is None:
            pytest.skip("not on this machine: newuidmap (Debian: uidmap)")
        within = (*within, "/bin/sh", str(RANGER), str(caller), str(RANGE))
        return new_node(caller=caller, settings={"tier": "subuid", **settings}, within=within)

    return new


@pytest.fixture
def node(new_node: Callable[..., Node]) -> Node:
    return new_node()


@pytest.fixture
def executor_of() -> Callable[..., UnshareExecutor]:
    """Make an executor of a node; a helper that knows one user alone is called as that one."""

    def make(node: Node, **fields: Any) -> UnshareExecutor:
        if node.tier == "subuid" and node.caller is not None:
            return _Called(node.caller, run_dir=node.run_dir, **fields)
        return UnshareExecutor(run_dir=node.run_dir, **fields)

    return make


@pytest.fixture
def new_executor(
    node: Node, executor_of: Callable[..., UnshareExecutor]
) -> Callable[..., UnshareExecutor]:
    """Make executors of the node."""
    return partial(executor_of, node)


@pytest.fixture
async def executor(
    new_executor: Callable[..., UnshareExecutor], nursery: trio.Nursery
) -> AsyncIterator[UnshareExecutor]:
    """An executor that is connected to the node's helper, for half a minute."""
    made = new_executor()
    await nursery.start(made.serve)
    with trio.fail_after(30):
        yield made


def _job(
    *argv: str,
    content: int = 1,
    uid: int | None = None,
    env: Mapping[str, str] | None = None,
    workdir: str = "/tmp",
    mounts: Sequence[Mount] = (),
    places: Mapping[str, PlaceRef] | None = None,
    limits: Limits | None = None,
    run: RunId | None = None,
    purpose: Purpose = Purpose.SERVE,
    grace: float = 5.0,
    stop_signal: str = "TERM",
    port: int | None = None,
    egress: Egress = Egress.HOST,
) -> Job:
    plan = Plan(
        argv=argv,
        env={"PATH": "/usr/bin:/bin", **(env or {})},
        workdir=workdir,
        mounts=tuple(mounts),
        stop_signal=stop_signal,
        port=port,
    )
    uid = UID_FIRST + content if uid is None else uid
    return Job(
        run=run or new_run_id(),
        content=content,  # type: ignore[arg-type]
        purpose=purpose,
        plan=plan,
        places=places or {},
        uid=uid,
        gid=uid,
        limits=limits or Limits(),
        grace=grace,
        egress=egress,
    )


@pytest.fixture
def job() -> Callable[..., Job]:
    """Make a job: argv, and the fields of _job by name."""
    return _job


@pytest.fixture
def shell_job(job: Callable[..., Job]) -> Callable[..., Job]:
    """Make a job that runs a shell script."""

    def make(script: str, **fields: Any) -> Job:
        return job("/bin/sh", "-c", script, **fields)

    return make


@pytest.fixture
def uid_first() -> int:
    return UID_FIRST


@pytest.fixture
def range_first() -> int:
    return RANGE


@pytest.fixture
def caller() -> int:
    """A uid for a helper without root."""
    return UID_FIRST + 1500
