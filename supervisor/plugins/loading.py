"""Find, load, call and blame plugins.

Every hook is called for one plugin at a time, in a thread, under a time limit: a plugin that fails
to import, raises, hangs or speaks another plugin API is named, and the others count.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

import attrs
import pluggy
import trio

from supervisor import stacks
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor, PluginView, Runtime, Store
from supervisor.log import Log
from supervisor.plugins import given, hookspecs, leaks
from supervisor.plugins.given import SPOKEN, Invalid, Spoken
from supervisor.plugins.hookspecs import Context
from supervisor.plugins.installed import entry_points
from supervisor.settings import Entry
from supervisor.settings.sections import SECTIONS
from supervisor.settings.unknown import unknown_sections, warnings

T = TypeVar("T")

PROJECT = "content_supervisor"
LOAD_SECONDS = 20.0
LOAD_ALL_SECONDS = 30.0  # of all plugins together: the parent replaces a core that is not ready
LEAST_SECONDS = 2.0  # that one has in every case
SLOW_SECONDS = 3.0  # an import that took longer is told
HOOK_SECONDS = 5.0


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
    unwanted: bool = False  # by the settings, which is no fault
    seconds: float = 0.0
    growth: dict[str, leaks.Growth] = attrs.field(factory=dict)
    turn: trio.Lock = attrs.field(factory=trio.Lock)  # an author need not think of threads


class Plugins:
    """The installed plugins, and what they gave.

    runtimes and executors by their names; stores: provider name → a callable that takes the
    context and gives a Store; kinds: the classes of the plugins' sections of the configuration;
    refused: what is wrong in the configuration, for which a plugin was left out.

    trying: told the name of each plugin whose code is run for the first time, "" once all is well;
    gives a reason not to, or "".
    """

    def __init__(
        self,
        *,
        log: Log | None = None,
        load_seconds: float = LOAD_SECONDS,
        hook_seconds: float = HOOK_SECONDS,
        spoken: Spoken = SPOKEN,
        trying: Callable[[str], str] = lambda name: "",
    ) -> None:
        self.runtimes: dict[str, Runtime] = {}
        self.executors: dict[str, Executor] = {}
        self.stores: dict[str, Callable[[Context], Store]] = {}
        self.kinds: list[Any] = []
        self.refused: list[SupervisorError] = []
        self._log = log or Log("core")
        self._load_seconds = load_seconds
        self._hook_seconds = hook_seconds
        self._spoken = spoken
        self._trying = trying
        self._ends = float("inf")  # of loading
        self._threads = 0
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
        disabled: Collection[str] = (),
    ) -> None:
        """Import every installed plugin, then those of `extra` (name, module); ask what each gives.

        disabled: names of those that are left out. Called once. Never raises for the fault of a
        plugin: views() names it.
        """
        self._ends = trio.current_time() + LOAD_ALL_SECONDS
        if installed:
            for found in entry_points():
                self._add(_Plugin(name=found.name, version=found.version, load=found.load))
        for name, module in extra:
            self._add(_Plugin(name=name, load=partial(_as_it_is, module)))
        self._leave_out(disabled)
        for plugin in self._enabled():
            await self._import(plugin)
        self._pluggy.check_pending()
        for plugin in self._enabled():
            self._trying(plugin.name)
            await self._register(plugin, context)
        self._trying("")
        self._ends = float("inf")

    def _add(self, plugin: _Plugin) -> None:
        if plugin.name in self._plugins:
            self.blame(plugin.name, f"two installed plugins are named {plugin.name!r}")
        else:
            self._plugins[plugin.name] = plugin

    def _leave_out(self, names: Collection[str]) -> None:
        for name in names:
            plugin = self._plugins.get(name)
            if plugin is None:
                known = ", ".join(sorted(self._plugins))
                self._log.warning("plugin-unknown", plugin=name, installed=known)
            else:
                plugin.disabled = plugin.unwanted = True

    def _limit(self, seconds: float) -> float:
        """Give the time that a call may take: while plugins are loaded, of what is left."""
        return min(seconds, max(LEAST_SECONDS, self._ends - trio.current_time()))

    async def _import(self, plugin: _Plugin) -> None:
        seconds, began = self._limit(self._load_seconds), trio.current_time()
        try:
            if reason := self._trying(plugin.name):
                raise Invalid(reason)
            plugin.module = await _in_thread(plugin.load, seconds)
            plugin.seconds = trio.current_time() - began
            if plugin.seconds > SLOW_SECONDS:
                self._log.warning("plugin-slow", plugin=plugin.name, seconds=plugin.seconds)
            self._check_api(plugin, plugin.module)
            self._pluggy.register(plugin.module, plugin.name)
            for caller in self._pluggy.get_hookcallers(plugin.module) or ():
                if not caller.has_spec():
                    raise Invalid(f"there is no hook {caller.name!r}")
        except Hung:
            self._disable(plugin, f"its import took longer than {seconds:g} seconds")
        except Invalid as error:
            self._disable(plugin, str(error))
        except pluggy.PluginValidationError as error:
            self._disable(plugin, " ".join(str(error).split()))
        except (Exception, SystemExit) as error:
            self._disable(plugin, f"its import failed: {given.told(error)}", error)

    async def _register(self, plugin: _Plugin, context: Context) -> None:
        """Take what the plugin gives: all of it, or nothing where a part is not right."""
        kinds: list[Any] = []
        try:
            kinds += await self._ask(plugin, "supervisor_settings", given.classes) or []
            given.refuse_wrong(kinds, context)
            runtimes = await self._ask(plugin, "supervisor_runtimes", list, context=context) or []
            executors = await self._ask(plugin, "supervisor_executors", list, context=context) or []
            stores = await self._ask(plugin, "supervisor_stores", dict, context=context) or {}
            taken = [
                *given.named("runtime", Runtime, runtimes, self.runtimes),
                *given.named("executor", Executor, executors, self.executors),
                *given.factories(stores, self.stores),
            ]
            for thing in (*runtimes, *executors, *stores.values()):
                self._check_api(plugin, thing)
            given.refuse_owned(kinds, [*SECTIONS, *self.kinds])
        except Hung:
            return
        except SupervisorError as error:
            self._disable(plugin, given.told(error))
            self.refused.append(error)
            self.kinds += kinds  # they are somebody's all the same
            return
        except (Exception, SystemExit) as error:
            self._disable(plugin, given.told(error), error)
            return
        self.kinds += kinds
        self.runtimes.update({runtime.name: runtime for runtime in runtimes})
        self.executors.update({executor.name: executor for executor in executors})
        self.stores.update(stores)
        plugin.gives = [*taken, *self._told_hooks(plugin)]

    def _check_api(self, plugin: _Plugin, thing: object) -> None:
        if warning := self._spoken.check(thing):
            self.blame(plugin.name, warning)

    def _told_hooks(self, plugin: _Plugin) -> list[str]:
        words = ("environment", "veto", "observe")
        return [word for word in words if self._implements(plugin, f"supervisor_{word}")]

    # Asking

    async def environment(self, content: Any, run: Any) -> dict[str, str]:
        """Give the variables of all plugins; of two that give the same the later wins."""
        found: dict[str, str] = {}
        for plugin in self._enabled():
            answer = await self._ask_safely(
                plugin, "supervisor_environment", given.variables, content=content, run=run
            )
            found.update(answer or {})
        return found

    async def veto(self, content: Any, purpose: str) -> str | None:
        """Give the first plugin's reason why this must not start, with its name, or None."""
        for plugin in self._enabled():
            reason = await self._ask_safely(
                plugin, "supervisor_veto", given.text, content=content, purpose=purpose
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
            self.blame(plugin.name, given.told(error))
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

        grown = 0

        def answer() -> T | None:
            nonlocal grown
            before = leaks.descriptors()
            try:
                answers = call(**arguments)
                return shape(answers[0]) if answers else None
            finally:
                grown = leaks.descriptors() - before

        async with plugin.turn:
            if plugin.disabled:
                return None
            seconds = self._limit(self._hook_seconds)
            try:
                return await _in_thread(answer, seconds)
            except Hung:
                self._disable(plugin, f"{hook} took longer than {seconds:g} seconds")
                raise
            except (Exception, SystemExit) as error:
                error.add_note(f"in {hook}")
                raise
            finally:
                self._look_at(plugin, hook, grown)

    def _look_at(self, plugin: _Plugin, hook: str, grown: int) -> None:
        """Blame a plugin that leaves behind more and more."""
        if leak := plugin.growth.setdefault(hook, leaks.Growth()).note(grown):
            self.blame(plugin.name, f"{hook} {leak}")
        if (living := threading.active_count()) > self._threads:
            self._threads = living
            self._held()

    def _held(self) -> tuple[Counter[str], Counter[str]]:
        """Count threads and tasks of each plugin, and blame those that have too many."""
        homes = self._homes()
        threads, tasks = leaks.threads(homes), leaks.system_tasks(homes)
        for what, held, most in (
            ("threads", threads, leaks.MOST_THREADS),
            ("system tasks", tasks, leaks.MOST_TASKS),
        ):
            for name, count in held.items():
                if count > most and not self._plugins[name].problem:
                    self.blame(name, f"it has {count} {what} of its own that do not end")
        return threads, tasks

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
        threads, tasks = self._held()
        return [
            PluginView(
                name=plugin.name,
                version=plugin.version,
                gives=tuple(plugin.gives),
                problem=plugin.problem,
                state=_state(plugin),
                seconds=round(plugin.seconds, 3),
                threads=threads[plugin.name],
                tasks=tasks[plugin.name],
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
        return stacks.owner(stacks.main_thread(text), self._homes())

    def _homes(self) -> dict[str, list[str]]:
        return {
            plugin.name: stacks.homes(plugin.module)
            for plugin in self._plugins.values()
            if plugin.module is not None
        }


def unread(entries: Sequence[Entry], plugins: Plugins) -> list[str]:
    """Give a warning for what the configuration says and no plugin reads."""
    every = [*SECTIONS, *plugins.kinds]
    return warnings(entries, plugins.kinds) + unknown_sections(entries, every)


def _state(plugin: _Plugin) -> str:
    if plugin.disabled:
        return "disabled" if plugin.unwanted else "failed"
    return "blamed" if plugin.problem else "loaded"


def _as_it_is(module: object) -> object:
    return module


async def _in_thread(call: Callable[[], T], seconds: float) -> T:
    # a limiter of its own: a thread that hangs must not take a place from the others
    limiter = trio.CapacityLimiter(1)
    with trio.move_on_after(seconds):
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)
    raise Hung
