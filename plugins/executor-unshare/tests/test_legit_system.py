"""What honest content does must work under all layers of the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Cause, Exit, Job

pytestmark = pytest.mark.system

PYTHON = """
import asyncio, concurrent.futures, ctypes, fcntl, multiprocessing, os, pty, pwd, socket, sqlite3
import subprocess, sys, tempfile, threading, time
from multiprocessing import shared_memory

def double(x): return 2 * x
done = []
thread = threading.Thread(target=done.append, args=(1,)); thread.start(); thread.join()
assert done == [1]
with multiprocessing.get_context("fork").Pool(2) as pool: assert pool.map(double, [1, 2]) == [2, 4]
with concurrent.futures.ProcessPoolExecutor(2) as pool: assert [2] == list(pool.map(double, [1]))
memory = shared_memory.SharedMemory(create=True, size=100); memory.close(); memory.unlink()
multiprocessing.Lock().acquire()
base = sqlite3.connect("/tmp/x.db")
assert base.execute("pragma journal_mode=wal").fetchone() == ("wal",)
base.execute("create table t (a)"); base.commit(); base.close()
watch = ctypes.CDLL(None, use_errno=True).inotify_init(); assert watch >= 0
pid, terminal = pty.fork()
if pid == 0: os._exit(0)
os.waitpid(pid, 0)
os.mkfifo("/tmp/fifo"); os.link("/tmp/x.db", "/tmp/y.db"); os.rename("/tmp/y.db", "/tmp/z.db")
os.mkdir("/tmp/d"); os.rename("/tmp/z.db", "/tmp/d/z.db"); os.rmdir("/tmp/d") if 0 else None
with open("/tmp/x.db") as file: fcntl.flock(file, fcntl.LOCK_EX)
assert pwd.getpwuid(os.getuid()).pw_name == "content"
assert subprocess.run(["sh", "-c", "echo hi"], capture_output=True).stdout == b"hi\\n"
async def main(): await asyncio.create_subprocess_exec("true"); await asyncio.sleep(0)
asyncio.run(main())
a, b = socket.socketpair(); a.send(b"x"); assert b.recv(1) == b"x"
server = socket.create_server(("127.0.0.1", 0)); socket.create_connection(server.getsockname())
unix = socket.socket(socket.AF_UNIX); unix.bind("/tmp/s"); unix.listen()
socket.socket(socket.AF_UNIX).connect("/tmp/s")
own = socket.socket(socket.AF_UNIX); own.bind("\\0own"); own.listen()
socket.socket(socket.AF_UNIX).connect("\\0own")
socket.if_nameindex(); socket.getaddrinfo("localhost", 80)
os.truncate("/tmp/x.db", 10); os.utime("/tmp/x.db"); os.chmod("/tmp/x.db", 0o600)
tempfile.TemporaryDirectory().cleanup(); os.sched_getaffinity(0); os.cpu_count(); os.getloadavg()
ctypes.CDLL(None).prctl(15, b"named")
assert os.stat("/dev/null") and open("/dev/urandom", "rb").read(4)
print("all", len(os.listdir("/proc/self/task")), flush=True)
"""

R = """
stopifnot(identical(unlist(parallel::mclapply(1:2, function(i) 2 * i, mc.cores = 2)), c(2, 4)))
workers <- parallel::makePSOCKcluster(2)
stopifnot(identical(unlist(parallel::parLapply(workers, 1:2, function(i) i + 1)), c(2, 3)))
parallel::stopCluster(workers)
stopifnot(parallel::detectCores() >= 1, nzchar(tempdir()), dir.exists("~"))
png(file.path(tempdir(), "p.png")); plot(1); invisible(dev.off())
pdf(file.path(tempdir(), "p.pdf")); plot(1); invisible(dev.off())
stopifnot(file.size(file.path(tempdir(), c("p.png", "p.pdf"))) > 100)
pipe <- fifo("/tmp/fifo", "w+"); writeLines("x", pipe); stopifnot(readLines(pipe, 1) == "x")
stopifnot(Sys.info()[["user"]] == "content", system("true") == 0)
server <- serverSocket(34567L + Sys.getpid() %% 1000L); close(server)
stopifnot(length(list.files("/")) > 0, file.exists("/usr/bin/R"))
Sys.setlocale("LC_ALL", "C.UTF-8"); stopifnot(nchar("\\u00fc") == 1)
stopifnot(format(as.POSIXct(0, origin = "1970-01-01", tz = "Europe/Berlin"), "%H") == "01")
cat("all\\n")
"""


# What takes a root of its own: files of users that name the content, and a "/" to list.
OF_NEW_ROOT = ("pw_name", "Sys.info()", 'list.files("/")')
ENV = {"HOME": "/home", "TMPDIR": "/tmp"}  # as the core sets them


@pytest.fixture(params=["root", "subuid", "rootless", "landlock"])
def tier(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def node(
    tier: str, new_node: Callable[..., Any], new_ranger: Callable[[], Any], caller: int
) -> Any:
    if tier == "subuid":
        return new_ranger()
    return new_node(caller=None if tier == "root" else caller, settings={"tier": tier})


@pytest.fixture
def job(job: Callable[..., Job], tier: str) -> Callable[..., Job]:
    return partial(job, uid=None if tier == "root" else 0, env=ENV)


def script(text: str, tier: str) -> str:
    """Give what a script may do in a tier."""
    lines = text.splitlines()
    if tier == "landlock":
        lines = [line for line in lines if not any(word in line for word in OF_NEW_ROOT)]
    return "\n".join(lines)


async def finished(executor: UnshareExecutor, job: Job) -> bytes:
    """Run a job to its end, which must be a good one; give what it wrote."""
    receipt = await executor.start(job)
    output = b"".join([chunk.data async for chunk in executor.output(receipt)])
    async for seen in executor.watch(receipt):
        if isinstance(seen, Exit):
            assert Cause.FINISHED is seen.cause, output.decode(errors="replace")
    return output


async def test_python_does_what_it_may(
    executor: UnshareExecutor, job: Callable[..., Job], tier: str
) -> None:
    output = await finished(executor, job("/usr/bin/python3", "-c", script(PYTHON, tier)))
    assert output.endswith(b"all 1\n"), output.decode()


async def test_r_does_what_it_may(
    executor: UnshareExecutor, job: Callable[..., Job], needs: Any, tier: str
) -> None:
    output = await finished(executor, job(needs.r(), "-e", script(R, tier)))
    assert output.endswith(b"all\n"), output.decode()
