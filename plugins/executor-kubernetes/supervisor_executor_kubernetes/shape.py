"""A job becomes one batch/v1 Job with one Pod. Pure: the same job and settings, the same object.

Valid from Kubernetes 1.20 on, and within the "restricted" Pod Security Standard except where
HostPath is set. docs/design/executors.md says why it has this form.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import attrs

from supervisor import Access, Job, PlaceRef, Purpose, Role, RunId, SupervisorError, layout
from supervisor import place_key as key_of
from supervisor_executor_kubernetes.settings import KubernetesSettings

Object = dict[str, Any]

CONTENT = "content"  # the containers
ACCESS = "access"
PORT = 8939  # where the container `access` listens for visitors
ORDERS = 8940  # and where for the order to end
KEPT = 24 * 3600  # seconds that an ended Job stays where no core comes to take its exit
PREFIX = "sp-"

MANAGED_BY = "app.kubernetes.io/managed-by"
INSTANCE = "supervisor/instance"
RUN = "supervisor/run"
_US = "content-supervisor"
_MIB = 1024**2


@attrs.frozen(kw_only=True)
class Server:
    """Who we are. instance: names this server's objects; uid, gid: for jobs that say 0."""

    instance: str
    uid: int
    gid: int


def job_name(purpose: Purpose, run: RunId) -> str:
    """Give the name of a run's Job: at most 52 characters, since Pods' names get a suffix."""
    return f"{PREFIX}{purpose.value}-{run}"


def selector(instance: str) -> str:
    """Give the labels that all objects of this server have, as the API wants them."""
    return f"{MANAGED_BY}={_US},{INSTANCE}={instance}"


def shape(job: Job, settings: KubernetesSettings, server: Server, secret: str) -> Object:
    """Give the Job object of a run. Raises SupervisorError where no Pod can do what it asks."""
    for limit in ("pids", "files"):
        if getattr(job.limits, limit) is not None:
            raise SupervisorError(
                "limit-unenforceable",
                f"Kubernetes has no limit {limit!r} for one Pod",
                hint="The nodes have their own; take this one from the content.",
            )
    name = job_name(job.purpose, job.run)
    labels = {
        MANAGED_BY: _US,
        INSTANCE: server.instance,
        RUN: job.run,
        "supervisor/content": str(job.content),
        "supervisor/kind": job.purpose.value,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "ttlSecondsAfterFinished": KEPT,
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": _annotations(job, _identity(job, server)),
                },
                "spec": _pod(job, settings, _identity(job, server), secret),
            },
        },
    }


def _pod(job: Job, settings: KubernetesSettings, identity: tuple[int, int], secret: str) -> Object:
    uid, gid = identity
    spec: Object = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": max(1, math.ceil(job.grace)),
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        # One table of processes for both containers: `access` sees when the content is gone, and
        # what a content leaves behind is reaped.
        "shareProcessNamespace": True,
        # No fsGroup: Kubernetes would give all of DataDir to this content's group.
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": uid,
            "runAsGroup": gid,
            "supplementalGroups": list(job.groups),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": list(_volumes(job, settings)),
        "containers": [_content(job, settings)],
    }
    if _serves(job):
        spec["containers"].append(_access(job, settings, secret))
    if job.limits.run_time is not None:
        spec["activeDeadlineSeconds"] = max(1, math.ceil(job.limits.run_time))
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    return spec


def _content(job: Job, settings: KubernetesSettings) -> Object:
    argv = list(job.plan.argv)
    argv[0] = settings.executables.get(job.runtime, argv[0])
    container: Object = {
        "name": CONTENT,
        "image": image(job.runtime, settings),
        "command": [_literal(word) for word in argv],
        "env": [{"name": name, "value": _literal(job.plan.env[name])} for name in job.plan.env],
        "workingDir": job.plan.workdir,
        "volumeMounts": list(_mounts(job, settings)),
    }
    if job.plan.stop_signal == "INT":
        # Kubernetes sends TERM only. -1 is every process here but the Pod's first; `access` knows
        # that it is not meant.
        pause = max(1, math.ceil(job.grace))
        ask = ["/bin/sh", "-c", f"kill -s INT -- -1; sleep {pause}"]
        container["lifecycle"] = {"preStop": {"exec": {"command": ask}}}
    return {**container, **_common(settings), "resources": _resources(job)}


def _access(job: Job, settings: KubernetesSettings, secret: str) -> Object:
    program = files("supervisor_executor_kubernetes").joinpath("sidecar.py").read_text("utf-8")
    digest = hashlib.sha256(secret.encode("ascii")).hexdigest()
    connect = {"tcpSocket": {"port": PORT}, "timeoutSeconds": 5}
    return {
        "name": ACCESS,
        "image": settings.access_image or image("python", settings),
        "command": ["python3", "-I", "-S", "-c", _literal(program)],
        "args": [layout.LISTEN_AT, digest, str(PORT), str(ORDERS), job.plan.stop_signal],
        "ports": [{"name": "access", "containerPort": PORT, "protocol": "TCP"}],
        "volumeMounts": [{"name": "socket", "mountPath": layout.at(Role.SOCKET)}],
        # InitTimeout is the supervisor's business: this only tells Kubernetes when it is ready. No
        # livenessProbe: an app that computes for minutes would be shot.
        "startupProbe": {**connect, "periodSeconds": 2, "failureThreshold": 43200},
        "readinessProbe": {**connect, "periodSeconds": 10, "failureThreshold": 3},
        **_common(settings),
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"cpu": "1", "memory": "512Mi"},
        },
    }


