"""The plugin loader: whoever misbehaves is named, and the others count."""

from __future__ import annotations

import faulthandler
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from supervisor.interfaces import Installation, PluginView, Runtime, Store
from supervisor.model import Plan
from supervisor.plugins.context import setting
from supervisor.plugins.hookspecs import GROUP, Context, hookimpl
from supervisor.plugins.loading import Plugins, unread
from supervisor.settings import parse, values
from supervisor.testing.fakes import MemoryStore

CONTEXT = Context(data_dir="/nowhere", run_dir="/nowhere", settings={}, rootless=True)


class FakeRuntime(Runtime):
    def __init__(self, name: str = "fake", api: int = 1) -> None:
        self.name = name
        self.plugin_api = api

    def detect(self, files: object, manifest: object) -> None:
        return None

    def installations(self, settings: object) -> Sequence[Installation]:
        return ()

    def plan(self, purpose: object, context: object) -> Plan:
        raise NotImplementedError


class Good:
    """Gives one of each, and answers every hook."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.seen: list[object] = []

    @hookimpl
    def supervisor_settings(self) -> Sequence[object]:
        return [attrs.make_class(self.name, ["a_path"], class_body={"section": self.name.title()})]

    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Sequence[Runtime]:
        return [FakeRuntime(self.name)]

    @hookimpl
    def supervisor_stores(self, context: Context) -> Mapping[str, Callable[[Context], Store]]:
        return {self.name: lambda context: MemoryStore()}

    @hookimpl
    def supervisor_environment(self, content: object, run: object) -> Mapping[str, str]:
        return {"WHO": self.name, self.name: "1"}

    @hookimpl
    def supervisor_veto(self, content: object, purpose: str) -> str | None:
        return f"{self.name} is closed" if purpose == "render" else None

    @hookimpl
    def supervisor_observe(self, transition: object) -> None:
        self.seen.append(transition)


class GivesNoSection:
    @hookimpl
    def supervisor_settings(self) -> Sequence[object]:
        return ["Fake"]


class RaisesInHook:
    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Sequence[Runtime]:
        raise RuntimeError("I am broken")


class ExitsInHook:
    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Sequence[Runtime]:
        sys.exit("goodbye")


class HangsInHook:
    def __init__(self) -> None:
        self.go = threading.Event()

    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Sequence[Runtime]:
        self.go.wait(30)
        return [FakeRuntime("late")]


class HasAnUnknownHook:
    @hookimpl
    def supervisor_future(self) -> None: ...

    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Sequence[Runtime]:
        return [FakeRuntime("of-the-future")]


class WantsAnUnknownArgument:
    @hookimpl
    def supervisor_runtimes(self, context: Context, moon: object) -> Sequence[Runtime]:
        return [FakeRuntime("moon")]


class SpeaksAnotherApi:
    plugin_api = 2

    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Sequence[Runtime]:
        return [FakeRuntime("two")]


class GivesARuntimeOfAnotherApi:
    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Sequence[Runtime]:
        return [FakeRuntime("good"), FakeRuntime("two", api=2)]


class GivesNonsense:
    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Any:
        return ["a text"]


class GivesANumber:
    @hookimpl
    def supervisor_stores(self, context: Context) -> Any:
        return 7


class GivesANumberOfSections:
    @hookimpl
    def supervisor_settings(self) -> Any:
        return 7


class RaisesInAGenerator:
    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Any:
        yield FakeRuntime("first")
        raise RuntimeError("no second")


class MisbehavesLater:
    """Loads well; then raises, hangs or gives nonsense where it is asked."""

    def __init__(self) -> None:
        self.go = threading.Event()

    @hookimpl
    def supervisor_environment(self, content: object, run: object) -> Any:
        if run == "nonsense":
            return {"KEY": 1}
        if run == "unspeakable":
            return {"A=B": "c"}
        raise RuntimeError("no environment today")

    @hookimpl
    def supervisor_veto(self, content: object, purpose: str) -> str | None:
        self.go.wait(30)
        return "too late"


async def loaded(*extra: tuple[str, object], seconds: float = 5.0) -> Plugins:
    plugins = Plugins(hook_seconds=seconds)
    await plugins.load(CONTEXT, extra=extra, installed=False)
    return plugins


def view_of(plugins: Plugins, name: str) -> PluginView:
    (view,) = [view for view in plugins.views() if view.name == name]
    return view


async def test_a_good_plugin_gives_what_it_has() -> None:
    plugins = await loaded(("good", Good()))
    assert ["fake"] == list(plugins.runtimes)
    assert isinstance(plugins.stores["fake"](CONTEXT), MemoryStore)
    assert ["Fake"] == [kind.section for kind in plugins.kinds]
    expected = ("runtime fake", "store fake", "environment", "veto", "observe")
    assert [PluginView(name="good", version="", gives=expected)] == list(plugins.views())


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (RaisesInHook(), "I am broken in supervisor_runtimes"),
        (ExitsInHook(), "SystemExit: goodbye"),
        (HasAnUnknownHook(), "no hook 'supervisor_future'"),
        (WantsAnUnknownArgument(), "moon"),
        (SpeaksAnotherApi(), "speaks plugin API 2, this server speaks 1"),
        (GivesARuntimeOfAnotherApi(), "FakeRuntime speaks plugin API 2"),
        (GivesNonsense(), "'a text', which is no Runtime"),
        (GivesANumber(), "TypeError: 'int' object is not iterable in supervisor_stores"),
        (GivesNoSection(), "'Fake' is no attrs class"),
        (GivesANumberOfSections(), "TypeError: 'int' object is not iterable"),
        (RaisesInAGenerator(), "no second in supervisor_runtimes"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
async def test_a_plugin_that_misbehaves_is_named_and_the_others_load(
    bad: object, told: str
) -> None:
    plugins = await loaded(("bad", bad), ("good", Good()))
    assert told in view_of(plugins, "bad").problem
    assert () == view_of(plugins, "bad").gives
    assert "" == view_of(plugins, "good").problem
    assert ["fake"] == list(plugins.runtimes)


async def test_a_hook_may_be_a_generator() -> None:
    class Generator:
        @hookimpl
        def supervisor_runtimes(self, context: Context) -> Iterator[Runtime]:
            yield FakeRuntime("one")
            yield FakeRuntime("two")

    plugins = await loaded(("lazy", Generator()))
    assert ["one", "two"] == list(plugins.runtimes)


async def test_a_plugin_that_hangs_is_named_and_the_others_load() -> None:
    hanging = HangsInHook()
    plugins = await loaded(("bad", hanging), ("good", Good()), seconds=0.2)
    hanging.go.set()
    assert "supervisor_runtimes took longer than 0.2 seconds" == view_of(plugins, "bad").problem
    assert ["fake"] == list(plugins.runtimes)


async def test_two_plugins_that_give_one_name_are_told_apart() -> None:
    plugins = await loaded(("first", Good("twin")), ("second", Good("twin")))
    assert "" == view_of(plugins, "first").problem
    assert "a runtime named 'twin' already" in view_of(plugins, "second").problem


async def test_the_variables_of_all_plugins_are_joined() -> None:
    plugins = await loaded(("a", Good("a")), ("b", Good("b")))
    assert {"WHO": "b", "a": "1", "b": "1"} == await plugins.environment("content", "run")


async def test_the_first_veto_is_told_with_its_plugin() -> None:
    plugins = await loaded(("a", Good("a")), ("b", Good("b")))
    assert await plugins.veto("content", "serve") is None
    assert "a is closed (plugin a)" == await plugins.veto("content", "render")


async def test_every_plugin_is_told_of_a_transition() -> None:
    one, two = Good("a"), Good("b")
    plugins = await loaded(("a", one), ("b", two))
    await plugins.observe("moved")
    assert (["moved"], ["moved"]) == (one.seen, two.seen)


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ("any", "no environment today in supervisor_environment"),
        ("nonsense", "'KEY' is no variable with a text"),
        ("unspeakable", "'A=B' cannot stand in an environment"),
    ],
)
async def test_a_plugin_that_fails_later_is_blamed_and_the_others_count(
    run: str, told: str
) -> None:
    plugins = await loaded(("bad", MisbehavesLater()), ("good", Good()))
    assert {"WHO": "fake", "fake": "1"} == await plugins.environment("content", run)
    assert told in view_of(plugins, "bad").problem


async def test_a_plugin_that_hangs_later_is_not_asked_again() -> None:
    bad = MisbehavesLater()
    plugins = await loaded(("bad", bad), ("good", Good()), seconds=0.2)
    vetoes: list[str | None] = []

    async def veto() -> None:
        vetoes.append(await plugins.veto("content", "render"))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(veto)
    bad.go.set()
    assert ["fake is closed (plugin good)"] * 10 == vetoes
    assert "supervisor_veto took longer than 0.2 seconds" == view_of(plugins, "bad").problem
    assert {"WHO": "fake", "fake": "1"} == await plugins.environment("content", "run")


async def test_the_loop_goes_on_while_a_hook_hangs() -> None:
    bad = MisbehavesLater()
    plugins = await loaded(("bad", bad))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plugins.veto, "content", "serve")
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        bad.go.set()


async def test_blame_is_shown() -> None:
    plugins = await loaded(("good", Good()))
    plugins.blame("good", "held the loop")
    assert "held the loop" == view_of(plugins, "good").problem
    assert {"WHO": "fake", "fake": "1"} == await plugins.environment("content", "run")


# Installed plugins


def install(site: Path, name: str, source: str) -> None:
    """Lay a distribution with one entry point into a directory, as an installer would."""
    info = site / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {name}.plugin\n")
    package = site / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("x_"):
            del sys.modules[name]


async def test_installed_plugins_are_found_and_named_with_their_version(site: Path) -> None:
    install(site, "x_fine", "")
    plugins = Plugins()
    await plugins.load(CONTEXT)
    assert PluginView(name="x_fine", version="1.2") == view_of(plugins, "x_fine")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise RuntimeError('at import')", "its import failed: RuntimeError: at import"),
        ("import x_that_is_not_there", "its import failed: ModuleNotFoundError"),
        ("def broken(:", "its import failed: SyntaxError"),
        ("raise SystemExit(3)", "its import failed: SystemExit: 3"),
    ],
)
async def test_a_plugin_that_fails_to_import_is_named_and_the_others_load(
    site: Path, source: str, told: str
) -> None:
    install(site, "x_bad", source)
    install(site, "x_fine", "")
    plugins = Plugins()
    await plugins.load(CONTEXT)
    assert view_of(plugins, "x_bad").problem.startswith(told)
    assert "" == view_of(plugins, "x_fine").problem


async def test_a_plugin_that_hangs_at_import_is_named(site: Path) -> None:
    install(site, "x_bad", "import threading\nGO = threading.Event()\nGO.wait(30)")
    plugins = Plugins(load_seconds=0.3)
    await plugins.load(CONTEXT)
    sys.modules["x_bad.plugin"].GO.set()
    assert "its import took longer than 0.3 seconds" == view_of(plugins, "x_bad").problem


# Who held the loop


HOLDS = """
import threading

