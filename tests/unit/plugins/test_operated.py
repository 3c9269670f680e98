"""Plugins as they are operated: disabled, of another API, slow, leaking, or deadly."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import trio
import trio.lowlevel
import trio.testing

from supervisor import stacks
from supervisor.core.trials import Trials
from supervisor.interfaces import PluginView
from supervisor.plugins import leaks
from supervisor.plugins.given import Invalid, Spoken
from supervisor.plugins.hookspecs import Context, hookimpl
from supervisor.plugins.loading import Plugins

CONTEXT = Context(data_dir="/nowhere", run_dir="/nowhere", settings={}, rootless=True)

LEAKY = """
import os, threading
from supervisor import hookimpl
import trio

stop = threading.Event()
held = []

def wait():
    stop.wait(60)

@hookimpl
def supervisor_veto(content, purpose):
    for _ in range(7):
        threading.Thread(target=wait, daemon=True).start()

@hookimpl
def supervisor_observe(transition):
    held.append(os.open("/dev/null", os.O_RDONLY))

async def sleep():
    await trio.sleep_forever()
"""


class Plain:
    """Has one hook, and nothing else."""

    def __init__(self, api: int | str | None = None) -> None:
        if api is not None:
            self.plugin_api = api

    @hookimpl
    def supervisor_environment(self, content: object, run: object) -> dict[str, str]:
        return {"A": "b"}


@pytest.fixture
def leaky(tmp_path: Path) -> Iterator[ModuleType]:
    """A module, in a file of its own, that leaves something behind with each call."""
    path = tmp_path / "leaky_plugin.py"
    path.write_text(LEAKY)
    spec = importlib.util.spec_from_file_location("leaky_plugin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["leaky_plugin"] = module
    spec.loader.exec_module(module)
    yield module
    module.stop.set()
    for descriptor in module.held:
        os.close(descriptor)
    del sys.modules["leaky_plugin"]


def view_of(plugins: Plugins, name: str) -> PluginView:
    (view,) = [view for view in plugins.views() if view.name == name]
    return view


async def test_a_disabled_plugin_gives_nothing_and_is_nobodys_fault() -> None:
    plugins = Plugins()
    extra = [("one", Plain()), ("other", Plain())]
    await plugins.load(CONTEXT, extra=extra, installed=False, disabled=["one", "missing"])
    assert PluginView(name="one", version="", state="disabled") == view_of(plugins, "one")
    assert "loaded" == view_of(plugins, "other").state
    assert {"A": "b"} == await plugins.environment(None, None)


@pytest.mark.parametrize(
    ("api", "problem"),
    [
        (9, "speaks plugin API 9, this server speaks 3: update content-supervisor"),
        (1, "speaks plugin API 1, this server speaks 3: update the plugin"),
        ("three", "speaks plugin API 'three', which is no number"),
        (True, "speaks plugin API True, which is no number"),
    ],
)
async def test_a_plugin_of_an_api_that_is_not_understood_is_refused_by_name(
    api: int | str, problem: str
) -> None:
    plugins = Plugins(spoken=Spoken(oldest=2, newest=3))
    await plugins.load(CONTEXT, extra=[("p", Plain(api))], installed=False)
    view = view_of(plugins, "p")
    assert "failed" == view.state
    assert problem in view.problem


async def test_a_plugin_of_an_older_api_that_still_works_is_used_with_a_warning() -> None:
    plugins = Plugins(spoken=Spoken(oldest=2, newest=3))
    await plugins.load(CONTEXT, extra=[("p", Plain(2)), ("q", Plain())], installed=False)
    assert "blamed" == view_of(plugins, "p").state
    assert "it works, but update the plugin" in view_of(plugins, "p").problem
    assert {"A": "b"} == await plugins.environment(None, None)
    assert "loaded" == view_of(plugins, "q").state


def test_what_does_not_say_which_api_it_speaks_speaks_the_newest() -> None:
    assert "" == Spoken(oldest=2, newest=3).check(object())
    with pytest.raises(Invalid):
        Spoken(oldest=2, newest=3).check(Plain(1))


async def test_many_plugins_that_hang_at_the_start_share_one_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = threading.Event()

    class Hangs:
        @hookimpl
        def supervisor_runtimes(self, context: object) -> list[object]:
            go.wait(30)
            return []

    monkeypatch.setattr("supervisor.plugins.loading.LOAD_ALL_SECONDS", 0.5)
    monkeypatch.setattr("supervisor.plugins.loading.LEAST_SECONDS", 0.05)
    plugins = Plugins(hook_seconds=2.0)
    extra = [*((f"hangs-{n}", Hangs()) for n in range(5)), ("works", Plain())]
    began = time.monotonic()
    await plugins.load(CONTEXT, extra=extra, installed=False)
    assert time.monotonic() - began < 5
    assert ["failed"] * 5 == [view_of(plugins, f"hangs-{n}").state for n in range(5)]
    assert {"A": "b"} == await plugins.environment(None, None)
    go.set()


async def test_a_plugin_that_leaves_threads_behind_is_named_and_counted(
    leaky: ModuleType,
) -> None:
    plugins = Plugins()
    extra = [("leaky", leaky), ("plain", Plain())]
    await plugins.load(CONTEXT, extra=extra, installed=False)
    for _ in range(2):
        await plugins.veto(None, "serve")
    assert ("", 14) == (view_of(plugins, "leaky").problem, view_of(plugins, "leaky").threads)
    await plugins.veto(None, "serve")
    assert "it has 21 threads of its own that do not end" == view_of(plugins, "leaky").problem
    assert ("", 0) == (view_of(plugins, "plain").problem, view_of(plugins, "plain").threads)


async def test_a_plugin_that_leaves_descriptors_open_is_named(leaky: ModuleType) -> None:
    plugins = Plugins()
    await plugins.load(CONTEXT, extra=[("leaky", leaky)], installed=False)
    for _ in range(leaks.CALLS - 1):
        await plugins.observe("t")
    assert "" == view_of(plugins, "leaky").problem
    await plugins.observe("t")
    assert "supervisor_observe left 5" in view_of(plugins, "leaky").problem
    assert "blamed" == view_of(plugins, "leaky").state


async def test_system_tasks_are_counted_for_whose_code_they_run(leaky: ModuleType) -> None:
    homes = {"leaky": stacks.homes(leaky)}
    assert {} == leaks.system_tasks(homes)
    tasks = [trio.lowlevel.spawn_system_task(leaky.sleep) for _ in range(3)]
    await trio.testing.wait_all_tasks_blocked()
    assert {"leaky": 3} == leaks.system_tasks(homes)
    assert 3 == len(tasks)


def test_descriptors_that_come_and_go_are_no_leak() -> None:
    growth = leaks.Growth()
    assert {""} == {growth.note(change) for change in [1, -1, 0, 2] * 100}


# -- what a plugin may do to the process -------------------------------------------------------


def test_a_plugin_is_left_out_after_three_cores_died_with_it(tmp_path: Path) -> None:
    for _ in range(3):  # each is a core that dies while it imports `bad`
        trials = Trials.of(tmp_path)
        assert "" == trials("good")
        assert "" == trials("bad")
    trials = Trials.of(tmp_path)
    assert "" == trials("good")
    assert "died 3 times" in trials("bad")
    assert "" == trials("")
    assert "died 3 times" in Trials.of(tmp_path)("bad")


def test_cores_that_are_killed_now_and_then_while_they_load_blame_nobody(tmp_path: Path) -> None:
    for _ in range(4):
        Trials.of(tmp_path)("bad")
        Trials.of(tmp_path)("bad")
        trials = Trials.of(tmp_path)
        assert "" == trials("bad")
        assert "" == trials("")  # this one has loaded all


def test_a_core_that_has_loaded_all_plugins_blames_none_for_its_death(tmp_path: Path) -> None:
    for _ in range(5):
        trials = Trials.of(tmp_path)
        for name in ("good", "bad", ""):
            assert "" == trials(name)


def test_a_server_that_was_started_anew_tries_all_plugins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        Trials.of(tmp_path)("bad")
    assert Trials.of(tmp_path)("bad")
    other = os.getppid() + 1
    monkeypatch.setattr(os, "getppid", lambda: other)
    assert "" == Trials.of(tmp_path)("bad")


def test_what_cannot_be_read_blames_nobody(tmp_path: Path) -> None:
    (tmp_path / "plugins-tried").write_text("[1, 2")
    assert "" == Trials.of(tmp_path)("bad")
    assert "" == Trials.of(tmp_path / "missing")("bad")
