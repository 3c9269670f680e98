"""Places are made, sealed and removed without following a link, whatever content does meanwhile."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_unshare.helper import places
from supervisor_unshare.helper.directories import Directories, remove_all
from supervisor_unshare.linux import syscalls
from supervisor_unshare.requests.rules import Rules


@pytest.fixture
def base(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "data").mkdir()
    fd = os.open(tmp_path / "data", os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A tree outside of the data directory that nobody may touch."""
    tree = tmp_path / "precious"
    tree.mkdir(mode=0o755)
    (tree / "file").write_text("keep me")
    return tree


def test_a_place_is_made_once_and_again(base: int, data: Path) -> None:
    for _ in range(2):
        places.make(base, ("apps", "1", "2"), owner=None)
    assert (data / "apps/1/2").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_place_belongs_to_its_content_and_its_parents_to_root(base: int, data: Path) -> None:
    places.make(base, ("apps", "1", "2"), owner=(70_001, 70_001), parent_gid=70_000)
    leaf, parent = os.stat(data / "apps/1/2"), os.stat(data / "apps/1")
    assert (70_001, 70_001, 0o750) == (leaf.st_uid, leaf.st_gid, stat.S_IMODE(leaf.st_mode))
    assert (0, 70_000, 0o711) == (parent.st_uid, parent.st_gid, stat.S_IMODE(parent.st_mode))


def test_no_link_is_followed_while_making(base: int, data: Path, precious: Path) -> None:
    (data / "apps").symlink_to(precious)
    with pytest.raises(OSError, match="openat2"):
        places.make(base, ("apps", "1"), owner=None)
    assert ["file"] == os.listdir(precious)


@pytest.mark.parametrize("path", ["../precious", "link/file", "/etc/passwd"])
def test_nothing_outside_is_opened(base: int, data: Path, precious: Path, path: str) -> None:
    (data / "link").symlink_to(precious)
    with pytest.raises(OSError, match="openat2"):
        syscalls.open_beneath(base, path, os.O_PATH)


def test_removing_takes_links_and_not_what_they_lead_to(
    base: int, data: Path, precious: Path
) -> None:
    tree = data / "apps"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/to-directory").symlink_to(precious)
    (tree / "a/b/to-file").symlink_to(precious / "file")
    os.mkfifo(tree / "pipe")
    places.remove(base, ("apps",))
    assert not tree.exists()
    assert "keep me" == (precious / "file").read_text()


def test_a_place_that_is_a_link_is_removed_as_a_link(base: int, data: Path, precious: Path) -> None:
    (data / "apps").symlink_to(precious)
    places.remove(base, ("apps",))
    assert [] == os.listdir(data)
    assert ["file"] == os.listdir(precious)


def test_removing_what_is_not_there_is_fine(base: int) -> None:
    places.remove(base, ("apps", "1"))
    places.remove(base, ("apps",))


def test_a_tree_deeper_than_any_path_is_removed(base: int, data: Path) -> None:
    places.make(base, ("apps",), owner=None)
    here = os.open(data / "apps", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    places.remove(base, ("apps",))
    assert [] == os.listdir(data)


def test_names_that_collide_with_the_removers_own_are_removed(base: int, data: Path) -> None:
    for name in (".1", "..2", "x"):
        (data / "apps" / name / "inner" / "deep").mkdir(parents=True)
    places.remove(base, ("apps",))
    assert [] == os.listdir(data)


def test_removing_while_directories_turn_into_links_touches_nothing_else(
    base: int, data: Path, precious: Path
) -> None:
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            try:
                os.rename(data / "apps/a/target", data / "apps/a/aside")
                os.symlink(precious, data / "apps/a/target")
                os.unlink(data / "apps/a/target")
                os.rename(data / "apps/a/aside", data / "apps/a/target")
            except OSError:
                continue

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(300):
            try:
                (data / "apps/a/target/inner").mkdir(parents=True, exist_ok=True)
                places.remove(base, ("apps",))
            except OSError:
                continue
    finally:
        stop.set()
        swapper.join()
    assert "keep me" == (precious / "file").read_text()


def test_a_sealed_tree_is_readable_by_its_group_and_has_no_set_uid_bits(
    base: int, data: Path
) -> None:
    (data / "out/inner").mkdir(parents=True, mode=0o700)
    program = data / "out/inner/program"
    program.write_text("x")
    program.chmod(0o6777)
    places.seal(base, ("out",), owner=None)
    assert 0o755 == stat.S_IMODE(program.stat().st_mode)
    assert 0o750 == stat.S_IMODE((data / "out/inner").stat().st_mode) & 0o750


@pytest.mark.parametrize("kind", ["link", "fifo", "socket"])
def test_a_tree_with_anything_but_files_is_not_sealed(
    base: int, data: Path, precious: Path, kind: str
) -> None:
    (data / "out").mkdir()
    odd = data / "out/odd"
    with socket.socket(socket.AF_UNIX) as sock:
        if kind == "link":
            odd.symlink_to(precious / "file")
        elif kind == "fifo":
            os.mkfifo(odd)
        else:
            sock.bind(str(odd))
        with pytest.raises(places.Unsealable):
            places.seal(base, ("out",), owner=None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_a_sealed_tree_belongs_to_the_core(base: int, data: Path) -> None:
    (data / "out").mkdir()
    (data / "out/file").write_text("x")
    places.seal(base, ("out",), owner=(70_000, 70_009))
    found = os.stat(data / "out/file")
    assert (70_000, 70_009) == (found.st_uid, found.st_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_its_owner_cannot_fill_a_place_for_as_long_as_it_is_removed(base: int, data: Path) -> None:
    places.make(base, ("run",), owner=(70_001, 70_001), mode=0o700)
    for number in range(3000):
        (data / f"run/{number}").touch()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # as an account that content runs as, which is at work outside as well
        refused = 1
        try:
            os.chdir(data / "run")
            os.setresuid(70_001, 70_001, 70_001)
            os.write(write, b"x")
            while os.path.exists("1500"):
                pass
            os.close(os.open("more", os.O_CREAT | os.O_WRONLY))
        except OSError:
            refused = 0
        finally:
            os._exit(refused)
    os.read(read, 1)
    for fd in (read, write):
        os.close(fd)
    try:
        places.remove(base, ("run",))
    finally:
        _, status = os.waitpid(pid, 0)
    assert not (data / "run").exists()
    assert 0 == status


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_what_cannot_be_removed_hinders_no_start_and_no_other_removal(tmp_path: Path) -> None:
    for name in ("data", "data/tmp", "data/tmp/held", "data/tmp/other", "run", "run/w"):
        (tmp_path / name).mkdir()
    rules = Rules(
        tier="root", core_uid=0, core_gid=0, gateway_uid=0, gateway_gid=0, uid_first=1, uid_last=2
    )
    held = os.open(tmp_path / "data/tmp/held", os.O_PATH)
    mount = syscalls.new_filesystem("tmpfs", {"size": "4k"}, 0)  # as fusermount makes them
    syscalls.attach(mount, held)
    try:
        directories = Directories(str(tmp_path / "data"), str(tmp_path / "run"), rules)
        left = directories.prepare()
        assert ["held"] == [parts[-1] for _, parts in left]
        (tmp_path / "data/tmp/other").mkdir()
        with pytest.raises(OSError, match="busy"):
            remove_all([*left, (left[0][0], ("tmp", "other"))])
        assert ["held"] == os.listdir(tmp_path / "data/tmp")
    finally:
        os.close(held)
        os.close(mount)
        syscalls.detach(str(tmp_path / "data/tmp/held"))
