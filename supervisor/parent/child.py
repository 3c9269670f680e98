"""Start one child process: its identity, its descriptors and nothing else of ours."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from supervisor import packets
from supervisor.parent.identity import Identity

_PR_SET_PDEATHSIG = 1
_KEYCTL = {"x86_64": 250, "aarch64": 219}.get(platform.machine())
_KEYCTL_JOIN_SESSION_KEYRING = 1
_TRACE_READ, _TRACE_KEPT = 256 * 1024, 8 * 1024  # bytes; what is kept must fit into a packet
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """What a child is, for every generation of it.

    argv is completed by `--fd NAME=NUMBER` arguments; identity None means: as the parent; fds are
    handed over under their names; beats says that it must beat and may be asked for its stacks;
    output: what it has as standard output and standard error, None for the parent's own;
    tidies that it has something to clear away when the parent is dead, and ends by itself then.
    """

    name: str
    argv: tuple[str, ...]
    settings: bytes
    identity: Identity | None = None
    fds: Mapping[str, int] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    output: int | None = None
    beats: bool = False
    tidies: bool = False


@dataclass(kw_only=True, slots=True)
class Child:
    """One living process. control is our end (non-blocking); trace a memfd, or None.

    All of it stays true when the parent executes itself anew.
    """

    name: str
    pid: int  # it cannot be given to another process before the tree has reaped it
    control: socket.socket
    trace: int | None

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def tell(self, message: packets.Message, fds: tuple[int, ...] = ()) -> bool:
        """Send a message; False where the child does not read, or is gone, or it is too large."""
        try:
            packets.send(self.control, message, fds)
        except (OSError, ValueError):
            return False
        return True

    def reaped(self) -> str:
        """Close what belonged to the ended process and give the stacks that it left, "" if none."""
        self.control.close()
        if self.trace is None:
            return ""
        text = os.pread(self.trace, _TRACE_READ, 0)
        os.close(self.trace)
        # The thread that took the signal, the main one, comes last; the others are in its way.
        begin = max(0, text.rfind(b"Current thread"))
        return text[begin : begin + _TRACE_KEPT].decode("utf-8", "replace")


def start(program: Program) -> Child:
    """Start a child in a session of its own; raises OSError where that fails (nothing is left)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    settings = sealed("settings", program.settings)
    trace = os.memfd_create("trace", os.MFD_CLOEXEC) if program.beats else None
    fds = {"control": theirs.fileno(), "settings": settings, **program.fds}
    if trace is not None:
        fds["trace"] = trace
    try:
        pid = spawn(
            [*program.argv, *(f"--fd={name}={fd}" for name, fd in fds.items())],
            fds=tuple(fds.values()),
            environ=program.environ,
            identity=program.identity,
            output=program.output,
            tidies=program.tidies,
        )
    except BaseException:
        ours.close()
        if trace is not None:
            os.close(trace)
        raise
    finally:
        theirs.close()
        os.close(settings)
    ours.setblocking(False)
    return Child(name=program.name, pid=pid, control=ours, trace=trace)


def spawn(
    argv: Sequence[str],
    *,
    fds: Sequence[int] = (),
    environ: Mapping[str, str],
    identity: Identity | None = None,
    output: int | None = None,
    tidies: bool = False,
) -> int:
    """Start a process that dies with us (unless it tidies) and give its pid, for us to wait for.

    output: a descriptor for what it writes, else ours are its. Raises OSError.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(fds),
            cwd="/",
            env=dict(environ),
            user=identity.uid if identity else None,
            group=identity.gid if identity else None,
            extra_groups=list(identity.groups) if identity else None,
            start_new_session=True,
            umask=0o022,
            preexec_fn=_prepare(None if tidies else os.getpid()),
        )
    except subprocess.SubprocessError as error:
        raise OSError(0, f"cannot start {argv[0]}: {error}") from error
    # Popen must never wait for this pid: the tree does, and it may be another child's by then.
    process.returncode = 0
    return process.pid


def sealed(name: str, data: bytes) -> int:
    """Give a memfd that holds `data` and can never be changed, by anybody."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(
        fd,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE,
    )
    return fd


def environment(
    environ: Mapping[str, str], identity: Identity, *, rootless: bool
) -> dict[str, str]:
    """Give the whole environment of a child: nothing of ours that could change what it loads."""
    clean = {
        "PATH": environ.get("PATH", _PATH) if rootless else _PATH,
        "LANG": environ.get("LANG", "C.UTF-8"),
        "HOME": identity.home,
    }
    if "TZ" in environ:
        clean["TZ"] = environ["TZ"]
    if rootless and "XDG_RUNTIME_DIR" in environ:
        clean["XDG_RUNTIME_DIR"] = environ["XDG_RUNTIME_DIR"]
    return clean


_libc = ctypes.CDLL(None, use_errno=True)


def _prepare(parent: int | None) -> Callable[[], None]:
    """Give what a child does before its exec; parent: whose death is its own, or None."""

    def before_exec() -> None:
        # A session keyring is inherited, and whoever has it may use the keys of its maker.
        if _KEYCTL is not None:
            _libc.syscall(_KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING, None)
        if parent is None:
            return
        # A hung child would not see that its control link has ended.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
