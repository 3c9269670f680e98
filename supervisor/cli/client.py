"""Client: the API over the server's Unix socket, with every failure as a SupervisorError."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2

from supervisor.api.access import TOKEN_NAME
from supervisor.errors import CODES, SupervisorError

ADMIN_GROUP = "content-supervisor-admin"  # where the socket itself cannot be asked
CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 120.0  # longer than any wait that we ask for


class Client:
    """Talk to one server. A context manager; calls raise SupervisorError and nothing else.

    patience: seconds that an answer may take.
    """

    def __init__(self, path: Path, *, patience: float = ANSWER_TIMEOUT) -> None:
        self._path = path
        check_socket(path)
        self._http = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=str(path), verify=_no_certificates()),
            base_url="http://supervisor/__api__",
            headers=_authorization(path),
            timeout=httpx2.Timeout(patience, connect=CONNECT_TIMEOUT),
            trust_env=False,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def get(self, path: str, **parameters: str | int | float) -> Any:
        """GET and give the decoded answer."""
        return self._call("GET", path, params=parameters)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """POST a JSON object and give the decoded answer."""
        return self._call("POST", path, json=body or {})

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """PATCH a JSON object and give the decoded answer."""
        return self._call("PATCH", path, json=body)

    def delete(self, path: str) -> None:
        """DELETE."""
        self._call("DELETE", path)

    def upload(self, path: str, chunks: Iterable[bytes], size: int) -> Any:
        """POST bytes as they come; size is their number."""
        headers = {"content-type": "application/x-gzip", "content-length": str(size)}
        return self._call("POST", path, content=chunks, headers=headers)

    def lines(self, path: str, **parameters: str | int) -> Iterator[str]:
        """GET a stream of lines and yield each as it comes, for as long as it takes."""
        timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT)
        try:
            with self._http.stream("GET", path, params=parameters, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                yield from response.iter_lines()
        except httpx2.HTTPError as error:
            raise self._broken(error) from None

    def pieces(self, path: str) -> Iterator[bytes]:
        """GET bytes and yield them as they come, for as long as it takes."""
        timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT)
        try:
            with self._http.stream("GET", path, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                yield from response.iter_raw()
        except httpx2.HTTPError as error:
            raise self._broken(error) from None

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx2.HTTPError as error:
            raise self._broken(error) from None
        if response.is_error:
            raise _refusal(response)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise SupervisorError(
                "unavailable", f"What answers at {self._path} is not content-supervisor."
            ) from None

    def _broken(self, error: httpx2.HTTPError) -> SupervisorError:
        if isinstance(error, httpx2.TimeoutException):
            text = f"The server at {self._path} did not answer in time."
        else:
            text = f"The connection to the server at {self._path} broke off."
        return SupervisorError(
            "unavailable", text, hint="Its log tells more; try again.", recoverable=True
        )


def segment(text: str) -> str:
    """Quote a name or id that becomes one segment of a path; what could be more names nothing."""
    if "/" in text or text in ("", ".", ".."):
        raise SupervisorError(
            "not-found",
            f"there is no content or run {text!r}",
            hint="`supervisor list` and `supervisor ps --all` show them.",
        )
    return quote(text, safe="")


def check_socket(path: Path) -> None:
    """Find out whether a server can be reached, and if not, what to do about it."""
    if not hasattr(socket, "AF_UNIX"):
        raise SupervisorError(
            "unavailable",
            "The server's socket can only be reached from the Linux host that it runs on.",
        )
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_TIMEOUT)
            probe.connect(str(path))
    except PermissionError:
        group = _group_of(path)
        raise SupervisorError(
            "not-allowed",
            f"You may not use the server's socket {path}.",
            hint=f"Be root or a member of the group {group}:\n"
            f"  sudo usermod --append --groups {group} $USER   (then log in again)",
        ) from None
    except (OSError, ValueError) as error:
        missing = getattr(error, "errno", None) in (errno.ENOENT, errno.ENOTDIR)
        why = "there is no such socket" if missing else (getattr(error, "strerror", "") or error)
        raise SupervisorError(
            "unavailable",
            f"No server answers at {path}: {str(why).lower()}.",
            hint="Start one with `supervisor serve`, or name its socket with --socket PATH.",
            recoverable=True,
        ) from None


def _group_of(path: Path) -> str:
    try:
        number = path.stat().st_gid
    except OSError:
        return ADMIN_GROUP
    try:
        return path.group()
    except (OSError, KeyError, NotImplementedError):
        return str(number)


def _no_certificates() -> ssl.SSLContext:
    # Nothing is encrypted on a Unix socket, and reading the machine's certificates takes its time.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _authorization(path: Path) -> dict[str, str]:
    # A server without root tells its administrator by this file (see supervisor.api.access).
    try:
        return {"authorization": f"Key {path.with_name(TOKEN_NAME).read_text().strip()}"}
    except OSError:
        return {}


def _refusal(response: httpx2.Response) -> SupervisorError:
    try:
        body = response.json()
        code, message = body.get("name", body["code"]), str(body["error"])
    except (ValueError, KeyError, TypeError):
        return SupervisorError("internal", f"The server answered {response.status_code}.")
    if code not in CODES:
        code = "internal"
    return SupervisorError(
        code,
        message,
        hint=str(body.get("hint", "")),
        plugin=body.get("plugin"),
        recoverable=bool(body.get("recoverable")),
    )
