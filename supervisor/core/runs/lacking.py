"""What a server cannot do for want of a plugin, and how one is installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from supervisor.interfaces import Finding
from supervisor.plugins.loading import Plugins

KINDS = {
    "store": "keeps the records",
    "executor": "runs content",
    "runtime": "knows a language",
}


def lacking(plugins: Plugins) -> list[str]:
    """Give the kinds of which no plugin gives any."""
    given = {
        "store": plugins.stores,
        "executor": plugins.executors,
        "runtime": plugins.runtimes,
    }
    return [kind for kind in KINDS if not given[kind]]


def in_words(kinds: list[str]) -> str:
    """Say what is missing, in one sentence without its end."""
    named = ", ".join(f"no {kind} (what {KINDS[kind]})" for kind in kinds)
    return f"no installed plugin gives these: {named}" if len(kinds) > 1 else f"there is {named}"


def how_to_install() -> str:
    """Say how plugins come into this very environment."""
    pip = f"{os.path.join(sys.prefix, 'bin', 'python')} -m pip install"
    return (
        f"All that belong to content-supervisor: {pip} 'content-supervisor[all]'."
        " Each is also a package of its own; `supervisor plugins` shows what is installed."
    )


def findings(plugins: Plugins) -> Iterator[Finding]:
    """Yield a fault for each kind without which a server serves nothing."""
    for kind in lacking(plugins):
        yield Finding(
            name=f"plugins: {kind}",
            ok=False,
            fatal=True,
            text=in_words([kind]),
            fix=how_to_install(),
        )
