"""Whom a content runs as, by its own setting and the server's."""

from __future__ import annotations

import pwd
from pathlib import Path

import attrs
import pytest
import trio

from supervisor import accounts
from supervisor.core.runs.runas import RunAs
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
async def test_the_contents_own_account_counts_else_the_servers(
    own: str | None, default: str, expected: str | None
) -> None:
    found = await RunAs(default=default, group="games").account(a_content(run_as=own), executor())
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
async def test_what_is_not_allowed_is_refused_with_the_reason(
    run_as: RunAs, name: str, why: str
) -> None:
    with pytest.raises(SupervisorError, match=why) as caught:
        await run_as.account(a_content(run_as=name), executor())
    assert "run-as-refused" == caught.value.code


async def test_an_executor_that_knows_no_accounts_is_named() -> None:
    with pytest.raises(SupervisorError, match="under its own uid alone") as caught:
        await ALLOWED.account(a_content(run_as="games"), executor(able=False))
    assert "run_as=default" in caught.value.hint
    with pytest.raises(SupervisorError, match="under its own uid alone") as caught:
        await RunAs(default="games").account(a_content(), executor(able=False))
    assert "run_as=default" not in caught.value.hint  # that is what it has


async def test_a_server_without_root_ignores_the_servers_default() -> None:
    assert await RunAs(default="games", rootless=True).account(a_content(), executor()) is None


async def test_accounts_that_do_not_answer_are_waited_for_in_time_while_all_else_goes_on(
    tmp_path: Path,
) -> None:
    hangs = tmp_path / "hangs.py"
    hangs.write_text("import time; time.sleep(30)")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.sleep(0.02)
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        with trio.fail_after(5), pytest.raises(SupervisorError, match=r"within 0\.5 s") as caught:
            await attrs.evolve(ALLOWED, program=str(hangs), limit=0.5).named("games")
        nursery.cancel_scope.cancel()
    assert "accounts-unavailable" == caught.value.code
    assert caught.value.recoverable
    assert ticks > 5


async def test_accounts_are_never_looked_up_in_the_process_of_the_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("getpwnam", "getpwuid"):
        monkeypatch.delattr(pwd, name)
    assert "games" == (await ALLOWED.named("games")).name


async def test_a_program_that_fails_is_no_answer(tmp_path: Path) -> None:
    fails = tmp_path / "fails.py"
    fails.write_text("raise SystemExit(3)")
    with pytest.raises(SupervisorError, match="status 3") as caught:
        await attrs.evolve(ALLOWED, program=str(fails)).named("games")
    assert "accounts-unavailable" == caught.value.code
