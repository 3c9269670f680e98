"""The R runtime: what a bundle is, which R there is, how an app is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from supervisor import (
    Access,
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
from supervisor_r import installations
from supervisor_r.detect import detect

_ROLES = (Role.SOURCE, Role.SCRATCH, Role.HOME, Role.STATE, Role.SOCKET)
# The app itself says that there is no such page, which is no work: 2 ms, where a page takes 15.
_PULSE = "/supervisor-pulse"


class RRuntime(Runtime):
    """R Shiny apps, served on a Unix socket from the R and the packages that the host has."""

    name = "r"
    looks_for = "app.R, or server.R with ui.R or www/index.html"

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        """Say that the bundle is an R Shiny app, or None."""
        return detect(files, manifest)

    def installations(self, settings: Mapping[str, Sequence[str]]) -> Sequence[Installation]:
        """Give every R that answers, with shiny first. settings: `executable`, several."""
        return installations.find(settings.get("executable", ()))

    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        """Say how to serve an app. Raises SupervisorError("no-runtime") for any other purpose."""
        if purpose is not Purpose.SERVE:
            raise SupervisorError(
                "no-runtime", f"The R runtime cannot {purpose.value} {context.content.name!r}."
            )
        return Plan(
            argv=(
                context.installation.executable,
                "--slave",
                "--no-save",
                "--no-restore",
                "-e",
                # R mangles spaces and newlines of -e and cuts it at 10 000 bytes.
                "eval(parse(text=Sys.getenv('SUPERVISOR_LAUNCHER')))",
            ),
            env=_environment(),
            workdir=layout.at(Role.SOURCE),
            mounts=tuple(
                Mount(role=role, access=Access.WRITE, at=layout.at(role)) for role in _ROLES
            ),
            # it listens only once the app has loaded, and a page of it may want a visitor
            ready=Ready(connect_only=True, pulse=_PULSE),
            prefix="strip",
            stop_signal="INT",  # at TERM, R ends without a word to the app
        )


def _environment() -> dict[str, str]:
    return {
        "HOME": layout.at(Role.HOME),
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "R_CONFIG_ACTIVE": "rsconnect",
        # An app's renv would download itself at start; its packages are the host's.
        "RENV_CONFIG_AUTOLOADER_ENABLED": "FALSE",
        "SUPERVISOR_LAUNCHER": files("supervisor_r").joinpath("launch.R").read_text("utf-8"),
        "SUPERVISOR_LISTEN": layout.LISTEN_AT,
        "SUPERVISOR_STATE": layout.at(Role.STATE),
        "TMPDIR": layout.at(Role.SCRATCH),
    }
