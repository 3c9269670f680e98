"""What a path of the API asks for, in the words of RBAC: "pods", "pods/log", "jobs"."""

from __future__ import annotations


def resource(path: str) -> str:
    """The resource of a path, without names and namespace.

    >>> resource("/apis/batch/v1/namespaces/apps/jobs/one")
    'jobs'
    >>> resource("/api/v1/namespaces/apps/pods/one/log")
    'pods/log'
    """
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        parts = parts[2:]
    elif parts[0] == "apis":
        parts = parts[3:]
    else:
        return path
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    return "/".join([*parts[:1], *parts[2:3]]) or path
