"""Turn a runtime's plan into a job: rights checked, places found, environment complete."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from supervisor import layout, rights
from supervisor.accounts import Account
from supervisor.layout import PlaceKind, PlaceRef, Role
from supervisor.model import (
    Content,
    ContentKind,
    Deployment,
    DeploymentId,
    Job,
    Limits,
    Plan,
    Purpose,
    Run,
    place_key,
)
from supervisor.network import Egress

GRACE = 5.0  # seconds between asking a process to end and killing it


def common_environment(
    content: Content, run: Run, *, server: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """Give the variables that every process of a content has, the weakest first.

    The publisher's own variables win over `extra` (from plugins); the product markers and the
    identity cannot be overridden, since packages and clients rely on them.
    """
    return {
        "LANG": "C.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/home",
        "TMPDIR": layout.at(Role.SCRATCH),
        **({"CONNECT_SERVER": server} if server else {}),
        **extra,
        **content.environment,
        "POSIT_PRODUCT": "CONNECT",
        "RSTUDIO_PRODUCT": "CONNECT",
        "CONNECT_CONTENT_GUID": content.guid,
        "CONNECT_CONTENT_JOB_KEY": run.key,
    }


def make_job(
    *,
    run: Run,
    content: Content,
    plan: Plan,
    runtime: str,
    environment: Mapping[str, str],
    digest: str | None = None,
    limits: Limits = Limits(),
    grace: float = GRACE,
    account: Account | None = None,
    egress: Egress = Egress.HOST,
) -> Job:
    """Give the job of a run. Raises SupervisorError("plan-refused") where the plan asks too much.

    account: whom it runs as, where that is not the content's own uid.

    The plan's own variables win over `environment`, except where content sets them.
    """
    kind = content.kind if run.purpose is not Purpose.UNPACK else None
    rights.check(plan, run.purpose, kind, runtime=runtime)
    env = {**environment, **plan.env}
    env.update({name: environment[name] for name in content.environment if name in environment})
    if run.purpose in (Purpose.SERVE, Purpose.CUSTOMIZE):
        if plan.port is None:
            env["SUPERVISOR_LISTEN"] = layout.LISTEN_AT
        else:
            env["SUPERVISOR_PORT"] = str(plan.port)
        env["SUPERVISOR_BUSY"] = layout.BUSY_AT
    places = {}
    for mount in plan.mounts:
        place = _place(mount.role, run, content, digest, mount.name)
        if place is not None:
            places[place_key(mount)] = place
    return Job(
        run=run.id,
        content=content.id,
        purpose=run.purpose,
        plan=attrs.evolve(plan, env=env),
        runtime=runtime,
        guid=content.guid,
        name=content.name,
        places=places,
        uid=account.uid if account else content.uid,
        gid=account.gid if account else content.uid,
        groups=account.groups if account else (),
        limits=limits,
        grace=grace,
        egress=egress,
    )


def _place(
    role: Role, run: Run, content: Content, digest: str | None, name: str
) -> PlaceRef | None:
    """Where a role of this run lies; None for what the executor makes by itself."""
    match role:
        case Role.SOURCE:
            return deployment_place(content, run.deployment)
        case Role.STATE:
            return PlaceRef(kind=PlaceKind.STATE, ids=(content.id,))
        case Role.SCRATCH:
            return PlaceRef(kind=PlaceKind.SCRATCH, components=(run.id,))
        case Role.BUNDLE:
            assert digest is not None
            return PlaceRef(kind=PlaceKind.BUNDLE, components=(digest,))
        case Role.LIBRARY | Role.RUNTIME_DATA:
            return PlaceRef(kind=PlaceKind.LIBRARY, components=tuple(name.split("/")))
    return None


def deployment_place(content: Content, deployment: Deployment | DeploymentId | None) -> PlaceRef:
    """Where a deployment's application directory lies."""
    number = deployment.id if isinstance(deployment, Deployment) else deployment
    assert number is not None
    return PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(content.id, number))


def is_serving(kind: ContentKind | None) -> bool:
    """Whether a content of this kind has processes that visitors reach."""
    return kind in (ContentKind.APP, ContentKind.API)
