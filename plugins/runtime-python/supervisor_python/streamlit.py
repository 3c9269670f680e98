"""Streamlit apps: what one is, and how it is served. It listens on a TCP port alone."""

from __future__ import annotations

import re

from supervisor import Access, Mount, Plan, PlanContext, Ready, Role, layout

APP_MODE = "python-streamlit"
IMPORTS = re.compile(r"^(?:from|import)[ \t]+streamlit\b", re.MULTILINE)
PORT = 8501  # of a network of its own

_ROLES = (Role.SOURCE, Role.SCRATCH, Role.HOME, Role.STATE, Role.SOCKET)
_HEALTH = "/_stcore/health"


def plan(context: PlanContext, environment: dict[str, str]) -> Plan:
    """Say how to serve one; its entry point is the file that it runs."""
    python, file = context.installation.executable, context.deployment.entrypoint
    return Plan(
        argv=(python, "-u", "-m", "streamlit", "run", file),
        env={
            **environment,
            "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
            "STREAMLIT_SERVER_PORT": str(PORT),
            "STREAMLIT_SERVER_HEADLESS": "true",
            "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none",
            # It would compare origins with its own address; the gateway has compared them.
            "STREAMLIT_SERVER_ENABLE_CORS": "false",
            "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION": "false",
            "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        },
        workdir=layout.at(Role.SOURCE),
        mounts=tuple(Mount(role=role, access=Access.WRITE, at=layout.at(role)) for role in _ROLES),
        ready=Ready(path=_HEALTH, pulse=_HEALTH),
        prefix="strip",
        port=PORT,
    )
