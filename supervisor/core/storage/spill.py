"""Spill: facts that must not be lost, kept in RunDir while the store is away.

RunDir is memory, so nothing here is synced: the files outlive a core, not the node. Each outage has
a file of its own, `spill-{milliseconds}.jsonl`: one line of JSON per change, in order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from supervisor import wire
from supervisor.interfaces import Change
from supervisor.lifecycle import ENDS
from supervisor.log import Log
from supervisor.model import Lease, Run, Transition

_KINDS: dict[str, type[Run] | type[Transition]] = {"run": Run, "transition": Transition}


def must_not_be_lost(change: Change) -> bool:
    """Tell whether nothing later will say again what this fact says."""
    return isinstance(change.record, Transition) or (
        isinstance(change.record, Run) and change.record.state in ENDS
    )


class Spill:
    """The spilled changes of one RunDir. Not for two threads at once."""

    def __init__(self, run_dir: str | Path) -> None:
        self._directory = Path(run_dir)
        self._open: Path | None = None

    def files(self) -> list[Path]:
        """Give the files that wait to be written to the store, oldest first."""
        return sorted(self._directory.glob("spill-*.jsonl"))

    def append(self, changes: Sequence[Change]) -> None:
        """Keep the changes. Raises OSError; what was kept before stays."""
        if not changes:
            return
        if self._open is None:
            self._open = self._directory / f"spill-{time.time_ns() // 1_000_000:015d}.jsonl"
        lines = [
            wire.encode({"kind": change.kind, "record": change.record, "fence": change.fence})
            + b"\n"
            for change in changes
        ]
        descriptor = os.open(self._open, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(descriptor, "ab") as file:
            file.write(b"".join(lines))

    def read(self, path: Path, log: Log) -> list[Change]:
        """Give the changes of a file; a line that is none (a torn one) is logged and left out."""
        changes = []
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                entry = wire.decode(line)
                record = wire.from_json(_KINDS[entry["kind"]], entry["record"])
                fence = entry.get("fence")
                lease = None if fence is None else wire.from_json(Lease, fence)
                changes.append(Change(kind=entry["kind"], record=record, fence=lease))
            except (ValueError, KeyError, TypeError) as error:
                log.warning("spill-unreadable", file=path.name, line=number, reason=str(error))
        return changes

    def remove(self, path: Path) -> None:
        """Forget a file, after the store has everything in it."""
        path.unlink(missing_ok=True)
        if path == self._open:
            self._open = None