def _common(settings: KubernetesSettings) -> Object:
    return {
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "File",
    }


def image(runtime: str, settings: KubernetesSettings) -> str:
    """Give the image of a runtime. Raises SupervisorError("runtime-missing") where none is set."""
    found = settings.images.get(runtime.lower()) or settings.images.get("")
    if found is None:
        raise SupervisorError(
            "runtime-missing",
            f"no image is set for the runtime {runtime!r} on Kubernetes",
            hint=f"Set `Image = {runtime}=REFERENCE` in [Kubernetes].",
        )
    return found


def _resources(job: Job) -> Object:
    limits, requests = {}, {}
    asked = job.limits
    if asked.memory_max is not None:
        limits["memory"] = str(asked.memory_max)
    if asked.memory_high is not None:
        requests["memory"] = str(min(asked.memory_high, asked.memory_max or asked.memory_high))
    if asked.cpu is not None:
        limits["cpu"] = f"{max(1, round(asked.cpu * 1000))}m"
        requests["cpu"] = f"{max(1, round(min(asked.cpu, 0.1) * 1000))}m"
    return {"requests": requests, "limits": limits}


# -- what it sees ---------------------------------------------------------------------------------


def _volumes(job: Job, settings: KubernetesSettings) -> Iterator[Object]:
    size = job.limits.tmp
    yield {"name": "tmp", "emptyDir": {} if size is None else {"sizeLimit": str(size)}}
    yield {"name": "socket", "emptyDir": {"sizeLimit": str(_MIB)}}
    items = [
        {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['supervisor/{name}']"}}
        for name in ("passwd", "group")
    ]
    yield {"name": "identity", "downwardAPI": {"items": items}}
    if any(True for _ in _places(job)):
        if not settings.claim:
            raise SupervisorError(
                "settings-invalid",
                "[Kubernetes] names no Claim, so no Pod can see the files of a content",
                hint="Set Claim to the PersistentVolumeClaim that holds DataDir.",
            )
        yield {"name": "data", "persistentVolumeClaim": {"claimName": settings.claim}}
    for number, path in enumerate(settings.host_path):
        yield {"name": f"host-{number}", "hostPath": {"path": path, "type": "Directory"}}


def _mounts(job: Job, settings: KubernetesSettings) -> Iterator[Object]:
    for path in (*_both(layout.at(Role.SCRATCH)), "/tmp", "/var/tmp"):
        yield {"name": "tmp", "mountPath": path, "subPath": "tmp"}
    yield {"name": "tmp", "mountPath": layout.at(Role.HOME), "subPath": "home"}
    for path in _both(layout.at(Role.SOCKET)):
        yield {"name": "socket", "mountPath": path}
    for name in ("passwd", "group"):
        yield {"name": "identity", "mountPath": f"/etc/{name}", "subPath": name, "readOnly": True}
    for at, place, writable in _places(job):
        below = "/".join((*filter(None, [settings.claim_path]), *layout.components(place)))
        for path in _both(at):
            yield {"name": "data", "mountPath": path, "subPath": below, "readOnly": not writable}
    for number, path in enumerate(settings.host_path):
        yield {"name": f"host-{number}", "mountPath": path, "readOnly": True}


def _places(job: Job) -> Iterator[tuple[str, PlaceRef, bool]]:
    """Give the mounts that lie in DataDir: where, what, and whether it may be written."""
    for mount in job.plan.mounts:
        if mount.role in (Role.SCRATCH, Role.HOME, Role.SOCKET):
            continue  # a Pod's own
        place = job.places.get(key_of(mount))
        if place is not None:
            yield mount.at, place, mount.access is Access.WRITE


def _both(path: str) -> tuple[str, ...]:
    """Give the path, and the one that apps written for another product know."""
    root = layout.MOUNT_ROOT.rpartition("/")[0]
    if not path.startswith(f"{root}/"):
        return (path,)
    return path, layout.COMPATIBLE_MOUNT_ROOT + path[len(root) :]


# -- parts ----------------------------------------------------------------------------------------


def _annotations(job: Job, identity: tuple[int, int]) -> Mapping[str, str]:
    uid, gid = identity
    # with it a node may be emptied: a session that is lost there begins anew, a render would not
    safe = "true" if _serves(job) else "false"
    return {
        "supervisor/passwd": "root:x:0:0:root:/:/usr/sbin/nologin\n"
        f"content:x:{uid}:{gid}:content:/home:/bin/sh\n",
        "supervisor/group": f"root:x:0:\ncontent:x:{gid}:\n",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": safe,
    }


def _identity(job: Job, server: Server) -> tuple[int, int]:
    uid, gid = (job.uid, job.gid) if job.uid else (server.uid, server.gid)
    if uid == 0:
        raise SupervisorError(
            "identity-invalid",
            "the content has no user id of its own, and the server runs as root",
            hint="Pods never run as root; run the server as a user, or let it allot user ids.",
        )
    return uid, gid or uid


def _serves(job: Job) -> bool:
    return job.purpose in (Purpose.SERVE, Purpose.CUSTOMIZE)


def _literal(text: str) -> str:
    """Give a text that Kubernetes takes as it is: it replaces $(NAME), and $$ by $."""
    return text.replace("$", "$$")
