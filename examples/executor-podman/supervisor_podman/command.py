"""From a job to the arguments of `podman run`. Pure."""

from __future__ import annotations

import json
import math
import resource
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePath

from supervisor import (
    Access,
    Job,
    PlaceKind,
    PlaceRef,
    Role,
    layout,
    place_key,
)
from supervisor_podman.container import RUN, SERVER, SIGNAL, UID
from supervisor_podman.log import MOST
from supervisor_podman.settings import PodmanSettings

_LIMITS = frozenset({"files", "run_time", "tmp"})
_BY_GROUPS = frozenset({"cpu", "pids"})  # a control group's controllers have these names, too
_FILES, _PROCESSES = 20_000, 32_768  # what podman may give everywhere
_LINE = 32_000  # podman reads a line of --env-file up to twice as long


def name(run: str) -> str:
    """The name of a run's container: a second start finds it taken."""
    return f"supervisor-{run}"


def limits(controllers: Collection[str]) -> frozenset[str]:
    """Give the limits that podman enforces with these controllers of control groups."""
    return _LIMITS | (_BY_GROUPS & {*controllers})


def run_arguments(
    job: Job, settings: PodmanSettings, *, data_dir: str, home: str, uid: int
) -> list[str]:
    """Give the arguments of `podman`; the variables are read from standard input.

    home: the directory of this run, with `socket` in it and the log. uid: who will own the socket.
    Raises SupervisorError("settings-invalid") where no image is for the job's runtime.
    """
    return [
        "run",
        "--detach",
        f"--name={name(job.run)}",
        f"--label={RUN}={job.run}",
        f"--label={UID}={uid}",
        f"--label={SIGNAL}={job.plan.stop_signal}",
        f"--label={SERVER}={data_dir}",
        "--init",  # for a process that is pid 1 signals mean something else
        "--pull=never",
        "--read-only",
        "--image-volume=ignore",
        "--http-proxy=false",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        f"--network={settings.network}",
        f"--user={job.uid}:{job.gid}",
        *(f"--group-add={group}" for group in job.groups),
        "--log-driver=k8s-file",
        f"--log-opt=path={home}/log",
        f"--log-opt=max-size={MOST}",
        *_limits(job),
        *(f"--volume={volume}" for volume in settings.volume),
        *_mounts(job, data_dir=data_dir, home=home),
        f"--workdir={job.plan.workdir}",
        "--env-file=/dev/stdin",  # a command line is everybody's to read
        *(f"--env={key}={value}" for key, value in job.plan.env.items() if _odd(value)),
        *settings.option,
        f"--entrypoint={json.dumps(job.plan.argv[:1])}",
        settings.image_of(job.runtime),
        *job.plan.argv[1:],
    ]


def variables(environment: Mapping[str, str]) -> str:
    """Give the variables as `podman run --env-file` reads them."""
    return "".join(f"{key}={value}\n" for key, value in environment.items() if not _odd(value))


def _odd(value: str) -> bool:
    """Whether a value cannot be a line of a file."""
    return "\n" in value or "\r" in value or len(value) > _LINE


def _limits(job: Job) -> Iterator[str]:
    limits = job.limits
    if limits.cpu is not None:
        yield f"--cpus={limits.cpu}"
    if limits.pids is not None:
        yield f"--pids-limit={limits.pids}"
    if limits.run_time is not None:
        yield f"--timeout={math.ceil(limits.run_time)}"
    # Podman by itself asks for more than it may give where it is not all of root.
    files = _at_most(resource.RLIMIT_NOFILE, limits.files or _FILES)
    processes = _at_most(resource.RLIMIT_NPROC, _PROCESSES)
    yield f"--ulimit=nofile={files}:{files}"
    yield f"--ulimit=nproc={processes}:{processes}"


def _at_most(limit: int, wanted: int) -> int:
    """Give what is wanted, or the most that this process may give."""
    _, most = resource.getrlimit(limit)
    return wanted if most == resource.RLIM_INFINITY else min(wanted, most)


def _mounts(job: Job, *, data_dir: str, home: str) -> Iterator[str]:
    size = "" if job.limits.tmp is None else f",size={job.limits.tmp}"
    tmpfs = f"rw,nosuid,nodev,mode=1777{size}"
    yield f"--tmpfs=/tmp:{tmpfs}"
    yield f"--tmpfs=/var/tmp:{tmpfs}"
    yield _bind(f"{home}/socket", str(PurePath(layout.LISTEN_AT).parent), Access.WRITE)
    for mount in job.plan.mounts:
        place = job.places.get(place_key(mount))
        if mount.role in (Role.SCRATCH, Role.HOME):
            yield f"--tmpfs={mount.at}:{tmpfs}"
        elif mount.role is not Role.SOCKET and place is not None:
            yield _bind(path(data_dir, place), mount.at, mount.access)


def places_to_make(job: Job) -> Iterator[PlaceRef]:
    """Give the places of a job that nobody else makes."""
    return (place for place in job.places.values() if place.kind is PlaceKind.STATE)


def path(data_dir: str, place: PlaceRef) -> str:
    """Where a place lies on this host."""
    return str(PurePath(data_dir, *layout.components(place)))


def _bind(source: str, at: str, access: Access) -> str:
    read_only = ",ro" if access is Access.READ else ""
    return f"--mount=type=bind,source={source},destination={at}{read_only}"
