"""The object that a job becomes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
from supervisor_executor_kubernetes.settings import KubernetesSettings
from supervisor_executor_kubernetes.shape import Server, job_name, shape

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
    SupervisorError,
    layout,
    place_key,
)

RUN = RunId("01hzy3v7k2m4n6p8q0r2s4t6v8")
SETTINGS = KubernetesSettings(claim="data", image=("python=localhost/python:1",))
SERVER = Server(instance="0123456789abcdef", uid=1000, gid=1000)
SECRET = "s" * 64

ROLES = (Role.SOURCE, Role.SCRATCH, Role.HOME, Role.STATE, Role.SOCKET)
MOUNTS = tuple(Mount(role=role, access=Access.WRITE, at=layout.at(role)) for role in ROLES)
PLACES = {
    place_key(MOUNTS[0]): PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(7, 3)),
    place_key(MOUNTS[3]): PlaceRef(kind=PlaceKind.STATE, ids=(7,)),
}
JOB = Job(
    run=RUN,
    content=7,  # type: ignore[arg-type]
    purpose=Purpose.SERVE,
    plan=Plan(
        argv=("/usr/bin/python3", "-c", "print('$(HOME) $$')"),
        env={"PRICE": "5$", "SUPERVISOR_LISTEN": layout.LISTEN_AT},
        workdir=layout.at(Role.SOURCE),
        mounts=MOUNTS,
    ),
    runtime="python",
    places=PLACES,
    uid=50007,
    gid=50007,
)


def _neighbour(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


breaches = _neighbour("restricted").breaches


def made(job: Job = JOB, settings: KubernetesSettings = SETTINGS) -> dict[str, Any]:
    return shape(job, settings, SERVER, SECRET)


def pod(job: Job = JOB, settings: KubernetesSettings = SETTINGS) -> dict[str, Any]:
    spec: dict[str, Any] = made(job, settings)["spec"]["template"]["spec"]
    return spec


def content(job: Job = JOB, settings: KubernetesSettings = SETTINGS) -> dict[str, Any]:
    return next(each for each in pod(job, settings)["containers"] if each["name"] == "content")


def mounted(container: dict[str, Any]) -> dict[str, tuple[str, str, bool]]:
    return {
        each["mountPath"]: (each["name"], each.get("subPath", ""), each.get("readOnly", False))
        for each in container["volumeMounts"]
    }


def limited(**fields: Any) -> Job:
    return attrs.evolve(JOB, limits=Limits(**fields))


def test_the_same_job_gives_the_same_object() -> None:
    assert made() == made()


def test_names_and_labels_are_what_kubernetes_takes() -> None:
    metadata = made()["metadata"]
    assert job_name(Purpose.SERVE, RUN) == metadata["name"]
    assert len(metadata["name"]) <= 52
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", metadata["name"])
    for value in metadata["labels"].values():
        assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)


def test_a_pod_is_within_the_restricted_standard() -> None:
    assert [] == breaches(pod())


def test_a_host_path_is_there_only_where_it_is_configured() -> None:
    assert ["volume hostPath"] == breaches(
        pod(settings=attrs.evolve(SETTINGS, host_path=("/opt/R",)))
    )
    found = mounted(content(settings=attrs.evolve(SETTINGS, host_path=("/opt/R",))))
    assert ("host-0", "", True) == found["/opt/R"]


def test_nothing_is_tried_again_and_nothing_of_the_cluster_is_told_to_the_content() -> None:
    spec = made()["spec"]
    assert (0, 1, 1) == (spec["backoffLimit"], spec["completions"], spec["parallelism"])
    template = spec["template"]["spec"]
    assert "Never" == template["restartPolicy"]
    assert template["automountServiceAccountToken"] is False
    assert template["enableServiceLinks"] is False


def test_the_content_has_its_own_uid_and_one_without_has_the_servers() -> None:
    assert (50007, 50007) == _identity(pod())
    assert (1000, 1000) == _identity(pod(attrs.evolve(JOB, uid=0, gid=0)))


def _identity(spec: dict[str, Any]) -> tuple[int, int]:
    context = spec["securityContext"]
    return context["runAsUser"], context["runAsGroup"]


def test_root_is_refused() -> None:
    with pytest.raises(SupervisorError, match="user id"):
        shape(attrs.evolve(JOB, uid=0), SETTINGS, Server(instance="x", uid=0, gid=0), SECRET)


def test_places_lie_at_the_same_paths_as_locally() -> None:
    found = mounted(content())
    for root in ("/opt/content-supervisor", "/opt/rstudio-connect"):
        assert ("data", "apps/7/3", False) == found[f"{root}/mnt/app"]
        assert ("data", "state/7", False) == found[f"{root}/mnt/state"]
        assert ("socket", "", False) == found[f"{root}/mnt/socket"]
        assert ("tmp", "tmp", False) == found[f"{root}/mnt/tmp"]
    assert {("tmp", "tmp", False)} == {found["/tmp"], found["/var/tmp"]}
    assert ("tmp", "home", False) == found["/home"]


def test_places_may_lie_below_a_path_of_the_claim_and_be_read_only() -> None:
    reads = tuple(attrs.evolve(mount, access=Access.READ) for mount in MOUNTS)
    job = attrs.evolve(JOB, plan=attrs.evolve(JOB.plan, mounts=reads))
    found = mounted(content(job, attrs.evolve(SETTINGS, claim_path="srv/data")))
    assert ("data", "srv/data/apps/7/3", True) == found[layout.at(Role.SOURCE)]
    assert ("tmp", "tmp", False) == found["/tmp"]


def test_without_a_claim_a_job_with_files_is_refused_and_one_without_is_not() -> None:
    with pytest.raises(SupervisorError, match="Claim"):
        made(settings=attrs.evolve(SETTINGS, claim=""))
    bare = attrs.evolve(JOB, places={})
    volumes = pod(bare, attrs.evolve(SETTINGS, claim=""))["volumes"]
    assert "data" not in {volume["name"] for volume in volumes}


def test_no_two_mounts_are_at_the_same_path() -> None:
    paths = [each["mountPath"] for each in content()["volumeMounts"]]
    assert len(set(paths)) == len(paths)


def test_the_process_has_a_name_in_passwd() -> None:
    annotations = made()["spec"]["template"]["metadata"]["annotations"]
    assert "content:x:50007:50007:" in annotations["supervisor/passwd"]
    assert ("identity", "passwd", True) == mounted(content())["/etc/passwd"]


def test_no_dollar_of_a_program_or_variable_is_replaced() -> None:
    assert "print('$$(HOME) $$$$')" == content()["command"][2]
    assert {"name": "PRICE", "value": "5$$"} in content()["env"]


def test_limits_become_resources() -> None:
    job = limited(memory_max=2**30, memory_high=2**29, cpu=1.5, tmp=2**20, run_time=90.5)
    assert {
        "limits": {"memory": "1073741824", "cpu": "1500m"},
        "requests": {"memory": "536870912", "cpu": "100m"},
    } == content(job)["resources"]
    assert 91 == pod(job)["activeDeadlineSeconds"]
    volumes = {volume["name"]: volume for volume in pod(job)["volumes"]}
    assert {"sizeLimit": "1048576"} == volumes["tmp"]["emptyDir"]


@pytest.mark.parametrize("limit", ["pids", "files"])
def test_a_limit_that_a_pod_cannot_have_is_refused(limit: str) -> None:
    with pytest.raises(SupervisorError, match=limit) as refused:
        made(limited(**{limit: 10}))
    assert "limit-unenforceable" == refused.value.code


def test_without_limits_there_are_none() -> None:
    assert {"limits": {}, "requests": {}} == content()["resources"]
    assert "activeDeadlineSeconds" not in pod()


def test_a_process_that_wants_int_gets_it_before_kubernetes_says_term() -> None:
    assert "lifecycle" not in content()
    plan = attrs.evolve(JOB.plan, stop_signal="INT")
    hook = content(attrs.evolve(JOB, plan=plan))["lifecycle"]["preStop"]["exec"]["command"]
    assert "kill -s INT -- -1; sleep 5" == hook[-1]


def test_the_entrance_knows_by_which_signal_the_process_is_asked_to_end() -> None:
    interrupted = attrs.evolve(JOB, plan=attrs.evolve(JOB.plan, stop_signal="INT"))
    assert "TERM" == pod()["containers"][1]["args"][-1]
    assert "INT" == pod(interrupted)["containers"][1]["args"][-1]


def test_the_spec_holds_the_hash_of_the_secret_and_never_the_secret() -> None:
    text = json.dumps(made())
    assert SECRET not in text
    assert hashlib.sha256(SECRET.encode()).hexdigest() in text


def test_probes_are_for_the_entrance_and_none_ends_a_process_that_computes() -> None:
    containers = {each["name"]: each for each in pod()["containers"]}
    assert not {"livenessProbe", "startupProbe"} & containers["content"].keys()
    assert {"startupProbe", "readinessProbe"} <= containers["access"].keys()
    assert "livenessProbe" not in containers["access"]


def test_a_runtime_without_an_image_is_refused_with_what_to_set() -> None:
    with pytest.raises(SupervisorError, match="'r'") as refused:
        made(attrs.evolve(JOB, runtime="r"))
    assert "Image = r=" in refused.value.hint


def test_an_image_may_have_its_interpreter_elsewhere() -> None:
    settings = attrs.evolve(SETTINGS, executable=("python=/opt/bin/python",))
    assert "/opt/bin/python" == content(settings=settings)["command"][0]


def test_an_object_is_small_enough_for_the_cluster() -> None:
    assert len(json.dumps(made())) < 100_000  # etcd keeps 1.5 MiB
