"""Bundles through the real unpacking program, run as the sandbox runs it."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from supervisor import Access, Role, SupervisorError, layout
from supervisor.unpack import FAILED, REFUSED, Unpacked, read_answer, unpack_plan

Made = tuple[str, bytes | None, dict[str, object]]


def tar(*entries: Made) -> bytes:
    """Make a tar.gz of (name, bytes or None, attributes of TarInfo)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, data, attributes in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data or b"")
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data or b""))
    return buffer.getvalue()


def file(name: str, data: bytes = b"x", **attributes: object) -> Made:
    return (name, data, attributes)


class Unpacking:
    """Runs the plan's program on an archive, with the sandbox's paths replaced by the test's."""

    def __init__(self, directory: Path) -> None:
        self.target = directory / "app"
        self.target.mkdir()
        self.archive = directory / "bundle.tar.gz"

    def __call__(self, archive: bytes, python: str = sys.executable) -> Unpacked:
        self.archive.write_bytes(archive)
        argv = list(unpack_plan(python).argv)
        argv[argv.index(layout.at(Role.BUNDLE))] = str(self.archive)
        argv[argv.index(layout.at(Role.SOURCE))] = str(self.target)
        done = subprocess.run(argv, capture_output=True, timeout=60, check=False, cwd="/")
        self.stdout, self.stderr = done.stdout, done.stderr.decode()
        assert "Traceback" not in self.stderr
        return read_answer(done.returncode, done.stdout, done.stderr)

    def refused(self, archive: bytes, python: str = sys.executable) -> str:
        """Give the reason of a refusal, after looking that it left nothing."""
        with pytest.raises(SupervisorError) as caught:
            self(archive, python)
        assert caught.value.code == "bundle-invalid"
        assert os.listdir(self.target) == []
        assert self.stderr.startswith("bundle-invalid: ")
        assert self.stderr.count("\n") == 1
        return caught.value.message


@pytest.fixture
def unpack(tmp_path: Path) -> Unpacking:
    return Unpacking(tmp_path)


def test_a_bundle_is_unpacked_and_listed_with_its_texts_and_its_manifest(
    unpack: Unpacking,
) -> None:
    manifest = {"version": 1, "metadata": {"appmode": "shiny"}}
    answer = unpack(
        tar(
            ("./", None, {"type": tarfile.DIRTYPE}),
            file("./app.R", b"library(shiny)\n# \xc3\xa9"),
            file("data/deep/table.csv", b"a,b\n"),
            file("manifest.json", json.dumps(manifest).encode()),
        )
    )
    assert {one.path: one.size for one in answer.files} == {
        "app.R": 19,
        "data/deep/table.csv": 4,
        "manifest.json": len(json.dumps(manifest)),
    }
    assert {one.path: one.text for one in answer.files if one.text} == {
        "app.R": "library(shiny)\n# é"
    }
    assert answer.manifest == manifest
    assert (unpack.target / "data/deep/table.csv").read_bytes() == b"a,b\n"


def test_a_bundle_without_a_manifest_has_none(unpack: Unpacking) -> None:
    assert unpack(tar(file("app.py"))).manifest is None


def test_modes_are_normalised(unpack: Unpacking) -> None:
    unpack(
        tar(
            ("bin", None, {"type": tarfile.DIRTYPE, "mode": 0o2777}),
            file("bin/run.sh", mode=0o777),
            file("app.R", mode=0o666),
        )
    )
    modes = {
        path: (unpack.target / path).stat().st_mode & 0o7777
        for path in ("bin", "bin/run.sh", "app.R")
    }
    assert modes == {"bin": 0o750, "bin/run.sh": 0o750, "app.R": 0o640}


def test_a_hard_link_to_an_earlier_file_becomes_a_copy(unpack: Unpacking) -> None:
    answer = unpack(
        tar(file("a.R", b"twice"), ("b.R", None, {"type": tarfile.LNKTYPE, "linkname": "a.R"}))
    )
    assert [(one.path, one.size) for one in answer.files] == [("a.R", 5), ("b.R", 5)]
    assert (unpack.target / "b.R").read_bytes() == b"twice"
    assert (unpack.target / "b.R").stat().st_nlink == 1


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_with_long_names_is_read(unpack: Unpacking, form: int) -> None:
    name = "/".join(["long" * 20] * 2) + "/é.R"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = 700
        archive.addfile(info, io.BytesIO(b"y" * 700))
    assert [one.path for one in unpack(buffer.getvalue()).files] == [name]
    assert (unpack.target / name).read_bytes() == b"y" * 700


def test_a_long_text_is_cut_at_64_kib_and_every_line_stays_short(unpack: Unpacking) -> None:
    source = "é😀\n".encode() * 30_000
    answer = unpack(tar(file("app.py", source)))
    text = answer.files[0].text
    assert text is not None
    assert text.rstrip("\ufffd") == source[:65536].decode("utf-8", "ignore")
    assert max(map(len, unpack.stdout.splitlines())) < 32 << 10


