"""Order the processes of a Pod to end, at its entrance. The Pod stays, and tells how they ended.

A Pod that is deleted may not tell: a node of Kubernetes 1.20 removes the containers of such a Pod
as soon as they have ended, now and then before it has read how.
"""

from __future__ import annotations

from contextlib import suppress

import trio

STARTS = 5.0  # seconds that the entrance may need until it listens
ANSWERS = 3.0  # seconds to connect and get an answer
PAUSE = 0.1


async def end(host: str, port: int, secret: str, grace: float) -> bool:
    """Tell whether the entrance has taken the order: its signal now, KILL after grace seconds.

    One that does not listen yet is waited for, within the grace. Made again, the order can only
    shorten the grace. Cancelled, it may have been taken.
    """
    with trio.move_on_after(min(grace, STARTS) + ANSWERS):
        stream = await _connect(host, port, trio.current_time() + min(grace, STARTS))
        if stream is not None:
            async with stream:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(f"supervisor {secret}\n{grace}\n".encode())
                    return await stream.receive_some() == b"ok\n"
    return False


async def _connect(host: str, port: int, until: float) -> trio.SocketStream | None:
    while True:
        try:
            return await trio.open_tcp_stream(host, port)
        except OSError:
            if trio.current_time() > until:
                return None
            await trio.sleep(PAUSE)
