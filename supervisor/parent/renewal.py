"""The steps of a reload that follow the parent's own: helper, gateway, core, one after the other.

Each step is a generator that yields the moment up to which it waits; the tree goes on with it
whenever something has happened. It returns what went wrong, "" if nothing did.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator

from supervisor.parent.child import sealed
from supervisor.parent.watch import Watch

Step = Generator[float, None, str]
MOST_LEAVING = 3  # gateways that may be ending at once
LAST_ANSWERS = 5.0  # seconds that the core has for requests under way


def renew(watch: Watch, limit: float) -> Step:
    """Let a child execute itself anew, with new settings; it declines, or is ready anew in time."""
    child = watch.child
    if child is None:  # its next start is of the new code anyway
        return ""
    until, readies = time.monotonic() + limit, watch.readies
    watch.declined = ""
    settings = sealed("settings", watch.program.settings)
    told = child.tell({"type": "renew", "argv": list(watch.program.argv)}, (settings,))
    os.close(settings)
    if not told:
        return "it does not read its control link"
    while watch.child is child and watch.readies == readies and not watch.declined:
        if time.monotonic() >= until:
            return f"it did not renew itself within {limit:.0f} s"
        yield until
    return watch.declined if watch.child is child else "it has ended"


def start_beside(old: Watch, second: Watch, limit: float) -> Step:
    """Start a second generation beside the first and wait until it is ready. One try."""
    second.retired = True
    if old.child is None:  # its next start is of the new code anyway
        return ""
    second.start(time.monotonic())
    until = time.monotonic() + limit
    while second.child is not None and not second.ready and time.monotonic() < until:
        yield until
    return "" if second.ready else "the new one was not ready; the old one goes on"


def replace(watch: Watch, limit: float) -> Step:
    """Let a child leave, and its successor start; wait until that is ready."""
    child = watch.child
    if child is not None:
        watch.leave(LAST_ANSWERS, time.monotonic())
        while watch.child is child:  # it is killed where it does not end
            yield time.monotonic() + limit
    until = time.monotonic() + limit
    while not watch.ready:
        if time.monotonic() >= until:
            return f"the new one was not ready within {limit:.0f} s; it is tried again"
        yield until
    return ""
