"""A runtime that keeps every promise, for a language that a shell speaks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor import (
    Access,
    ContentKind,
    Detected,
    Installation,
    Mount,
    Plan,
    PlanContext,
    Purpose,
    Ready,
    Role,
    Runtime,
    SourceFile,
    SupervisorError,
    layout,
)

ROLES = (Role.SOURCE, Role.SOCKET, Role.SCRATCH)


class ToyRuntime(Runtime):
    """A bundle with an `app.toy`, or whose manifest says the mode `toy`."""

    name = "toy"
    looks_for = "app.toy"

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        metadata = manifest.get("metadata")
        mode = metadata.get("appmode") if isinstance(metadata, Mapping) else None
        there = any(file.path == "app.toy" for file in files)
        if (mode and mode != "toy") or not there:
            return None
        return self.found("app.toy", 100 if mode else 50)

    def found(self, entrypoint: str, score: int) -> Detected:
        """Say that it is one."""
        return Detected(
            runtime=self.name,
            kind=ContentKind.APP,
            app_mode="toy",
            entrypoint=entrypoint,
            score=score,
        )

    def installations(self, settings: Mapping[str, Sequence[str]]) -> Sequence[Installation]:
        candidates = (*settings.get("executable", ()), "/bin/sh")
        return [self.installation(path) for path in candidates if self.speaks(path)]

    def installation(self, path: str) -> Installation:
        """Name an interpreter."""
        prefix = os.path.dirname(os.path.realpath(path))
        return Installation(runtime=self.name, version="1.0", executable=path, prefixes=(prefix,))

    def speaks(self, path: str) -> bool:
        """Ask whether it understands."""
        try:
            done = subprocess.run([path, "-c", "echo toy"], capture_output=True, timeout=20)
        except OSError:
            return False
        return done.stdout == b"toy\n"

    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        if purpose is not Purpose.SERVE:
            raise SupervisorError("no-runtime", f"a toy cannot {purpose.value}")
        return Plan(
            argv=(context.installation.executable, context.deployment.entrypoint),
            env={"PATH": "/usr/bin:/bin"},
            workdir=layout.at(Role.SOURCE),
            mounts=self.mounts(),
            ready=Ready(),
        )

    def mounts(self) -> tuple[Mount, ...]:
        """Give what it wants to see."""
        return tuple(Mount(role=role, access=Access.WRITE, at=layout.at(role)) for role in ROLES)
