"""/server_settings: what clients must know before they sign in (open to all), and /scheduler."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor import limits
from supervisor.api.answers import answer
from supervisor.api.requests import settings_of
from supervisor.api.shapes import whole_seconds

# Clients switch features on by this number: later ones expect drafts, which we do not have.
COMPATIBLE_VERSION = "2025.05.0"

# Clients expect them; 0 says "none".
_NO_LIMITS = dict.fromkeys(
    "cpu_request max_cpu_request memory_request max_memory_request amd_gpu_limit "
    "max_amd_gpu_limit nvidia_gpu_limit max_nvidia_gpu_limit".split(),
    0,
)


_OURS = {field: limits.NAMES[field] for field in ("pids", "files", "tmp")}


async def read(request: Request) -> Response:
    """Give the settings that say nothing about the host."""
    return answer(
        {
            "version": COMPATIBLE_VERSION,
            "system_display_name": "content-supervisor",
            "dashboard_path": "/",
            "authentication": {"handles_credentials": False, "handles_login": False},
            "git_enabled": False,
            "mail_configured": False,
            "supervisor": {"max_bundle": settings_of(request).max_bundle},
        }
    )


async def scheduler(request: Request) -> Response:
    """Give defaults and limits of a content's scaling: the same for every kind of content."""
    given = settings_of(request).scheduler
    return answer(
        {
            "min_processes": given.least,
            "max_processes": given.most,
            "max_conns_per_process": given.sessions_each,
            "load_factor": given.load_factor,
            "init_timeout": whole_seconds(given.init),
            "idle_timeout": whole_seconds(given.idle),
            "connection_timeout": whole_seconds(given.connection),
            "read_timeout": whole_seconds(given.read),
            "min_processes_limit": given.least_limit,
            "max_processes_limit": given.most_limit,
            "memory_limit": given.memory_max,
            "max_memory_limit": given.most_memory_max,
            "cpu_limit": given.cpu,
            "max_cpu_limit": given.most_cpu,
            **_NO_LIMITS,
            "supervisor": {
                "memory_high": given.memory_high,
                **{name: getattr(given, field) for field, name in _OURS.items()},
                **{f"max_{name}": getattr(given, f"most_{field}") for field, name in _OURS.items()},
                "nice": given.nice,
                "reconnect_timeout": given.reconnect,
                "drain_timeout": given.drain,
                "drain_notice": given.notice,
            },
        }
    )


ROUTES = [
    Route("/server_settings", read, methods=["GET"]),
    Route("/server_settings/scheduler", scheduler, methods=["GET"]),
    Route("/server_settings/scheduler/{mode}", scheduler, methods=["GET"]),
]