def test_a_manifest_of_many_packages_arrives_whole(unpack: Unpacking) -> None:
    manifest = {"packages": {f"package{n}": {"description": "é" * 500} for n in range(500)}}
    assert unpack(tar(file("manifest.json", json.dumps(manifest).encode()))).manifest == manifest


def test_ten_thousand_files_pass_and_one_more_does_not(unpack: Unpacking, tmp_path: Path) -> None:
    names = [f"{n}.txt" for n in range(10_001)]
    assert "more than 10000" in unpack.refused(tar(*map(file, names)))
    assert len(unpack(tar(*map(file, names[1:]))).files) == 10_000


LINK: dict[str, object] = {"type": tarfile.SYMTYPE, "linkname": "app.R"}

REFUSALS: dict[str, tuple[Callable[[], bytes], str]] = {
    "leads out": (lambda: tar(file("a/../../x")), "leads out: a/../../x"),
    "absolute": (lambda: tar(file("/etc/cron.d/x")), "absolute name: /etc/cron.d/x"),
    "symbolic link": (lambda: tar(file("app.R"), ("l", None, LINK)), "a symbolic link: l"),
    "link out": (
        lambda: tar(("l", None, {"type": tarfile.LNKTYPE, "linkname": "../x"})),
        "leads out: ../x",
    ),
    "link to nothing": (
        lambda: tar(("l", None, {"type": tarfile.LNKTYPE, "linkname": "later"}), file("later")),
        "no earlier file: l",
    ),
    "character device": (
        lambda: tar(("n", None, {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})),
        "a character device: n",
    ),
    "block device": (lambda: tar(("n", None, {"type": tarfile.BLKTYPE})), "a block device: n"),
    "fifo": (lambda: tar(("p", None, {"type": tarfile.FIFOTYPE})), "a FIFO: p"),
    "set-uid": (lambda: tar(file("run", mode=0o4755)), "set-uid or set-gid file: run"),
    "set-gid": (lambda: tar(file("run", mode=0o2755)), "set-uid or set-gid file: run"),
    "duplicate": (lambda: tar(file("a"), file("./a")), "the same file twice: a"),
    "case": (lambda: tar(file("App.R"), file("app.R")), "only in case: App.R, app.R"),
    "case of a directory": (lambda: tar(file("D/a"), file("d/b")), "only in case: D, d"),
    "unicode form": (lambda: tar(file("\u00e9"), file("e\u0301")), "only in case"),
    "file as directory": (lambda: tar(file("a"), file("a/b")), "file and a directory"),
    "directory as file": (lambda: tar(file("a/b"), file("a")), "file and a directory"),
    "control character": (lambda: tar(file("a\nb")), r"control character in a name: a\nb"),
    "surrogate": (lambda: tar(file("bad\udcff.R")), "not UTF-8"),
    "long component": (lambda: tar(file("n" * 256)), "too long a name: nnn"),
    "long name": (lambda: tar(file("n" * 5000)), "too long a name: nnn"),
    "deep": (lambda: tar(file("d/" * 300 + "x")), "deeper than 32 directories"),
    "bomb": (lambda: tar(file("zero", bytes(40 << 20))), "more than 200 times its size"),
    "empty": (lambda: tar(), "holds no file"),
    "cut short": (lambda: tar(file("a", os.urandom(9000)))[:-4000], "cut short"),
    "damaged": (lambda: damaged(tar(file("a", os.urandom(9000)))), "CRC check failed"),
    "no archive": (lambda: b"PK\x03\x04 a zip, say", "not a readable tar.gz"),
    "no bytes": (lambda: b"", "holds no file"),
    "gzip of no tar": (lambda: gzip.compress(os.urandom(2048)), "header"),
    "huge file": (lambda: gzip.compress(claims(b"%011o\0" % (3 << 30))), "a file of 3221225472"),
    "absurd size": (lambda: gzip.compress(claims(b"\x80" + b"\xff" * 11)), "a file of"),
    "negative size": (lambda: gzip.compress(claims(b"\xff" * 12)), "negative"),
    "huge header": (
        lambda: gzip.compress(claims(b"%011o\0" % (2 << 30), kind=b"x")),
        "an extended header of 2147483648 bytes",
    ),
    "malformed size": (lambda: gzip.compress(claims(b"12345678901z")), "malformed size"),
    "unknown type": (lambda: gzip.compress(claims(b"%011o\0" % 0, kind=b"Z")), "entry of type Z"),
    "sparse": (lambda: tar(file("s", pax_headers={"GNU.sparse.major": "1"})), "a sparse file: s"),
    "manifest is a list": (lambda: tar(file("manifest.json", b"[]")), "is not an object"),
    "manifest is cut": (lambda: tar(file("manifest.json", b'{"a": ')), "is not JSON: Expecting"),
    "manifest twice": (lambda: tar(file("manifest.json", b'{"a":1,"a":2}')), "a key twice"),
    "manifest is deep": (lambda: tar(file("manifest.json", nested(100_000))), "too deeply"),
    "manifest is rather deep": (lambda: tar(file("manifest.json", nested(40))), "too deeply"),
    "manifest has a NUL": (lambda: tar(file("manifest.json", rb'{"a":"\u0000"}')), "a NUL"),
    "manifest has a half": (lambda: tar(file("manifest.json", rb'{"a":"\ud800"}')), "half a"),
    "manifest is no text": (lambda: tar(file("manifest.json", b'{"a":"\xff"}')), "is not JSON"),
    "manifest has NaN": (lambda: tar(file("manifest.json", b'{"a":NaN}')), "NaN"),
    "manifest is huge": (
        lambda: tar(file("manifest.json", os.urandom(5 << 20))),
        "larger than 4194304 bytes",
    ),
}


