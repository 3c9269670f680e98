"""From a job to the arguments of podman, from what podman prints to ends."""

from __future__ import annotations

import json

import pytest
from supervisor_podman import usage
from supervisor_podman.command import run_arguments, variables
from supervisor_podman.container import RUN, SIGNAL, UID, containers
from supervisor_podman.settings import PodmanSettings, read

from supervisor import (
    Access,
    Cause,
    Exit,
    Job,
    Limits,
    Mount,
    PlaceKind,
    PlaceRef,
    Plan,
    Purpose,
    Role,
    RunId,
    SupervisorError,
    Usage,
    layout,
    place_key,
)

SETTINGS = PodmanSettings(image=("r=localhost/r", "localhost/other"), option=("--device=/dev/x",))


def arguments(*mounts: Mount, place: PlaceRef | None = None, **fields: object) -> list[str]:
    plan = Plan(argv=("/bin/app", "-x"), env={"A": "b"}, workdir="/w", mounts=mounts)
    job = Job(
        run=RunId("01j"),
        content=1,  # type: ignore[arg-type]
        purpose=Purpose.SERVE,
        plan=plan,
        uid=7,
        gid=8,
        places={place_key(mount): place for mount in mounts if place is not None},
        **fields,  # type: ignore[arg-type]
    )
    return run_arguments(job, SETTINGS, data_dir="/data", home="/home/run", uid=7)


def test_a_job_becomes_a_container_with_its_name_user_image_and_command() -> None:
    words = arguments(runtime="r")
    assert {"--name=supervisor-01j", "--user=7:8", "--workdir=/w", "--device=/dev/x"} <= {*words}
    assert ['--entrypoint=["/bin/app"]', "localhost/r", "-x"] == words[-3:]
    assert "localhost/other" == arguments(runtime="python")[-2]


def test_a_place_is_bound_where_the_plan_wants_it_and_as_it_may_be_used() -> None:
    at = layout.at(Role.SOURCE)
    mount = Mount(role=Role.SOURCE, access=Access.READ, at=at)
    place = PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(1, 2))
    words = arguments(mount, place=place)
    assert f"--mount=type=bind,source=/data/apps/1/2,destination={at},ro" in words


def test_limits_are_podmans() -> None:
    words = arguments(limits=Limits(cpu=0.5, pids=9, files=99, run_time=1.2, tmp=1000))
    assert {"--cpus=0.5", "--pids-limit=9", "--ulimit=nofile=99:99", "--timeout=2"} <= {*words}
    assert "--tmpfs=/tmp:rw,nosuid,nodev,mode=1777,size=1000" in words


def test_variables_go_by_a_file_unless_they_have_several_lines() -> None:
    environment = {"A": "b c=d", "LINES": "one\ntwo"}
    assert "A=b c=d\n" == variables(environment)


@pytest.mark.parametrize(
    ("code", "stopped", "end"),
    [
        (0, False, Exit(code=0, cause=Cause.FINISHED)),
        (7, False, Exit(code=7, cause=Cause.FAILED)),
        (7, True, Exit(code=7, cause=Cause.STOPPED)),
        (137, False, Exit(signal=9, cause=Cause.FAILED)),
        (143, True, Exit(signal=15, cause=Cause.STOPPED)),
        (
            -1,
            False,
            Exit(signal=9, cause=Cause.TOO_LONG, detail="podman ended it at its time limit"),
        ),
    ],
)
def test_an_exit_code_becomes_an_end(code: int, stopped: bool, end: Exit) -> None:
    labels = {RUN: "01j", UID: "7", SIGNAL: "INT"}
    entries = [{"Labels": labels, "State": "exited", "ExitCode": code}, {"Labels": None}]
    [container] = containers(json.dumps(entries))
    assert ("01j", 7, "INT", True) == (
        container.run,
        container.uid,
        container.stop_signal,
        container.ended,
    )
    assert end == container.exit(stopped=stopped)


def test_podman_that_has_nothing_prints_nothing_or_an_empty_list() -> None:
    assert [] == [*containers("")] == [*containers("[]")]


def test_usage_is_told_of_what_runs() -> None:
    text = "one 1500000000 2048 3\nover 0 0 0\n"
    assert {"one": Usage(cpu=1.5, memory=2048, processes=3)} == usage.read(text)


def test_the_section_is_read_with_its_defaults() -> None:
    volumes = ["/usr:/usr:ro", "/opt:/opt"]
    settings = read({"image": ["x"], "volume": volumes, "command": ["a 'b c'"]})
    assert ("a", "b c") == settings.words
    assert ("none", tuple(volumes)) == (settings.network, settings.volume)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"network": ["host"]}, "it names no Image"),
        ({"image": ["x"], "command": ["podman '"]}, "is not a command"),
        ({"image": ["x"], "command": [""]}, "is not a command"),
    ],
)
def test_a_wrong_section_is_refused(section: dict[str, list[str]], says: str) -> None:
    with pytest.raises(SupervisorError, match=says) as caught:
        read(section)
    assert "settings-invalid" == caught.value.code


def test_a_runtime_without_an_image_is_refused() -> None:
    with pytest.raises(SupervisorError, match="no Image for the runtime 'r'"):
        PodmanSettings(image=("python=x",)).image_of("r")
