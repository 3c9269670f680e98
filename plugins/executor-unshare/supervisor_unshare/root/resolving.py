"""Which resolvers content asks for names: the host's, or a way to one that listens on its loopback.

In a network of its own, 127.0.0.53 (systemd-resolved) and the like are the content's own loopback,
where nobody listens. For egress user pasta passes on what is asked of an address that stands for
the host's resolver.
"""

from __future__ import annotations

import ipaddress
import os

from supervisor_unshare.network.uplink import RESOLVER
from supervisor_unshare.root.plan_mounts import OWN_FILES, Entry, File, host_bind

HOST_FILE = "/etc/resolv.conf"
AT = f"{OWN_FILES}/resolv.conf"  # /etc/resolv.conf is a link to it


def of_host() -> str:
    """Give the host's own file; "" where there is none."""
    try:
        with open(HOST_FILE, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def entry(*, linked: bool) -> Entry:
    """Give what content sees as its file. linked: it has an uplink."""
    if linked:
        return File(target=AT, text=without_loopback(of_host()))
    return host_bind(AT, os.path.realpath(HOST_FILE))


def without_loopback(text: str) -> str:
    """Give a resolv.conf in which RESOLVER stands for resolvers that listen on a loopback.

    As does the libc, no resolver means one on the loopback.
    """
    lines: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1 and _is_loopback(words[1]):
            line = f"nameserver {RESOLVER}"
        if line not in lines:
            lines.append(line)
    if not any(line.startswith("nameserver") for line in lines):
        lines.append(f"nameserver {RESOLVER}")
    return "\n".join(lines) + "\n"


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified
