"""Whether DataDir outlives the container that the server runs in."""

from __future__ import annotations

import os
import re
from collections.abc import Container
from dataclasses import dataclass

# Docker and podman leave an empty file, a kubelet writes /etc/hosts itself. What systemd-nspawn and
# LXC run are whole machines, whose root stays. So does that of a machine made from an image, which
# has the file, too: its root is the whole of a disk.
_MARKS = (".dockerenv", "run/.containerenv")
_KUBELET = "# Kubernetes-managed hosts file"


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """What is to be said about DataDir in a container. fix: what a person can do, or ""."""

    text: str
    fix: str = ""


def look(
    data_dir: str, *, default: str, root: str = "/", mountinfo: str | None = None
) -> Volume | None:
    """Say whether DataDir is a volume; None outside of containers.

    default: the directory that people may have mounted a volume on instead. mountinfo: the text of
    /proc/self/mountinfo. Raises OSError where that cannot be read.
    """
    if not _is_marked(root):
        return None
    if mountinfo is None:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mountinfo = file.read()
    mounts = {_unescaped(line.split()[4]): line for line in mountinfo.splitlines()}
    if _is_whole_disk(mounts["/"]):
        return None
    unused = default if data_dir != default and default in mounts else None
    beside = f"; the volume at {unused} is not used" if unused else ""
    if _mount_of(os.path.realpath(data_dir), mounts) == "/":
        return Volume(
            text=f"{data_dir} is no volume: it is lost with this container{beside}",
            fix=f"Mount one: docker run --volume content-supervisor:{data_dir}.",
        )
    if unused:
        fix = f"Mount it at {data_dir}, or set [Server] DataDir."
        return Volume(text=f"{data_dir} is a volume{beside}", fix=fix)
    return Volume(text=f"{data_dir} is a volume")


def _is_marked(root: str) -> bool:
    if any(os.path.exists(os.path.join(root, mark)) for mark in _MARKS):
        return True
    try:
        with open(os.path.join(root, "etc/hosts"), encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(_KUBELET)
    except OSError:
        return False


def _is_whole_disk(mount: str) -> bool:
    kind = mount.partition(" - ")[2].split()[0]
    return mount.split()[3] == "/" and "overlay" not in kind


def _mount_of(path: str, mounts: Container[str]) -> str:
    while path not in mounts and path != "/":
        path = os.path.dirname(path)
    return path


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
