"""Paths of the API in the words of RBAC."""

from __future__ import annotations

import pytest
from supervisor_executor_kubernetes.paths import resource


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/namespaces/apps/pods", "pods"),
        ("/api/v1/namespaces/apps/pods/one", "pods"),
        ("/api/v1/namespaces/apps/pods/one/log", "pods/log"),
        ("/apis/batch/v1/namespaces/apps/jobs/one", "jobs"),
        ("/api/v1/nodes/node1", "nodes"),
        ("/api/v1/namespaces", "namespaces"),
        ("/api/v1/namespaces/apps", "namespaces"),
        ("/version", "/version"),
    ],
)
def test_a_path_is_named_by_its_resource(path: str, expected: str) -> None:
    assert expected == resource(path)
