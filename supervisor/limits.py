"""Limits: what one process of a content may use at most, and which error says what does not fit.

A content has its own value, the server a default and a maximum. Everywhere 0 means no limit, and
None that nothing was set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from supervisor.bounds import Violation
from supervisor.errors import SupervisorError

# field of model.Limits → its name in the API and on the command line
NAMES = {
    "memory_max": "memory_limit",
    "memory_high": "memory_high",
    "cpu": "cpu_limit",
    "pids": "pids_limit",
    "files": "files_limit",
    "tmp": "tmp_limit",
    "nice": "nice",
}
# field of model.Limits → the settings of its default and its maximum; memory_high has neither
SETTINGS = {
    "memory_max": ("MemoryLimit", "MaxMemoryLimit"),
    "cpu": ("CPULimit", "MaxCPULimit"),
    "pids": ("PidsLimit", "MaxPidsLimit"),
    "files": ("FilesLimit", "MaxFilesLimit"),
    "tmp": ("TmpLimit", "MaxTmpLimit"),
}
LARGEST = 9_007_198_180_999_168  # the reference system's
NICEST = 19

Amounts = Mapping[str, float | None]
"""Field of model.Limits → its value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowed:
    """What a server says of limits. high: the share of a memory limit at which memory is high."""

    default: Amounts
    most: Amounts
    high: float = 0.9

    @classmethod
    def of(cls, scheduler: object) -> Allowed:
        """Take what the section [Scheduler] says."""
        return cls(
            default={
                "nice": getattr(scheduler, "nice"),  # noqa: B009 - of any object with these fields
                **{field: getattr(scheduler, field) for field in SETTINGS},
            },
            most={field: getattr(scheduler, f"most_{field}") for field in SETTINGS},
            high=getattr(scheduler, "memory_high"),  # noqa: B009
        )

    def counting(self, own: Amounts) -> dict[str, float | None]:
        """Give what counts for a content that sets `own`; None where nothing limits it.

        A maximum holds for those as well that set nothing, or set more before it was lowered.
        """
        found: dict[str, float | None] = {}
        for field in NAMES:
            value, most = own.get(field), self.most.get(field) or 0
            if value is None:
                value = self.default.get(field) or 0
            if most and not 0 < value <= most:
                value = most
            found[field] = value or None
        limit = found["memory_max"]
        if own.get("memory_high") is None and limit is not None:
            found["memory_high"] = int(limit * self.high) or None
        return found

    def check(self, own: Amounts) -> None:
        """Raise SupervisorError with the code of the first bound that `own` violates."""
        for found in self.violations(own):
            raise SupervisorError(
                found.code, f"{NAMES[found.fields[0]]}: {found.text}.", hint=found.hint
            )

    def violations(self, own: Amounts) -> Iterator[Violation]:
        """Yield every bound that values of a content violate."""
        for field, value in own.items():
            if field not in NAMES or value is None:
                continue
            largest = NICEST if field == "nice" else LARGEST
            if not (math.isfinite(value) and 0 <= value <= largest):
                yield Violation(
                    code="limit-out-of-range",
                    fields=(field,),
                    text=f"{value:.16g} is not from 0 to {largest}",
                )
            elif (most := self.most.get(field)) and not 0 < value <= most:
                setting = SETTINGS[field][1]
                what = f"{value:.16g}" if value else "0, which is no limit,"
                yield Violation(
                    code="limit-over-maximum",
                    fields=(field, f"most_{field}"),
                    text=f"{what} is more than the server's {setting}, {most:.16g}",
                    hint=f"An administrator can raise {setting} in [Scheduler].",
                )
        high, limit = own.get("memory_high"), self.counting(own)["memory_max"]
        if high and limit and high > limit:
            yield Violation(
                code="memory-high-over-limit",
                fields=("memory_high", "memory_max"),
                text=f"{high:.16g} is more than the memory_limit, {limit:.16g}",
            )

    def default_violations(self) -> Iterator[Violation]:
        """Yield defaults that no content could have: beyond their maximum, or out of range."""
        yield from self.violations({field: value or None for field, value in self.default.items()})
