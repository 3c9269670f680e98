"""What a run may reach where there is no root of its own, and by which paths. Pure.

Files stay where they lie on the host, so the paths of the sandbox do not exist: wherever the job
names one, in its arguments, environment or working directory, it gets the physical path instead.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from supervisor import layout
from supervisor.layout import COMPATIBLE_MOUNT_ROOT, MOUNT_ROOT, Role
from supervisor.site_mounts import covered
from supervisor_unshare.linux.landlock import CHANGE, KEEP, LISTEN, LOOK, RUN, USE
from supervisor_unshare.requests.jobs import Job
from supervisor_unshare.root.plan_mounts import SHARED_MEMORY, Bind

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")
_USERS = ("/etc/passwd", "/etc/group")  # the host's: nothing can be shown in their place
_TEMPORARY = ("/tmp", "/var/tmp")
_LONGEST_SOCKET = 107  # bytes of a Unix socket's path


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """A job in paths of the host. allowed: each path with the rights that hold beneath it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    allowed: tuple[tuple[str, int], ...]


def plan_confined(
    job: Job, shown: Sequence[str], site: Sequence[Bind], *, data_dir: str, run_dir: str
) -> Confinement:
    """Give what a job may reach. shown: paths of the host that all may read; site: the site's own.

    Raises OSError where the path of its socket is too long.
    """
    scratch = f"{data_dir}/tmp/{job.run}"
    sockets = f"{run_dir}/{layout.RUN_SOCKETS}/{job.run}"
    places = {
        mount.at: f"{data_dir}/{'/'.join(layout.components(mount.place))}" for mount in job.mounts
    }
    lies = {
        **places,
        **dict.fromkeys((*_TEMPORARY, layout.at(Role.SCRATCH)), scratch),
        layout.at(Role.HOME): f"{scratch}/home",
        layout.at(Role.SOCKET): sockets,
    }
    socket = f"{sockets}/{layout.SOCKET_NAME}"
    if len(os.fsencode(socket)) > _LONGEST_SOCKET:
        raise OSError(errno.ENAMETOOLONG, f"{socket} is too long for a Unix socket; shorten RunDir")
    mounted = [(f"/{'/'.join(bind.parts)}", bind) for bind in site]
    lies.update((bind.target, path) for path, bind in mounted)
    same = [path for path in (*shown, data_dir, run_dir) if covered(path, [*lies])]
    translate = _Translation(lies, same)
    return Confinement(
        argv=tuple(map(translate, job.argv)),
        env={name: translate(text) for name, text in job.env.items()},
        workdir=translate(job.workdir),
        allowed=(
            *((path, RUN) for path in (*shown, *_USERS)),
            ("/proc", LOOK),
            *((f"/dev/{name}", USE) for name in _DEVICES),
            (SHARED_MEMORY, KEEP),
            (scratch, CHANGE),
            (sockets, LISTEN),
            *((path, CHANGE if bind.writable else RUN) for path, bind in mounted),
            *((places[mount.at], CHANGE if mount.writable else RUN) for mount in job.mounts),
        ),
    )


class _Translation:
    """Replace the paths of a sandbox wherever they stand in a text, as whole components."""

    def __init__(self, lies: Mapping[str, str], same: Sequence[str]) -> None:
        above = str(PurePosixPath(MOUNT_ROOT).parent)
        alias = {
            COMPATIBLE_MOUNT_ROOT + path.removeprefix(above): there
            for path, there in lies.items()
            if covered(path, [MOUNT_ROOT])
        }
        self._lies = {**lies, **alias, **{path: path for path in same}}
        longest_first = sorted(self._lies, key=len, reverse=True)
        any_path = "|".join(map(re.escape, longest_first))
        self._pattern = re.compile(rf"(?<![\w./-])(?:{any_path})(?![\w.-])")

    def __call__(self, text: str) -> str:
        return self._pattern.sub(lambda found: self._lies[found[0]], text)
