"""The parent reads an administrator's templates, or refuses the start with file and reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.errors import SupervisorError
from supervisor.parent.templates import SIZE_LIMIT, read_templates

MINE = os.getuid()


def refusal(folder: Path, owner: int = MINE) -> str:
    with pytest.raises(SupervisorError) as refused:
        read_templates(str(folder), owner=owner)
    assert "settings-invalid" == refused.value.code
    return refused.value.message


def test_no_folder_means_our_own_pages() -> None:
    assert {} == read_templates(None, owner=MINE)


def test_the_pages_of_a_folder_are_read_and_other_files_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full.html").write_text("<title>Völl</title>")
    (tmp_path / "README").write_text("{{what}}")
    assert {"full.html": "<title>Völl</title>"} == read_templates(str(tmp_path), owner=MINE)


def test_a_file_of_another_editor_reads_as_a_browser_reads_it(tmp_path: Path) -> None:
    (tmp_path / "full.html").write_bytes(b"\xef\xbb\xbf<script>\r\n1;\r</script>")
    files = read_templates(str(tmp_path), owner=MINE)
    assert {"full.html": "<script>\n1;\n</script>"} == files


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"Pages.Templates = {tmp_path}/x: No such file or directory" == refusal(tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("fool.html", b"", "fool.html: there is no page of this name"),
        ("full.html", b"{{x}}", "full.html: it has the unknown slot {{x}}"),
        ("full.html", b"ab\xff", "full.html: no UTF-8 at byte 2"),
        ("full.html", b"x" * (SIZE_LIMIT + 1), "full.html: it is over 64 KiB"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert f"{tmp_path}: {reason}" in refusal(tmp_path)


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "full.html")
    assert "full.html: it is no regular file" in refusal(tmp_path)


def test_what_everybody_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "full.html").touch()
    (tmp_path / "full.html").chmod(0o666)
    assert "full.html: everybody can write it" in refusal(tmp_path)


def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    theirs = 12345 if MINE == 0 else MINE
    (tmp_path / "full.html").touch()
    os.chown(tmp_path / "full.html", theirs, -1)
    assert f"full.html: it belongs to uid {theirs}" in refusal(tmp_path, owner=54321)
    assert {"full.html": ""} == read_templates(str(tmp_path), owner=theirs)


def test_root_publishes_no_file_through_a_link_in_a_folder_of_somebody_else(tmp_path: Path) -> None:
    secret, folder = tmp_path / "shadow", tmp_path / "pages"
    secret.write_text("root:secret")
    folder.mkdir()
    (folder / "missing.html").symlink_to(secret)
    if MINE == 0:
        assert {"missing.html": "root:secret"} == read_templates(str(folder), owner=0)
        os.chown(folder, 12345, -1)
    with pytest.raises(SupervisorError) as refused:
        read_templates(str(folder), owner=0)
    assert "not-root-owned" == refused.value.code
