"""A tree into an archive and back: as it was, or not at all."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.errors import SupervisorError
from supervisor.parent.identity import Identity
from supervisor.parent.untar import untar

PROGRAM = Path(__file__).parents[3] / "supervisor" / "programs" / "archive.py"


def archive(tree: Path) -> tuple[bytes, list[str]]:
    """Run the program as a sandbox does; give the archive and what was left out."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", PROGRAM.read_text(), str(tree)],
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout, done.stderr.decode().splitlines()


def look(tree: Path) -> dict[str, object]:
    """Give what lies in a tree: permissions, and bytes or where a link leads."""
    found: dict[str, object] = {}
    for path in tree.rglob("*"):
        mode = path.lstat().st_mode & 0o777
        if path.is_symlink():
            found[str(path.relative_to(tree))] = os.readlink(path)
        elif path.is_dir():
            found[str(path.relative_to(tree))] = mode
        else:
            found[str(path.relative_to(tree))] = (
                mode,
                path.read_bytes(),
                int(path.stat().st_mtime),
            )
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "a" / "data").write_bytes(os.urandom(100_000))
    (tree / "a" / "b" / ("x" * 200)).write_text("a long name")
    (tree / "Grüße \n").write_text("a name with a newline")
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff\xfe")).write_text("no UTF-8")
    (tree / "a" / "run.sh").write_text("#!/bin/sh\n")
    (tree / "a" / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("a/data")
    (tree / "elsewhere").symlink_to("/etc/passwd")
    os.link(tree / "a" / "data", tree / "twin")
    os.utime(tree / "a" / "data", (1000, 1000))
    (tree / "a" / "b").chmod(0o500)
    yield tree
    (tree / "a" / "b").chmod(0o700)


def test_a_tree_comes_back_as_it_was(tree: Path, tmp_path: Path) -> None:
    data, left_out = archive(tree)
    (target := tmp_path / "target").mkdir()
    untar(io.BytesIO(data), str(target), None)
    assert [] == left_out
    assert look(tree) == look(target)
    (target / "a" / "b").chmod(0o700)


def test_what_is_no_file_is_left_out_and_named(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "s"))
        data, left_out = archive(tree)
    assert ["left out: pipe: it is no regular file, directory or link"] == left_out[:1]
    assert left_out[1].startswith("left out: s: ")
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        assert {"pipe", "s"}.isdisjoint(found.getnames())
        assert "a/data" in found.getnames()


def test_a_file_that_shrinks_while_it_is_read_does_not_spoil_the_archive(tmp_path: Path) -> None:
    (tree := tmp_path / "tree").mkdir()
    (tree / "log").write_text("short")
    (tree / "next").write_text("whole")
    breaks = """
def longer(fd, fstat=os.fstat):
    found = list(fstat(fd))
    found[6] += 5
    return os.stat_result(found, {"st_blocks": 8})
os.fstat = longer
"""
    done = broken(tree, breaks)
    assert 0 == done.returncode, done.stderr
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as found:
        contents = {name: found.extractfile(name) for name in found.getnames()}
        assert b"short\0\0\0\0\0" == contents["log"].read()  # type: ignore[union-attr]
        assert b"whole" == contents["next"].read()[:5]  # type: ignore[union-attr]


