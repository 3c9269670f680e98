"""Executors with one fault each: what ExecutorContract must refuse, and by which of its tests."""

from __future__ import annotations

from types import ModuleType

from tests.support.broken import ending, limits, output, starting, stopping, watching
from tests.support.memory_executor import MemoryExecutor


def _kinds(module: ModuleType) -> list[type[MemoryExecutor]]:
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, MemoryExecutor)
        and kind.__module__ == module.__name__
    ]


BROKEN = tuple(
    kind
    for module in (starting, watching, ending, stopping, limits, output)
    for kind in _kinds(module)
)
