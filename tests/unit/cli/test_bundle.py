"""Packing a folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli.bundle import LOOKED_FOR, list_files, pack
from supervisor.errors import SupervisorError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hello"
    folder.mkdir()
    (folder / "app.py").write_text("print('hello')\n")
    return folder


def packed(folder: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Pack; give the files of the bundle and its manifest."""
    into = io.BytesIO()
    result = pack(folder, list_files(folder), into)
    assert result.size == len(into.getvalue())
    with tarfile.open(fileobj=result.file, mode="r:gz") as tar:
        assert all(entry.isreg() and entry.uid == 0 for entry in tar.getmembers())
        files = {entry.name: tar.extractfile(entry).read() for entry in tar.getmembers()}  # type: ignore[union-attr]
    return files, json.loads(files.pop("manifest.json"))


def refusal(folder: Path) -> SupervisorError:
    with pytest.raises(SupervisorError) as caught:
        pack(folder, list_files(folder), io.BytesIO())
    return caught.value


def test_a_bundle_holds_the_files_and_their_checksums(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "data.csv").write_bytes(b"1,2\n")
    files, manifest = packed(folder)
    assert {"app.py", "sub/data.csv"} == set(files)
    assert {"version": 1, "metadata": {"appmode": None}} == {
        key: manifest[key] for key in ("version", "metadata")
    }
    assert {"checksum": hashlib.md5(b"1,2\n").hexdigest()} == manifest["files"]["sub/data.csv"]


@pytest.mark.parametrize("name", ["two\nlines.py", "ünïcødé 日本.py", "-rf.py", "a" * 250, "~.R"])
def test_names_arrive_as_they_are(folder: Path, name: str) -> None:
    (folder / name).write_text("x")
    files, manifest = packed(folder)
    assert name in files
    assert name in manifest["files"]


def test_a_long_path_arrives_as_it_is(folder: Path) -> None:
    deep = Path(*["d" * 60] * 6)
    (folder / deep).mkdir(parents=True)
    (folder / deep / "x.R").write_text("x")
    assert str(deep / "x.R") in packed(folder)[0]


def test_a_name_that_is_not_utf_8_is_refused_by_name(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.R")).write_text("x")
    assert ("bundle-invalid", True) == (refusal(folder).code, "bad" in refusal(folder).message)


def test_what_is_ignored_stays_at_home(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    (folder / "env").mkdir()
    (folder / "env" / "pyvenv.cfg").write_text("")
    (folder / "big.csv").write_text("x")
    (folder / ".supervisorignore").write_text("*.csv\n")
    assert {"app.py"} == set(packed(folder)[0])


def test_a_manifest_of_the_folders_own_stays_with_fresh_checksums(folder: Path) -> None:
    own = {"version": 1, "metadata": {"appmode": "x"}, "files": {"gone.R": {}}, "extra": [1]}
    (folder / "manifest.json").write_text(json.dumps(own))
    _, manifest = packed(folder)
    assert ([1], "x", {"app.py"}) == (
        manifest["extra"],
        manifest["metadata"]["appmode"],
        set(manifest["files"]),
    )


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    assert "bundle-invalid" == refusal(folder).code


def test_an_empty_folder_holds_no_app(tmp_path: Path) -> None:
    assert "no-app-found" == refusal(tmp_path).code


def test_a_folder_without_an_app_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    error = refusal(tmp_path)
    assert "no-app-found" == error.code
    assert all(name in error.message for name in LOOKED_FOR)


def test_what_is_not_a_folder_is_refused_with_the_folder_to_take(folder: Path) -> None:
    assert "is not a folder" in refusal(folder / "app.py").message
    assert str(folder) in refusal(folder / "app.py").hint
    assert "does not exist" in refusal(folder / "nope").message


def test_a_link_within_the_folder_is_sent_as_the_file_it_means(folder: Path) -> None:
    (folder / "copy.py").symlink_to("app.py")
    assert b"print('hello')\n" == packed(folder)[0]["copy.py"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "gone", "."])
def test_a_link_that_leads_elsewhere_is_refused(folder: Path, target: str) -> None:
    (folder.parent / "outside").write_text("secret")
    (folder / "link").symlink_to(target)
    error = refusal(folder)
    assert ("bundle-invalid", True) == (error.code, "'link'" in error.message)


def test_pipes_and_sockets_are_left_out(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert {"app.py"} == set(packed(folder)[0])


def test_a_file_that_vanishes_meanwhile_is_named(folder: Path) -> None:
    files = list_files(folder)
    (folder / "app.py").unlink()
    with pytest.raises(SupervisorError, match=r"app\.py.*No such file"):
        pack(folder, files, io.BytesIO())


def test_a_file_that_shrinks_meanwhile_is_named(folder: Path) -> None:
    class Shrinking(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 100_000:  # in the middle of it
                (folder / "app.py").write_text("")
            return super().write(data)

    (folder / "app.py").write_bytes(os.urandom(5_000_000))
    with pytest.raises(SupervisorError, match="shorter"):
        pack(folder, list_files(folder), Shrinking())
