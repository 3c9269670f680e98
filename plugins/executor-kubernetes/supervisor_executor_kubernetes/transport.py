"""Transport: one request to the API server, as bytes, every failure as an ApiError."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from math import inf
from typing import Any, Self

import attrs
import httpx2
import msgspec
import trio

from supervisor_executor_kubernetes.access import Access
from supervisor_executor_kubernetes.errors import ServerFailed, TooMany, Untrusted, from_status

# A log may be silent for days, so only the kernel can tell a dead peer from a quiet one.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


@attrs.frozen(kw_only=True)
class TimeLimits:
    """Seconds: to connect, between two reads of an answer, and for a call with all its retries."""

    connect: float = 5.0
    read: float = 15.0
    whole: float = 30.0


class Transport:
    """Two pools of connections: `calls` of them for calls, `streams` for watches and logs.

    So that many open logs keep no call waiting. requests counts what was sent, by `call`.
    """

    def __init__(self, access: Access, limits: TimeLimits, *, calls: int, streams: int) -> None:
        self.requests: Counter[str] = Counter()
        self._access = access
        self._limits = limits
        self._calls = self._pool(calls)
        self._streams = self._pool(streams)

    async def aclose(self) -> None:
        """Close every connection."""
        with trio.CancelScope(shield=True):  # closes sockets, waits for nobody
            await self._streams.aclose()
            await self._calls.aclose()

    def renews_token(self) -> bool:
        """Whether the token lies in a file that somebody renews."""
        return self._access.token.path is not None

    async def send(
        self,
        call: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Send one request once; gives the body of the answer."""
        request = self._request(self._calls, call, method, path, query, self._limits.read, body)
        with _api_errors(call):
            response = await self._calls.send(request)
        if response.is_success:
            return response.content
        raise from_status(
            call, response.status_code, response.content, response.headers.get("Retry-After")
        )

    @asynccontextmanager
    async def stream(
        self, call: str, path: str, query: Mapping[str, str], silence: float | None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open one answer that goes on, in chunks; silence: the seconds it may bring nothing."""
        request = self._request(self._streams, call, "GET", path, query, silence)
        response: httpx2.Response | None = None
        chunks: _Chunks | None = None
        try:
            with _api_errors(call):
                # Kubelets answer for a silent log when it says something, which may take days.
                # Everything else answers soon, though its stream may be silent for long.
                with trio.fail_after(inf if silence is None else self._limits.read):
                    response = await self._streams.send(request, stream=True)
                if not response.is_success:
                    with trio.fail_after(self._limits.read):
                        body = await response.aread()
            if not response.is_success:
                raise from_status(
                    call, response.status_code, body, response.headers.get("Retry-After")
                )
            chunks = _Chunks(call, response)
            yield chunks
        finally:
            with trio.CancelScope(shield=True):  # closes a socket, waits for nobody
                if response is not None:
                    await response.aclose()
                if chunks is not None:
                    await chunks.exhaust()

    def _pool(self, connections: int) -> httpx2.AsyncClient:
        tls = self._access.tls
        return httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(
                verify=tls if tls is not None else False,
                trust_env=False,
                limits=httpx2.Limits(
                    max_connections=connections, max_keepalive_connections=8, keepalive_expiry=30.0
                ),
                socket_options=_KEEPALIVE,
            ),
            base_url=self._access.server,
            headers={"Accept": "application/json", "User-Agent": "content-supervisor"},
            trust_env=False,
        )

    def _request(
        self,
        pool: httpx2.AsyncClient,
        call: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        silence: float | None,
        body: Mapping[str, Any] | None = None,
    ) -> httpx2.Request:
        headers = {}
        if token := self._access.token.current():
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        name = self._access.server_name
        connect = self._limits.connect
        request = pool.build_request(
            method,
            path,
            params={key: value for key, value in query.items() if value} or None,
            content=msgspec.json.encode(body) if body is not None else None,
            headers=headers,
            timeout=httpx2.Timeout(silence, connect=connect, pool=connect, write=self._limits.read),
            extensions={"sni_hostname": name} if name else {},
        )
        self.requests[call] += 1
        return request


class _Chunks:
    """The chunks of a response."""

    def __init__(self, call: str, response: httpx2.Response) -> None:
        self._call = call
        self._source = response.aiter_bytes()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with _api_errors(self._call):
            return await anext(self._source)

    async def exhaust(self) -> None:
        """After the response was closed: end its generators, which httpx2 would leave to chance."""
        with suppress(httpx2.RequestError, httpx2.StreamError, RuntimeError):
            async for _ in self._source:
                pass


@contextmanager
def _api_errors(call: str) -> Iterator[None]:
    try:
        yield
    except httpx2.PoolTimeout:
        raise TooMany(call, "all our connections for this are in use") from None
    except trio.TooSlowError:
        raise ServerFailed(call, "the server took too long to begin its answer") from None
    except httpx2.ConnectTimeout:
        raise _not_sent(call, "no connection within the time limit") from None
    except httpx2.TimeoutException as error:
        raise ServerFailed(call, f"the server went silent ({type(error).__name__})") from error
    except httpx2.ConnectError as error:
        if untrusted := _certificate_error(error):
            raise Untrusted(call, untrusted) from error
        raise _not_sent(call, f"no connection: {error or 'refused'}") from error
    except (httpx2.RequestError, httpx2.StreamError) as error:
        why = str(error) or type(error).__name__
        raise ServerFailed(call, f"the connection broke: {why}") from error


def _not_sent(call: str, message: str) -> ServerFailed:
    failed = ServerFailed(call, message)
    failed.sent = False
    return failed


def _certificate_error(error: BaseException | None) -> str:
    """What OpenSSL says against the server's certificate, or ""."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error.verify_message or error)
        error = error.__cause__ or error.__context__
    return ""
