"""Which plugin's code ran for the first time when a core died: a third time is its last."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

import attrs

MOST_DEATHS = 3  # of one core after the other: somebody may have killed the first two


@attrs.define(eq=False)
class Trials:
    """Remembers, in a file, what a core is about to try; the cores of one parent share it.

    Called with the name of a plugin before its code runs, and with "" once all have run: then only
    those that were left out are remembered. Gives the reason not to run it, or "".
    """

    path: Path
    parent: str
    deaths: Counter[str] = attrs.field(factory=Counter)

    @classmethod
    def of(cls, directory: Path) -> Trials:
        """Read what the core before this one has left, where the same parent started it."""
        trials = cls(directory / "plugins-tried", _parent())
        with suppress(OSError, ValueError, KeyError, TypeError):
            left = json.loads(trials.path.read_text())
            if left["parent"] == trials.parent:
                trials.deaths.update(left["deaths"])
                if left["trying"]:
                    trials.deaths[left["trying"]] += 1
        return trials

    def __call__(self, name: str) -> str:
        """Note that this is tried now."""
        if self.deaths[name] >= MOST_DEATHS:
            return (
                f"the core died {self.deaths[name]} times while its code ran for the first time;"
                " it is left out until the server is restarted"
            )
        if not name:
            found = self.deaths.items()
            self.deaths = Counter({each: count for each, count in found if count >= MOST_DEATHS})
        left = {"parent": self.parent, "deaths": dict(self.deaths), "trying": name}
        with suppress(OSError):  # then nobody is blamed for a death
            fresh = self.path.with_name(f"{self.path.name}.new")
            fresh.write_text(json.dumps(left))
            fresh.replace(self.path)
        return ""


def _parent() -> str:
    """Name the process that started this one: its pid, and when it was started."""
    pid = os.getppid()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return str(pid)
    return f"{pid} {stat.rpartition(')')[2].split()[19]}"
