"""A restore writes only what its records account for, and only as the content it belongs to."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from supervisor.errors import SupervisorError
from supervisor.parent.identity import Identity
from supervisor.parent.restore import Restore

ME = Identity(name="me", uid=os.geteuid(), gid=os.getegid())
RECORDS = [
    {"kind": "counter", "record": {"kind": "content", "last": 2}},
    {"kind": "content", "record": {"id": 1, "name": "app"}},
    {"kind": "content", "record": {"id": 2, "name": "gone", "removed": 1.0}},
    {"kind": "content", "record": {"id": 4294767295, "name": "far"}},
]


def packed(*members: tuple[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    file.seek(0)
    return file


TREE = packed(("file", b"data")).getvalue()


def take(data_dir: Path, *names: str, rootless: bool = True) -> None:
    """Take members of a backup into a DataDir."""
    for name in ("apps", "state", "db", "bundles"):
        (data_dir / name).mkdir(exist_ok=True)
    records = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
    backup = packed(("records.jsonl", records), *((name, TREE) for name in names))
    plan = SimpleNamespace(
        settings=SimpleNamespace(data_dir=str(data_dir), uid_first=200_000, uid_last=299_999),
        who=SimpleNamespace(rootless=rootless, core=ME, helper=ME),
    )
    with tarfile.open(fileobj=backup) as archive:
        restore = Restore(archive=archive, plan=cast(Any, plan))
        living = restore._living()
        for member in archive.getmembers():
            restore._take(member, living)


def test_the_tree_of_a_content_is_written(tmp_path: Path) -> None:
    take(tmp_path, "state/1.tar", "apps/1/7.tar")
    assert "data" == (tmp_path / "state" / "1" / "file").read_text()
    assert "data" == (tmp_path / "apps" / "1" / "7" / "file").read_text()


@pytest.mark.parametrize("name", ["state/3.tar", "apps/3/1.tar", "state/2.tar", "state/0.tar"])
def test_a_tree_that_belongs_to_no_living_content_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SupervisorError, match=f"{name} belongs to no content of its records"):
        take(tmp_path, name)
    assert [] == [*(tmp_path / "state").iterdir(), *(tmp_path / "apps").iterdir()]


def test_a_content_beyond_the_range_of_uids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match="200000 to 299999") as caught:
        take(tmp_path, "state/4294767295.tar", rootless=False)
    assert "identity-invalid" == caught.value.code
    assert [] == list((tmp_path / "state").iterdir())


def test_a_tree_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match="state/1 is in it twice"):
        take(tmp_path, "state/1.tar", "state/01.tar")


def test_a_key_is_never_written_into_a_file_that_lies_there(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (other := tmp_path / "other").write_text("another's")
    os.link(other, tmp_path / "db" / "pin.key.restored")
    os.mkfifo(tmp_path / "db" / "seat.key.restored")
    take(tmp_path, "keys/pin.key", "keys/seat.key")
    assert "another's" == other.read_text()
    assert [TREE, TREE] == [
        (tmp_path / "db" / name).read_bytes() for name in ("pin.key", "seat.key")
    ]