def broken(tree: Path, breaks: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program with lines that break something before it starts."""
    program = PROGRAM.read_text().replace("if __name__", f"{breaks}\nif __name__", 1)
    command = [sys.executable, "-I", "-S", "-c", program, str(tree)]
    return subprocess.run(command, capture_output=True, timeout=60)


def test_nothing_is_archived_beneath_a_link_that_took_the_place_of_a_directory(
    tmp_path: Path,
) -> None:
    (tree := tmp_path / "tree").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "file").write_text("another's")
    for name in ("becomes-link", "was-link"):
        (tree / name).mkdir()
    (tree / "was-link").rmdir()
    (tree / "was-link").symlink_to(elsewhere)
    # each changes as soon as its header is written
    breaks = f"""
class Racing(tarfile.TarFile):
    def addfile(self, info, file=None):
        super().addfile(info, file)
        path = os.path.join({str(tree)!r}, info.name)
        if info.isdir():
            os.rmdir(path)
            os.symlink({str(elsewhere)!r}, path)
        elif info.issym():
            os.unlink(path)
            os.mkdir(path)
            open(path + "/file", "w").close()
tarfile.TarFile = Racing
tarfile.open = Racing.open
"""
    done = broken(tree, breaks)
    assert 0 == done.returncode, done.stderr
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as found:
        assert ["becomes-link", "was-link"] == found.getnames()
    (target := tmp_path / "target").mkdir()
    untar(io.BytesIO(done.stdout), str(target), None)


def test_a_file_that_breaks_off_while_it_is_read_ends_the_archive_with_an_error(
    tree: Path,
) -> None:
    breaks = "def read(self, size): raise OSError(5, 'Input/output error')\nFilled.read = read"
    done = broken(tree, breaks)
    assert 1 == done.returncode
    assert b"the archive is incomplete: Input/output error\n" == done.stderr


def test_a_pipe_that_took_the_place_of_a_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    breaks = """
def replacing(path, flags, open=os.open):
    if not flags & os.O_DIRECTORY:
        os.unlink(path)
        os.mkfifo(path)
    return open(path, flags)
os.open = replacing
"""
    done = broken(tmp_path, breaks)
    said = b"left out: file: it is no regular file, directory or link\n"
    assert (0, said) == (done.returncode, done.stderr)


def test_a_large_file_that_is_nearly_all_holes_is_left_out_and_named(tmp_path: Path) -> None:
    for name, size in (("huge", 10 << 40), ("small", 64 << 20)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    data, said = archive(tmp_path)
    assert [f"left out: huge: it has holes: {10 << 40} bytes, of which 0 are written"] == said
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        assert ["small"] == found.getnames()


def packed(*members: tuple[str, bytes, str]) -> io.BytesIO:
    """Make an archive of (name, type, where a link leads)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, leads in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, leads, 0o777
            archive.addfile(info, io.BytesIO())
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "members",
    [
        [("../out", tarfile.REGTYPE, "")],
        [("/tmp/out", tarfile.REGTYPE, "")],
        [("d", tarfile.DIRTYPE, ""), ("d/../../out", tarfile.REGTYPE, "")],
        [("device", tarfile.CHRTYPE, "")],
        [("hard", tarfile.LNKTYPE, "/etc/passwd")],
        [("link", tarfile.SYMTYPE, ".."), ("link/out", tarfile.REGTYPE, "")],
        [("link", tarfile.SYMTYPE, ".."), ("link/out", tarfile.SYMTYPE, "/etc")],
        [("link", tarfile.SYMTYPE, ".."), ("link/out", tarfile.DIRTYPE, "")],
        [("same", tarfile.REGTYPE, ""), ("same", tarfile.REGTYPE, "")],
    ],
    ids=[
        "up",
        "absolute",
        "up-inside",
        "device",
        "hard-link",
        "through-a-link",
        "a-link-through-a-link",
        "a-directory-through-a-link",
        "twice",
    ],
)
def test_an_archive_that_would_write_elsewhere_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes, str]]
) -> None:
    (target := tmp_path / "target").mkdir()
    with pytest.raises(SupervisorError, match="could not be restored"):
        untar(packed(*members), str(target), None)
    assert ["target"] == [path.name for path in tmp_path.iterdir()]


def test_bits_that_give_rights_are_not_restored(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("tool")
        info.mode = 0o6755
        archive.addfile(info)
    file.seek(0)
    untar(file, str(tmp_path), None)
    assert 0o755 == (tmp_path / "tool").stat().st_mode & 0o7777


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("number", [2**32 - 1, 2**32, -1])
def test_nothing_is_written_by_a_process_that_is_still_root(tmp_path: Path, number: int) -> None:
    tmp_path.chmod(0o777)
    owner = Identity(name="nobody", uid=number, gid=number)
    with pytest.raises(SupervisorError, match="could not be restored"):
        untar(packed(("file", tarfile.REGTYPE, "")), str(tmp_path), owner)
    assert [] == list(tmp_path.iterdir())
