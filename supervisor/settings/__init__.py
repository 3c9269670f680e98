"""Settings: the gcfg file, its values, the core's sections, and what the children are handed."""

from supervisor.settings.configuration import (
    Configuration,
    Settings,
    configure,
    refuse_open_door,
)
from supervisor.settings.gcfg import Entry, parse
from supervisor.settings.load import load
from supervisor.settings.places import configuration_file, data_dir, run_dir
from supervisor.settings.unknown import unknown_keys
from supervisor.settings.values import Listen

__all__ = [
    "Configuration",
    "Entry",
    "Listen",
    "Settings",
    "configuration_file",
    "configure",
    "data_dir",
    "load",
    "parse",
    "refuse_open_door",
    "run_dir",
    "unknown_keys",
]
