"""Call a plugin's synchronous code: in a thread, under a limit, its fault an error of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from supervisor.errors import SupervisorError

T = TypeVar("T")

_HINT = "This is a fault of the plugin: tell its authors, or try another version of it."


async def ask(owner: str, call: Callable[[], T], *, limit: float = 30.0) -> T:
    """Give what `call` returns. owner: the runtime or executor that is blamed.

    Raises SupervisorError: what the plugin raises as such, plugin-invalid for any other exception,
    plugin-hung after `limit` seconds (the thread is left to itself: it holds nothing of ours).
    """
    limiter = trio.CapacityLimiter(1)  # of its own: a hung thread takes no place from others
    try:
        with trio.fail_after(limit):
            return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)
    except SupervisorError:
        raise
    except trio.TooSlowError:
        raise SupervisorError(
            "plugin-hung", f"{owner} took longer than {limit:g} s", hint=_HINT, plugin=owner
        ) from None
    except Exception as error:
        raise SupervisorError(
            "plugin-invalid",
            f"{owner} failed: {type(error).__name__}: {error}",
            hint=_HINT,
            plugin=owner,
        ) from error
