"""How long a second visitor waits while the only process computes, against a cold start."""

from __future__ import annotations

from pathlib import Path

import attrs
import trio

from tests.support.guests import guests
from tests.support.server import LiveServer

CONTENT = Path(__file__).parents[1] / "content"
SCALING = "[Scheduler]\nIdleTimeout = 1s\nReconnectTimeout = 1s\n"
COMPUTES = 15.0  # seconds
PATIENCE = 90.0  # seconds in which a process surely starts


@attrs.frozen(kw_only=True)
class Waits:
    """Seconds to the first value: who comes first of all, and who comes while one computes."""

    cold: float
    busy: float


async def waits(server: LiveServer, url: str, *, computes: float = COMPUTES) -> Waits:
    """Let one come and compute, then another. No process may run before; none does afterwards.

    Raises AssertionError where the other one's first value did not come from a process of its own,
    started for it as for the first, while the first still computed.
    """
    async with guests([url]) as party:
        (first,) = party
        cold = first.visits[0].waited
        assert first.session is not None
        await first.session.update(busy=computes)
        await first.session.computing()
        begun = trio.current_time()
        (second,) = party.invite([url])
        await party.served(PATIENCE)
        found = Waits(cold=cold, busy=trio.current_time() - begun)
        assert second.run != first.run, "it shares the process that computes"
        assert first.session.busy, "it waited for the process that computes"
        assert ["starting"] == first.places == second.places
        await second.move()
        first.vanish()
    for run in server.rows("ps"):
        server.supervisor("kill", run["id"], check=False)  # or it was idle and has ended
    await trio.to_thread.run_sync(lambda: server.until(lambda: not server.rows("ps"), 20, "no run"))
    return found


def deploy(server: LiveServer) -> str:
    """Deploy the R app that computes when asked to; give its URL once no process runs."""
    server.deploy(CONTENT / "r-counts-its-visitors", "r-app")
    server.until(lambda: not server.rows("ps"), 20, "no run")
    return server.url + server.path("r-app")
