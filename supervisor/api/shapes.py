"""Model values in the shapes of the public publishing API: ids are texts, times RFC 3339."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from supervisor import bounds
from supervisor.core.service import ContentView, RunView, SessionView
from supervisor.model import Bundle, Task
from supervisor.wire import to_json

# Fields that existing clients expect to find; null says "not set" or "not known here".
_UNSET = dict.fromkeys(
    "cpu_request memory_request amd_gpu_limit nvidia_gpu_limit "
    "service_account_name default_image_name default_r_environment_management "
    "default_py_environment_management image_name r_version r_environment_management py_version "
    "py_environment_management owner_guid".split()
)


def timestamp(seconds: float | None) -> str | None:
    """Give an RFC 3339 time in UTC; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def whole_seconds(seconds: float | None) -> int | None:
    """Give a time limit as clients read it; a part of a second counts as one: 0 would be never."""
    return None if seconds is None else math.ceil(seconds)


def content_shape(view: ContentView) -> dict[str, Any]:
    """Give a content item; what is ours alone lies under "supervisor".

    What the content has not set of its scaling is null there; what counts is under "supervisor".
    """
    content, own = view.content, view.content.scaling
    return {
        **_UNSET,
        "guid": content.guid,
        "id": str(content.id),
        "name": content.name,
        "title": content.title or content.name,
        "description": "",
        "access_type": "all",
        "connection_timeout": whole_seconds(own.connection),
        "read_timeout": whole_seconds(own.read),
        "init_timeout": whole_seconds(own.init),
        "idle_timeout": whole_seconds(own.idle),
        "max_processes": own.most,
        "min_processes": own.least,
        "max_conns_per_process": own.sessions_each,
        "load_factor": own.load_factor,
        "memory_limit": content.limits.memory_max,
        "cpu_limit": content.limits.cpu,
        "created_time": timestamp(content.created),
        "last_deployed_time": timestamp(content.created),
        "bundle_id": None if view.bundle is None else str(view.bundle),
        "app_mode": content.app_mode or "unknown",
        "content_category": "",
        "parameterized": False,
        "cluster_name": "Local",
        "run_as": content.run_as,
        "run_as_current_user": False,
        "content_url": view.url or f"/content/{content.guid}/",
        "dashboard_url": "/",
        "app_role": "owner",
        "supervisor": {
            "state": view.state,
            "reason": view.reason,
            "processes": view.processes,
            "sessions": view.sessions,
            "waiting": view.waiting,
            "scaling": {name: getattr(view.scaling, f) for f, name in bounds.NAMES.items()},
        },
    }


def load_shape(view: ContentView) -> dict[str, Any]:
    """Give what the live screens show of a content."""
    return {
        "guid": view.content.guid,
        "name": view.content.name,
        "title": view.content.title or view.content.name,
        "state": view.state,
        "reason": view.reason,
        "processes": view.processes,
        "max_processes": view.scaling.most,
        "max_conns_per_process": view.scaling.sessions_each,
        "sessions": view.sessions,
        "waiting": view.waiting,
    }


def session_shape(view: SessionView) -> dict[str, Any]:
    """Give a seat or a place in line. Times in seconds ago."""
    shape: dict[str, Any] = to_json(view)
    name, guid = shape.pop("content_name"), shape.pop("content_guid")
    return {"content": {"guid": guid, "name": name}, **shape}


def bundle_shape(bundle: Bundle, guid: str) -> dict[str, Any]:
    """Give an uploaded bundle."""
    return {
        "id": str(bundle.id),
        "content_guid": guid,
        "created_time": timestamp(bundle.created),
        "cluster_name": "Local",
        "image_name": None,
        "active": bundle.state == "active",
        "size": bundle.size,
        "metadata": {},
    }


def task_shape(task: Task, first: int) -> dict[str, Any]:
    """Give a task; `last` is what the client sends as `first` next time."""
    return {
        "id": task.id,
        "output": list(task.output),
        "last": first + len(task.output),
        "finished": task.finished,
        "code": task.code,
        "error": task.error,
        "result": task.result or None,
    }


def run_shape(view: RunView) -> dict[str, Any]:
    """Give a run as `ps` shows it. Times in seconds, memory in bytes."""
    run = view.run
    return {
        "id": run.id,
        "key": run.key,
        "content": {"guid": view.content_guid, "name": view.content_name},
        "purpose": run.purpose,
        "state": run.state,
        "reason": run.reason,
        "attempt": run.attempt,
        "executor": run.executor,
        "tier": view.tier,
        "node": run.node,
        "here": view.here,
        "pid": view.pid,
        "sessions": view.sessions,
        "requests": view.requests,
        "cpu": view.cpu,
        "memory": view.memory,
        "processes": view.processes,
        "age": view.age,
        "lacking": list(view.lacking),
        "created_time": timestamp(run.created),
        "ended_time": timestamp(run.ended),
        "exit": to_json(run.exit),
    }
