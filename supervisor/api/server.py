"""serve_api: our own accept loop, so that every request knows which process asked."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import h11
import trio

from supervisor.api.access import ApiSettings
from supervisor.api.answers import internal_error
from supervisor.api.app import build_app
from supervisor.api.audit import Parent
from supervisor.api.exchange import READ_SIZE, Application, Disconnected, Exchange, Wire
from supervisor.api.peer import Peer, read_peer
from supervisor.core.configured import Configured
from supervisor.core.service import Service
from supervisor.log import Log

IDLE_TIMEOUT = 75.0  # seconds between two requests of a connection
LINGER = 2.0  # seconds for a client to read a refusal while it still uploads
MOST_CONNECTIONS = 1000  # of visitors, and again of administrators


async def serve_api(
    listener: socket.socket | int,
    service: Service,
    settings: ApiSettings,
    *,
    log: Log,
    leave: trio.Event | None = None,
    parent: Parent | None = None,
    configured: Configured | None = None,
    figures: Callable[[], Awaitable[bytes]] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on a listening Unix socket until cancelled. Takes the socket (or descriptor) over.

    parent: who writes the audit log; figures: gives what Prometheus is told. Without one of these
    there is none.

    Once `leave` is set it accepts no more, answers the requests under way and returns.
    """
    if isinstance(listener, int):
        listener = socket.socket(fileno=listener)
    app = build_app(service, settings, log, parent, configured, figures)
    open_connections: Counter[bool] = Counter()

    async def serve(stream: trio.SocketStream) -> None:
        # Apart: visitors who take all of theirs must not lock the administrators out.
        of_visitors = _peer(stream).uid == settings.gateway_uid
        if open_connections[of_visitors] >= MOST_CONNECTIONS:
            log.warning("api-full", connections=MOST_CONNECTIONS, of_visitors=of_visitors)
            await stream.aclose()
            return
        open_connections[of_visitors] += 1
        try:
            await serve_connection(stream, app, log, leave)
        finally:
            open_connections[of_visitors] -= 1

    listener.setblocking(False)
    accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    async with trio.open_nursery() as connections, trio.open_nursery() as accept:
        await accept.start(
            partial(trio.serve_listeners, serve, [accepting], handler_nursery=connections)
        )
        task_status.started()
        await (trio.Event() if leave is None else leave).wait()
        accept.cancel_scope.cancel()


async def serve_connection(
    stream: trio.SocketStream, app: Application, log: Log, leave: trio.Event | None = None
) -> None:
    """Serve one connection, request after request, until either side closes it, or `leave`."""
    async with stream:
        try:
            extensions: dict[str, object] = {"supervisor.identity": _peer(stream)}
            wire = Wire(stream)
            while await _serve_request(wire, app, extensions, log):
                wire.http.start_next_cycle()
                if leave is not None and not await _asks_again(wire, leave):
                    return
            await _linger(wire)
        except Disconnected:
            return
        except OSError as error:
            log.warning("api-connection-failed", error=str(error))


def _peer(stream: trio.SocketStream) -> Peer:
    return read_peer(stream.socket)  # type: ignore[arg-type]  # getsockopt is the same


async def _serve_request(
    wire: Wire, app: Application, extensions: dict[str, object], log: Log
) -> bool:
    """Serve one request; tell whether the connection can take another one."""
    try:
        with trio.move_on_after(IDLE_TIMEOUT) as idle:
            event = await wire.next_event()
    except h11.RemoteProtocolError as error:
        await _refuse(wire, error.error_status_hint, str(error))
        return False
    if idle.cancelled_caught or not isinstance(event, h11.Request):
        return False
    if not event.target.startswith(b"/"):
        await _refuse(wire, 400, "the target is not a path")
        return False
    exchange = Exchange(wire, event, dict(extensions))
    try:
        await app(exchange.scope, exchange.receive, exchange.send)
    except Disconnected:
        return False
    except Exception as error:
        if not exchange.complete:  # otherwise the application has answered, and logged it, itself
            answer = internal_error(error, log, exchange.scope)
            if exchange.started:
                return False
            await answer(exchange.scope, exchange.receive, exchange.send)
    return wire.finish()


async def _asks_again(wire: Wire, leave: trio.Event) -> bool:
    """Wait for another request; False where none has come when we leave, or in time."""
    asks = bool(wire.http.trailing_data[0])
    if asks:
        return True

    async def look(scope: trio.CancelScope) -> None:
        nonlocal asks
        await trio.lowlevel.wait_readable(wire.stream.socket)
        asks = True
        scope.cancel()

    with trio.move_on_after(IDLE_TIMEOUT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, nursery.cancel_scope)
            await leave.wait()
            nursery.cancel_scope.cancel()
    return asks


async def _refuse(wire: Wire, status: int, reason: str) -> None:
    body = f"Bad request: {reason}\n".encode()
    headers = [("content-type", "text/plain"), ("content-length", str(len(body)))]
    with contextlib.suppress(h11.LocalProtocolError):
        await wire.send(
            h11.Response(status_code=status, headers=[*headers, ("connection", "close")])
        )
        await wire.send(h11.Data(data=body))
        await wire.send(h11.EndOfMessage())


async def _linger(wire: Wire) -> None:
    # A client that is refused in the middle of an upload must get to read why.
    with trio.move_on_after(LINGER):
        try:
            await wire.stream.send_eof()
            while await wire.stream.receive_some(READ_SIZE):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
