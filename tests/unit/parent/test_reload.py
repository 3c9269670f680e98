"""The pieces of a reload: state in a memfd, what a check says, what holds for a life."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.errors import SupervisorError
from supervisor.log import Log
from supervisor.parent import handover, identity, renewal
from supervisor.parent.child import Child, Program, sealed
from supervisor.parent.children import Children
from supervisor.parent.handover import State
from supervisor.parent.notify import Notifier
from supervisor.parent.plan import Plan
from supervisor.parent.reload import Check, explain
from supervisor.parent.reloading import Reloading
from supervisor.parent.watch import TimeLimits, Watch
from supervisor.settings import Entry, configure

PROGRAM = Program(name="core", argv=("core",), settings=b"", beats=True)
QUIET = Log("parent", level="error", fd=os.open(os.devnull, os.O_WRONLY))
ENTRY = Entry(section="Server", subsection="", key="Address", value="https://x", file="f", line=3)


def state(**fields: Any) -> State:
    values: dict[str, Any] = {
        "code": "1.0",
        "who": identity.resolve(configure(()), uid=1000, gid=1000),
        "data_dir": "/data",
        "run_dir": "/run",
        "uid_first": 200_000,
        "file": None,
        "entries": [],
        "locks": [],
        "http": {},
        "unix": {},
        "children": [],
    }
    return State(**{**values, **fields})


@pytest.fixture
def closing() -> Iterator[list[int]]:
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


def test_a_state_comes_back_as_it_was(closing: list[int]) -> None:
    child = {"name": "core", "child": {"pid": 7, "control": 5, "trace": -1}}
    mine = state(entries=[ENTRY], locks=[3], http={"127.0.0.1:1": 4}, children=[child])
    closing.append(mine.seal())

    assert mine == handover.read(closing[0])
    assert [3, 4, 5] == mine.descriptors
    assert {"core"} == mine.names
    with pytest.raises(PermissionError):
        os.pwrite(closing[0], b"x", 0)


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", b"[]", b'{"v": 99}', b'{"v": 1}', b'{"v": 1, "who": 3, "entries": 4}'],
)
def test_a_state_that_is_not_understood_is_a_clear_refusal(data: bytes, closing: list[int]) -> None:
    closing.append(sealed("state", data))
    with pytest.raises(SupervisorError) as caught:
        handover.read(closing[0])

    assert "not-reloaded" == caught.value.code
    assert "the state of the running server is" in caught.value.message
    assert "Restart the server" in caught.value.hint


def test_a_refusal_gives_its_first_line_as_the_reason_and_the_rest_as_the_hint() -> None:
    text = "f:3:1: Listen: not an address [settings-invalid]\n  The line is: Listen = x\n"
    assert ("f:3:1: Listen: not an address [settings-invalid]", "The line is: Listen = x") == (
        explain(78 << 8, text)
    )


def test_code_that_does_not_import_gives_its_error_and_where_it_stands() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "<frozen runpy>", line 226, in run_module\n'
        '  File "/opt/venv/supervisor/core/scheduling/keeper.py", line 3\n'
        "    from from x\n"
        "         ^^^^\n"
        "SyntaxError: invalid syntax\n"
    )
    reason, hint = explain(1 << 8, text)
    assert "the new code does not start: SyntaxError: invalid syntax" == reason
    assert '/opt/venv/supervisor/core/scheduling/keeper.py", line 3' in hint


def test_a_check_that_says_nothing_is_described_by_its_end() -> None:
    assert (
        "the check of the new code ended with signal 9 (SIGKILL) and said nothing"
        == (explain(9, "\n")[0])
    )


def test_settings_that_hold_for_a_servers_life_are_kept_and_named() -> None:
    old = state(entries=[Entry(**{**vars_of(ENTRY), "key": "DataDir", "value": "/data"})])
    new = configure([Entry(**{**vars_of(ENTRY), "key": "DataDir", "value": "/other"}), ENTRY])
    plan = Plan.of(new, environ={}, programs={"core": ("x",)}, state=old)

    assert ("/data", "/run", 200_000) == (
        plan.settings.data_dir,
        plan.settings.run_dir,
        plan.settings.uid_first,
    )
    assert "https://x" == plan.settings.server_address
    [warning] = plan.kept(old)
    assert warning.startswith("Server.DataDir has changed")


def test_a_helper_that_is_gone_refuses_the_reload() -> None:
    running = state(children=[{"name": "helper"}])
    with pytest.raises(SupervisorError, match="no longer installed") as caught:
        Plan.of(configure(()), environ={}, programs={"core": ("x",)}, state=running)
    assert "not-reloaded" == caught.value.code


def vars_of(entry: Entry) -> dict[str, Any]:
    names = ("section", "subsection", "key", "value", "file", "line")
    return {name: getattr(entry, name) for name in names}


class Pair:
    """A watch with a child that is this test itself."""

    def __init__(self, program: Program = PROGRAM) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = Child(name=program.name, pid=os.getpid(), control=self.ours, trace=None)
        self.watch = Watch(program, limits=TimeLimits(), log=QUIET, launch=lambda _: child)
        self.watch.start(100.0)
        self.watch.message({"type": "ready"}, 101.0)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    one = Pair()
    yield one
    one.close()


def test_a_watch_goes_on_where_it_stood(pair: Pair) -> None:
    pair.watch.message({"type": "beat"}, 105.0)
    fields = pair.watch.saved()
    copy = os.dup(pair.ours.fileno())
    fields["child"] = {**fields["child"], "control": copy}  # type: ignore[dict-item]
    again = Watch(PROGRAM, limits=TimeLimits(), log=QUIET).restored(fields)

    assert (True, 120.0) == (again.ready, again.deadline())
    assert again.child is not None
    assert os.getpid() == again.child.pid
    assert again.child.tell({"type": "previous"})
    assert b'{"type":"previous"}' == pair.theirs.recv(100)
    assert "exit status 0" == again.ended(0, 106.0)


def test_a_child_that_leaves_is_followed_at_once_and_its_end_is_nobodys_fault(pair: Pair) -> None:
    pair.watch.leave(5.0, 110.0)
    assert 125.0 == pair.watch.deadline()  # five for itself, ten of patience
    pair.watch.ended(0, 111.0)

    assert 111.0 == pair.watch.start_at
    assert not pair.watch.refused(78 << 8)  # whatever its successor says: it has served before


def test_a_retired_watch_starts_nothing_any_more(pair: Pair) -> None:
    pair.watch.retire()
    pair.watch.ended(9, 200.0)

    assert pair.watch.deadline() is None


def test_renewing_waits_until_the_child_is_ready_anew(pair: Pair) -> None:
    step = renewal.renew(pair.watch, 60.0)
    next(step)
    assert b'"renew"' in pair.theirs.recv(1000)
    pair.watch.message({"type": "hello", "v": 1}, 110.0)
    next(step)
    pair.watch.message({"type": "ready"}, 110.1)

    with pytest.raises(StopIteration) as done:
        next(step)
    assert "" == done.value.value


def test_renewing_ends_with_the_reason_where_the_child_declines(pair: Pair) -> None:
    step = renewal.renew(pair.watch, 60.0)
    next(step)
    pair.watch.message({"type": "not-renewed", "reason": "busy"}, 110.0)

    with pytest.raises(StopIteration) as done:
        next(step)
    assert "busy" == done.value.value
    assert pair.watch.ready


def test_renewing_gives_up_in_time_and_leaves_the_child_as_it_is(pair: Pair) -> None:
    with pytest.raises(StopIteration) as done:
        next(renewal.renew(pair.watch, 0.0))
    assert "it did not renew itself within 0 s" == done.value.value
    assert pair.watch.ready


def test_a_server_that_is_stopped_when_the_check_has_just_ended_stops_in_order() -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    output = os.memfd_create("output")
    check = Check(pid=ended.pid, output=output, asker=None, since=time.monotonic())
    new_code: Any = SimpleNamespace(check=lambda living, asker: check)
    reloading = Reloading(
        Children([], limits=TimeLimits(), log=QUIET),
        reload=new_code,
        log=QUIET,
        notifier=Notifier(None),
        resumed=False,
    )
    reloading.ask(None)
    assert reloading.ended(ended.pid, 0)
    assert reloading.wanted
    reloading.abandon()  # there is no process to kill any more, or it is somebody else's
    assert not reloading.wanted
