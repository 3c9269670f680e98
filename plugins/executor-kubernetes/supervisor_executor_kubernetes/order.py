"""Ask the entrance of a Pod what its processes use, or order them to end. The Pod stays.

A Pod that is deleted may not tell how they ended: a node of Kubernetes 1.20 removes the containers
of such a Pod as soon as they have ended, now and then before it has read how. What they use nobody
else tells: metrics are not in every cluster, and old there.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from supervisor import Usage

STARTS = 5.0  # seconds that the entrance may need until it listens
ANSWERS = 3.0  # seconds to connect and get an answer
TELLS = 1.0  # seconds for what is used: many are asked, and one that hangs must not take their time
PAUSE = 0.1
MOST = 200  # bytes of an answer


async def end(host: str, port: int, secret: str, grace: float) -> bool:
    """Tell whether the entrance has taken the order: its signal now, KILL after grace seconds.

    One that does not listen yet is waited for, within the grace. Made again, the order can only
    shorten the grace. Cancelled, it may have been taken.
    """
    until = trio.current_time() + min(grace, STARTS)
    with trio.move_on_at(until + ANSWERS):
        return await _asked(host, port, secret, str(grace), until) == b"ok\n"
    return False


async def usage(host: str, port: int, secret: str) -> Usage | None:
    """Give what the processes of a Pod use; None where its entrance does not say so in time."""
    with trio.move_on_after(TELLS):
        words = (await _asked(host, port, secret, "usage", trio.current_time())).split()
        with suppress(ValueError):
            cpu, memory, processes = words
            return Usage(cpu=float(cpu), memory=int(memory), processes=int(processes))
    return None


async def _asked(host: str, port: int, secret: str, line: str, until: float) -> bytes:
    """Say the secret and a line; give the answer, b"" where there is none."""
    stream = await _connect(host, port, until)
    if stream is not None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(f"supervisor {secret}\n{line}\n".encode())
                return bytes(await stream.receive_some(MOST))
    return b""


async def _connect(host: str, port: int, until: float) -> trio.SocketStream | None:
    while True:
        try:
            return await trio.open_tcp_stream(host, port)
        except OSError:
            if trio.current_time() > until:
                return None
            await trio.sleep(PAUSE)
