"""From plan to job: places, environment, rights."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor import layout
from supervisor.core.runs.placing import common_environment, make_job
from supervisor.errors import SupervisorError
from supervisor.layout import PlaceKind, PlaceRef, Role
from supervisor.model import Access, ContentKind, Limits, Mount, Plan, Purpose
from supervisor.testing.house import a_content, a_run

RUN = a_run()


def mount(role: Role, access: Access = Access.READ, name: str = "") -> Mount:
    parts = name.split("/") if name else ()
    return Mount(role=role, access=access, at=layout.at(role, *parts), name=name)


def plan(*mounts: Mount, **env: str) -> Plan:
    return Plan(argv=("/x",), workdir="/", mounts=mounts, env=env)


def environment(**own: str) -> dict[str, str]:
    content = a_content(environment=own)
    return common_environment(content, RUN, server="http://s/", extra={"FROM_PLUGIN": "1"})


def job_of(plan: Plan, *, own: dict[str, str] | None = None, **fields: Any) -> Any:
    content = a_content(environment=own or {}, uid=200_001, **fields)
    given = common_environment(content, RUN, server="", extra={})
    limits = Limits(pids=5)
    return make_job(
        run=RUN, content=content, plan=plan, runtime="mine", environment=given, limits=limits
    )


def test_the_publisher_wins_over_defaults_and_plugins() -> None:
    made = environment(LANG="de_DE", FROM_PLUGIN="2")
    assert ("de_DE", "2") == (made["LANG"], made["FROM_PLUGIN"])


def test_markers_and_identity_cannot_be_overridden() -> None:
    own = {"POSIT_PRODUCT": "X", "CONNECT_CONTENT_GUID": "y", "CONNECT_CONTENT_JOB_KEY": "z"}
    made = environment(**own)
    assert ("CONNECT", "guid-1", RUN.key) == tuple(made[name] for name in own)


def test_the_plan_wins_over_defaults_and_the_publisher_over_the_plan() -> None:
    job = job_of(plan(LANG="en_GB", R_LIBS="/plan"), own={"R_LIBS": "/own"})
    assert ("en_GB", "/own") == (job.plan.env["LANG"], job.plan.env["R_LIBS"])


def test_what_serves_is_told_where_to_listen_whatever_was_set() -> None:
    job = job_of(plan(), own={"SUPERVISOR_LISTEN": "/elsewhere"})
    assert layout.LISTEN_AT == job.plan.env["SUPERVISOR_LISTEN"]


def test_the_job_asks_its_process_to_end_as_the_plan_says() -> None:
    asked = Plan(argv=("/x",), workdir="/", stop_signal="INT")
    assert "INT" == job_of(asked).plan.stop_signal


def test_every_role_has_its_place_and_the_identity_is_the_contents() -> None:
    job = job_of(
        plan(
            mount(Role.SOURCE, Access.WRITE),
            mount(Role.STATE),
            mount(Role.SCRATCH),
            mount(Role.LIBRARY, name="R/4.2"),
            mount(Role.HOME),
        )
    )
    assert {
        "source/": PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(1, 1)),
        "state/": PlaceRef(kind=PlaceKind.STATE, ids=(1,)),
        "scratch/": PlaceRef(kind=PlaceKind.SCRATCH, components=(RUN.id,)),
        "library/R/4.2": PlaceRef(kind=PlaceKind.LIBRARY, components=("R", "4.2")),
    } == job.places
    assert (200_001, 200_001, Limits(pids=5)) == (job.uid, job.gid, job.limits)
    for place in job.places.values():
        layout.components(place)


def test_unpacking_names_the_archive_by_its_digest() -> None:
    run = a_run(purpose=Purpose.UNPACK)
    wanted = plan(mount(Role.BUNDLE), mount(Role.SOURCE, Access.WRITE))
    job = make_job(
        run=run,
        content=a_content(),
        plan=wanted,
        runtime="unpack",
        environment={},
        digest="a" * 64,
    )
    bundle = PlaceRef(kind=PlaceKind.BUNDLE, components=("a" * 64,))
    assert bundle == job.places["bundle/"]
    assert "SUPERVISOR_LISTEN" not in job.plan.env


@pytest.mark.parametrize("kind", [ContentKind.DOCUMENT, None])
def test_a_plan_that_asks_too_much_makes_no_job(kind: ContentKind | None) -> None:
    with pytest.raises(SupervisorError, match="mine") as caught:
        job_of(plan(mount(Role.SOURCE, Access.WRITE)), kind=kind)
    assert "plan-refused" == caught.value.code
