"""The section [Kubernetes] of the configuration, as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

import attrs

from supervisor import layout, setting, values

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
# A path of a node must not take the place of what every Pod has.
_RESERVED = ("/", "/proc", "/dev", "/sys", "/etc", "/tmp", "/var", "/var/tmp", "/home", "/run")


def _name(text: str) -> str:
    if not _NAME.match(text):
        raise ValueError(f"{text!r} is no name of Kubernetes (a-z, 0-9, '-')")
    return text


def _claim_path(text: str) -> str:
    if ".." in text.split("/"):
        raise ValueError(f"{text!r} must not hold '..'")
    return text.strip("/")


def _executable(text: str) -> str:
    if not _pair(text)[1].startswith("/"):
        raise ValueError(f"{text!r} is not an absolute path, as in r=/usr/bin/R")
    return text


def _host_path(text: str) -> str:
    path = values.path(text)
    if ".." in path.split("/"):
        raise ValueError(f"{text!r} must not hold '..'")
    if path in _RESERVED or f"{layout.MOUNT_ROOT}/".startswith(f"{path}/"):
        raise ValueError(f"{text!r} would take the place of what every Pod has")
    return path


def _pair(text: str) -> tuple[str, str]:
    """Split `runtime=value`; without a runtime it counts for all."""
    runtime, equals, rest = text.partition("=")
    return (runtime.strip().lower(), rest.strip()) if equals else ("", text.strip())


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
    about: ClassVar[str] = (
        "The section makes the executor `kubernetes` available;"
        " [Run content on Kubernetes](../howto/kubernetes.md) leads through it."
    )

    kubeconfig: str = setting(
        "Kubeconfig", values.text, "",
        about="a file that says where the API server is; without it the account of the server's own"
        " Pod counts",
    )  # fmt: skip
    namespace: str = setting(
        "Namespace", _name, "",
        about="where Pods run; without it the namespace of the kubeconfig or the account",
    )  # fmt: skip
    claim: str = setting("Claim", _name, "", about="the PersistentVolumeClaim that holds DataDir")
    claim_path: str = setting("ClaimPath", _claim_path, "", about="where in it DataDir lies")
    image: tuple[str, ...] = setting(
        "Image", values.text, multi=True,
        about="`runtime=reference` (`python=registry.example.org/python:3.11`), or a reference for"
        " all other runtimes",
    )  # fmt: skip
    executable: tuple[str, ...] = setting(
        "Executable", _executable, (), multi=True,
        about="`runtime=path`, where an image has its interpreter elsewhere than this host",
    )  # fmt: skip
    access_image: str = setting(
        "AccessImage", values.text, "",
        about="an image with `python3` (3.7 or newer) for the container that lets only the gateway"
        " in; without it the image of Python",
    )  # fmt: skip
    image_pull_policy: str = setting(
        "ImagePullPolicy", values.one_of("Always", "IfNotPresent", "Never"), "IfNotPresent",
        about="`Always`, `IfNotPresent` or `Never`",
    )  # fmt: skip
    service_account: str = setting(
        "ServiceAccount", _name, "",
        about="the account of content's Pods, for pull secrets; its token is never shown to"
        " content",
    )  # fmt: skip
    host_path: tuple[str, ...] = setting(
        "HostPath", _host_path, (), multi=True,
        about="directories of the nodes that every Pod sees read-only. Needs a namespace that is"
        ' not held to the "restricted" standard',
    )  # fmt: skip

    @property
    def images(self) -> Mapping[str, str]:
        """Runtime → reference; "" is the image of every other runtime."""
        return dict(_pair(value) for value in self.image)

    @property
    def executables(self) -> Mapping[str, str]:
        """Runtime → path of the interpreter in its image."""
        return dict(_pair(value) for value in self.executable)
