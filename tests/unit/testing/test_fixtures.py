"""What the fixtures for plugin authors give: a server with a plugin of theirs, and its visitors."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor import hookimpl
from supervisor.testing import MadeBundle, RunningServer, tiny_bundle
from tests.support.machine import Machine
from tests.support.memory_executor import Backend, MemoryExecutor


class Veto:
    """A plugin of an author: nothing named `forbidden` may start; others get a variable."""

    @hookimpl
    def supervisor_veto(self, content: Any, purpose: str) -> str | None:
        return "not on a Sunday" if content.name == "forbidden" else None

    @hookimpl
    def supervisor_environment(self, content: Any, run: Any) -> Mapping[str, str]:
        return {"FROM_PLUGIN": content.name}


@pytest.fixture
def server_plugins(request: pytest.FixtureRequest) -> Sequence[object]:
    return (Veto(),)


@pytest.fixture
def server_settings() -> str:
    return "[Scheduler]\nMaxProcesses = 2\n"


async def test_a_plugin_of_the_author_takes_part(running_server: RunningServer) -> None:
    with pytest.raises(AssertionError, match="not on a Sunday"):
        await running_server.deploy("forbidden", tiny_bundle("x"))
    views = {view.name: view for view in await running_server.service.plugins()}
    assert ("environment", "veto") == views["Veto-0"].gives
    assert "" == views["Veto-0"].problem


async def test_the_gateway_answers_and_knows_no_path(running_server: RunningServer) -> None:
    assert 200 == (await running_server.get("/__ping__")).status
    assert 404 == (await running_server.get("/content/nothing/")).status


async def test_a_core_that_was_killed_can_be_started_again(running_server: RunningServer) -> None:
    content = await running_server.service.create_content("kept")
    await running_server.kill_core()
    with pytest.raises(AssertionError, match="no core runs"):
        _ = running_server.service
    await running_server.start_core()
    assert content == (await running_server.service.content("kept")).content


def test_a_short_path_has_room_for_a_socket(short_path: Path) -> None:
    assert len(str(short_path)) < 40
    assert [] == list(short_path.iterdir())


def test_a_made_bundle_is_the_archive_and_the_files_of_one_upload() -> None:
    made = MadeBundle(files={"app.R": "1", "data/x.csv": "a,b"}, manifest={"version": 1})
    with tarfile.open(fileobj=io.BytesIO(made.archive())) as tar:
        assert ["app.R", "data/x.csv", "manifest.json"] == tar.getnames()
    assert made.archive() == made.archive()
    assert [("app.R", "1"), ("data/x.csv", None)] == [(s.path, s.text) for s in made.sources()]


async def test_the_server_can_be_given_an_executor_in_memory(short_path: Path) -> None:
    from supervisor.testing import running_server

    (short_path / "machine").mkdir()
    async with Machine(short_path / "machine").powered() as machine:
        backend = Backend(machine)

        class Gives:
            @hookimpl
            def supervisor_executors(self) -> Sequence[MemoryExecutor]:
                return [MemoryExecutor(backend)]

        async with running_server(short_path / "server", Gives()) as server:
            assert {"memory", "testing-unpacker"} == {
                word.split()[1]
                for view in await server.service.plugins()
                for word in view.gives
                if word.startswith("executor ")
            }
            await trio.lowlevel.checkpoint()
