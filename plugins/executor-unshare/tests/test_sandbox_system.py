"""What a process sees and may do inside its sandbox, asked from within."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Access, Cause, Exit, Job, Mount, PlaceKind, PlaceRef, Role, layout
from supervisor.site_mounts import SiteMount

pytestmark = pytest.mark.system

Jobs = Callable[..., Job]
Node = Any
Ask = Callable[..., Any]

SELF = """
import json, os
lines = [line.rstrip("\\n").split(":\\t", 1) for line in open("/proc/self/status")]
status = dict(line for line in lines if len(line) == 2)
print(json.dumps({
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
    "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privs": status["NoNewPrivs"], "umask": status["Umask"],
    "ignored": status["SigIgn"], "blocked": status["SigBlk"],
    "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),
    "session": os.getsid(0) == os.getpid(), "init": open("/proc/1/comm").read().strip(),
    "pids": len([name for name in os.listdir("/proc") if name.isdigit()]),
    "root": sorted(os.listdir("/")), "stdin": os.readlink("/proc/self/fd/0"),
    "home": os.path.expanduser("~"), "environ": dict(os.environ),
}))
"""


async def asked(executor: UnshareExecutor, job: Jobs, program: str, **fields: Any) -> Any:
    """Run Python in a sandbox and give what it printed as JSON."""
    receipt = await executor.start(job("/usr/bin/python3", "-c", program, **fields))
    output = b"".join([chunk.data async for chunk in executor.output(receipt)])
    async for seen in executor.watch(receipt):
        if isinstance(seen, Exit):
            assert Cause.FINISHED is seen.cause, output.decode()
            break
    return json.loads(output)


@pytest.fixture
def ask(executor: UnshareExecutor, job: Jobs) -> Ask:
    """Do what `asked` does, with the node's executor."""
    return partial(asked, executor, job)


async def test_a_process_has_its_own_identity_and_no_rights(ask: Ask, uid_first: int) -> None:
    seen = await ask(SELF, content=12)
    uid = uid_first + 12
    assert [[uid] * 3, [uid] * 3, []] == [seen["uid"], seen["gid"], seen["groups"]]
    assert ["0" * 16] * 5 == seen["capabilities"]
    assert ("1", "0027") == (seen["no_new_privs"], seen["umask"])


async def test_a_process_starts_clean(ask: Ask) -> None:
    seen = await ask(SELF, env={"A": "b"})
    by_python = 1 << 12 | 1 << 24  # SIGPIPE and SIGXFSZ
    by_libc = 1 << 31 | 1 << 32  # its own two, in every process that posix_spawn has made
    ignored = int(seen["ignored"], 16) & ~by_python & ~by_libc
    assert (0, 0) == (int(seen["blocked"], 16), ignored)
    assert "/dev/null" == seen["stdin"]
    assert ["0", "1", "2", "3"] == seen["descriptors"]  # 3 is the listing itself
    assert seen["session"]
    assert {"PATH": "/usr/bin:/bin", "A": "b", "LC_CTYPE": "C.UTF-8"} == seen["environ"]


async def test_a_process_sees_only_its_own_processes_and_the_listed_root(ask: Ask) -> None:
    seen = await ask(SELF)
    assert ("content-init", 2, "/home") == (seen["init"], seen["pids"], seen["home"])
    named = set("bin dev etc home lib lib32 lib64 libx32 opt proc run sbin tmp usr var".split())
    unexpected = set(seen["root"]) - named
    assert unexpected <= {sys.prefix.split("/")[1]}  # where the helper's interpreter lies


PROBES = """
import errno, json, os, socket
def tried(action, *arguments):
    try: action(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
    return "allowed"
read = lambda path: open(path, "rb").read(1)
write = lambda path: open(path, "wb").write(b"x")
print(json.dumps({
    "shadow": tried(read, "/etc/shadow"), "root": tried(os.listdir, "/root"),
    "data": tried(os.listdir, DATA), "runs": tried(os.listdir, RUN),
    "sys": tried(os.listdir, "/sys"), "kmsg": tried(read, "/dev/kmsg"),
    "disk": tried(read, "/dev/vda"), "write /etc": tried(write, "/etc/x"),
    "write /usr": tried(write, "/usr/x"), "write /": tried(write, "/x"),
    "write /dev": tried(write, "/dev/x"), "write mnt": tried(write, MOUNT_ROOT + "/x"),
    "init's memory": tried(read, "/proc/1/mem"), "init's root": tried(os.listdir, "/proc/1/root"),
    "init's environment": tried(read, "/proc/1/environ"),
    "init's fds": tried(os.listdir, "/proc/1/fd"),
    "core pattern": tried(write, "/proc/sys/kernel/core_pattern"),
    "mknod": tried(os.mknod, "/tmp/disk", 0o60600, os.makedev(8, 0)),
    "setuid": tried(os.setuid, 0), "setgroups": tried(os.setgroups, [0]),
    "chroot": tried(os.chroot, "/tmp"), "host pid": tried(os.kill, HELPER, 0),
    "raw socket": tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1),
    "nice": tried(os.nice, -5), "tmp": tried(write, "/tmp/x"), "home": tried(write, "/home/x"),
    "shm": tried(write, "/dev/shm/x"), "null": tried(write, "/dev/null"),
    "stdout": tried(os.open, "/dev/stdout", os.O_WRONLY), "pty": tried(os.openpty),
    "fifo": tried(os.mkfifo, "/tmp/fifo"), "socket": tried(write, MOUNT_ROOT + "/socket/x"),
    "compatible": tried(os.listdir, "/opt/rstudio-connect/mnt/socket"),
}))
"""


