"""What a parent leaves for itself when it executes itself anew: a sealed memfd of JSON.

The new code may be of another version. Before anything is done, it is asked to read the state of
the running one (`--check`), so a state that it cannot read refuses the reload and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.errors import SupervisorError
from supervisor.parent.child import sealed
from supervisor.parent.identity import Identities, Identity
from supervisor.settings import Entry

VERSION = 1  # of the state alone; grows when an older parent could not go on with it
_ENTRY = ("section", "subsection", "key", "value", "file", "line")


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A parent's possessions. Descriptors are numbers, open in the process that reads them.

    code: the version that wrote it; who, tier, data_dir, run_dir, uid_first and several_nodes
    hold for the life of the server; file and entries are the settings in force; http maps an
    address of HTTP.Listen to its listening socket, unix a name of RunDir; children are what
    Watch.saved gives.
    """

    code: str
    who: Identities
    data_dir: str
    run_dir: str
    uid_first: int
    file: str | None
    entries: Sequence[Entry]
    locks: Sequence[int]
    http: Mapping[str, int]
    unix: Mapping[str, int]
    children: Sequence[Mapping[str, Any]]
    several_nodes: bool = False
    tier: str = ""

    @property
    def names(self) -> set[str]:
        """The names of the children."""
        return {fields["name"] for fields in self.children}

    @property
    def descriptors(self) -> list[int]:
        """Every descriptor that must outlive the exec."""
        found = [*self.locks, *self.http.values(), *self.unix.values()]
        for fields in self.children:
            if "child" in fields:
                found += [fields["child"]["control"], fields["child"]["trace"]]
        return [fd for fd in found if fd != -1]

    def seal(self) -> int:
        """Give a memfd that holds it; the caller closes it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["who"] = dataclasses.asdict(self.who)
        fields["entries"] = [[getattr(entry, name) for name in _ENTRY] for entry in self.entries]
        return sealed("state", json.dumps({"v": VERSION, **fields}).encode())


def read(fd: int) -> State:
    """Read a state and leave the descriptor open.

    Raises SupervisorError("not-reloaded") where this code does not know its version or form.
    """
    try:
        data = os.pread(fd, os.fstat(fd).st_size, 0)
        fields: dict[str, Any] = json.loads(data)
        version = fields.pop("v")
        if version != VERSION:
            raise _unreadable(f"of version {version}, not {VERSION}")
        known = {field.name for field in dataclasses.fields(State)}
        fields = {name: value for name, value in fields.items() if name in known}
        who = dict(fields.pop("who"))
        for name, value in who.items():
            if isinstance(value, dict):
                who[name] = Identity(**{**value, "groups": tuple(value["groups"])})
        entries = [Entry(**dict(zip(_ENTRY, row, strict=True))) for row in fields.pop("entries")]
        return State(who=Identities(**who), entries=entries, **fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(f"not in the form that this version knows: {error!r}") from None


def _unreadable(how: str) -> SupervisorError:
    return SupervisorError(
        "not-reloaded",
        f"the state of the running server is {how}",
        hint="Restart the server: this code cannot take over from the one that runs.",
    )
