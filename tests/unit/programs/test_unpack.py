"""Whatever the bytes, the unpacker accepts or refuses: it never fails otherwise."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.programs.unpack import Refused, check, report, safe_path


def seed(form: int) -> bytes:
    """Make a tar that has every kind of header that the reader knows."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in {
            "manifest.json": b'{"version": 1}',
            "app.R": b"library(shiny)\n",
            "/".join(["long" * 15] * 3) + "/\u00e9.csv": b"1,2\n" * 200,
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("copy.R")
        link.type, link.linkname = tarfile.LNKTYPE, "app.R"
        archive.addfile(link)
        folder = tarfile.TarInfo("folder/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    return buffer.getvalue()


SEEDS = [seed(tarfile.GNU_FORMAT), seed(tarfile.PAX_FORMAT)]
MUTATIONS = st.lists(
    st.tuples(st.integers(0, len(SEEDS[0]) - 1), st.binary(min_size=1, max_size=12)), max_size=6
)


def with_checksums(data: bytearray) -> bytes:
    """Mend the checksum of every block that looks like a header, so that mutations get further."""
    for start in range(0, len(data) - 511, 512):
        header = data[start : start + 512]
        if header[257:262] == b"ustar":
            header[148:156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    return bytes(data)


def outcome(path: Path, archive: bytes) -> str:
    path.write_bytes(archive)
    try:
        checked = check(str(path))
    except Refused as refusal:
        return str(refusal)
    for line in report(checked):
        json.dumps(line).encode("ascii")
    for name in checked.listing.files:
        assert name == safe_path(name) != ""
    return ""


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(which=st.sampled_from(SEEDS), mutations=MUTATIONS, mend=st.booleans())
def test_a_mutated_archive_is_accepted_or_refused(
    tmp_path: Path, which: bytes, mutations: list[tuple[int, bytes]], mend: bool
) -> None:
    data = bytearray(which)
    for start, new in mutations:
        data[start : start + len(new)] = new
    outcome(tmp_path / "a", gzip.compress(with_checksums(data) if mend else bytes(data), 1))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=2000), zipped=st.booleans())
def test_random_bytes_are_refused(tmp_path: Path, data: bytes, zipped: bool) -> None:
    assert "" != outcome(tmp_path / "a", gzip.compress(data, 1) if zipped else data)


@pytest.mark.parametrize("length", range(0, 1200, 7))
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, length: int) -> None:
    whole = gzip.compress(SEEDS[1])
    if length < len(whole):
        assert "" != outcome(tmp_path / "a", whole[:length])


@settings(max_examples=200)
@given(name=st.text(max_size=60) | st.from_regex(r"(\.{0,3}/?|a/?){1,8}", fullmatch=True))
def test_a_safe_path_stays_within(name: str) -> None:
    try:
        path = safe_path(name)
    except (Refused, UnicodeEncodeError):
        return
    assert not path.startswith("/")
    assert [] == [part for part in path.split("/") if part in (".", "..")]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | (st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(manifest=st.dictionaries(st.text(), JSON, max_size=5))
def test_a_manifest_arrives_as_it_was_or_the_bundle_is_refused(
    tmp_path: Path, manifest: dict[str, object]
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        data = json.dumps(manifest).encode()
        info = tarfile.TarInfo("manifest.json")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    path = tmp_path / "a"
    reason = outcome(path, buffer.getvalue())
    if reason:
        assert any(word in reason for word in ("NUL", "half", "deep"))
        return
    pieces = [line["manifest"] for line in report(check(str(path))) if "manifest" in line]
    assert manifest == json.loads("".join(pieces))
