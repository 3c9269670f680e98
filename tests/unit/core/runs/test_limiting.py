"""Which limits a run gets, and who is refused for one that cannot hold."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from supervisor.core.runs.limiting import Given, lacking, limits_of
from supervisor.errors import SupervisorError
from supervisor.limits import Allowed
from supervisor.model import Content, ContentId, Guid, Limits
from supervisor.testing import ScriptedExecutor

NOTHING = Allowed(default={}, most={})


def content(**limits: object) -> Content:
    return Content(
        id=ContentId(1), guid=Guid("g"), name="app", limits=Limits(**limits),  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def executor(tmp_path: Path) -> ScriptedExecutor:
    made = ScriptedExecutor(tmp_path)
    made.capabilities = attrs.evolve(
        made.capabilities, limits=frozenset({"pids", "memory_max"}), usage=True
    )
    return made


def test_a_limit_of_the_content_that_its_executor_does_not_claim_is_refused_with_its_name(
    executor: ScriptedExecutor,
) -> None:
    with pytest.raises(SupervisorError, match="cannot enforce cpu_limit, tmp_limit") as caught:
        limits_of(content(pids=5, cpu=0.5, tmp=1), NOTHING, executor)
    assert "limit-unenforceable" == caught.value.code


def test_a_default_of_the_server_that_cannot_hold_is_left_out_and_told(
    executor: ScriptedExecutor,
) -> None:
    allowed = Allowed(default={"cpu": 2.0, "pids": 7}, most={})
    assert Given(limits=Limits(pids=7), lacking=("cpu_limit",)) == limits_of(
        content(), allowed, executor
    )


def test_no_limit_is_not_a_limit(executor: ScriptedExecutor) -> None:
    assert Given() == limits_of(content(cpu=0.0, tmp=0), NOTHING, executor)


def test_the_core_keeps_the_run_time_and_the_high_mark_itself(executor: ScriptedExecutor) -> None:
    given = limits_of(content(run_time=1.0, memory_max=1000), NOTHING, executor)
    assert Limits(run_time=1.0, memory_max=1000, memory_high=900) == given.limits


def test_no_high_mark_is_promised_where_nobody_says_what_is_used(
    executor: ScriptedExecutor,
) -> None:
    executor.capabilities = attrs.evolve(executor.capabilities, usage=False)
    given = limits_of(content(memory_max=1000), NOTHING, executor)
    assert Given(limits=Limits(memory_max=1000)) == given
    with pytest.raises(SupervisorError, match="cannot enforce memory_high"):
        limits_of(content(memory_max=1000, memory_high=5), NOTHING, executor)


def test_doctor_learns_which_limits_of_the_server_do_not_hold(executor: ScriptedExecutor) -> None:
    allowed = Allowed(default={"cpu": 2.0, "pids": 7}, most={"tmp": 5})
    assert ("cpu_limit", "tmp_limit") == lacking(allowed, executor)
    assert () == lacking(NOTHING, executor)
