"""The "restricted" Pod Security Standard, as a list of what a Pod breaks of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def breaches(pod: Mapping[str, Any]) -> list[str]:
    """Give what of this Pod spec the standard forbids."""
    return [*_of_pod(pod), *(each for one in pod["containers"] for each in _of_container(one, pod))]


def _of_pod(pod: Mapping[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    for volume in pod.get("volumes", ()):
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volume {kind}"
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if context.get("runAsUser") == 0:
        yield "runAsUser"
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if context.get("sysctls") or context.get("seLinuxOptions") or context.get("windowsOptions"):
        yield "securityContext"


def _of_container(container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if context.get("privileged") or context.get("procMount", "Default") != "Default":
        yield "privileged"
    capabilities = context.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"]:
        yield "capabilities.drop"
    if set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "capabilities.add"
    if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
        yield "runAsUser"
    for port in container.get("ports", ()):
        if port.get("hostPort"):
            yield "hostPort"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe, {}).get("tcpSocket", {}).get("host"):
            yield f"{probe} host"
