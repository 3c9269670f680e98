"""Unpacking a bundle in a sandbox: the plan that asks for it, and its answer read back.

The program is programs/unpack.py: it travels as an argument, since no sandbox shows our files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import attrs

from supervisor.errors import SupervisorError
from supervisor.interfaces import SourceFile
from supervisor.layout import Role, at
from supervisor.model import Access, Mount, Plan

REFUSED = 65  # exit status: the bundle is invalid, the one line on stderr says why
FAILED = 74  # exit status: it could not be written


@attrs.frozen(kw_only=True)
class Unpacked:
    """What a bundle held. manifest is None where the publisher sent none."""

    files: tuple[SourceFile, ...]
    manifest: Mapping[str, Any] | None


def unpack_plan(python: str) -> Plan:
    """Say how to unpack a bundle. python: an interpreter, 3.7 or newer, visible in the sandbox."""
    return Plan(
        argv=(python, "-I", "-S", "-c", _program(), at(Role.BUNDLE), at(Role.SOURCE)),
        env={"LANG": "C.UTF-8", "TMPDIR": at(Role.SCRATCH)},
        workdir=at(Role.SOURCE),
        mounts=(
            Mount(role=Role.BUNDLE, access=Access.READ, at=at(Role.BUNDLE)),
            Mount(role=Role.SOURCE, access=Access.WRITE, at=at(Role.SOURCE)),
            Mount(role=Role.SCRATCH, access=Access.WRITE, at=at(Role.SCRATCH)),
        ),
    )


def read_answer(status: int, stdout: bytes, stderr: bytes) -> Unpacked:
    """Read what the program said: its exit status and all that it wrote.

    Raises SupervisorError("bundle-invalid") with the reason where the bundle was refused, and
    SupervisorError("unavailable") where it could not be written or the answer is incomplete.
    """
    if status == 0:
        return _listing(stdout)
    lines = stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
    reason = lines[-1].partition(": ")[2] or lines[-1]
    if status == REFUSED:
        raise SupervisorError(
            "bundle-invalid",
            f"The bundle was refused: {reason}.",
            hint="Nothing of it was unpacked, and what was served before is served still.",
        )
    raise SupervisorError(
        "unavailable",
        f"The bundle could not be unpacked (exit status {status}): {reason}.",
        hint="Look at the space that is left in Server.DataDir, then deploy again.",
        recoverable=True,
    )


def _listing(stdout: bytes) -> Unpacked:
    sizes: dict[str, int] = {}
    texts: dict[str, list[str]] = {}
    manifest: list[str] = []
    end: int | None = None
    lines = stdout.splitlines()
    for line in lines:
        record = json.loads(line)
        if "file" in record:
            sizes[record["file"]] = record["size"]
        elif "text" in record:
            texts.setdefault(record["text"], []).append(record["piece"])
        elif "manifest" in record:
            manifest.append(record["manifest"])
        else:
            end = record["end"]
    if end != len(lines) - 1:
        raise SupervisorError(
            "unavailable",
            "The list of the unpacked files is incomplete.",
            hint="Deploy again; the log of the unpacking run says more.",
            recoverable=True,
        )
    found = tuple(
        SourceFile(path=path, size=size, text="".join(texts[path]) if path in texts else None)
        for path, size in sizes.items()
    )
    return Unpacked(files=found, manifest=json.loads("".join(manifest)) if manifest else None)


@cache
def _program() -> str:
    return files("supervisor").joinpath("programs/unpack.py").read_text("utf-8")
