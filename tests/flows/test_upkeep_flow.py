"""gc and backup from the command line, behind a fake core."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.support.cli import Cli


def backup(*members: tuple[str, object]) -> list[bytes]:
    """Make a backup of these members, cut into small pieces."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, value in members:
            data = json.dumps(value).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    whole = file.getvalue()
    return [whole[start : start + 700] for start in range(0, len(whole), 700)]


ABOUT = ("backup.json", {"format": 1, "contents": {"1": "sales"}})
END = ("end.json", {"records": 7, "left_out": ["state/1: left out: a\x1b[2Jsocket"]})


async def test_gc_shows_what_would_go_by_kind_and_content(cli: Cli) -> None:
    await cli.service.create_content("sales")
    shown = await cli("gc", "--dry-run")
    assert "2 would go: 1.0 kB.\n" == shown.stderr
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["KIND", "CONTENT", "COUNT", "SIZE", "WHY"] == lines[0]
    assert ["bundle", "sales", "1", "1.0", "kB", "never", "served"] == lines[1]
    assert ("clean", "dry") in cli.service.calls
    assert ["bundle", "run"] == [each["kind"] for each in await cli.json("gc")]
    assert ("clean", "") in cli.service.calls


async def test_a_backup_is_a_file_that_only_its_writer_reads(cli: Cli, directory: Path) -> None:
    cli.service.backup_pieces = backup(ABOUT, END)
    file = directory / "b.tar"
    done = await cli("backup", str(file))
    assert f"Wrote {file}: 1 content, 7 records" in done.stderr
    assert r"not in it: state/1: left out: a\x1b[2Jsocket" in done.stderr
    assert b"".join(cli.service.backup_pieces) == file.read_bytes()
    assert 0o600 == file.stat().st_mode & 0o777
    again = await cli("backup", str(file), status=64)
    assert "exists already" in again.stderr


@pytest.mark.parametrize(
    ("pieces", "status", "said"),
    [
        (backup(ABOUT), 69, "The backup broke off"),
        (
            backup(ABOUT, ("error.json", {"code": "disk-full", "error": "no room", "hint": "h"})),
            73,
            "The server gave the backup up: no room",
        ),
        ([b"nonsense" * 200], 69, "cannot be read"),
        ([], 69, "cannot be read"),
    ],
    ids=["broke-off", "error", "nonsense", "empty"],
)
async def test_a_backup_that_is_not_whole_leaves_no_file(
    cli: Cli, directory: Path, pieces: list[bytes], status: int, said: str
) -> None:
    cli.service.backup_pieces = pieces
    done = await cli("backup", str(directory / "b.tar"), status=status)
    assert said in done.stderr
    assert ["core.sock"] == os.listdir(directory)


async def test_a_folder_that_nobody_may_write_is_named(cli: Cli) -> None:
    done = await cli("backup", "/proc/b.tar", status=64)
    assert "cannot be written" in done.stderr
