"""The unit by which systemd runs the server: what `supervisor setup --systemd` writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from supervisor.errors import SupervisorError
from supervisor.settings import Configuration, configuration_file, data_dir, run_dir

NAME = "content-supervisor.service"
WRITTEN = f"/etc/systemd/system/{NAME}"
PACKAGED = f"/usr/lib/systemd/system/{NAME}"  # where the Debian package brings it
WANTED = f"/etc/systemd/system/multi-user.target.wants/{NAME}"  # is there where it is enabled
BOOTED = "/run/systemd/system"  # is there where systemd is pid 1

_TEMPLATE = os.path.join(os.path.dirname(__file__), NAME)
_HOMES = ("/home/", "/root/")  # which the unit makes read-only
_OURS = "# Written by `supervisor setup --systemd`"


def text(settings: Configuration, environ: Mapping[str, str], *, program: str = "") -> str:
    """Give the unit of a server with root and these settings.

    program: the `supervisor` command, else the one beside this interpreter. Raises
    SupervisorError("settings-invalid") for a path that a unit cannot name.
    """
    program = program or os.path.join(sys.prefix, "bin", "supervisor")
    data, run = data_dir(settings, environ, uid=0), run_dir(settings, environ, uid=0)
    file = settings.file
    arguments = ""
    if file is not None and file != configuration_file(environ, uid=0):
        arguments = f" --config {_word(os.path.abspath(file))}"
    filled = {
        "program": _word(program),
        "arguments": arguments,
        "socket": _word(os.path.join(run, "core.sock")),
        "directories": f"ReadWritePaths={_word(data)}\n" if data.startswith(_HOMES) else "",
    }
    with open(_TEMPLATE, encoding="utf-8") as template:
        unit = template.read()
    for name, value in filled.items():
        unit = unit.replace(f"@{name}@", value)
    return unit


def _word(path: str) -> str:
    if not path.isprintable() or any(char in path for char in " \t\"'\\;"):
        raise SupervisorError(
            "settings-invalid",
            f"{path!r} cannot stand in a unit of systemd",
            hint="Name a path without blanks, quotes and backslashes.",
        )
    return path.replace("%", "%%").replace("$", "$$")


def installed(path: str) -> str | None:
    """Give the unit at a path, or None. Raises SupervisorError where somebody else wrote it."""
    try:
        with open(path, encoding="utf-8") as file:
            found = file.read()
    except FileNotFoundError:
        return None
    if not found.startswith(_OURS):
        raise SupervisorError(
            "settings-invalid",
            f"{path} was not written by `supervisor setup`, and is left as it is",
            hint="Move it away first; what you want to keep of it belongs into a drop-in:"
            f" systemctl edit {NAME.removesuffix('.service')}",
        )
    return found
