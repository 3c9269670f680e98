"""Whom a content runs as, by its own setting and the server's."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from supervisor import accounts
from supervisor.core.runas import RunAs
from supervisor.errors import SupervisorError
from supervisor.testing.executors import ScriptedExecutor
from supervisor.testing.house import a_content

ALLOWED = RunAs(group="games")


def executor(*, able: bool = True) -> ScriptedExecutor:
    made = ScriptedExecutor(Path("/nonexistent"))
    made.capabilities = attrs.evolve(made.capabilities, run_as=able)
    return made


@pytest.mark.parametrize(
    ("own", "default", "expected"),
    [(None, "", None), ("games", "", "games"), (None, "games", "games")],
)
def test_the_contents_own_account_counts_else_the_servers(
    own: str | None, default: str, expected: str | None
) -> None:
    found = RunAs(default=default, group="games").account(a_content(run_as=own), executor())
    assert (accounts.named(expected) if expected else None) == found


@pytest.mark.parametrize(
    ("run_as", "name", "why"),
    [
        (ALLOWED, "www-data", "not a member of the group games"),
        (ALLOWED, "no-such-account", "no account 'no-such-account'"),
        (ALLOWED, "root", "is root"),
        (RunAs(), "games", "SharedRunAsUnixGroup"),
        (RunAs(group="games", rootless=True), "games", "without root"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_reason(run_as: RunAs, name: str, why: str) -> None:
    with pytest.raises(SupervisorError, match=why) as caught:
        run_as.account(a_content(run_as=name), executor())
    assert "run-as-refused" == caught.value.code


def test_an_executor_that_knows_no_accounts_is_named() -> None:
    with pytest.raises(SupervisorError, match="under its own uid alone") as caught:
        ALLOWED.account(a_content(run_as="games"), executor(able=False))
    assert "run_as=default" in caught.value.hint
    with pytest.raises(SupervisorError, match="under its own uid alone") as caught:
        RunAs(default="games").account(a_content(), executor(able=False))
    assert "run_as=default" not in caught.value.hint  # that is what it has


def test_a_server_without_root_ignores_the_servers_default() -> None:
    assert RunAs(default="games", rootless=True).account(a_content(), executor()) is None
