"""Find and read the configuration file, and let the environment override it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.errors import SupervisorError
from supervisor.settings import places
from supervisor.settings.aliases import translate
from supervisor.settings.configuration import Configuration, configure, problems_of
from supervisor.settings.environment import override
from supervisor.settings.gcfg import Entry, parse
from supervisor.settings.secrets import resolve
from supervisor.settings.sections import SECTIONS


def load(
    file: str | None = None, *, environ: Mapping[str, str] | None = None, uid: int | None = None
) -> Configuration:
    """Give the configuration: the file named, else the usual one, else the built-in defaults.

    Raises SupervisorError("settings-invalid") where a file that was named is missing, or any file
    cannot be read or is wrong. Variables SUPERVISOR_SECTION_KEY override it.
    """
    environ = os.environ if environ is None else environ
    where, text = _find(file, environ, uid)
    entries = _entries(where, text, environ)
    return configure(entries, file=None if text is None else where)


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """A file that was looked at: what could be read of it, and all that is wrong with it."""

    file: str | None
    entries: tuple[Entry, ...]
    problems: tuple[SupervisorError, ...]


def examine(
    file: str | None = None, *, environ: Mapping[str, str] | None = None, uid: int | None = None
) -> Examined:
    """Read as `load` does, but go on after each mistake. Raises where there is no text to read."""
    environ = os.environ if environ is None else environ
    where, text = _find(file, environ, uid)
    problems: list[SupervisorError] = []
    entries = _entries(where, text, environ, problems)
    problems += problems_of(entries)
    return Examined(
        file=None if text is None else where, entries=tuple(entries), problems=tuple(problems)
    )


def _find(file: str | None, environ: Mapping[str, str], uid: int | None) -> tuple[str, str | None]:
    """Give where the file is and its text, None where the usual one is missing."""
    uid = os.geteuid() if uid is None else uid
    where = os.path.abspath(file or places.configuration_file(environ, uid=uid))
    try:
        return where, _read(where)
    except FileNotFoundError:
        if file is None:
            return where, None
        missing = f"there is no configuration file {where}"
        raise SupervisorError("settings-invalid", missing) from None
    except OSError as error:
        unreadable = f"cannot read {where}: {error.strerror}"
        raise SupervisorError("settings-invalid", unreadable) from None


def _entries(
    where: str,
    text: str | None,
    environ: Mapping[str, str],
    problems: list[SupervisorError] | None = None,
) -> list[Entry]:
    written = translate(parse(text or "", where, problems))
    return resolve(override(written, environ, SECTIONS), SECTIONS, problems)


def _read(where: str) -> str:
    with open(where, "rb") as file:
        data = file.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise SupervisorError(
            "settings-invalid", f"{where}:{line}:{column}: this is not UTF-8 text"
        ) from None
