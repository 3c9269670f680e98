"""Find, load, call and blame plugins.

Every hook is called for one plugin at a time, in a thread, under a time limit: a plugin that fails
to import, raises, hangs or speaks another plugin API is named, and the others count.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import attrs
import pluggy
import trio

from supervisor import hookspecs, stacks
from supervisor.errors import SupervisorError
from supervisor.hookspecs import GROUP, Context
from supervisor.interfaces import PLUGIN_API, Executor, PluginView, Runtime, Store
from supervisor.log import Log
from supervisor.settings import Entry
from supervisor.settings.sections import SECTIONS
from supervisor.settings.unknown import unknown_sections, warnings

T = TypeVar("T")

PROJECT = "content_supervisor"
LOAD_SECONDS = 20.0
HOOK_SECONDS = 5.0


class Invalid(Exception):
    """What a plugin gave is not what the hook asks for; the text says why."""


class Hung(Exception):
    """A call into a plugin took longer than its limit."""


@attrs.define(eq=False, kw_only=True)
class _Plugin:
    name: str
    version: str = ""
    load: Callable[[], object]
    module: Any = None
    gives: list[str] = attrs.field(factory=list)
    problem: str = ""
    disabled: bool = False
    turn: trio.Lock = attrs.field(factory=trio.Lock)  # an author need not think of threads


class Plugins:
    """The installed plugins, and what they gave.

    runtimes and executors by their names; stores: provider name → a callable that takes the
    context and gives a Store; kinds: the classes of the plugins' sections of the configuration;
    refused: what is wrong in the configuration, for which a plugin was left out.
    """

    def __init__(
        self,
        *,
        log: Log | None = None,
        load_seconds: float = LOAD_SECONDS,
        hook_seconds: float = HOOK_SECONDS,
    ) -> None:
        self.runtimes: dict[str, Runtime] = {}
        self.executors: dict[str, Executor] = {}
        self.stores: dict[str, Callable[[Context], Store]] = {}
        self.kinds: list[Any] = []
        self.refused: list[SupervisorError] = []
        self._log = log or Log("core")
        self._load_seconds = load_seconds
        self._hook_seconds = hook_seconds
        self._plugins: dict[str, _Plugin] = {}
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(hookspecs)

    # Loading

    async def load(
        self,
        context: Context,
        *,
        extra: Sequence[tuple[str, object]] = (),
        installed: bool = True,
    ) -> None:
        """Import every installed plugin, then those of `extra` (name, module); ask what each gives.

        Called once. Never raises for the fault of a plugin: views() names it.
        """
        if installed:
            for point in _entry_points():
                version = point.dist.version if point.dist is not None else ""
                self._add(_Plugin(name=point.name, version=version, load=point.load))
        for name, module in extra:
            self._add(_Plugin(name=name, load=partial(_as_it_is, module)))
        for plugin in self._plugins.values():
            await self._import(plugin)
        self._pluggy.check_pending()
        for plugin in self._enabled():
            await self._register(plugin, context)

    def _add(self, plugin: _Plugin) -> None:
        if plugin.name in self._plugins:
            self.blame(plugin.name, f"two installed plugins are named {plugin.name!r}")
        else:
            self._plugins[plugin.name] = plugin

    async def _import(self, plugin: _Plugin) -> None:
        try:
            plugin.module = await _in_thread(plugin.load, self._load_seconds)
            _check_api(plugin.module)
            self._pluggy.register(plugin.module, plugin.name)
            for caller in self._pluggy.get_hookcallers(plugin.module) or ():
                if not caller.has_spec():
                    raise Invalid(f"there is no hook {caller.name!r}")
        except Hung:
            self._disable(plugin, f"its import took longer than {self._load_seconds:g} seconds")
        except Invalid as error:
            self._disable(plugin, str(error))
        except pluggy.PluginValidationError as error:
            self._disable(plugin, " ".join(str(error).split()))
        except (Exception, SystemExit) as error:
            self._disable(plugin, f"its import failed: {_told(error)}", error)

    async def _register(self, plugin: _Plugin, context: Context) -> None:
        """Take what the plugin gives: all of it, or nothing where a part is not right."""
        try:
            kinds = await self._ask(plugin, "supervisor_settings", _classes) or []
            _refuse_wrong(kinds, context)
            runtimes = await self._ask(plugin, "supervisor_runtimes", list, context=context) or []
            executors = await self._ask(plugin, "supervisor_executors", list, context=context) or []
            stores = await self._ask(plugin, "supervisor_stores", dict, context=context) or {}
            taken = [
                *_named("runtime", Runtime, runtimes, self.runtimes),
                *_named("executor", Executor, executors, self.executors),
                *_factories(stores, self.stores),
            ]
            _refuse_owned(kinds, [*SECTIONS, *self.kinds])
        except Hung:
            return
        except SupervisorError as error:
            self._disable(plugin, _told(error))
            self.refused.append(error)
            return
        except (Exception, SystemExit) as error:
            self._disable(plugin, _told(error), error)
            return
        self.kinds += kinds
        self.runtimes.update({runtime.name: runtime for runtime in runtimes})
        self.executors.update({executor.name: executor for executor in executors})
        self.stores.update(stores)
        plugin.gives = [*taken, *self._told_hooks(plugin)]

    def _told_hooks(self, plugin: _Plugin) -> list[str]:
        words = ("environment", "veto", "observe")
        return [word for word in words if self._implements(plugin, f"supervisor_{word}")]

    # Asking

    async def environment(self, content: Any, run: Any) -> dict[str, str]:
        """Give the variables of all plugins; of two that give the same the later wins."""
        given: dict[str, str] = {}
        for plugin in self._enabled():
            answer = await self._ask_safely(
                plugin, "supervisor_environment", _variables, content=content, run=run
            )
            given.update(answer or {})
        return given

    async def veto(self, content: Any, purpose: str) -> str | None:
        """Give the first plugin's reason why this must not start, with its name, or None."""
        for plugin in self._enabled():
            reason = await self._ask_safely(
                plugin, "supervisor_veto", _text, content=content, purpose=purpose
            )
            if reason:
                return f"{reason} (plugin {plugin.name})"
        return None

    async def observe(self, transition: Any) -> None:
        """Tell every plugin of a transition."""
        for plugin in self._enabled():
            await self._ask_safely(plugin, "supervisor_observe", bool, transition=transition)

    async def _ask_safely(
        self, plugin: _Plugin, hook: str, shape: Callable[[Any], T], **arguments: Any
    ) -> T | None:
        try:
            return await self._ask(plugin, hook, shape, **arguments)
        except Hung:
            return None
        except (Exception, SystemExit) as error:
            self.blame(plugin.name, _told(error))
            return None

    async def _ask(
        self, plugin: _Plugin, hook: str, shape: Callable[[Any], T], **arguments: Any
    ) -> T | None:
        """Call a hook of one plugin; None where it has none, or answers None.

        shape turns the answer into what is wanted; in the thread, since an answer may be lazy.
        Raises what the hook or shape raises, and Hung.
        """
        if not self._implements(plugin, hook):
            return None
        others = [other for other in self._pluggy.get_plugins() if other is not plugin.module]
        call = self._pluggy.subset_hook_caller(hook, others)

        def answer() -> T | None:
            answers = call(**arguments)
            return shape(answers[0]) if answers else None

        async with plugin.turn:
            if plugin.disabled:
                return None
            try:
                return await _in_thread(answer, self._hook_seconds)
            except Hung:
                self._disable(plugin, f"{hook} took longer than {self._hook_seconds:g} seconds")
                raise
            except (Exception, SystemExit) as error:
                error.add_note(f"in {hook}")
                raise

    def _implements(self, plugin: _Plugin, hook: str) -> bool:
        return any(
            found.plugin is plugin.module
            for found in getattr(self._pluggy.hook, hook).get_hookimpls()
        )

    def _enabled(self) -> list[_Plugin]:
        return [plugin for plugin in self._plugins.values() if not plugin.disabled]

    # Blaming

    def views(self) -> Sequence[PluginView]:
        """Give every plugin, also those that failed, by name."""
        return [
            PluginView(
                name=plugin.name,
                version=plugin.version,
                gives=tuple(plugin.gives),
                problem=plugin.problem,
            )
            for _, plugin in sorted(self._plugins.items())
        ]

    def blame(self, name: str, problem: str) -> None:
        """Note a plugin's fault, for views() and the log. It stays in use."""
        plugin = self._plugins.get(name)
        if plugin is not None:
            plugin.problem = problem
        self._log.error("plugin-blamed", plugin=name, problem=problem)

    def _disable(self, plugin: _Plugin, problem: str, error: BaseException | None = None) -> None:
        plugin.disabled = True
        plugin.problem = problem
        if plugin.module is not None and self._pluggy.is_registered(plugin.module):
            self._pluggy.unregister(plugin.module)
        self._log.error("plugin-disabled", exc=error, plugin=plugin.name, problem=problem)

    def blamed_by_trace(self, text: str) -> str | None:
        """Give the plugin whose code held the main thread, by a faulthandler dump."""
        homes = {
            plugin.name: stacks.homes(plugin.module)
            for plugin in self._plugins.values()
            if plugin.module is not None
        }
        return stacks.owner(stacks.main_thread(text), homes)


