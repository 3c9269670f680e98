"""`python -I -m supervisor.core.migrate --fd SETTINGS TO`: all records into another store.

What `supervisor migrate-store` becomes, under the identity of the core. It prints what it copied as
one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import attrs
import trio

from supervisor import wire
from supervisor.core.server import context_of, store_of
from supervisor.core.storage import lease
from supervisor.errors import SupervisorError
from supervisor.interfaces import KINDS, Counter, Row, Store
from supervisor.log import Log
from supervisor.plugins.loading import Plugins
from supervisor.settings import Settings

_USED = "a server uses the records"


def main() -> int:
    """Copy; a refusal is one message on standard error and its exit status."""
    parser = argparse.ArgumentParser(prog="supervisor.core.migrate")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--from", dest="source", default=None)
    parser.add_argument("to")
    given = parser.parse_args()
    settings = Settings.read(given.fd)
    try:
        copied = _migrate(settings, given.source, given.to)
    except SupervisorError as error:
        sys.stderr.write(json.dumps(error.as_json()) + "\n")
        return error.exit_status
    sys.stdout.write(json.dumps(copied) + "\n")
    return 0


def _migrate(settings: Settings, source: str | None, to: str) -> dict[str, int]:
    plugins = Plugins(log=Log("core", level="warning"))
    trio.run(partial(plugins.load, context_of(settings), disabled=settings.plugins.disable))

    source = source or settings.database.provider or next(iter(plugins.stores), "")
    if source.lower() == to.lower():
        raise SupervisorError(
            "bad-request",
            f"the records are in {to!r} already",
            hint="--from names the store to copy from, where it is not that of the settings.",
        )
    with ExitStack() as stack:
        opened: list[Store] = []
        node = _node(settings)
        permit = partial(lease.refuse_living, node=node, why=_USED)
        for provider in (source, to):
            make = store_of(settings, plugins, provider=provider)
            store = make(context_of(settings))
            stack.callback(store.close)
            store.migrate(permit)
            opened.append(store)
        return copy(opened[0], opened[1], node)


def _node(settings: Settings) -> str:
    try:
        return Path(settings.run_dir, "core", "node").read_text().strip()
    except OSError:
        return ""


def copy(source: Store, target: Store, node: str = "") -> dict[str, int]:
    """Copy all that must survive; give how many records of each kind.

    node: the id of this node, whose dead cores do not count. Raises SupervisorError, and then
    nothing was copied: data-dir-held where a server uses one of the stores, conflict where the
    target is not empty, not-copied.
    """
    refuse_living = partial(lease.refuse_living, node=node, why=_USED)
    refuse_living(*source.leases())
    refuse_living(*target.leases())
    read = Tally()

    def rows() -> Iterator[Row]:
        yield from read.counted(source.dump())
        refuse_living(*source.leases())  # one that was started meanwhile; nothing is committed yet

    target.load(rows())
    written = Tally()
    for _ in written.counted(target.dump()):
        pass
    if written != read:
        raise SupervisorError(
            "not-copied",
            "the other store does not give back what it was given; do not use it",
            hint="The store that was copied from is unchanged.",
        )
    return read.counts


@attrs.define
class Tally:
    """How many rows of each kind, and a sum of their digests: the same rows in any order."""

    counts: dict[str, int] = attrs.field(factory=dict)
    digest: int = 0

    def counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows, and count them."""
        for row in rows:
            kind = _kind_of(row)
            self.counts[kind] = self.counts.get(kind, 0) + 1
            data = hashlib.blake2b(wire.encode([kind, row]), digest_size=8).digest()
            self.digest = (self.digest + int.from_bytes(data)) % 2**64
            yield row


def _kind_of(row: Row) -> str:
    if isinstance(row, Counter):
        return "counter"
    return next(kind for kind, type_ in KINDS.items() if isinstance(row, type_))


if __name__ == "__main__":
    raise SystemExit(main())
