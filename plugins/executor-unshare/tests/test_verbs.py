"""What the helper believes of a message, and what it refuses."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor_unshare.requests import jobs
from supervisor_unshare.requests.fields import Refused
from supervisor_unshare.requests.rules import Rules
from supervisor_unshare.requests.verbs import CORE_VERBS, GATEWAY_VERBS, parse

from supervisor import Egress, Job, to_json
from supervisor.layout import MOUNT_ROOT

RUN = "01k00000000000000000000000"
RULES = Rules(
    tier="root",
    core_uid=100_005,
    core_gid=100_005,
    gateway_uid=100_006,
    gateway_gid=100_006,
    uid_first=100_000,
    uid_last=100_010,
    trees=("/usr", "/bin"),
)
DEPLOYMENT = {"kind": "deployment", "ids": [1, 2], "components": []}


@pytest.fixture
def message(job: Callable[..., Job]) -> dict[str, Any]:
    made = json.loads(json.dumps(to_json(job("/usr/bin/true", uid=100_001))))
    del made["runtime"]  # as the executor does: for whom it runs is no business of root's
    mount = {"role": "source", "access": "write", "at": f"{MOUNT_ROOT}/app", "name": ""}
    made["plan"]["mounts"] = [mount]
    made["places"] = {"source/": DEPLOYMENT}
    return {"type": "start", "id": 1, "job": made}


def refusal(message: dict[str, Any], rules: Rules = RULES) -> Refused:
    with pytest.raises(Refused) as caught:
        parse(message, rules, CORE_VERBS)
    return caught.value


def test_a_job_of_the_core_passes(message: dict[str, Any]) -> None:
    parsed = parse(message, RULES, CORE_VERBS).arguments["job"]
    assert (1, 100_001, 100_001) == (parsed.content, parsed.uid, parsed.gid)
    assert [f"{MOUNT_ROOT}/app"] == [mount.at for mount in parsed.mounts]


@pytest.mark.parametrize("uid", [0, 99_999, 100_002, 100_005, 100_006, 100_011, -1, 2**40, True])
def test_a_uid_that_is_not_the_contents_own_is_refused(message: dict[str, Any], uid: int) -> None:
    message["job"]["uid"] = message["job"]["gid"] = uid
    refusal(message)


@pytest.mark.parametrize("at", ["app", "app/inner", "app/inner/deep"])
@pytest.mark.parametrize("first", [True, False])
def test_a_mount_within_another_is_refused(message: dict[str, Any], at: str, first: bool) -> None:
    mount = {"role": "state", "access": "write", "at": f"{MOUNT_ROOT}/{at}", "name": ""}
    message["job"]["plan"]["mounts"].insert(0 if first else 1, mount)
    message["job"]["places"]["state/"] = {"kind": "state", "ids": [1], "components": []}
    assert "overlap" in str(refusal(message))


def test_a_plan_without_a_stop_signal_means_term(message: dict[str, Any]) -> None:
    message["job"]["plan"]["stop_signal"] = "INT"
    assert "INT" == jobs.job(message["job"], RULES).stop_signal
    del message["job"]["plan"]["stop_signal"]
    assert "TERM" == jobs.job(message["job"], RULES).stop_signal


@pytest.mark.parametrize("content", [5, 6])
def test_the_uids_of_core_and_gateway_are_refused_inside_the_range(
    message: dict[str, Any], content: int
) -> None:
    message["job"]["content"] = content
    message["job"]["uid"] = message["job"]["gid"] = 100_000 + content
    message["job"]["places"]["source/"] = {**DEPLOYMENT, "ids": [content, 2]}
    assert "belongs to root, the core or the gateway" in str(refusal(message))


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(job: dict[str, Any]) -> None:
        *above, last = path.split(".")
        for name in above:
            job = job[int(name)] if isinstance(job, list) else job[name]
        job[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("groups", [0]),
        _set("gid", 27),
        _set("purpose", "shell"),
        _set("version", 2),
        _set("run", "../../etc"),
        _set("run", RUN + "\n"),
        _set("grace", float("nan")),
        _set("grace", 1e9),
        _set("extra", 1),
        _set("plan.argv", []),
        _set("plan.argv", ["sh"]),
        _set("plan.argv", ["/tmp/program"]),
        _set("plan.argv", ["/usr/../tmp/program"]),
        _set("plan.argv", ["/usrlocal/program"]),
        _set("plan.argv", ["/usr/bin/true", "a\0b"]),
        _set("plan.argv", ["/usr/bin/true", "\ud800"]),
        _set("plan.env", {"A=B": "c"}),
        _set("plan.env", {"A": 1}),
        _set("plan.env", {"": "c"}),
        _set("plan.stop_signal", "KILL"),
        _set("plan.stop_signal", ["INT"]),
        _set("plan.workdir", "tmp"),
        _set("plan.workdir", "//tmp"),
        _set("places", {}),
        _set("places.source/", {**DEPLOYMENT, "ids": [2, 2]}),
        _set("places.source/", {**DEPLOYMENT, "ids": ["..", 2]}),
        _set("places.source/", {**DEPLOYMENT, "ids": [1.0, 2]}),
        _set("places.source/", {"kind": "scratch", "ids": [], "components": [RUN]}),
        _set("places.source/", {"kind": "bundle", "ids": [], "components": ["0" * 64]}),
        _set("places.source/", {"kind": "library", "ids": [], "components": ["R"]}),
        _set("places.source/", {"kind": "root", "ids": [], "components": []}),
        _set("limits.memory_max", -1),
        _set("limits.pids", 1.5),
        _set("limits.files", True),
        _set("limits.nice", 10_000),
    ],
)
def test_a_job_that_breaks_a_rule_is_refused(
    message: dict[str, Any], change: Callable[[dict[str, Any]], None]
) -> None:
    change(message["job"])
    refusal(message)


@pytest.mark.parametrize(
    "at",
    [
        "/etc",
        "/usr/bin",
        MOUNT_ROOT,
        f"{MOUNT_ROOT}/socket",
        f"{MOUNT_ROOT}/tmp/x",
        f"{MOUNT_ROOT}/../x",
        f"{MOUNT_ROOT}/app/",
        "/proc/1",
    ],
)
def test_nothing_is_mounted_over_the_system_or_the_runs_own(
    message: dict[str, Any], at: str
) -> None:
    message["job"]["plan"]["mounts"][0]["at"] = at
    refusal(message)


def test_without_root_content_has_the_callers_uid(message: dict[str, Any]) -> None:
    message["job"]["uid"] = message["job"]["gid"] = 0
    rules = dataclasses.replace(RULES, tier="rootless")
    assert os.geteuid() == parse(message, rules, CORE_VERBS).arguments["job"].uid


@pytest.mark.parametrize(
    "message",
    [
        {"type": "exec", "id": 1},
        {"type": "connect", "id": 1, "run": "x"},
        {"type": "list"},
        {"type": "list", "id": "1"},
        {"type": "list", "id": True},
        {"type": "list", "id": 1, "path": "/etc"},
        {"type": "forget", "id": 1},
        {"type": "forget", "id": 1, "run": "x"},
        {"type": "remove", "id": 1, "place": "/etc"},
        {"type": "remove", "id": 1, "place": {"kind": "state", "ids": [], "components": []}},
        {"type": "usage", "id": 1, "runs": "x"},
    ],
)
def test_unknown_verbs_and_fields_are_refused(message: dict[str, Any]) -> None:
    refusal(message)


def test_the_gateway_can_only_greet_and_connect() -> None:
    assert ["hello", "connect"] == list(GATEWAY_VERBS)


def test_every_verb_of_the_core_has_its_checks() -> None:
    expected = "hello start stop list output usage forget prepare seal remove doctor connect"
    assert expected.split() == list(CORE_VERBS)


@pytest.mark.parametrize(
    ("most", "pasta", "asked", "port", "code"),
    [
        (Egress.HOST, "", "host", None, None),
        (Egress.HOST, "", "none", None, None),
        (Egress.HOST, "", "none", 8000, None),
        (Egress.HOST, "", "user", None, "egress-unavailable"),
        (Egress.HOST, "/usr/bin/pasta", "user", 8000, None),
        (Egress.USER, "/usr/bin/pasta", "host", None, "job-refused"),
        (Egress.NONE, "/usr/bin/pasta", "user", None, "job-refused"),
        (Egress.NONE, "", "none", None, None),
        (Egress.HOST, "", "host", 8000, "job-refused"),
        (Egress.HOST, "", "none", 80, "bad-request"),
        (Egress.HOST, "", "none", 70_000, "bad-request"),
        (Egress.HOST, "", "none", "8000", "bad-request"),
        (Egress.HOST, "", "everywhere", None, "bad-request"),
        (Egress.HOST, "", None, None, "bad-request"),
    ],
)
def test_a_job_reaches_no_further_than_the_settings_allow(
    message: dict[str, Any], most: Egress, pasta: str, asked: str, port: Any, code: str | None
) -> None:
    rules = dataclasses.replace(RULES, egress=most, pasta=pasta)
    message["job"]["egress"] = asked
    message["job"]["plan"]["port"] = port
    if code is None:
        job = parse(message, rules, CORE_VERBS).arguments["job"]
        assert (Egress(asked), port) == (job.egress, job.port)
    else:
        with pytest.raises(Refused) as refused:
            parse(message, rules, CORE_VERBS)
        assert code == refused.value.code


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from([*CORE_VERBS, "other"]), st.dictionaries(st.text(), _JSON, max_size=4))
def test_any_message_is_understood_or_refused(verb: str, fields: dict[str, Any]) -> None:
    with contextlib.suppress(Refused):
        parse({**fields, "type": verb}, RULES, CORE_VERBS)


@given(st.data())
def test_a_job_with_any_part_replaced_is_understood_or_refused(data: st.DataObject) -> None:
    job = copy.deepcopy(SAMPLE)
    here: Any = job
    while isinstance(here, dict | list) and here:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(here[key], dict | list):
            here[key] = data.draw(_JSON)
            break
        here = here[key]
    try:
        parsed = jobs.job(job, RULES)
    except Refused:
        return
    assert 100_000 < parsed.uid <= 100_010
    assert parsed.argv[0].startswith(("/usr/", "/bin/"))


SAMPLE: dict[str, Any] = {
    "version": 1,
    "run": RUN,
    "content": 1,
    "purpose": "serve",
    "plan": {
        "argv": ["/usr/bin/true", "x"],
        "env": {"A": "b"},
        "workdir": "/tmp",
        "mounts": [{"role": "source", "access": "write", "at": f"{MOUNT_ROOT}/app", "name": ""}],
        "ready": None,
        "prefix": "strip",
        "stop_signal": "TERM",
    },
    "places": {"source/": DEPLOYMENT},
    "uid": 100_001,
    "gid": 100_001,
    "groups": [],
    "limits": dict.fromkeys("memory_high memory_max cpu pids files tmp run_time".split()),
    "grace": 5.0,
}
