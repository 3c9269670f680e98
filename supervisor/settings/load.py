"""Find and read the configuration file, and let the environment override it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from supervisor.errors import SupervisorError
from supervisor.settings import places
from supervisor.settings.configuration import Configuration, configure
from supervisor.settings.gcfg import Entry, parse
from supervisor.settings.sections import SECTIONS

PREFIX = "SUPERVISOR_"
# Set by supervisord for its own children: not meant for us.
_FOREIGN = {
    "SUPERVISOR_ENABLED", "SUPERVISOR_SERVER_URL", "SUPERVISOR_PROCESS_NAME",
    "SUPERVISOR_GROUP_NAME",
}  # fmt: skip


def load(
    file: str | None = None, *, environ: Mapping[str, str] | None = None, uid: int | None = None
) -> Configuration:
    """Give the configuration: the file named, else the usual one, else the built-in defaults.

    Raises SupervisorError("settings-invalid") where a file that was named is missing, or any file
    cannot be read or is wrong. Variables SUPERVISOR_SECTION_KEY override it.
    """
    environ = os.environ if environ is None else environ
    uid = os.geteuid() if uid is None else uid
    where = os.path.abspath(file or places.configuration_file(environ, uid=uid))
    entries: Iterable[Entry] = ()
    try:
        entries = tuple(parse(_read(where), where))
    except FileNotFoundError:
        if file is not None:
            raise SupervisorError(
                "settings-invalid", f"there is no configuration file {where}"
            ) from None
        return configure(_override((), environ))
    except OSError as error:
        raise SupervisorError(
            "settings-invalid", f"cannot read {where}: {error.strerror}"
        ) from None
    return configure(_override(entries, environ), file=where)


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


def _override(entries: Iterable[Entry], environ: Mapping[str, str]) -> list[Entry]:
    """Replace what the environment names: SUPERVISOR_SERVER_DATADIR is [Server] DataDir."""
    names = {kind.section.lower(): kind.section for kind in SECTIONS}
    merged = list(entries)
    for variable in sorted(environ):
        section, separator, key = variable.removeprefix(PREFIX).partition("_")
        if not variable.startswith(PREFIX) or variable in _FOREIGN or not (separator and key):
            continue
        key = key.replace("_", "").lower()
        merged = [
            entry
            for entry in merged
            if (entry.section.lower(), entry.subsection, entry.key.lower())
            != (section.lower(), "", key)
        ]
        merged.append(
            Entry(
                section=names.get(section.lower(), section.lower()),
                subsection="",
                key=key,
                value=environ[variable],
                file=f"the environment variable {variable}",
                line=0,
            )
        )
    return merged
