"""What the core itself adds to `supervisor doctor`: tier, interpreters, executors, plugins."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor import volume
from supervisor.core.runs.lacking import findings as missing_plugins
from supervisor.core.runs.limiting import lacking
from supervisor.core.runs.makers import Makers
from supervisor.interfaces import Finding
from supervisor.model import Purpose
from supervisor.settings import Settings
from supervisor.settings.places import ROOT_DATA_DIR

SUBUID = "subuid"  # the tier in which contents have uids of their own though nothing is root


def findings(settings: Settings, makers: Makers) -> list[Finding]:
    """Give a line for the tier, each interpreter, and each plugin that is missing or failed."""
    shared = settings.rootless and settings.tier != SUBUID
    fix = "run it as root, for a uid per content" if shared else ""
    found = [Finding(name="tier", ok=not shared, text=settings.tier, fix=fix)]
    data = volume.look(settings.data_dir, default=ROOT_DATA_DIR)
    if data is not None:
        found.append(Finding(name="data", ok=not data.fix, text=data.text, fix=data.fix))
    for name, installations in sorted(makers.installations.found.items()):
        for installation in installations:
            text = f"{installation.version} at {installation.executable}"
            found.append(Finding(name=f"runtime {name}", ok=True, text=text))
        if not installations:
            found.append(
                Finding(
                    name=f"runtime {name}",
                    ok=False,
                    text="no interpreter found",
                    fix=f"install one, or set [{name}] Executable",
                )
            )
    found += _unmet(makers)
    found += missing_plugins(makers.plugins)
    for view in makers.plugins.views():
        if view.problem:
            fix = "the service log has the details"
            found.append(Finding(name=f"plugin {view.name}", ok=False, text=view.problem, fix=fix))
    return found


def _unmet(makers: Makers) -> Iterator[Finding]:
    """Yield what the settings want for all content that an executor of here does not give."""
    for name, executor in makers.executors.by_name.items():
        if Purpose.SERVE not in executor.capabilities.purposes or makers.executors.away(name):
            continue
        if names := lacking(makers.allowed, executor):
            text = f"does not hold here: {', '.join(names)}, which [Scheduler] sets for all"
            fix = "see which limits the executor has, or take them out of the settings"
            yield Finding(name=f"limits {name}", ok=False, text=text, fix=fix)
        text, fix = makers.reach.unmet(executor)
        if text:
            yield Finding(name=f"egress {name}", ok=False, text=text, fix=fix)