def damaged(archive: bytes) -> bytes:
    middle = len(archive) // 2
    return archive[:middle] + bytes([archive[middle] ^ 1]) + archive[middle + 1 :]


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


def claims(size: bytes, kind: bytes = b"0") -> bytes:
    """Make one header by hand that claims a size."""
    header = bytearray(tarfile.TarInfo("big").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = size
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"data" * 512


@pytest.mark.parametrize("name", REFUSALS)
def test_a_bad_bundle_is_refused_with_its_reason_and_leaves_nothing(
    unpack: Unpacking, name: str
) -> None:
    make, reason = REFUSALS[name]
    # A good file before the bad one would be there if anything were written too early.
    assert reason in unpack.refused(make())


def test_a_bad_entry_at_the_end_undoes_nothing_since_nothing_was_written(
    unpack: Unpacking,
) -> None:
    good = [file(f"f{n}") for n in range(50)]
    assert "leads out" in unpack.refused(tar(*good, file("../x")))
    assert not (unpack.target.parent / "x").exists()


def test_a_target_that_is_not_empty_is_left_alone(unpack: Unpacking) -> None:
    (unpack.target / "old").write_text("kept")
    with pytest.raises(SupervisorError, match="not empty"):
        unpack(tar(file("app.R")))
    assert os.listdir(unpack.target) == ["old"]


def test_a_full_disk_is_told_as_such() -> None:
    with pytest.raises(SupervisorError, match="No space left on device") as caught:
        read_answer(FAILED, b"", b"unpack-failed: [Errno 28] No space left on device: 'x'\n")
    assert (caught.value.code, caught.value.recoverable) == ("unavailable", True)


def test_an_answer_that_was_cut_is_not_believed() -> None:
    with pytest.raises(SupervisorError, match="incomplete"):
        read_answer(0, b'{"file":"a","size":1}\n', b"")
    with pytest.raises(SupervisorError, match="incomplete"):
        read_answer(0, b'{"file":"a","size":1}\n{"end":2}\n', b"")


def test_a_refusal_without_words_is_still_a_refusal() -> None:
    with pytest.raises(SupervisorError, match="it said nothing"):
        read_answer(REFUSED, b"", b"")


def test_the_plan_shows_the_archive_read_only_and_nothing_but_its_own_places() -> None:
    plan = unpack_plan("/usr/bin/python3")
    assert plan.argv[:4] == ("/usr/bin/python3", "-I", "-S", "-c")
    assert {mount.role: mount.access for mount in plan.mounts} == {
        Role.BUNDLE: Access.READ,
        Role.SOURCE: Access.WRITE,
        Role.SCRATCH: Access.WRITE,
    }
    # An argument of exec may hold 128 KiB.
    assert max(map(len, plan.argv)) < 64 << 10


def pythons() -> list[str]:
    """Give this Python and, where there are others from 3.7 on, those too."""
    others = [*Path("/opt/python").glob("3.*"), *Path.home().glob(".pyenv/versions/3.*")]
    return [
        sys.executable,
        *(str(home / "bin/python3") for home in sorted(others) if home.name[:4] != "3.6."),
    ]


@pytest.mark.parametrize("python", pythons())
def test_the_program_runs_on_every_python_of_this_machine(unpack: Unpacking, python: str) -> None:
    assert "leads out" in unpack.refused(tar(file("../x")), python)
    manifest = json.dumps({"version": 1}).encode()
    answer = unpack(tar(file("app.py"), file("manifest.json", manifest)), python)
    assert [one.path for one in answer.files] == ["app.py", "manifest.json"]
    assert answer.manifest == {"version": 1}


def test_the_program_keeps_to_the_syntax_of_python_3_7() -> None:
    source = files("supervisor").joinpath("programs/unpack.py").read_text("utf-8")
    ast.parse(source, feature_version=(3, 7))
