"""`supervisor config reload` and SIGHUP: the file is read again, no process is replaced.

Keys that are marked reloadable come into force in every part at once; the others are named, and
wait for `supervisor reload` or a restart. A file that does not hold changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from supervisor import packets
from supervisor.errors import SupervisorError
from supervisor.log import Log
from supervisor.parent import trust
from supervisor.parent.plan import Plan
from supervisor.parent.templates import read_templates
from supervisor.parent.watch import TimeLimits
from supervisor.settings import Configuration, Settings, configure, refuse_open_door
from supervisor.settings.effective import Effective, changed, merge
from supervisor.settings.keys import CONFIG_RELOAD
from supervisor.settings.sections import SECTIONS

# What an answer names must fit into a packet, where a letter may take six bytes.
MOST_NAMES, LONGEST_NAME = 50, 60
MOST_WARNINGS, LONGEST_WARNING = 25, 250
LONGEST_REASON = 2000
# what the parent resolved at the start, and keeps
_HELD = (
    "data_dir", "run_dir", "rootless", "tier", "core_uid", "core_gid", "gateway_uid", "gateway_gid",
    "install_uid", "install_gid", "admin_gid", "parent_pid",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What reading the file again came to: keys in force now, and keys that wait, by what for."""

    applied: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


class Configuring:
    """The plan in force. load reads the file as at the start; None: it cannot be read again."""

    def __init__(self, plan: Plan, *, load: Callable[[], Configuration] | None, log: Log) -> None:
        self.plan = plan
        self._load = load
        self._log = log

    @property
    def limits(self) -> TimeLimits:
        """The time limits in force."""
        server = self.plan.configuration.server
        return TimeLimits(
            start=server.start_timeout, beat=server.beat_timeout, drain=server.gateway_drain
        )

    @property
    def shutdown_timeout(self) -> float:
        """Seconds for an ordered stop."""
        return self.plan.configuration.server.shutdown_timeout

    def read_again(self) -> Changes:
        """Bring the file into force as far as that goes; SupervisorError: nothing has changed."""
        if self._load is None:
            raise SupervisorError("unavailable", "this server was started without the means to")
        before, fresh = self.plan, self._load()
        if fresh.file is None and before.configuration.file is not None:
            gone = f"there is no configuration file {before.configuration.file} any more"
            raise SupervisorError("settings-invalid", gone)
        self.plan = after = follow(before, fresh)
        settings = after.settings
        self._log.form, self._log.level = settings.log_form, settings.log_level
        found = changed(before.configuration.entries, fresh.entries, SECTIONS)
        applied = [_name(one) for one in found if one.change == CONFIG_RELOAD]
        if before.settings.templates != settings.templates and "Pages.Templates" not in applied:
            applied.append("Pages.Templates")
        kept = [(_name(one), one.change) for one in found if one.change != CONFIG_RELOAD]
        return Changes(applied=tuple(applied), kept=tuple(kept), warnings=fresh.warnings)

    def answer(self) -> packets.Message:
        """Do it, log what came of it, and give the message for whoever asked."""
        try:
            done = self.read_again()
        except SupervisorError as error:
            self._log.error(
                "settings-refused", problem=error.message, hint="the old ones stay in force"
            )
            return refusal(error)
        for warning in done.warnings:
            self._log.warning("settings", problem=warning)
        for name, change in done.kept:
            self._log.warning("settings-kept", key=name, change_by=change)
        self._log.info("configured", applied=",".join(done.applied), kept=len(done.kept))
        return {
            "type": "configured",
            "ok": True,
            "applied": list(done.applied[:MOST_NAMES]),
            "kept": [{"key": name, "change": change} for name, change in done.kept[:MOST_NAMES]],
            "warnings": [said[:LONGEST_WARNING] for said in done.warnings[:MOST_WARNINGS]],
        }


def refusal(error: SupervisorError) -> packets.Message:
    """Give the answer that says why nothing has changed."""
    return {
        "type": "configured",
        "ok": False,
        "code": error.code,
        "reason": error.message[:LONGEST_REASON],
        "hint": error.hint[:LONGEST_REASON],
    }


def follow(plan: Plan, fresh: Configuration) -> Plan:
    """Give the plan with what a reload of the file may change; raises SupervisorError."""
    refuse_open_door(fresh)
    if not plan.who.rootless and fresh.file is not None:
        trust.refuse_writable([fresh.file])
    entries = merge(plan.configuration.entries, fresh.entries, SECTIONS)
    configuration = configure(entries, file=fresh.file)
    held = {name: getattr(plan.settings, name) for name in _HELD}
    templates = read_templates(configuration.pages.templates, owner=plan.who.helper.uid)
    settings = Settings.of(configuration, templates=templates, **held)
    stays = {name: getattr(plan.settings, name) for name in ("uid_first", "several_nodes")}
    settings = dataclasses.replace(settings, **stays)
    return dataclasses.replace(plan, configuration=configuration, settings=settings)


def _name(one: Effective) -> str:
    return f"{one.section}.{one.key}"[:LONGEST_NAME]
