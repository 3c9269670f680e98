"""The service log: one structured line per event, on standard error. Standard library only.

TEXT:  2026-11-21T19:05:13.123Z INFO core run-ready run=01k… content=12 seconds=1.2
JSON:  {"time": "…", "level": "info", "process": "core", "event": "run-ready", …}
Text of users is escaped: one event is always one line. A full disk or a reader that hangs holds
nobody up: lines are dropped then, and counted.
"""

from __future__ import annotations

import json
import string
import time
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Literal

from supervisor.sink import Sink

Level = Literal["debug", "info", "warning", "error"]
_ORDER = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_SAFE = frozenset(string.ascii_letters + string.digits + "._-+:/@,%*()[]{}<>~")
REQUEST: ContextVar[str] = ContextVar("request", default="")
"""The id of the request that the running code serves: every line that it logs has it."""


class Log:
    """Write events of one process (`core`, `gateway`, `helper`, `parent`)."""

    def __init__(
        self, process: str, *, form: str = "TEXT", level: str = "info", fd: int = 2
    ) -> None:
        self.process = process
        self.form = form
        self.level = level
        self.sink = Sink(fd, told=self._lost)

    def write_to(self, fd: int) -> None:
        """Write to another descriptor from now on."""
        self.sink = Sink(fd, told=self._lost)

    def debug(self, event: str, **fields: object) -> None:
        """Write what only a developer wants to know."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Write what happened as it should."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Write what somebody should look at."""
        self._write("warning", event, fields)

    def error(self, event: str, *, exc: BaseException | None = None, **fields: object) -> None:
        """Write what failed; with `exc`, its traceback as one field."""
        if exc is not None:
            fields["error"] = f"{type(exc).__name__}: {exc}"
            fields["traceback"] = "".join(traceback.format_exception(exc))
        self._write("error", event, fields)

    def _write(self, level: Level, event: str, fields: dict[str, object]) -> None:
        if _ORDER[level] < _ORDER[self.level]:
            return
        if "request" not in fields and (request := REQUEST.get()):
            fields["request"] = request
        self.sink.write(self._line(level, event, fields))

    def _line(self, level: Level, event: str, fields: Mapping[str, object]) -> bytes:
        head = {"time": stamp(time.time()), "level": level, "process": self.process, "event": event}
        return line(self.form, head, fields)

    def _lost(self, lines: int) -> bytes:
        return self._line("warning", "log-lines-dropped", {"lines": lines})


def stamp(now: float) -> str:
    """Give a time in UTC with milliseconds: 2026-11-21T19:05:13.123Z."""
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return f"{second}.{int(now * 1000) % 1000:03d}Z"


def line(form: str, head: Mapping[str, str], fields: Mapping[str, object]) -> bytes:
    """Give one line of a log: of TEXT first the values of `head`, then `name=value`.

    A field whose name stands in `head` gets an underscore at its end.
    """
    fields = {f"{key}_" if key in head else key: value for key, value in fields.items()}
    if form == "JSON":
        text = json.dumps({**head, **fields}, default=str)
    else:
        first = (value.upper() if key == "level" else value for key, value in head.items())
        text = " ".join([*first, *(f"{key}={quoted(value)}" for key, value in fields.items())])
    return text.encode("utf-8", "backslashreplace") + b"\n"


def quoted(value: object) -> str:
    """Give a value as TEXT shows it: bare where nothing in it could mislead, else as in JSON."""
    text = str(value)
    if text and _SAFE.issuperset(text):
        return text
    text = json.dumps(text, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
