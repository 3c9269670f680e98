"""Model values as JSON and back."""

from __future__ import annotations

import json

import pytest

from supervisor import wire
from supervisor.layout import PlaceKind, PlaceRef
from supervisor.lifecycle import State
from supervisor.model import (
    Access,
    Cause,
    Content,
    ContentId,
    Exit,
    Guid,
    Job,
    Limits,
    Mount,
    Overrides,
    Plan,
    Purpose,
    Ready,
    Receipt,
    Role,
    Run,
    TcpEndpoint,
    Transition,
    UnixEndpoint,
    new_job_key,
    new_run_id,
)

RUN = new_run_id()
PLAN = Plan(
    argv=("/bin/x", "é"),
    env={"A": "b"},
    workdir="/",
    mounts=(Mount(role=Role.SOURCE, access=Access.WRITE, at="/opt/x"),),
    ready=Ready(statuses=(200, 302)),
)


@pytest.mark.parametrize(
    "value",
    [
        Content(
            id=ContentId(3),
            guid=Guid("g"),
            name="n",
            scaling=Overrides(least=1),
            limits=Limits(cpu=0.5),
            environment={"X": "y"},
        ),
        Job(
            run=RUN,
            content=ContentId(3),
            purpose=Purpose.SERVE,
            plan=PLAN,
            places={"source/": PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(3, 4))},
        ),
        Run(
            id=RUN,
            key=new_job_key(),
            content=ContentId(3),
            purpose=Purpose.SERVE,
            state=State.FAILED,
            receipt=Receipt(run=RUN, executor="x", data={"pid": 3}),
            exit=Exit(signal=9, cause=Cause.MEMORY),
        ),
        Transition(run=RUN, content=ContentId(3), was="a", now="b", event="c"),
        UnixEndpoint(directory="/d", name="n", uid=3),
        TcpEndpoint(host="h", port=3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_comes_back_as_it_was(value: object) -> None:
    assert value == wire.from_json(type(value), wire.decode(wire.encode(value)))
    assert wire.decode(wire.encode(value)) == json.loads(json.dumps(wire.to_json(value)))


def test_unknown_keys_of_a_newer_core_are_ignored() -> None:
    data = {**wire.to_json(Exit(code=0, cause=Cause.FINISHED)), "colour": "red"}
    assert Exit(code=0, cause=Cause.FINISHED) == wire.from_json(Exit, data)


def test_what_does_not_fit_is_named_by_its_path() -> None:
    data = wire.to_json(PLAN)
    data["mounts"][0]["access"] = "burn"
    with pytest.raises(ValueError, match=r"mounts\[\.*0?\.*\]\.access|access"):
        wire.from_json(Plan, data)


@pytest.mark.parametrize("data", ["", "{", "{'a': 1}", b"\xff"])
def test_text_that_is_no_json_is_a_value_error(data: str | bytes) -> None:
    with pytest.raises(ValueError):
        wire.decode(data)