def hold(dump):
    def inner():
        dump()
    sorted([1], key=lambda _: inner())
"""


@pytest.fixture
async def holding(site: Path) -> Plugins:
    install(site, "x_holds", HOLDS)
    install(site, "x_innocent", HOLDS)
    plugins = Plugins()
    await plugins.load(CONTEXT)
    return plugins


async def test_the_plugin_that_held_the_main_thread_is_told_by_the_stacks(
    holding: Plugins,
) -> None:
    with tempfile.TemporaryFile("w+") as trace:
        held = threading.Event()
        go = threading.Event()

        def wait() -> None:
            held.set()
            go.wait(30)

        innocent = sys.modules["x_innocent.plugin"]
        thread = threading.Thread(target=lambda: innocent.hold(wait))
        thread.start()
        held.wait(30)
        sys.modules["x_holds.plugin"].hold(lambda: faulthandler.dump_traceback(trace))
        go.set()
        thread.join()
        trace.seek(0)
        text = trace.read()
    assert "x_innocent" in text
    assert "x_holds" == holding.blamed_by_trace(text)


async def test_a_loop_that_no_plugin_held_is_blamed_on_none(holding: Plugins) -> None:
    with tempfile.TemporaryFile("w+") as trace:
        faulthandler.dump_traceback(trace)
        trace.seek(0)
        text = trace.read()
    assert "test_loading.py" in text
    assert holding.blamed_by_trace(text) is None
    assert holding.blamed_by_trace("") is None
    assert holding.blamed_by_trace("Timeout!\nrubbish\n") is None


async def test_a_real_hang_of_another_process_is_told_by_its_stacks(
    holding: Plugins, site: Path
) -> None:
    script = f"""
