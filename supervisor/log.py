"""The service log: one structured line per event, on standard error. Standard library only.

TEXT:  2026-11-21T19:05:13.123Z INFO core run-ready run=01k… content=12 seconds=1.2
JSON:  {"time": "…", "level": "info", "process": "core", "event": "run-ready", …}
Text of users is escaped: one event is always one line.
"""

from __future__ import annotations

import json
import os
import string
import time
import traceback
from contextlib import suppress
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]
_ORDER = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_SAFE = frozenset(string.ascii_letters + string.digits + "._-+:/@,%*()[]{}<>~")


class Log:
    """Write events of one process (`core`, `gateway`, `helper`, `parent`)."""

    def __init__(
        self, process: str, *, form: str = "TEXT", level: str = "info", fd: int = 2
    ) -> None:
        self.process = process
        self.form = form
        self.level = level
        self._fd = fd

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
        now = time.time()
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        stamp = f"{second}.{int(now * 1000) % 1000:03d}Z"
        if self.form == "JSON":
            record = {"time": stamp, "level": level, "process": self.process, "event": event}
            line = json.dumps({**record, **fields}, default=str)
        else:
            parts = [stamp, level.upper(), self.process, event]
            parts += [f"{key}={_quote(value)}" for key, value in fields.items()]
            line = " ".join(parts)
        with suppress(OSError):  # the log's reader is gone; nothing is worth dying for here
            os.write(self._fd, line.encode("utf-8", "backslashreplace") + b"\n")


def _quote(value: object) -> str:
    text = str(value)
    if text and _SAFE.issuperset(text):
        return text
    return json.dumps(text, ensure_ascii=False)
