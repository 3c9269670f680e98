"""Where things are when the configuration does not say: by tier, root or rootless."""

from __future__ import annotations

import os
from collections.abc import Mapping

from supervisor.settings.configuration import Configuration

ROOT_FILE = "/etc/content-supervisor/supervisor.gcfg"
ROOT_DATA_DIR = "/var/lib/content-supervisor"
ROOT_RUN_DIR = "/run/content-supervisor"


def configuration_file(environ: Mapping[str, str], *, uid: int) -> str:
    """Give the path where the configuration file is looked for."""
    if uid == 0:
        return ROOT_FILE
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(_home(environ), ".config")
    return os.path.join(base, "content-supervisor", "supervisor.gcfg")


def data_dir(configuration: Configuration, environ: Mapping[str, str], *, uid: int) -> str:
    """Give DataDir."""
    if configuration.server.data_dir:
        return configuration.server.data_dir
    if uid == 0:
        return ROOT_DATA_DIR
    base = environ.get("XDG_DATA_HOME") or os.path.join(_home(environ), ".local", "share")
    return os.path.join(base, "content-supervisor")


def run_dir(configuration: Configuration, environ: Mapping[str, str], *, uid: int) -> str:
    """Give RunDir, where the sockets are."""
    if configuration.server.run_dir:
        return configuration.server.run_dir
    if uid == 0:
        return ROOT_RUN_DIR
    base = environ.get("XDG_RUNTIME_DIR")
    return os.path.join(base, "content-supervisor") if base else f"/tmp/content-supervisor-{uid}"


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")
