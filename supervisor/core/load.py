"""`python -I -m supervisor.core.load --fd SETTINGS [--check]`: take the records of a backup.

They come on standard input as `supervisor.core.upkeep.backup` writes them. With --check they are
only read, and the store is looked at: it must be empty.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import attrs
import trio

from supervisor.core.server import context_of, store_of
from supervisor.core.storage import lease
from supervisor.errors import SupervisorError
from supervisor.interfaces import KINDS, Counter, Row, Store
from supervisor.lifecycle import ENDS, State
from supervisor.log import Log
from supervisor.model import Cause, Content, Exit, Node, Run
from supervisor.plugins.loading import Plugins
from supervisor.settings import Settings
from supervisor.wire import decode, from_json, to_json


def main() -> int:
    """Load; a refusal is one message on standard error and its exit status."""
    parser = argparse.ArgumentParser(prog="supervisor.core.load")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    settings = Settings.read(given.fd)
    try:
        store = _store(settings)
        try:
            rows = adapted(records(sys.stdin.buffer), settings)
            if given.check:
                refuse_full(store)
                for _ in rows:
                    pass
            else:
                store.load(rows)
        finally:
            store.close()
    except SupervisorError as error:
        sys.stderr.write(f"supervisor restore: {error}\n")
        return error.exit_status
    return 0


def _store(settings: Settings) -> Store:
    log = Log("core", level="error", fd=os.open(os.devnull, os.O_WRONLY))
    plugins = Plugins(log=log)
    trio.run(partial(plugins.load, context_of(settings), disabled=settings.plugins.disable))
    store: Store = store_of(settings, plugins)(context_of(settings))
    store.migrate(partial(lease.refuse_living, node="", why="a server uses the records"))
    return store


def refuse_full(store: Store) -> None:
    """Raise SupervisorError("conflict") where the store holds anything."""
    for _ in store.dump():
        raise SupervisorError(
            "conflict",
            "the database is not empty: a server has used it",
            hint="Restore with an empty one: move DataDir/db away, or name another database.",
        )


def records(lines: Iterable[bytes]) -> Iterator[Row]:
    """Read the lines of a backup's records.

    Raises SupervisorError("schema-newer") where a record has a field that this version does not
    know, "bad-request" where a line is no record.
    """
    for number, line in enumerate(lines, 1):
        try:
            entry = decode(line)
            kind, data = entry["kind"], entry["record"]
            type_ = Counter if kind == "counter" else KINDS.get(kind)
            if type_ is None:
                raise _newer(f"records of the kind {kind!r}")
            row: Row = from_json(type_, data)
        except (ValueError, KeyError, TypeError) as error:
            raise SupervisorError(
                "bad-request", f"line {number} of the backup's records cannot be read: {error}"
            ) from None
        if lost := _lost(data, to_json(row)):
            raise _newer(f"the field {lost!r} of a {kind}")
        yield row


def _lost(before: Any, after: Any) -> str:
    """Give the first key that is not there any more after reading and writing, or ""."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                return str(key)
            if lost := _lost(value, after[key]):
                return lost
    return ""


def _newer(what: str) -> SupervisorError:
    return SupervisorError(
        "schema-newer",
        f"the backup has {what}, which this version of content-supervisor does not know",
        hint="Restore it with the version that wrote it, or a newer one.",
    )


def adapted(rows: Iterable[Row], settings: Settings) -> Iterator[Row]:
    """Change what was true of the server that wrote the backup, and is not of this one.

    Contents get the uids of this server's range, what ran is lost, nodes are not known. Raises
    SupervisorError("identity-invalid") where the range is too small for a content.
    """
    for row in rows:
        if isinstance(row, Node):
            continue
        if isinstance(row, Content):
            uid = 0 if settings.rootless else settings.uid_first + row.id
            if row.removed is None and uid > settings.uid_last:
                raise SupervisorError(
                    "identity-invalid",
                    f"content {row.id} of the backup would have the uid {uid}; the range of"
                    f" content uids is {settings.uid_first} to {settings.uid_last}",
                    hint="Widen it with [Applications] UidFirst and UidLast.",
                )
            row = attrs.evolve(row, uid=uid)
        if isinstance(row, Run) and row.state not in ENDS:
            why = "it ran when the backup was made"
            row = attrs.evolve(
                row,
                state=State.LOST,
                reason=why,
                ended=row.ended or time.time(),
                exit=Exit(cause=Cause.LOST, detail=why),
            )
        yield row


if __name__ == "__main__":
    raise SystemExit(main())
