"""The object of a job is valid from the oldest Kubernetes on that we support to the newest we know.

fields-1.37.json has what the API of 1.37 says of every kind of object that ours is made of: its
fields, what they hold, and which must be there. For 1.20 there is a server to ask.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from supervisor_executor_kubernetes.settings import KubernetesSettings
from supervisor_executor_kubernetes.shape import Server, shape

from supervisor import (
    Access,
    Job,
    Limits,
    Mount,
    PlaceKind,
    PlaceRef,
    Plan,
    Purpose,
    Role,
    RunId,
    layout,
    place_key,
)

if TYPE_CHECKING:
    from tests.kube.place import Place

KINDS = json.loads(Path(__file__).with_name("fields-1.37.json").read_text())
SIMPLE: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "quantity": (str, int, float),
    "int-or-string": (str, int),
}
SOURCE, STATE = (
    Mount(role=role, access=access, at=layout.at(role))
    for role, access in ((Role.SOURCE, Access.READ), (Role.STATE, Access.WRITE))
)
JOB = Job(
    run=RunId("01hzy3v7k2m4n6p8q0r2s4t6v8"),
    content=7,  # type: ignore[arg-type]
    purpose=Purpose.SERVE,
    plan=Plan(
        argv=("/usr/bin/python3", "-c", "pass"),
        env={"SUPERVISOR_LISTEN": layout.LISTEN_AT},
        workdir=layout.at(Role.SOURCE),
        mounts=(SOURCE, STATE),
        stop_signal="INT",
    ),
    runtime="python",
    places={
        place_key(SOURCE): PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(7, 3)),
        place_key(STATE): PlaceRef(kind=PlaceKind.STATE, ids=(7,)),
    },
    uid=50007,
    gid=50007,
    groups=(100,),
    limits=Limits(memory_high=90 << 20, memory_max=100 << 20, cpu=0.5, run_time=60.0, tmp=1 << 20),
)
LEAST = attrs.evolve(
    JOB, limits=Limits(), groups=(), plan=attrs.evolve(JOB.plan, mounts=(), stop_signal="TERM")
)
SETTINGS = KubernetesSettings(
    claim="data",
    image=("python=localhost/python:1",),
    access_image="localhost/access:1",
    service_account="content",
    host_path=("/opt/R",),
)


def made(job: Job) -> dict[str, Any]:
    return shape(job, SETTINGS, Server(instance="0123456789abcdef", uid=1000, gid=1000), "s" * 64)


def breaks(value: Any, kind: str, where: str = "") -> Iterator[str]:
    """Say what of a value is not as its kind must be."""
    if kind in SIMPLE:
        wrong_bool = isinstance(value, bool) and kind != "boolean"
        if wrong_bool or not isinstance(value, SIMPLE[kind]):
            yield f"{where}: {value!r} is no {kind}"
    elif kind.startswith("["):
        for number, each in enumerate(value):
            yield from breaks(each, kind[1:-1], f"{where}[{number}]")
    elif kind.startswith("{"):
        for name, each in value.items():
            yield from breaks(each, kind[1:-1], f"{where}.{name}")
    else:
        fields = KINDS[kind]["fields"]
        yield from (f"{where}: no {name}" for name in KINDS[kind]["required"] if name not in value)
        for name, each in value.items():
            if name not in fields:
                yield f"{where}.{name}: not known"
            else:
                yield from breaks(each, fields[name], f"{where}.{name}")


@pytest.mark.parametrize("job", [JOB, LEAST], ids=["all", "least"])
def test_the_newest_kubernetes_knows_every_field(job: Job) -> None:
    assert [] == list(breaks(made(job), "Job"))


def test_what_is_wrong_is_found() -> None:
    body = made(JOB)
    container = body["spec"]["template"]["spec"]["containers"][0]
    container["environment"] = container.pop("env")
    del container["name"]
    body["spec"]["backoffLimit"] = "0"
    assert [
        ".spec.backoffLimit: '0' is no integer",
        ".spec.template.spec.containers[0]: no name",
        ".spec.template.spec.containers[0].environment: not known",
    ] == list(breaks(body, "Job"))


@pytest.mark.system
def test_the_oldest_kubernetes_keeps_every_field(kube: Place, kube_namespace: str) -> None:
    # it drops what it does not know, without a word
    jobs = f"/apis/batch/v1/namespaces/{kube_namespace}/jobs?dryRun=All"
    body = made(JOB)
    assert [] == list(dropped(body, kube.ask("POST", jobs, body)))


def dropped(sent: Any, kept: Any, where: str = "") -> Iterator[str]:
    """Say what of an object is not, or not the same, in another."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        for name, value in sent.items():
            if value is not False and value not in ({}, []):  # as good as absent, and told so
                yield from dropped(value, kept.get(name), f"{where}.{name}")
    elif isinstance(sent, list) and isinstance(kept, list) and len(sent) == len(kept):
        for number, value in enumerate(sent):
            yield from dropped(value, kept[number], f"{where}[{number}]")
    elif sent != kept:
        yield f"{where}: {sent!r} became {kept!r}"