def unread(entries: Sequence[Entry], plugins: Plugins) -> list[str]:
    """Give a warning for what the configuration says and no plugin reads."""
    every = [*SECTIONS, *plugins.kinds]
    return warnings(entries, plugins.kinds) + unknown_sections(entries, every)


def _as_it_is(module: object) -> object:
    return module


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    """Give each entry point once, also where its distribution is found twice on sys.path."""
    found = {
        (point.name, point.value): point for point in importlib.metadata.entry_points(group=GROUP)
    }
    return [found[key] for key in sorted(found)]


async def _in_thread(call: Callable[[], T], seconds: float) -> T:
    # a limiter of its own: a thread that hangs must not take a place from the others
    limiter = trio.CapacityLimiter(1)
    with trio.move_on_after(seconds):
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)
    raise Hung


def _check_api(thing: object) -> None:
    spoken = getattr(thing, "plugin_api", PLUGIN_API)
    if spoken != PLUGIN_API:
        what = getattr(thing, "__name__", None) or type(thing).__name__
        raise Invalid(f"{what} speaks plugin API {spoken}, this server speaks {PLUGIN_API}")


def _named(word: str, kind: type[Any], given: Any, known: Mapping[str, object]) -> list[str]:
    names: list[str] = []
    for thing in given:
        if not isinstance(thing, kind):
            raise Invalid(f"supervisor_{word}s gave {thing!r}, which is no {kind.__name__}")
        _check_api(thing)
        name = getattr(thing, "name", None)
        if not isinstance(name, str) or not name:
            raise Invalid(f"the {word} {type(thing).__name__} has no name")
        if name in known or f"{word} {name}" in names:
            raise Invalid(f"another plugin gives a {word} named {name!r} already")
        names.append(f"{word} {name}")
    return names


