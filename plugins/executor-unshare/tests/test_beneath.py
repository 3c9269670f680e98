"""Without openat2 paths are opened as strictly as with it: the same answer for each path."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor_unshare.linux import beneath, syscalls

_READ, _PATH = os.O_RDONLY, os.O_PATH
_FLAGS = {
    "file": _READ,
    "directory": _READ | os.O_DIRECTORY,
    "no link": _READ | os.O_NOFOLLOW,
    "directory, no link": _READ | os.O_DIRECTORY | os.O_NOFOLLOW,
    "path": _PATH,
    "path, no link": _PATH | os.O_NOFOLLOW,
    "path of a directory": _PATH | os.O_DIRECTORY,
}
_PATHS = (
    "file", "directory", "directory/inner", "directory/inner/deep", "directory/", "directory/.",
    "./directory", ".", "file/", "file/x", "missing", "directory/missing", "missing/file",
    "link-to-file", "link-to-directory", "link-to-directory/inner", "link-to-directory/",
    "directory/link-out", "directory/link-out/secret", "dangling", "absolute", "absolute/passwd",
    "..", "../top", "/etc", "/", "", "directory//inner",
)  # fmt: skip


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A directory with links of every kind in it, and a secret beside it."""
    outside: Path = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_text("secret")
    base = outside / "top"
    (base / "directory" / "inner").mkdir(parents=True)
    (base / "directory" / "inner" / "deep").write_text("deep")
    (base / "file").write_text("file")
    (base / "link-to-file").symlink_to("file")
    (base / "link-to-directory").symlink_to("directory")
    (base / "directory" / "link-out").symlink_to("../..")
    (base / "dangling").symlink_to("nowhere")
    (base / "absolute").symlink_to("/etc")
    descriptor = os.open(base, os.O_PATH | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def answer(opened: Callable[[int, str, int], int], top: int, path: str, flags: int) -> object:
    """What was opened, by inode, or the errno."""
    try:
        found = opened(top, path, flags)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    try:
        status = os.fstat(found)
        assert not os.get_inheritable(found)
        return status.st_ino, stat.S_IFMT(status.st_mode)
    finally:
        os.close(found)


@pytest.mark.parametrize("kind", _FLAGS)
@pytest.mark.parametrize("path", _PATHS)
def test_both_ways_open_or_refuse_the_same(top: int, path: str, kind: str) -> None:
    expected = answer(syscalls.open_beneath, top, path, _FLAGS[kind])
    found = answer(beneath.open_by_steps, top, path, _FLAGS[kind])
    assert expected == found


@given(
    st.lists(st.sampled_from((*_PATHS, "inner", "deep", "secret", ".", "link-out")), max_size=5),
    st.sampled_from(sorted(_FLAGS)),
)
def test_no_path_opens_more_without_openat2(top: int, names: list[str], kind: str) -> None:
    path = "/".join(names)
    expected = answer(syscalls.open_beneath, top, path, _FLAGS[kind])
    found = answer(beneath.open_by_steps, top, path, _FLAGS[kind])
    # Both refuse, perhaps with other words: a path with `..` is refused before it is walked.
    assert expected == found or (
        isinstance(found, str) and (isinstance(expected, str) or ".." in path)
    )
