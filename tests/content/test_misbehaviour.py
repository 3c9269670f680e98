"""Each app of this folder misbehaves as its name says: other tests rely on it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_python.installations import probe
from supervisor_python.runtime import PythonRuntime
from supervisor_r.runtime import RRuntime

from supervisor import Purpose
from tests.support.serving import Served, plan_for, served

pytestmark = pytest.mark.system

Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture(params=["r", "python"])
def serve(request: pytest.FixtureRequest, needs: Any) -> Serve:
    """Start the app of that misbehaviour, in R and in Python."""
    if request.param == "r":
        needs.r("shiny")
        r = RRuntime()
        plan = plan_for(r, r.installations({})[0], purpose=Purpose.SERVE)
    else:
        installation = probe(needs.python("shiny"))
        assert installation is not None
        plan = plan_for(PythonRuntime(), installation, purpose=Purpose.SERVE)

    def start(name: str, **environment: str) -> AbstractAsyncContextManager[Served]:
        return served(plan, Path(__file__).parent / f"{request.param}-{name}", environment)

    return start


async def value(app: Served, n: int = 3) -> str:
    with trio.fail_after(60):
        await app.listening()
        async with app.visitor.session(["value"], {"n": n}) as session:
            return str(await session.value("value"))


async def ended(app: Served) -> int:
    with trio.fail_after(60):
        return await app.process.wait()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - a file has no event
            await trio.sleep(0.02)


async def test_throws_at_start(serve: Serve) -> None:
    async with serve("throws-at-start") as app:
        assert 1 == await ended(app)
        assert "no database at db.example" in app.log.splitlines()[-1]


async def test_never_listens(serve: Serve) -> None:
    async with serve("never-listens") as app:
        await until(lambda: "thinking" in app.log)
        assert (None, False) == (app.process.poll(), app.socket.exists())


async def test_dies_after_listening(serve: Serve) -> None:
    async with serve("dies-after-listening", DIE_AFTER="0.5") as app:
        await app.listening()
        assert 3 == await ended(app)


async def test_ignores_sigterm_and_forks(serve: Serve) -> None:
    async with serve("ignores-sigterm-and-forks") as app:
        assert "6" == await value(app)
        hidden = [pid for pid in sleepers() if belongs(pid, app)]
        try:
            assert 3 <= len(hidden)
            os.killpg(app.process.pid, signal.SIGTERM)
            await trio.sleep(0.3)
            assert hidden == [pid for pid in sleepers() if belongs(pid, app)]
            sessions = {os.getsid(pid) for pid in hidden}
            assert sessions != {os.getsid(app.process.pid)} or len(sessions) > 1
        finally:
            for pid in hidden:
                os.kill(pid, signal.SIGKILL)


def sleepers() -> list[int]:
    """Give the processes `sleep 271828`, by number."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"sleep\x00271828\x00" == (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def belongs(pid: int, app: Served) -> bool:
    return f"SUPERVISOR_LISTEN={app.socket}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()


async def test_prints_garbage(serve: Serve) -> None:
    async with serve("prints-garbage") as app:
        assert "6" == await value(app)
        written = (app.root / "log").read_bytes()
        assert written.startswith(b"\xff\xfe\x00\x00")
        assert 100_000_000 <= max(map(len, written.splitlines()))


async def test_floods_the_log(serve: Serve) -> None:
    async with serve("floods-the-log", FLOOD_BYTES="20000000") as app:
        assert "6" == await value(app)
        await until(lambda: (app.root / "log").stat().st_size >= 20_000_000)


async def test_slow_start(serve: Serve) -> None:
    async with serve("slow-start", SLOW_SECONDS="1.5") as app:
        start = trio.current_time()
        assert "6" == await value(app)
        assert 1.5 <= trio.current_time() - start


async def test_computes_long(serve: Serve) -> None:
    async with serve("computes-long") as app:
        await app.listening()
        start = trio.current_time()
        assert "2" == await value(app, n=1)
        assert 1 <= trio.current_time() - start


async def test_swaps_its_socket(serve: Serve) -> None:
    async with serve("swaps-its-socket", SWAP_AFTER="0.5", SWAP_TO="/tmp/else.sock") as app:
        await app.listening()
        await until(app.socket.is_symlink)
        assert "/tmp/else.sock" == os.readlink(app.socket)
