"""Cheap contents that take all they can get, when a visitor tells them to."""

from __future__ import annotations

from pathlib import Path

# A runtime for Python programs that bring a server of their own: no package is needed.
PLUGIN = """
from supervisor import (
    Access, ContentKind, Detected, Installation, Mount, Plan, Role, Runtime, hookimpl, layout,
)

PYTHON = "/usr/bin/python3"


class Plain(Runtime):
    name = "plain"
    looks_for = "plain.py"

    def detect(self, files, manifest):
        if not any(file.path == "plain.py" for file in files):
            return None
        return Detected(runtime="plain", kind=ContentKind.APP, app_mode="plain",
                        entrypoint="plain.py", score=100)

    def installations(self, settings):
        return [Installation(runtime="plain", version="3", executable=PYTHON, prefixes=("/usr",))]

    def plan(self, purpose, context):
        roles = (Role.SOURCE, Role.SOCKET)
        mounts = (Mount(role=r, access=Access.WRITE, at=layout.at(r)) for r in roles)
        return Plan(argv=(PYTHON, "plain.py"), workdir=layout.at(Role.SOURCE),
                    mounts=tuple(mounts))


@hookimpl
def supervisor_runtimes():
    return [Plain()]
"""

_SERVER = """
import os, socket, time

def explode():
{explode}

listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["SUPERVISOR_LISTEN"])
os.chmod(os.environ["SUPERVISOR_LISTEN"], 0o666)
listener.listen()
while True:
    connection, _ = listener.accept()
    asked = connection.recv(65536)
    head = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\n"
    connection.sendall(head + b"ok")
    connection.close()
    if b"/explode" in asked.split(b"\\r\\n")[0]:
        explode()
"""

EXPLOSIONS = {
    "memory": "    held = []\n    while True: held.append(b'x' * (1 << 20))",
    # The first one gives up after a while, and everything ends with it.
    "forks": (
        "    first, end = os.getpid(), time.monotonic() + 3\n"
        "    while os.getpid() != first or time.monotonic() < end:\n"
        "        try: os.fork()\n"
        "        except OSError: pass\n"
        "    os._exit(4)"
    ),
    "nothing": "    pass",
}


# Beside each other on one server: those that reach a limit of their own, and those that reach that
# of all contents together. Name → explosion, and the limit to set.
SETTINGS = """
[Limits]
TotalMemory = 256 MiB
TotalPids = 200
[Scheduler]
MaxMemoryLimit = 200 MiB
"""
BOMBS = {
    "memory-of-its-own": ("memory", "memory_limit=64MiB"),
    "memory-of-all": ("memory", "memory_limit=default"),
    "forks-of-its-own": ("forks", "pids_limit=40"),
    "forks-of-all": ("forks", "pids_limit=default"),
}


def write_bomb(folder: Path, explosion: str) -> Path:
    """Write a content that explodes at `/explode`; give its folder."""
    folder.mkdir()
    (folder / "plain.py").write_text(_SERVER.format(explode=EXPLOSIONS[explosion]))
    return folder