import faulthandler, os, signal, sys, threading
sys.path.insert(0, {str(site)!r})
import x_holds.plugin, x_innocent.plugin
faulthandler.register(signal.SIGUSR2, file=sys.stderr, all_threads=True)
ready = threading.Event()
def idle():
    ready.set()
    threading.Event().wait(30)
threading.Thread(target=lambda: x_innocent.plugin.hold(idle), daemon=True).start()
ready.wait()
def hang():
    os.kill(os.getpid(), signal.SIGUSR2)
x_holds.plugin.hold(hang)
"""
    done = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert "x_holds" == holding.blamed_by_trace(done.stderr)


@attrs.frozen(kw_only=True)
class Moon:
    section = "Moon"

    phase: int = setting("Phase", values.integer, 0)


class OwnsASection:
    def __init__(self, kind: object = Moon) -> None:
        self.kind = kind

    @hookimpl
    def supervisor_settings(self) -> Sequence[object]:
        return [self.kind]

    @hookimpl
    def supervisor_runtimes(self, context: Context) -> Sequence[Runtime]:
        return [FakeRuntime(f"phase-{context.read(Moon).phase}")]


async def with_settings(text: str, *extra: tuple[str, object]) -> Plugins:
    entries = list(parse(text, "test.gcfg"))
    context = Context(data_dir="/x", run_dir="/x", settings={}, rootless=True, entries=entries)
    plugins = Plugins()
    await plugins.load(context, extra=extra, installed=False)
    return plugins


async def test_a_plugin_reads_its_section() -> None:
    plugins = await with_settings("[Moon]\nPhase = 3\n", ("moon", OwnsASection()))
    assert ["phase-3"] == list(plugins.runtimes)


async def test_a_plugin_with_a_section_that_is_wrong_is_left_out_and_the_place_is_named() -> None:
    plugins = await with_settings("[Moon]\nPhase = full\n", ("moon", OwnsASection()))
    assert {} == plugins.runtimes
    told = view_of(plugins, "moon").problem
    assert told.startswith("test.gcfg:2:9: Phase: 'full' is not a whole number")
    assert [] == unread(list(parse("[Moon]\nPhase = full\n", "test.gcfg")), plugins)


async def test_a_plugin_cannot_own_a_section_of_the_core_or_of_another() -> None:
    server = attrs.make_class("Server", ["x"], class_body={"section": "server"})
    plugins = await with_settings("", ("b", OwnsASection(server)))
    assert "[server] is somebody else's" in view_of(plugins, "b").problem


async def test_what_no_plugin_reads_is_a_warning() -> None:
    text = "[Moon]\nFase = 3\n[Mooon]\nPhase = 1\n"
    plugins = await with_settings(text, ("moon", OwnsASection()))
    assert [
        "test.gcfg:2: [Moon] has no key Fase; did you mean Phase?",
        "test.gcfg:4: no loaded plugin has a section [Mooon]; did you mean [Moon]?",
    ] == unread(list(parse(text, "test.gcfg")), plugins)
