"""What `supervisor config check` looks at: the file, the sections of all plugins, who may come."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import attrs

from supervisor.errors import SupervisorError
from supervisor.parent.templates import read_templates
from supervisor.plugins.hookspecs import GROUP
from supervisor.settings import Entry, configure, refuse_open_door
from supervisor.settings.build import attempt, by_name, misnamed, of_section
from supervisor.settings.load import examine
from supervisor.settings.secrets import resolve
from supervisor.settings.sections import SECTIONS, Plugins
from supervisor.settings.unknown import unknown_sections, warnings


@attrs.frozen(kw_only=True)
class Checked:
    """A file that was looked at: None is the built-in defaults."""

    file: str | None
    problems: list[SupervisorError]
    warnings: list[str]


def check_file(file: str | None) -> Checked:
    """Give all that is wrong with a file, as far as it can be known without starting anything.

    Imports the installed plugins. Raises SupervisorError where there is nothing to read.
    """
    examined = examine(file)
    problems, told = list(examined.problems), list[str]()
    plugins, _ = attempt(Plugins, of_section(examined.entries, "Plugins"))
    kinds = kinds_of_plugins(plugins.disable if plugins else (), warnings=told)
    for kind in kinds:
        problems += _problems_of(kind, examined.entries)
    if not examined.problems:
        problems += _refusals(examined.entries)
    told += warnings(examined.entries, [*SECTIONS, *kinds])
    told += unknown_sections(examined.entries, [*SECTIONS, *kinds])
    return Checked(file=examined.file, problems=problems, warnings=told)


def kinds_of_plugins(disabled: Sequence[str], *, warnings: list[str]) -> list[Any]:
    """Give the sections of the installed plugins; one that fails is told among the warnings."""
    kinds: list[Any] = []
    for point in sorted(set(entry_points(group=GROUP)), key=lambda point: point.name):
        if point.name in disabled:
            continue
        try:
            kinds += getattr(point.load(), "supervisor_settings", lambda: ())()
        except Exception as error:
            warnings.append(f"the plugin {point.name} cannot be asked: {error!r}")
    return kinds


def _problems_of(kind: Any, entries: Sequence[Entry]) -> list[SupervisorError]:
    mine = of_section(entries, kind.section)
    problems = misnamed(kind, mine)
    mine = resolve(mine, [kind], problems)
    groups = list(by_name(mine).values()) if getattr(kind, "named", False) else [mine]
    for group in groups:
        if group:
            problems += attempt(kind, group)[1]
    return problems


def _refusals(entries: Sequence[Entry]) -> list[SupervisorError]:
    """Give what a server would refuse that each value alone does not show."""
    configuration = configure(entries)
    found: list[SupervisorError] = []
    try:
        refuse_open_door(configuration)
    except SupervisorError as error:
        found.append(error)
    try:
        read_templates(configuration.pages.templates, owner=os.geteuid())
    except SupervisorError as error:
        found.append(error)
    return found
