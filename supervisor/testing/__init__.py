"""The public kit for plugin authors: contract suites, fakes and fixtures. Names load when used.

Needs `content-supervisor[testing]`. Fixtures: `pytest_plugins = ["supervisor.testing.fixtures"]`.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

_HOME = {
    **dict.fromkeys("Alive ExecutorContract NewExecutor".split(), "executor"),
    "MadeBundle": "bundles",
    "PlainExecutor": "plain",
    "RuntimeContract": "runtime",
    "StoreContract": "store",
    "Program": "programs",
    **dict.fromkeys(
        (
            "AwayExecutor Behaviour BlindExecutor BrokenListExecutor BrokenWatchExecutor "
            "ScriptedExecutor SlowAnswerExecutor StuckStopExecutor"
        ).split(),
        "executors",
    ),
    **dict.fromkeys("AwayStore MemoryStore StuckStore".split(), "fakes"),
    "serving": "house",
    **dict.fromkeys("RunningServer running_server".split(), "server"),
    **dict.fromkeys("TinyRuntime tiny_bundle".split(), "tiny"),
}
_MODULES = ("fixtures", "programs")

__all__ = [*_MODULES, *sorted(_HOME)]

if "pytest" in sys.modules:  # asserts of the contracts say what they saw
    sys.modules["pytest"].register_assert_rewrite(
        *(f"supervisor.testing.{name}" for name in ("executor", "runtime", "store"))
    )

if TYPE_CHECKING:
    from supervisor.testing import fixtures as fixtures
    from supervisor.testing import programs as programs
    from supervisor.testing.bundles import MadeBundle as MadeBundle
    from supervisor.testing.executor import Alive as Alive
    from supervisor.testing.executor import ExecutorContract as ExecutorContract
    from supervisor.testing.executor import NewExecutor as NewExecutor
    from supervisor.testing.executors import AwayExecutor as AwayExecutor
    from supervisor.testing.executors import Behaviour as Behaviour
    from supervisor.testing.executors import BlindExecutor as BlindExecutor
    from supervisor.testing.executors import BrokenListExecutor as BrokenListExecutor
    from supervisor.testing.executors import BrokenWatchExecutor as BrokenWatchExecutor
    from supervisor.testing.executors import ScriptedExecutor as ScriptedExecutor
    from supervisor.testing.executors import SlowAnswerExecutor as SlowAnswerExecutor
    from supervisor.testing.executors import StuckStopExecutor as StuckStopExecutor
    from supervisor.testing.fakes import AwayStore as AwayStore
    from supervisor.testing.fakes import MemoryStore as MemoryStore
    from supervisor.testing.fakes import StuckStore as StuckStore
    from supervisor.testing.house import serving as serving
    from supervisor.testing.plain import PlainExecutor as PlainExecutor
    from supervisor.testing.programs import Program as Program
    from supervisor.testing.runtime import RuntimeContract as RuntimeContract
    from supervisor.testing.server import RunningServer as RunningServer
    from supervisor.testing.server import running_server as running_server
    from supervisor.testing.store import StoreContract as StoreContract
    from supervisor.testing.tiny import TinyRuntime as TinyRuntime
    from supervisor.testing.tiny import tiny_bundle as tiny_bundle


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"supervisor.testing.{name}")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'supervisor.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"supervisor.testing.{home}"), name)