async def test_the_host_is_out_of_reach_and_the_runs_own_is_not(ask: Ask, node: Node) -> None:
    names = f"DATA, RUN, HELPER = {node.data_dir!r}, {node.run_dir!r}, {node.process.pid}\n"
    names += f"MOUNT_ROOT = {layout.MOUNT_ROOT!r}\n"
    seen = await ask(names + PROBES)
    expected = {
        **dict.fromkeys(("shadow", "root", "data", "runs", "sys", "kmsg", "disk"), "ENOENT"),
        **dict.fromkeys((f"write {p}" for p in ("/etc", "/usr", "/", "/dev", "mnt")), "EROFS"),
        **dict.fromkeys(
            (f"init's {p}" for p in ("memory", "environment", "root", "fds")), "EACCES"
        ),
        **dict.fromkeys(("mknod", "setuid", "setgroups", "chroot", "raw socket", "nice"), "EPERM"),
        "core pattern": "EACCES",
        "host pid": "ESRCH",
        **dict.fromkeys("tmp home shm null stdout pty fifo socket compatible".split(), "allowed"),
    }
    assert expected == {**seen, "nice": "EPERM" if seen["nice"] == "EACCES" else seen["nice"]}


KEYS = """
import ctypes, json
number = {"x86_64": 250, "aarch64": 219}[__import__("platform").machine()]
keyctl = ctypes.CDLL(None, use_errno=True).syscall
size = keyctl(number, 11, -3, None, 0)  # KEYCTL_READ of the session keyring: four bytes a key
print(json.dumps({"session": keyctl(number, 0, -3, 0), "keys": size // 4}))  # -1: refused
"""


async def test_keys_are_out_of_reach(ask: Ask) -> None:
    seen = await ask(KEYS)
    assert {"session": -1, "keys": -1} == seen


async def test_without_the_filter_a_process_has_a_session_keyring_of_its_own(
    new_node: Callable[..., Node], job: Jobs, nursery: trio.Nursery
) -> None:
    node = new_node(settings={"without": ["seccomp"]})
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    one, other = [await asked(executor, job, KEYS, content=number) for number in (1, 2)]
    if one["session"] < 0:
        pytest.skip("not on this kernel: keyrings")
    assert [0, 0] == [one["keys"], other["keys"]]
    assert one["session"] != other["session"]


async def test_two_contents_do_not_see_each_other(ask: Ask, node: Node, uid_first: int) -> None:
    at = layout.at(Role.SOURCE)
    mounts = [Mount(role=Role.SOURCE, access=Access.WRITE, at=at)]
    program = "import json, os; print(json.dumps(sorted(os.listdir('.')))); open(NAME, 'w')"
    for content in (1, 2):
        place = PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(content, 1))
        fields = {"mounts": mounts, "places": {"source/": place}, "workdir": at}
        for expected in ([], [f"of-{content}"]):
            name = f"NAME = 'of-{content}'; "
            assert expected == await ask(name + program, content=content, **fields)
    found = os.stat(f"{node.data_dir}/apps/2/1/of-2")
    uid = uid_first + 2
    assert (uid, uid, 0o640) == (found.st_uid, found.st_gid, found.st_mode & 0o777)


async def test_a_link_in_the_place_of_a_place_is_not_followed(
    node: Node, executor: UnshareExecutor, job: Jobs
) -> None:
    os.makedirs(f"{node.data_dir}/apps/1")
    os.symlink("/root", f"{node.data_dir}/apps/1/9")
    at = layout.at(Role.SOURCE)
    bad = job(
        "/usr/bin/true",
        mounts=[Mount(role=Role.SOURCE, access=Access.WRITE, at=at)],
        places={"source/": PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(1, 9))},
    )
    with pytest.raises(Exception, match="the step 'prepare' failed"):
        await executor.start(bad)
    assert [] == node.leftovers()


async def test_the_archive_is_readable_and_not_writable(ask: Ask, node: Node) -> None:
    os.makedirs(f"{node.data_dir}/bundles", mode=0o700)
    digest = "a" * 64
    path = f"{node.data_dir}/bundles/{digest}.tar.gz"
    with open(path, "w", encoding="utf-8") as file:  # noqa: ASYNC230
        file.write('"bundle"')
    os.chmod(path, 0o444)
    at = layout.at(Role.BUNDLE)
    program = (
        "import json, os\n"
        f"try: os.open({at!r}, os.O_WRONLY)\nexcept OSError as e: n = e.errno\n"
        f"print(json.dumps([json.load(open({at!r})), n]))"
    )
    seen = await ask(
        program,
        mounts=[Mount(role=Role.BUNDLE, access=Access.READ, at=at)],
        places={"bundle/": PlaceRef(kind=PlaceKind.BUNDLE, components=(digest,))},
    )
    assert ["bundle", 13] == seen or ["bundle", 30] == seen


async def test_a_listed_mount_is_shown_even_below_a_directory_of_the_run(
    new_node: Callable[..., Node], job: Jobs, nursery: trio.Nursery, tmp_path: Any
) -> None:
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "file").write_text("seen")
    path = str(tmp_path / "shown")
    node = new_node(settings={"mounts": [SiteMount(name="shown", path=path, at=path)]})
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    receipt = await executor.start(job("/bin/cat", str(tmp_path / "shown" / "file")))
    output = [chunk async for chunk in executor.output(receipt)]
    assert [("stdout", b"seen")] == [(chunk.stream, chunk.data) for chunk in output]
