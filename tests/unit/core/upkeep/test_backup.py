"""A backup holds what its records name, and its records are read back or refused."""

from __future__ import annotations

import io
import json
import resource
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
import trio

from supervisor.core import load
from supervisor.core.load import adapted, records, refuse_full
from supervisor.core.runs.archiving import LOOK_EACH, Spool
from supervisor.core.storage.disk import Disk
from supervisor.core.upkeep.backup import Backup
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change, Counter, Row
from supervisor.layout import PlaceRef, Role, components
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import (
    Bundle,
    BundleId,
    BundleState,
    Content,
    ContentId,
    DeploymentId,
    Guid,
    Node,
    PlaceKind,
    Purpose,
    Run,
    Task,
    new_run_id,
)
from supervisor.settings import Settings
from supervisor.settings.values import Share
from supervisor.testing.fakes import MemoryStore
from supervisor.testing.journal import MemoryJournal
from supervisor.wire import encode

ONE = ContentId(1)
APP = Content(
    id=ONE, guid=Guid("g"), name="app", uid=300001, active_deployment=DeploymentId(3), version=4
)


@attrs.define(eq=False)
class House:
    """A DataDir with one content, and what was asked to be archived."""

    data_dir: Path
    journal: MemoryJournal = attrs.field(factory=MemoryJournal)
    archived: list[str] = attrs.field(factory=list)
    fails: SupervisorError | None = None
    too_large: Sequence[PlaceKind] = ()

    def put(self, *records_: tuple[str, Any]) -> None:
        self.journal.store.apply([Change(kind=kind, record=record) for kind, record in records_])

    def bundle(self, number: int, content: int = 1, state: str = "retired", of: int = 0) -> Bundle:
        digest = f"{of or number:064x}"
        (self.data_dir / "bundles" / f"{digest}.tar.gz").write_bytes(b"x" * number)
        bundle = Bundle(
            id=BundleId(number),
            content=ContentId(content),
            digest=digest,
            size=number,
            state=BundleState(state),
        )
        self.put(("bundle", bundle))
        return bundle

    async def archive(self, content: Content, role: Role, place: PlaceRef, spool: Spool) -> None:
        if self.fails is not None:
            raise self.fails
        self.archived.append("/".join(components(place)))
        if place.kind in self.too_large:
            spool.hear("stdout", b"some")
            spool.disk = Disk(str(self.data_dir), kept=[Share(bytes=2**60)])
            spool.hear("stdout", bytes(LOOK_EACH + 1))
            assert spool.needed.cancel_called
        spool.hear("stdout", b"tree")
        spool.hear("stderr", b"left out: s: a socket\n")

    async def members(self) -> dict[str, bytes]:
        disk, log = Disk(str(self.data_dir)), Log("core", level="error")
        if self.fails is not None:
            log = Log("core", level="error", fd=-1)
        made = Backup(journal=self.journal, disk=disk, archive=self.archive, log=log)
        whole = b"".join([piece async for piece in made.pieces()])
        with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
            return {m.name: cast(Any, archive.extractfile(m)).read() for m in archive}


@pytest.fixture
def full(tmp_path: Path) -> House:
    for name in ("bundles", "uploads", "db", "state/1", "apps/1/3"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "db" / "pin.key").write_bytes(b"secret")
    (tmp_path / "db" / "records.db").write_bytes(b"a database of its own kind")
    house = House(tmp_path)
    house.put(("content", APP))
    return house


async def test_a_backup_has_records_keys_archives_and_trees_and_says_that_it_is_complete(
    full: House,
) -> None:
    full.bundle(1)
    full.bundle(700)
    full.journal.store.next_id("content")
    members = await full.members()
    assert [
        "backup.json",
        "keys/pin.key",
        "records.jsonl",
        f"bundles/{1:064x}.tar.gz",
        f"bundles/{700:064x}.tar.gz",
        "apps/1/3.tar",
        "state/1.tar",
        "end.json",
    ] == list(members)
    assert (b"secret", b"x" * 700, b"tree") == (
        members["keys/pin.key"],
        members[f"bundles/{700:064x}.tar.gz"],
        members["state/1.tar"],
    )
    assert {"1": "app"} == json.loads(members["backup.json"])["contents"]
    assert "state/1: left out: s: a socket" in json.loads(members["end.json"])["left_out"]
    assert list(full.journal.store.dump()) == list(
        records(members["records.jsonl"].splitlines(keepends=True))
    )
    assert [] == list((full.data_dir / "uploads").iterdir())


async def test_what_was_removed_is_going_or_is_missing_is_not_in_it(full: House) -> None:
    full.put(("content", Content(id=ContentId(2), guid=Guid("h"), name="gone", removed=1.0)))
    full.bundle(1, content=2)
    full.bundle(2, state="going")
    missing = full.bundle(3)
    (full.data_dir / "bundles" / f"{missing.digest}.tar.gz").unlink()
    members = await full.members()
    assert [] == [name for name in members if name.startswith("bundles/")]
    assert ["apps/1/3", "state/1"] == full.archived
    (said,) = [line for line in json.loads(members["end.json"])["left_out"] if "bundles/" in line]
    assert said == f"bundles/{missing.digest}.tar.gz: it is not there"


