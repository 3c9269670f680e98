"""Client: the API over the server's Unix socket, with every failure as a SupervisorError."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

from supervisor.cli.exchange import CONNECT_TIMEOUT, Answer, Broken, exchange
from supervisor.errors import CODES, SupervisorError
from supervisor.layout import ADMIN_TOKEN

ADMIN_GROUP = "content-supervisor-admin"  # where the socket itself cannot be asked
ANSWER_TIMEOUT = 120.0  # longer than any wait that we ask for


class Client:
    """Talk to one server. A context manager; calls raise SupervisorError and nothing else.

    patience: seconds that an answer may take.
    """

    def __init__(self, path: Path, *, patience: float = ANSWER_TIMEOUT) -> None:
        self._path = path
        check_socket(path)
        self._headers = _authorization(path)
        self._patience = patience

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing stays open between two calls."""

    def get(self, path: str, /, **parameters: str | int | float) -> Any:
        """GET and give the decoded answer."""
        return self._call("GET", path, parameters)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """POST a JSON object and give the decoded answer."""
        return self._call("POST", path, body=body or {})

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        """PATCH a JSON object and give the decoded answer."""
        return self._call("PATCH", path, body=body)

    def delete(self, path: str) -> None:
        """DELETE."""
        self._call("DELETE", path)

    def upload(self, path: str, chunks: Iterable[bytes], size: int) -> Any:
        """POST bytes as they come; size is their number."""
        headers = {"content-type": "application/x-gzip", "content-length": str(size)}
        with self._ask("POST", path, {}, headers, chunks, self._patience) as answer:
            return self._decoded(answer)

    def lines(self, path: str, **parameters: str | int) -> Iterator[str]:
        """GET a stream of lines and yield each as it comes, for as long as it takes."""
        with self._ask("GET", path, parameters) as answer:
            yield from answer.lines()

    def pieces(self, path: str) -> Iterator[bytes]:
        """POST, and yield the bytes of the answer as they come, for as long as it takes."""
        with self._ask("POST", path) as answer:
            yield from answer.pieces()

    def _call(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str | int | float] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        sent, headers = [], {}
        if body is not None:
            sent = [json.dumps(body).encode()]
            headers = {"content-type": "application/json", "content-length": str(len(sent[0]))}
        with self._ask(method, path, parameters, headers, sent, self._patience) as answer:
            return self._decoded(answer)

    @contextmanager
    def _ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str | int | float] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Iterable[bytes] = (),
        patience: float | None = None,
    ) -> Iterator[Answer]:
        """Give an answer that is no refusal. Raises SupervisorError."""
        target = f"/__api__{path}" + (f"?{urlencode(parameters)}" if parameters else "")
        sent = {**self._headers, **(headers or {})}
        try:
            with exchange(
                self._path, method, target, headers=sent, body=body, patience=patience
            ) as answer:
                if answer.is_error:
                    raise _refusal(answer)
                yield answer
        except TimeoutError:
            raise _silent(f"The server at {self._path} did not answer in time.") from None
        except Broken:
            text = f"The connection to the server at {self._path} broke off."
            raise _silent(text) from None

    def _decoded(self, answer: Answer) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise SupervisorError(
                "unavailable", f"What answers at {self._path} is not content-supervisor."
            ) from None


def _silent(text: str) -> SupervisorError:
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


def _authorization(path: Path) -> dict[str, str]:
    # A server without root tells its administrator by this file (see supervisor.api.access).
    try:
        return {"authorization": f"Key {path.with_name(ADMIN_TOKEN).read_text().strip()}"}
    except OSError:
        return {}


def _refusal(answer: Answer) -> SupervisorError:
    try:
        body = answer.json()
        code, message = body.get("name", body["code"]), str(body["error"])
    except (ValueError, KeyError, TypeError):
        return SupervisorError("internal", f"The server answered {answer.status}.")
    if code not in CODES:
        code = "internal"
    return SupervisorError(
        code,
        message,
        hint=str(body.get("hint", "")),
        plugin=body.get("plugin"),
        recoverable=bool(body.get("recoverable")),
    )
