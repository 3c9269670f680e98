"""The Python runtime: what a bundle is, which Python there is, how an app is served."""

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
from supervisor_python import installations, streamlit
from supervisor_python.detect import detect

_ROLES = (Role.SOURCE, Role.SCRATCH, Role.HOME, Role.STATE, Role.SOCKET)
# The app itself says that there is no such page, which costs it less than drawing one.
_PULSE = "/supervisor-pulse"


class PythonRuntime(Runtime):
    """Shiny for Python apps, served by uvicorn on a Unix socket, and Streamlit apps, on a port."""

    name = "python"
    looks_for = "app.py that imports shiny or streamlit"

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        """Say that the bundle is a Shiny for Python or Streamlit app, or None."""
        return detect(files, manifest)

    def installations(self, settings: Mapping[str, Sequence[str]]) -> Sequence[Installation]:
        """Give every Python that answers, with shiny first. settings: `executable`, several."""
        return installations.find(settings.get("executable", ()))

    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        """Say how to serve an app. Raises SupervisorError("no-runtime") for any other purpose."""
        if purpose is not Purpose.SERVE:
            raise SupervisorError(
                "no-runtime", f"The Python runtime cannot {purpose.value} {context.content.name!r}."
            )
        if context.deployment.app_mode == streamlit.APP_MODE:
            return streamlit.plan(context, _environment())
        return Plan(
            argv=(
                context.installation.executable,
                "-u",
                "-c",
                # The program travels in the environment: lists of processes stay readable.
                "import os; exec(os.environ.pop('SUPERVISOR_LAUNCHER'))",
                context.deployment.entrypoint,
            ),
            env={
                **_environment(),
                "SUPERVISOR_LAUNCHER": files("supervisor_python")
                .joinpath("launch.py")
                .read_text("utf-8"),
                "SUPERVISOR_LISTEN": layout.LISTEN_AT,
            },
            workdir=layout.at(Role.SOURCE),
            mounts=tuple(
                Mount(role=role, access=Access.WRITE, at=layout.at(role)) for role in _ROLES
            ),
            # it listens only once the app has loaded, and a page of it may want a visitor
            ready=Ready(connect_only=True, pulse=_PULSE),
            prefix="strip",
        )


def _environment() -> dict[str, str]:
    return {
        "HOME": layout.at(Role.HOME),
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "SUPERVISOR_STATE": layout.at(Role.STATE),
        "TMPDIR": layout.at(Role.SCRATCH),
    }
