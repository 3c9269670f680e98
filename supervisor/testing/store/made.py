"""Records that the tests of stores keep."""

from __future__ import annotations

from typing import Any

from supervisor.interfaces import Change
from supervisor.lifecycle import State
from supervisor.model import (
    Bundle,
    BundleId,
    Cause,
    Content,
    ContentId,
    ContentKind,
    Deployment,
    DeploymentId,
    Exit,
    Guid,
    Limits,
    Node,
    Overrides,
    Purpose,
    Receipt,
    Run,
    RunId,
    Task,
    new_guid,
    new_run_id,
)


def content(number: int, **fields: Any) -> Content:
    """Make a content with every field that its id needs to be told from others."""
    given = {"id": ContentId(number), "guid": new_guid(), "name": f"name-{number}", **fields}
    return Content(**given)


def run(at: int = 0, **fields: Any) -> Run:
    """Make a run whose id is of the millisecond `at`."""
    given = {
        "id": new_run_id(milliseconds=at),
        "key": "key",
        "content": ContentId(1),
        "purpose": Purpose.SERVE,
        **fields,
    }
    return Run(**given)


def new(kind: str, record: Any) -> Change:
    """Say that a record is to be stored that is not there yet."""
    return Change(kind=kind, record=record, was=0)


RECORDS: tuple[tuple[str, Any], ...] = (
    (
        "content",
        Content(
            id=ContentId(7),
            guid=Guid("6c1e4a0c-5d2c-4b6f-9d0b-9f0a0a7a0001"),
            name="a-name",
            title="Überschrift \u2603 \x00 end",
            kind=ContentKind.APP,
            uid=100007,
            scaling=Overrides(least=1, most=3, load_factor=0.25),
            limits=Limits(memory_max=2**40, cpu=0.5),
            environment={"KEY": "a value\nof two lines"},
            active_deployment=DeploymentId(3),
            created=1700000000.123,
            version=4,
        ),
    ),
    (
        "bundle",
        Bundle(
            id=BundleId(2),
            content=ContentId(7),
            digest="a" * 64,
            size=2**41,
            manifest={"files": {"app.R": {"checksum": None}}, "list": [1, 2.5, True]},
        ),
    ),
    (
        "deployment",
        Deployment(
            id=DeploymentId(3),
            content=ContentId(7),
            bundle=BundleId(2),
            runtime="a-runtime",
            app_mode="a-mode",
            entrypoint="app",
        ),
    ),
    (
        "run",
        Run(
            id=RunId("01k" + "0" * 23),
            key="ABCDEFGHabcdefgh",
            content=ContentId(7),
            deployment=DeploymentId(3),
            purpose=Purpose.SERVE,
            state=State.FAILED,
            receipt=Receipt(
                run=RunId("01k" + "0" * 23), executor="an-executor", data={"pid": 4711, "x": [None]}
            ),
            node="a-node",
            started=1.5,
            exit=Exit(signal=9, cause=Cause.MEMORY, detail="too much"),
            version=9,
        ),
    ),
    ("task", Task(id="t1", content=ContentId(7), output=("one", "two"), finished=True, code=1)),
    ("node", Node(id="a-node", lease="node/a-node", host="a host", started=1.5, version=2)),
)