@pytest.mark.parametrize("order", [(2, 1), (1, 2)])
async def test_an_archive_that_a_removed_content_had_too_is_in_it(
    full: House, order: Sequence[int]
) -> None:
    full.put(("content", Content(id=ContentId(2), guid=Guid("h"), name="gone", removed=1.0)))
    for number, content in enumerate(order, 1):
        full.bundle(number, content=content, of=7)
    assert f"bundles/{7:064x}.tar.gz" in await full.members()


async def test_a_tree_for_which_there_is_no_room_is_left_out_and_the_others_are_not(
    full: House,
) -> None:
    full.too_large = [PlaceKind.DEPLOYMENT]
    members = await full.members()
    assert "apps/1/3.tar" not in members
    assert b"tree" == members["state/1.tar"]
    first = json.loads(members["end.json"])["left_out"][0]
    assert first.startswith("ALL OF apps/1/3 (app): There is no room for the backup of a tree")


async def test_a_tree_that_cannot_be_read_ends_the_backup_and_says_so_in_it(full: House) -> None:
    full.fails = SupervisorError("unavailable", "the helper is away", hint="wait")
    members = await full.members()
    assert "end.json" not in members
    assert "the helper is away" == json.loads(members["error.json"])["error"]


async def test_a_disk_that_is_full_gets_its_room_back_and_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with path.open("w+b") as file:
        spool = Spool(file, Disk(str(tmp_path)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            for _ in range(20):
                spool.hear("stdout", bytes(10_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert spool.needed.cancel_called
        with pytest.raises(SupervisorError) as caught:
            spool.check()
    assert "disk-full" == caught.value.code
    assert path.stat().st_blocks * 512 < 50_000


# -- reading records back --------------------------------------------------------------------------


def line(kind: str, record: object) -> bytes:
    return encode({"kind": kind, "record": record}) + b"\n"


def settings(*, rootless: bool = False, first: int = 500_000) -> Settings:
    return cast(Settings, SimpleNamespace(rootless=rootless, uid_first=first, uid_last=first + 999))


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"{", "bad-request", "line 1"),
        (b"[]", "bad-request", "line 1"),
        (line("content", {"id": 1}), "bad-request", "line 1"),
        (line("moon", {"id": 1}), "schema-newer", "records of the kind 'moon'"),
        (
            line("task", {"id": "t", "colour": "red"}),
            "schema-newer",
            "the field 'colour' of a task",
        ),
        (
            line("content", {"id": 1, "guid": "g", "name": "n", "scaling": {"moons": 2}}),
            "schema-newer",
            "the field 'moons' of a content",
        ),
    ],
)
def test_a_record_that_this_version_does_not_know_is_refused(
    data: bytes, code: str, said: str
) -> None:
    with pytest.raises(SupervisorError) as caught:
        list(records([data]))
    assert code == caught.value.code
    assert said in caught.value.message


def test_an_older_record_gets_the_defaults_of_fields_that_came_later() -> None:
    assert [Task(id="t"), Counter(kind="content", last=3)] == list(
        records([line("task", {"id": "t"}), line("counter", {"kind": "content", "last": 3})])
    )


def loaded(rows: Sequence[Row], **given: Any) -> list[Row]:
    return list(adapted(rows, settings(**given)))


def test_contents_get_the_uids_of_the_server_that_takes_them() -> None:
    assert [attrs.evolve(APP, uid=500_001)] == loaded([APP])
    assert [attrs.evolve(APP, uid=0)] == loaded([APP], rootless=True)


def test_a_content_for_which_the_range_of_uids_is_too_small_is_refused() -> None:
    far = attrs.evolve(APP, id=ContentId(1000))
    with pytest.raises(SupervisorError, match="500000 to 500999") as caught:
        loaded([far])
    assert "identity-invalid" == caught.value.code
    assert 1 == len(loaded([attrs.evolve(far, removed=1.0)]))
    assert 1 == len(loaded([far], rootless=True))


def test_what_ran_is_lost_and_nodes_are_not_known() -> None:
    running = Run(
        id=new_run_id(), key="k", content=ONE, purpose=Purpose.SERVE, state=State.READY, node="n"
    )
    ended = attrs.evolve(running, id=new_run_id(), state=State.FAILED, ended=5.0)
    node = Node(id="n", lease="l")
    was_running, same = loaded([running, ended, node])
    assert isinstance(was_running, Run)
    assert State.LOST is was_running.state
    assert was_running.ended is not None
    assert ended == same


def test_a_store_that_holds_anything_is_refused() -> None:
    store = MemoryStore()
    refuse_full(store)
    store.next_id("content")
    with pytest.raises(SupervisorError, match="not empty"):
        load.refuse_full(store)


async def test_facts_that_wait_are_written_before_the_records_are_read(full: House) -> None:
    full.journal.facts_wait = True
    task = Task(id="t", content=ONE, finished=True)
    full.journal.fact(Change(kind="task", record=task))
    await trio.lowlevel.checkpoint()
    members = await full.members()
    assert task in list(records(members["records.jsonl"].splitlines(keepends=True)))
