"""Which files sandboxes are said to hide: those that everybody may know of, and no other."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.root import host
from supervisor_unshare.root.hiding import hides


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="supervisor-hiding-", dir="/tmp") as made:
        (Path(made) / "open").mkdir(mode=0o755)
        (Path(made) / "open" / "file").touch(mode=0o600)
        (Path(made) / "closed").mkdir(mode=0o700)
        (Path(made) / "closed" / "file").touch(mode=0o644)
        (Path(made) / "link").symlink_to("closed")
        (Path(made) / "way").symlink_to("open")
        os.chmod(made, 0o755)
        yield Path(made)


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("open/file", True),
        ("open", True),
        ("way/file", True),
        ("closed", True),
        ("closed/file", False),  # not everybody may know of it
        ("link/file", False),
        ("open/none", False),
        ("open/file/none", False),
        ("open/fi\0le", False),
    ],
)
def test_a_file_that_everybody_may_know_of_is_hidden(place: Path, name: str, hidden: bool) -> None:
    assert hidden is hides(f"{place}/{name}", ["/usr"])


def test_what_sandboxes_show_is_not_hidden(place: Path) -> None:
    assert not hides(f"{place}/open/file", [str(place)])
    assert not hides("/usr/bin/env", ["/usr"])
    assert not hides("/bin/sh", ["/usr"])  # by way of a link


@pytest.mark.parametrize(
    "path",
    ["/proc/1", "/sys/kernel", "/dev/null", "/run", "/etc/shadow", "/etc/gshadow", "relative", ""],
)
def test_nothing_is_told_of_processes_devices_and_passwords(path: str) -> None:
    assert not hides(path, [])


def test_nothing_is_told_of_the_servers_own_directories(place: Path) -> None:
    assert not hides(f"{place}/open/file", [], own=[str(place)])


@pytest.mark.parametrize(("kind", "hidden"), [("autofs", False), ("nfs4", True), ("ext4", True)])
def test_no_question_of_contents_lets_an_automounter_mount(
    place: Path, kind: str, hidden: bool
) -> None:
    """A name below it would be looked up, and its server asked, whatever egress content has."""
    assert hidden is hides(f"{place}/open/file", [], kind=lambda path: kind)


async def test_the_executor_answers_for_this_machine(place: Path) -> None:
    executor = UnshareExecutor(run_dir="/nowhere", data_dir=f"{place}/closed")
    assert await executor.hides(f"{place}/open/file")
    assert not await executor.hides("/etc/hosts")
    assert not await executor.hides(f"{place}/closed")


async def test_a_tree_that_does_not_answer_holds_up_nobody_but_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()

    def wait() -> tuple[str, ...]:
        answered.wait(10)
        return ()

    monkeypatch.setattr(host, "shown_trees", wait)
    began = trio.current_time()
    with trio.move_on_after(0.05) as asking:
        await UnshareExecutor(run_dir="/nowhere").hides("/srv/file")
    took = trio.current_time() - began
    answered.set()
    assert asking.cancelled_caught
    assert took < 5
