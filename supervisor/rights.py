"""(purpose, kind) → the greatest access that a plan may ask for, per role. Pure data and one check.

The rules are those of the process management article: a Shiny application writes its own directory;
a document reads its source and writes its output; the package library is read-only except while
installing; nothing else is shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from supervisor import layout
from supervisor.errors import SupervisorError
from supervisor.model import Access, ContentKind, Plan, Purpose, Role

READ, WRITE = Access.READ, Access.WRITE

_ALWAYS = {Role.SCRATCH: WRITE, Role.HOME: WRITE}
_SERVE_APP = {
    **_ALWAYS,
    Role.SOURCE: WRITE,
    Role.STATE: WRITE,
    Role.LIBRARY: READ,
    Role.SOCKET: WRITE,
}
_RENDER_DOCUMENT = {**_ALWAYS, Role.SOURCE: READ, Role.OUTPUT: WRITE, Role.LIBRARY: READ}
# a site is rendered in a copy that lies in its output; the original source is not shown
_RENDER_SITE = {**_ALWAYS, Role.OUTPUT: WRITE, Role.LIBRARY: READ}

Rights = Mapping[Role, Access]

RIGHTS: dict[tuple[Purpose, ContentKind | None], Rights] = {
    (Purpose.UNPACK, None): {**_ALWAYS, Role.BUNDLE: READ, Role.SOURCE: WRITE},
    (Purpose.INSTALL, None): {
        **_ALWAYS,
        Role.SOURCE: READ,
        Role.LIBRARY: WRITE,
        Role.RUNTIME_DATA: WRITE,
    },
    (Purpose.TIDY, None): {**_ALWAYS, Role.SOURCE: READ, Role.STATE: READ},
    (Purpose.SERVE, ContentKind.APP): _SERVE_APP,
    (Purpose.SERVE, ContentKind.API): _SERVE_APP,
    (Purpose.RENDER, ContentKind.DOCUMENT): _RENDER_DOCUMENT,
    (Purpose.RENDER, ContentKind.SITE): _RENDER_SITE,
    (Purpose.CUSTOMIZE, ContentKind.DOCUMENT): {**_RENDER_DOCUMENT, Role.SOCKET: WRITE},
}


def rights(purpose: Purpose, kind: ContentKind | None) -> Rights:
    """Give the greatest access per role; {} where this purpose is not for this kind of content."""
    return RIGHTS.get((purpose, kind)) or RIGHTS.get((purpose, None)) or {}


def check(plan: Plan, purpose: Purpose, kind: ContentKind | None, *, runtime: str) -> None:
    """Refuse a plan that asks for more than its purpose may have.

    Raises SupervisorError("plan-refused") naming the mount; `runtime` is blamed for it.
    """
    allowed = rights(purpose, kind)
    for mount in plan.mounts:
        most = allowed.get(mount.role)
        if most is None or (mount.access is WRITE and most is READ):
            raise SupervisorError(
                "plan-refused",
                f"the plan of runtime {runtime!r} asks to {mount.access.value} "
                f"{mount.role.value} ({mount.at}), which {purpose.value} may not",
                plugin=runtime,
            )
        if not _inside(mount.at):
            raise SupervisorError(
                "plan-refused",
                f"the plan of runtime {runtime!r} mounts {mount.role.value} at {mount.at}, "
                f"outside {layout.MOUNT_ROOT}",
                plugin=runtime,
            )


def _inside(at: str) -> bool:
    return at == "/home" or (at.startswith(f"{layout.MOUNT_ROOT}/") and "/../" not in f"{at}/")
