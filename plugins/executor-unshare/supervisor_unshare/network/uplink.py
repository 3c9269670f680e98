"""The way out of a network namespace: a process of passt's, `pasta`, in the host's network.

It speaks for content with sockets of its own, so that content reaches what this machine reaches,
but neither the machine's loopback nor its abstract sockets. It lives in the sandbox's pid namespace
and ends with the run, whatever happens to the helper.

It has no root: the network namespace belongs to a user namespace of a user that no content is.
Without root there is no such user; the caller of `enter` must go on in a user namespace beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import time
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from supervisor_unshare.linux import syscalls
from supervisor_unshare.network import namespace
from supervisor_unshare.network.namespace import Network

PROGRAMS = ("/usr/bin/pasta", "/usr/local/bin/pasta")
TUN = "/dev/net/tun"
RESOLVER = "169.254.1.53"  # where content asks for names, if the host's resolver is its loopback
_PATIENCE = 10.0  # seconds until there is a route
_PAUSE = 0.002
_FOR_ALL = 0o006  # a mode by which anybody may open the device


def command(program: str, ports: Sequence[int]) -> tuple[str, ...]:
    """Give what to run, but for the namespaces. ports: of the host's loopback, opened to content.

    Nothing is forwarded to content, and the gateway's address does not stand for this machine.
    """
    opened = ",".join(map(str, ports)) or "none"
    return (
        program, "--foreground", "--quiet", "--stderr", "--config-net", "--no-map-gw",
        "--no-netns-quit",
        "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", opened, "--udp-ns", "none",
        "--dns-forward", RESOLVER,
    )  # fmt: skip


def installed() -> str:
    """Give the program, or "" where it is not installed."""
    return next((path for path in PROGRAMS if os.access(path, os.X_OK)), "")


def tun_tree() -> int:
    """Give a detached mount of the host's device, in whose mounts this is called."""
    place = os.open(TUN, os.O_PATH | os.O_CLOEXEC)
    try:
        return syscalls.clone_tree(place, syscalls.ATTR_NOSUID)
    finally:
        os.close(place)


class Uplink(NamedTuple):
    """A pasta at work. said: a pipe with what it writes."""

    pid: int
    said: int

    def last_words(self) -> str:
        """Give the last line that it wrote."""
        with contextlib.suppress(BlockingIOError):
            lines = os.read(self.said, 65536).decode(errors="replace").split("\n")
            # It also complains that it has no system log.
            told = [line for line in lines if line and "syslog" not in line]
            return told[-1].lstrip("0123456789.: ") if told else ""
        return ""


def enter(asked: Network, tun: int) -> Uplink:
    """Go on in a new network namespace, with pasta at work on it.

    Called in the sandbox's first process, in its finished root, while that may still mount. tun: of
    tun_tree, closed here. Raises OSError, with what pasta said where it made no connection.
    """
    user, network = _made(asked.uid)
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # nobody reads while all is well
    pid = os.fork()
    if pid == 0:
        _execute(asked, (user, network, write), tun)
    syscalls.enter_network_namespace(network)
    for fd in (user, network, write, tun):
        os.close(fd)
    link = Uplink(pid, read)
    _wait_for_route(link)
    return link


def _made(uid: int) -> tuple[int, int]:
    """Give a user namespace of this user and a network namespace of it, made by a child."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        _make(theirs, uid)
    theirs.close()
    with ours:
        said, fds, _, _ = socket.recv_fds(ours, 4096, 2)
    os.waitpid(child, 0)
    if not fds:
        raise OSError(None, said.decode() or "no network namespace could be made")
    user, network = fds
    return user, network


def _wait_for_route(link: Uplink) -> None:
    until = time.monotonic() + _PATIENCE
    while not _has_route():
        ended, _ = os.waitpid(link.pid, os.WNOHANG)
        if ended or time.monotonic() > until:
            raise OSError(None, link.last_words() or "pasta made no connection")
        time.sleep(_PAUSE)


def _make(link: socket.socket, uid: int) -> NoReturn:
    """Make the namespaces as another user and send them."""
    try:
        new_network(uid)
        made = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("user", "net")]
        socket.send_fds(link, [b"made"], made)
    except OSError as error:
        link.send(str(error).encode()[:4000])
    finally:
        os._exit(0)


def new_network(uid: int) -> None:
    """Go on in a network namespace that belongs to a user namespace of this user."""
    gid = become(uid)
    syscalls.show_memory()  # else /proc/self stays root's
    syscalls.new_user_namespace()
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/gid_map", f"0 {gid} 1")
    _write("/proc/self/uid_map", f"0 {uid} 1")
    namespace.new()


def _execute(asked: Network, streams: tuple[int, int, int], tun: int) -> NoReturn:
    """Be pasta. streams: the user namespace, the network namespace, where its complaints go.

    The namespaces are open files of its own: to see those of another process is to trace it, which
    the AppArmor profile of Debian 12's passt does not allow.
    """
    try:
        show_host_files(asked.resolvers, tun)
        become(asked.uid)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # those that the interpreter ignores
            signal.signal(number, signal.SIG_DFL)
        for standard, fd in enumerate(streams):  # newer ones close all others
            os.dup2(fd, standard)
        syscalls.close_all_but({0, 1, 2})
        namespaces = ("--userns", "/proc/self/fd/0", "--netns", "/proc/self/fd/1")
        os.execve(asked.uplink[0], [*asked.uplink, *namespaces], {})
    except OSError as error:
        os.write(2, f"{asked.uplink[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def show_host_files(resolvers: str, tun: int) -> None:
    """Show pasta alone, in mounts of its own, the device and which resolvers the host has."""
    syscalls.new_mount_namespace()
    dev = syscalls.new_filesystem("tmpfs", {"size": "64k", "mode": "0755"}, 0)
    _cover("/dev", dev)  # at once: before Linux 6.15 nothing is attached to what is not
    os.mkdir("net", 0o755, dir_fd=dev)
    device = os.open("net", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dev)
    found = os.fstat(tun)
    try:
        if stat.S_IMODE(found.st_mode) & _FOR_ALL == _FOR_ALL:
            raise PermissionError
        # To use it one needs a right over the namespace in any case.
        os.mknod("tun", 0o600 | stat.S_IFCHR, found.st_rdev, dir_fd=device)
        os.chmod("tun", 0o666, dir_fd=device)
    except PermissionError:
        os.close(os.open("tun", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, dir_fd=device))
        syscalls.attach(tun, syscalls.open_beneath(device, "tun", os.O_PATH))
    etc = syscalls.new_filesystem("tmpfs", {"size": "64k", "mode": "0755"}, 0)
    flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
    fd = os.open("resolv.conf", flags, 0o644, dir_fd=etc)
    os.write(fd, resolvers.encode())
    os.close(fd)
    _cover("/etc", etc)


def _cover(path: str, mount: int) -> None:
    place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    syscalls.attach(mount, place)
    os.close(place)


def become(uid: int) -> int:
    """Be another user and give its group, where one is not that already."""
    if os.geteuid() != uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    return os.getegid()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _has_route() -> bool:
    """Whether this network namespace has a default route, of IPv4 or IPv6."""
    with open("/proc/self/net/route", encoding="ascii") as file:
        if any(line.split()[1] == "00000000" for line in file.readlines()[1:]):
            return True
    with contextlib.suppress(FileNotFoundError), open("/proc/self/net/ipv6_route") as file:
        for line in file:
            target, length, *_, name = line.split()
            if target == "0" * 32 and length == "00" and name != "lo":
                return True
    return False