def _classes(given: Any) -> list[Any]:
    kinds = list(given)
    for kind in kinds:
        if not attrs.has(kind) or not isinstance(getattr(kind, "section", None), str):
            raise Invalid(f"{kind!r} is no attrs class with the name of its section")
    return kinds


def _refuse_owned(kinds: Sequence[Any], owned: Sequence[Any]) -> None:
    names = {other.section.lower() for other in owned}
    for kind in kinds:
        if kind.section.lower() in names:
            raise Invalid(f"the section [{kind.section}] is somebody else's already")


def _refuse_wrong(kinds: Sequence[Any], context: Context) -> None:
    """Read each section that the configuration has; SupervisorError where one is wrong."""
    for kind in kinds:
        if context.has(kind):
            read = context.read_named if getattr(kind, "named", False) else context.read
            read(kind)


def _factories(given: Mapping[str, Any], known: Mapping[str, object]) -> list[str]:
    for provider, factory in given.items():
        if not callable(factory):
            raise Invalid(f"the store {provider!r} cannot be called with a context")
        _check_api(factory)
        if provider in known:
            raise Invalid(f"another plugin gives a store named {provider!r} already")
    return [f"store {provider}" for provider in given]


def _variables(answer: Any) -> dict[str, str]:
    given = dict(answer)
    for name, value in given.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise Invalid(f"{name!r} is no variable with a text")
        if not name or "=" in name or "\0" in name + value:
            raise Invalid(f"{name!r} cannot stand in an environment")
    return given


def _text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise Invalid(f"{answer!r} is no text")
    return answer


def _told(error: BaseException) -> str:
    notes = " ".join(getattr(error, "__notes__", ()))
    name = "" if isinstance(error, Invalid | SupervisorError) else type(error).__name__
    return ": ".join(part for part in (name, str(error)) if part) + (f" {notes}" if notes else "")
