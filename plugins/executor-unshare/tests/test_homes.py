""" "The home directory for the Applications.RunAs user, should it exist (exposed as /home)." """

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.root.homes import home_of
from supervisor_unshare.root.plan_mounts import Base, Bind

from supervisor import Job, accounts
from supervisor.accounts import Account

WHO = Account(name="who", uid=os.getuid(), gid=0, groups=(0,), home="/nowhere")
ACCOUNTS = ("man", "postgres", "_apt", "nobody")  # some have a home of their own on Debian


def at(home: Path, **fields: Any) -> Account:
    return dataclasses.replace(WHO, home=str(home), **fields)


def test_the_home_of_an_account_is_shown(tmp_path: Path) -> None:
    assert str(tmp_path) == home_of(at(tmp_path), ["/var/lib/x"], ())


def test_a_home_that_is_not_there_or_not_its_own_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert home_of(at(tmp_path / "none"), (), ()) is None
    assert home_of(at(tmp_path / "file"), (), ()) is None
    assert home_of(at(tmp_path, uid=WHO.uid + 1), (), ()) is None
    assert home_of(at(Path("/")), (), ()) is None


def test_a_home_around_or_inside_what_is_hidden_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "data" / "home").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    hidden = [str(tmp_path / "data")]
    for home in (tmp_path, tmp_path / "data", tmp_path / "data" / "home", tmp_path / "link"):
        assert home_of(at(home), hidden, ()) is None


def test_nothing_is_made_in_a_home_to_mount_on(tmp_path: Path) -> None:
    inside = Bind(base=Base.HOST, parts=("srv",), target="/home/x")
    assert home_of(at(tmp_path), (), (inside,)) is None


@pytest.mark.system
async def test_a_process_sees_the_home_of_its_account_as_its_own(
    new_node: Callable[..., Any], shell_job: Callable[..., Job], nursery: trio.Nursery, needs: Any
) -> None:
    needs.root()
    known = filter(None, map(accounts.named, ACCOUNTS))
    who = next((one for one in known if home_of(one, (), ())), None)
    needs.kernel(who is not None, "an account with a home of its own")
    assert who is not None
    node = new_node(settings={"run_as_group": who.name})
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    script = "ls -A /home; echo $HOME; stat -c %u /home; ls /var/lib/postgresql /var/cache/man"
    made = shell_job(f"exec 2>/dev/null; {script}", env={"HOME": "/home"})
    asked = attrs.evolve(made, uid=who.uid, gid=who.gid, groups=who.groups)
    receipt = await executor.start(asked)
    output = b"".join([chunk.data async for chunk in executor.output(receipt)])
    names = sorted(os.listdir(who.home))
    *seen, home, owner = output.decode().splitlines()
    assert (names, "/home", str(who.uid)) == (sorted(seen), home, owner)
