"""Whom a job may run as, and that nobody waits for a server of accounts that is gone."""

from __future__ import annotations

import dataclasses
import os
import signal
import time

import pytest
from supervisor_unshare.linux import answering
from supervisor_unshare.linux.answering import LIMIT, in_time
from supervisor_unshare.requests.fields import Refused
from supervisor_unshare.requests.identity import Identity, identity
from supervisor_unshare.requests.rules import Rules

from supervisor import accounts
from supervisor.accounts import Account

WHO = Account(name="who", uid=1234, gid=55, groups=(55, 66), home="/home/who")
RULES = Rules(
    tier="root", core_uid=1, core_gid=1, gateway_uid=2, gateway_gid=2, uid_first=70_000,
    uid_last=80_000, run_as="who",
)  # fmt: skip


def _hang(uid: int) -> Account | None:
    signal.pause()
    return None


def test_an_account_is_looked_up_with_its_groups_and_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "of_uid", {1234: WHO}.get)
    found = identity(1234, 55, [66], content=5, purpose="serve", rules=RULES)
    expected = Identity(
        owner=70_005, uid=1234, gid=55, groups=(66,), account="who", home="/home/who"
    )
    assert expected == found
    with pytest.raises(Refused, match="has no account"):
        identity(4321, 55, [], content=5, purpose="serve", rules=RULES)
    with pytest.raises(Refused, match="are not those of who"):
        identity(1234, 55, [77], content=5, purpose="serve", rules=RULES)


INSTALLING = dataclasses.replace(RULES, install_uid=3, install_gid=4)


def test_every_install_runs_as_one_user_who_is_no_contents() -> None:
    found = identity(3, 4, [], content=5, purpose="install", rules=INSTALLING)
    assert Identity(owner=70_005, uid=3, gid=4) == found


@pytest.mark.parametrize(
    ("uid", "gid", "groups"),
    [(70_005, 70_005, []), (0, 0, []), (1, 1, []), (3, 0, []), (3, 4, [0]), (1234, 55, [])],
)
def test_no_install_runs_as_anybody_else(uid: int, gid: int, groups: list[int]) -> None:
    with pytest.raises(Refused, match="an install runs as uid 3 and gid 4"):
        identity(uid, gid, groups, content=5, purpose="install", rules=INSTALLING)


@pytest.mark.parametrize("purpose", ["serve", "render", "customize", "unpack", "tidy"])
def test_nothing_but_an_install_runs_as_that_user(purpose: str) -> None:
    with pytest.raises(Refused):
        identity(3, 4, [], content=5, purpose=purpose, rules=INSTALLING)


def test_accounts_on_a_server_that_is_gone_hold_up_one_start_and_that_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts, "of_uid", _hang)
    began = time.monotonic()
    with pytest.raises(Refused, match="cannot be looked up: no answer") as caught:
        identity(1234, 55, [], content=5, purpose="serve", rules=RULES)
    assert "nsswitch" in caught.value.hint
    assert time.monotonic() - began < LIMIT + 2
    began = time.monotonic()
    with pytest.raises(Refused, match="an earlier question"):
        identity(4321, 55, [], content=5, purpose="serve", rules=RULES)
    assert time.monotonic() - began < LIMIT
    (pid,) = answering._unanswered
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert [1] == in_time(lambda: [1])


def test_a_long_answer_comes_whole() -> None:
    assert list(range(100_000)) == in_time(lambda: list(range(100_000)))
