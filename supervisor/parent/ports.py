"""The TCP listening sockets of HTTP.Listen, and who holds a port that we cannot have."""

from __future__ import annotations

import errno
import glob
import os
import socket
from collections.abc import Iterable, Mapping

from supervisor.errors import SupervisorError
from supervisor.settings import Configuration, Listen

_BACKLOG = 4096

METRICS = "metrics "  # before the address, in the name of a socket that answers /metrics


def listen_all(addresses: Mapping[str, Listen]) -> dict[str, socket.socket]:
    """Listen on every address, or on none: raises SupervisorError("port-in-use") and the like."""
    sockets: dict[str, socket.socket] = {}
    try:
        for name, address in addresses.items():
            sockets[name] = listen_tcp(address, key=key_of(name))
    except BaseException:
        for sock in sockets.values():
            sock.close()
        raise
    return sockets


def wanted(configuration: Configuration) -> dict[str, Listen]:
    """Give the addresses to listen on by the names of their sockets."""
    found = {str(address): address for address in configuration.http.listen}
    if configuration.metrics.listen is not None:
        found[f"{METRICS}{configuration.metrics.listen}"] = configuration.metrics.listen
    return found


def key_of(name: str) -> str:
    """Give the key that names the address of a socket."""
    return "Metrics.Listen" if name.startswith(METRICS) else "HTTP.Listen"


def listen_tcp(address: Listen, *, key: str = "HTTP.Listen") -> socket.socket:
    """Listen on one address; the empty host means IPv6 and IPv4 where the machine has both.

    key: where the address stands in the settings.
    """
    if address.host:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return _listen(address, family, address.host, key)
    try:
        return _listen(address, socket.AF_INET6, "::", key)
    except _NoSuchFamily:
        return _listen(address, socket.AF_INET, "0.0.0.0", key)


class _NoSuchFamily(SupervisorError):
    pass


def _listen(address: Listen, family: int, host: str, key: str) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _NoSuchFamily("settings-invalid", f"cannot listen on {address}: {error}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        sock.bind((host, address.port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise _explain(address, key, error) from None
    return sock


def _explain(address: Listen, key: str, error: OSError) -> SupervisorError:
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(address.port)
        return SupervisorError(
            "port-in-use",
            f"{key} = {address} is in use by {holder or 'another process'}",
            hint=f"Stop it, or listen elsewhere: {key}.",
        )
    if error.errno == errno.EACCES:
        return SupervisorError(
            "settings-invalid",
            f"{key} = {address}: ports below 1024 are for root",
            hint="Start the server as root, or listen on a higher port.",
        )
    kind = _NoSuchFamily if error.errno == errno.EADDRNOTAVAIL else SupervisorError
    return kind("settings-invalid", f"cannot listen on {address}: {error.strerror}")


def holder_of(port: int) -> str:
    """Give `name (pid N)` of whoever listens on a TCP port of this machine, "" if it is hidden."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) in inodes:
                pid = link.split("/")[2]
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    return f"{file.read().strip()} (pid {pid})"
        except OSError:  # it ended meanwhile, or is not ours to look at
            continue
    return ""


def _listening_inodes(port: int) -> Iterable[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            continue
        for row in rows:
            local, state, inode = row[1], row[3], row[9]
            if state == "0A" and int(local.rpartition(":")[2], 16) == port and inode != "0":
                yield inode
