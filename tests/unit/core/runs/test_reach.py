"""How far runs reach: content, server, bounds, and what the executor can give."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from supervisor.core.runs.reach import Reach
from supervisor.errors import SupervisorError
from supervisor.interfaces import Capabilities, Lifetime
from supervisor.model import Plan, Purpose
from supervisor.network import Egress
from supervisor.testing.house import a_content

NONE, USER, HOST = Egress.NONE, Egress.USER, Egress.HOST
PLAN = Plan(argv=("/bin/app",), workdir="/tmp")
ON_A_PORT = attrs.evolve(PLAN, port=8000)


def executor(*egress: Egress, ports: bool = True) -> Any:
    capabilities = Capabilities(
        lifetime=Lifetime.NODE, purposes=frozenset(Purpose), egress=frozenset(egress), ports=ports
    )
    return SimpleNamespace(name="local", capabilities=capabilities)


ALL = executor(*Egress)


@pytest.mark.parametrize(
    ("own", "default", "most", "purpose", "plan", "expected"),
    [
        (None, HOST, HOST, Purpose.SERVE, PLAN, HOST),
        (None, USER, HOST, Purpose.SERVE, PLAN, USER),
        (NONE, HOST, HOST, Purpose.SERVE, PLAN, NONE),
        (HOST, NONE, HOST, Purpose.SERVE, PLAN, HOST),
        (HOST, HOST, USER, Purpose.SERVE, PLAN, USER),  # set before the bound was
        (None, HOST, NONE, Purpose.SERVE, PLAN, NONE),
        (None, HOST, HOST, Purpose.SERVE, ON_A_PORT, USER),
        (NONE, HOST, HOST, Purpose.SERVE, ON_A_PORT, NONE),
        (NONE, HOST, HOST, Purpose.INSTALL, PLAN, HOST),
        (HOST, HOST, HOST, Purpose.UNPACK, PLAN, NONE),
        (HOST, HOST, HOST, Purpose.TIDY, PLAN, NONE),
    ],
)
def test_the_content_counts_over_the_server_within_the_bound(
    own: Egress | None,
    default: Egress,
    most: Egress,
    purpose: Purpose,
    plan: Plan,
    expected: Egress,
) -> None:
    content = attrs.evolve(a_content(), egress=own)
    reach = Reach(default=default, most=most)
    assert expected is reach.of_run(content, purpose, plan, ALL)


def test_unpacking_needs_nothing_that_an_executor_cannot_give() -> None:
    assert HOST is Reach().of_run(a_content(), Purpose.UNPACK, PLAN, executor(HOST))


@pytest.mark.parametrize(
    ("reach", "plan", "claims"),
    [
        (Reach(default=USER), PLAN, executor(NONE, HOST)),
        (Reach(), ON_A_PORT, executor(NONE, HOST)),
        (Reach(), ON_A_PORT, executor(*Egress, ports=False)),
        (Reach(default=NONE), PLAN, executor(HOST)),
    ],
)
def test_what_the_executor_cannot_give_is_not_replaced_by_more(
    reach: Reach, plan: Plan, claims: Any
) -> None:
    with pytest.raises(SupervisorError) as refused:
        reach.of_run(a_content(), Purpose.SERVE, plan, claims)
    assert "egress-unavailable" == refused.value.code


def test_a_package_of_this_machine_is_no_help_where_processes_are_elsewhere() -> None:
    far = executor(HOST)
    far.capabilities = attrs.evolve(far.capabilities, lifetime=Lifetime.REMOTE)
    for claims, helps in ((executor(HOST), True), (far, False)):
        with pytest.raises(SupervisorError) as refused:
            Reach(default=USER).of_run(a_content(), Purpose.SERVE, PLAN, claims)
        assert helps is ("passt" in refused.value.hint)


def test_a_content_may_not_be_set_beyond_the_bound() -> None:
    content = attrs.evolve(a_content(), egress=HOST)
    with pytest.raises(SupervisorError) as refused:
        Reach(most=USER).check(content, ALL)
    assert "egress-over-limit" == refused.value.code
    Reach(most=USER).check(attrs.evolve(content, egress=USER), ALL)
    Reach(most=NONE).check(attrs.evolve(content, egress=None), ALL)


def test_an_egress_that_cannot_be_had_is_the_requests_fault_and_says_what_can_be_done() -> None:
    with pytest.raises(SupervisorError, match="but host") as refused:
        Reach().check(attrs.evolve(a_content(), egress=NONE), executor(HOST))
    assert 409 == refused.value.http_status
    assert "egress=" in refused.value.hint
    assert "executor=" in refused.value.hint
