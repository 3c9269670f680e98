"""The section [Kubernetes] of the configuration, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from supervisor import SupervisorError, layout

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_PULL = ("Always", "IfNotPresent", "Never")
# A path of a node must not take the place of what every Pod has.
_RESERVED = ("/", "/proc", "/dev", "/sys", "/etc", "/tmp", "/var", "/var/tmp", "/home", "/run")


@attrs.frozen(kw_only=True)
class KubernetesSettings:
    """The section [Kubernetes], a field per key. Keys that may be repeated are tuples.

    image: `runtime=reference`, or a reference alone for all other runtimes. executable:
    `runtime=path`, where an image has its interpreter elsewhere than this host. claim: the
    PersistentVolumeClaim that holds DataDir, claim_path: where in it. host_path: directories of the
    nodes that every Pod sees read-only. Without kubeconfig the account of the server's own Pod
    counts, without namespace that of either.
    """

    section: ClassVar[str] = "Kubernetes"

    kubeconfig: str = ""
    namespace: str = ""
    claim: str = ""
    claim_path: str = ""
    image: tuple[str, ...] = ()
    executable: tuple[str, ...] = ()
    access_image: str = ""
    image_pull_policy: str = "IfNotPresent"
    service_account: str = ""
    host_path: tuple[str, ...] = ()

    @property
    def images(self) -> Mapping[str, str]:
        """Runtime → reference; "" is the image of every other runtime."""
        return dict(_pair(value) for value in self.image)

    @property
    def executables(self) -> Mapping[str, str]:
        """Runtime → path of the interpreter in its image."""
        return dict(_pair(value) for value in self.executable)


def read(section: Mapping[str, Sequence[str]]) -> KubernetesSettings:
    """Read the section as Context.section gives it; SupervisorError("settings-invalid")."""
    one = {key: values[-1] for key, values in section.items() if values}
    settings = KubernetesSettings(
        kubeconfig=one.get("kubeconfig", ""),
        namespace=_checked("Namespace", one.get("namespace", "")),
        claim=_checked("Claim", one.get("claim", "")),
        claim_path=one.get("claimpath", "").strip("/"),
        image=tuple(section.get("image", ())),
        executable=tuple(section.get("executable", ())),
        access_image=one.get("accessimage", ""),
        image_pull_policy=one.get("imagepullpolicy", "IfNotPresent"),
        service_account=_checked("ServiceAccount", one.get("serviceaccount", "")),
        host_path=tuple(path.rstrip("/") or "/" for path in section.get("hostpath", ())),
    )
    if settings.image_pull_policy not in _PULL:
        raise _invalid(f"ImagePullPolicy is none of {', '.join(_PULL)}")
    if ".." in settings.claim_path.split("/"):
        raise _invalid("ClaimPath must not hold '..'")
    if not settings.image:
        raise _invalid("it names no Image, as in `Image = python=registry.example.org/python:3.11`")
    for path in settings.executables.values():
        if not path.startswith("/"):
            raise _invalid(f"Executable {path!r} is not an absolute path, as in `r=/usr/bin/R`")
    for path in settings.host_path:
        if not path.startswith("/") or ".." in path.split("/"):
            raise _invalid(f"HostPath {path!r} is not an absolute path")
        if path in _RESERVED or f"{layout.MOUNT_ROOT}/".startswith(f"{path}/"):
            raise _invalid(f"HostPath {path} would take the place of what every Pod has")
    return settings


def _pair(value: str) -> tuple[str, str]:
    """Split `runtime=value`; without a runtime it counts for all."""
    runtime, equals, rest = value.partition("=")
    return (runtime.strip().lower(), rest.strip()) if equals else ("", value.strip())


def _checked(key: str, name: str) -> str:
    if name and not _NAME.match(name):
        raise _invalid(f"{key} {name!r} is no name of Kubernetes (a-z, 0-9, '-')")
    return name


def _invalid(text: str) -> SupervisorError:
    return SupervisorError("settings-invalid", f"[Kubernetes]: {text}")
