"""Settings that change while the core runs: who is told, what is answered, what is shown."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import trio

from supervisor import packets
from supervisor.core.configured import Configured
from supervisor.core.control import Control
from supervisor.core.server import context_of, store_of
from supervisor.errors import SupervisorError
from supervisor.log import Log
from supervisor.plugins.context import setting
from supervisor.plugins.hookspecs import Context, hookimpl
from supervisor.plugins.loading import Plugins
from supervisor.settings import Settings, configure, parse, values
from supervisor.testing.fakes import MemoryStore

QUIET = Log("core", level="error", fd=os.open(os.devnull, os.O_WRONLY))


@attrs.frozen(kw_only=True)
class Moon:
    section = "Moon"

    phase: int = setting("Phase", values.integer, 0)


def settings(text: str = "") -> Settings:
    return Settings.of(
        configure(parse(text, "test.gcfg")),
        data_dir="/data", run_dir="/run/x", rootless=True, tier="rootless", core_uid=1, core_gid=1,
        gateway_uid=1, gateway_gid=1, install_uid=1, install_gid=1, admin_gid=None,
    )  # fmt: skip


class Parent:
    """The other end of the link: answers each question by what it was told to."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.setblocking(False)
        self.configured = Configured(settings(), Control(sock=theirs, log=QUIET), [Moon])

    async def asked(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.sock)
            packet = packets.receive(self.sock)
            assert packet is not None
            if packet[0]["type"] == "configure":
                return

    def give(self, text: str | bytes) -> None:
        data = settings(text).to_json() if isinstance(text, str) else text
        fd = os.memfd_create("settings")
        os.write(fd, data)
        packets.send(self.sock, {"type": "settings"}, (fd,))
        os.close(fd)

    def say(self, **message: Any) -> None:
        packets.send(self.sock, {"type": "configured", **message})


@pytest.fixture
def parent() -> Iterator[Parent]:
    one = Parent()
    yield one
    one.sock.close()
    sock = one.configured.control.sock
    assert sock is not None
    sock.close()


async def test_followers_have_the_new_settings_when_the_reload_is_answered(
    parent: Parent, nursery: trio.Nursery
) -> None:
    seen: list[float] = []
    parent.configured.follow(lambda settings: seen.append(settings.scheduler.idle))
    await nursery.start(parent.configured.control.run)

    async def answer() -> None:
        await parent.asked()
        parent.give("[Scheduler]\nIdleTimeout = 7s\n[Logging]\nServiceLogFormat = JSON\n")
        parent.say(ok=True, applied=["Scheduler.IdleTimeout"], kept=[], warnings=["w"])

    nursery.start_soon(answer)
    done = await parent.configured.reload()

    assert {"applied": ["Scheduler.IdleTimeout"], "kept": [], "warnings": ["w"]} == done
    assert [120.0, 7.0] == seen
    assert "JSON" == parent.configured.control.log.form
    QUIET.form, QUIET.level = "TEXT", "error"


async def test_a_refusal_says_why_with_its_code(parent: Parent, nursery: trio.Nursery) -> None:
    await nursery.start(parent.configured.control.run)

    async def answer() -> None:
        await parent.asked()
        parent.say(ok=False, code="not-root-owned", reason="others can write it", hint="chmod")

    nursery.start_soon(answer)
    with pytest.raises(SupervisorError) as refused:
        await parent.configured.reload()
    error = refused.value
    assert ("not-root-owned", "others can write it", "chmod") == (
        error.code, error.message, error.hint,
    )  # fmt: skip


async def test_two_who_ask_at_once_get_one_answer(parent: Parent, nursery: trio.Nursery) -> None:
    await nursery.start(parent.configured.control.run)
    answers: list[object] = []

    async def ask() -> None:
        answers.append(await parent.configured.reload())

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        asking.start_soon(ask)
        await parent.asked()
        parent.say(ok=True, applied=["a"])
    assert [{"applied": ["a"], "kept": [], "warnings": []}] * 2 == answers


async def test_settings_of_another_version_are_not_taken(
    parent: Parent, nursery: trio.Nursery
) -> None:
    taken: list[float] = []
    done = trio.Event()

    def follow(settings: Settings) -> None:
        taken.append(settings.scheduler.idle)
        if settings.scheduler.idle == 7.0:
            done.set()

    parent.configured.follow(follow)
    await nursery.start(parent.configured.control.run)
    parent.give(b'{"settings": {}, "entries": []}')
    parent.give("[Scheduler]\nIdleTimeout = 7s\n")
    await done.wait()
    assert [120.0, 7.0] == taken


async def test_a_core_without_a_parent_cannot_read_them_again() -> None:
    configured = Configured(settings(), Control(sock=None, log=QUIET))
    with pytest.raises(SupervisorError, match="without a parent"):
        await configured.reload()


def test_sections_of_plugins_are_shown_with_their_defaults(parent: Parent) -> None:
    rows = parent.configured.shown()
    assert {
        "section": "Moon", "key": "Phase", "values": ["0"], "origin": "default", "change": "reload",
    } in rows  # fmt: skip


class KeepsRecords:
    @hookimpl
    def supervisor_settings(self) -> list[object]:
        return [Moon]

    @hookimpl
    def supervisor_stores(self, context: Context) -> dict[str, Callable[[Context], MemoryStore]]:
        return {"moon": lambda context: MemoryStore()}


async def test_a_store_whose_section_is_wrong_says_that_and_not_that_it_is_missing() -> None:
    wrong = settings("[Database]\nProvider = moon\n[Moon]\nPhase = full\n")
    plugins = Plugins(log=QUIET)
    await plugins.load(context_of(wrong), extra=[("moon", KeepsRecords())], installed=False)
    with pytest.raises(SupervisorError, match=r"test\.gcfg:4:9: Phase: 'full' is not"):
        store_of(wrong, plugins)
