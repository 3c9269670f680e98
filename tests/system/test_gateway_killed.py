"""The gateway is killed: no connect is refused, and clients come back to the same process."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import trio

from tests.support.server import LiveServer, kill
from tests.support.sessions import open_sessions
from tests.support.shiny_client import SessionEnded

pytestmark = pytest.mark.system


class Connects:
    """Connect to a port without a pause, in a thread, and count what was refused."""

    def __init__(self, port: int) -> None:
        self.made = 0
        self.refused: list[str] = []
        self._port = port
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Connects:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=5).close()
                self.made += 1
            except OSError as error:
                self.refused.append(str(error))
            time.sleep(0.002)


def _kill_gateway(server: LiveServer) -> None:
    old = server.gateway
    kill(old)
    server.until(lambda: server.gateway not in (None, old), 10, "a new gateway")


async def test_clients_come_back_to_the_same_process_and_no_connect_is_refused(
    server: LiveServer, r_app: str, python_app: str
) -> None:
    wanted = [(server.url + r_app, "double"), (server.url + python_app, "total")] * 3
    with Connects(server.port) as connects:
        async with open_sessions(wanted) as sessions:
            before = {row["id"]: row["pid"] for row in server.json("ps")}
            pins = [one.visitor.cookies["supervisor-pin"].value for one in sessions]
            for _ in range(3):
                await trio.to_thread.run_sync(_kill_gateway, server)
            for one in sessions:
                with trio.fail_after(10), pytest.raises(SessionEnded):
                    await one.session.value("never")
        async with trio.open_nursery() as nursery:
            for one, pin in zip(sessions, pins, strict=True):

                async def again(one=one, pin=pin) -> None:  # type: ignore[no-untyped-def]
                    with trio.fail_after(20):
                        async with one.visitor.session([one.output], {"n": 9}) as session:
                            await session.value(one.output)
                    assert one.visitor.cookies["supervisor-pin"].value == pin

                nursery.start_soon(again)
        after = {row["id"]: row["pid"] for row in server.json("ps")}
    assert after == before
    assert connects.refused == []
    assert connects.made > 100
