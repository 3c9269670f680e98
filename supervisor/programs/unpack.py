"""Unpacks one bundle; runs inside a sandbox as the content's uid, never in the core.

`python3 -I -S -c THIS_FILE ARCHIVE TARGET`, Python 3.7 or newer, standard library only. TARGET must
be an empty directory. The whole archive is read and checked before the first file is written; hard
links become copies; modes become 0640 or 0750. Exit 0: stdout holds the listing, see `report`.
Exit 65: one line on stderr, `bundle-invalid: what and where`, and nothing was written. Exit 74:
writing failed, one line `unpack-failed: ...`; the target is incomplete.

tarfile is not used: it reads headers of any size into memory, rewrites names silently, and its
filters are missing from older Pythons.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import sys
import unicodedata
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

MAX_FILES = 10_000
MAX_BYTES = 2 << 30
MAX_RATIO = 200  # judged only once RATIO_FROM bytes came out
RATIO_FROM = 32 << 20
MAX_DEPTH = 32
MAX_COMPONENT = 255
MAX_PATH = 1024
MAX_EXTENSION = 1 << 20  # one pax or long-name header
MAX_MANIFEST = 4 << 20
MAX_MANIFEST_DEPTH = 32
TEXT_BYTES = 64 << 10
TEXTS_BYTES = 1 << 20
PIECE = 2048  # characters of text a line; escaped at worst twelve times as many bytes

BLOCK = 512
WANTED = re.compile(r"[^/]+\.(r|py|ya?ml)", re.IGNORECASE)  # what runtimes look into
KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}


class Refused(Exception):
    """The bundle breaks a rule; the text says which, and where."""


class Entry(NamedTuple):
    """One entry of the archive. source: the earlier file whose copy this is, or ""."""

    path: str
    directory: bool
    size: int
    executable: bool
    source: str


class Archive:
    """The decompressed bytes of a bundle, counted against the caps."""

    def __init__(self, path: str) -> None:
        self.compressed = os.path.getsize(path)
        self.stream = gzip.open(path, "rb")  # noqa: SIM115
        self.count = 0

    def read(self, size: int) -> bytes:
        """Give `size` bytes, or fewer at the end of the archive."""
        try:
            data = self.stream.read(size)
        except EOFError:
            raise Refused(f"the archive is cut short after {self.count} bytes") from None
        except (OSError, zlib.error) as error:
            raise Refused(f"not a readable tar.gz: {error}") from None
        self.count += len(data)
        # Headers and padding come on top of the files.
        if self.count > MAX_BYTES + MAX_FILES * 8 * BLOCK:
            raise Refused(f"unpacks to more than {MAX_BYTES} bytes")
        if self.count > RATIO_FROM and self.count > MAX_RATIO * self.compressed:
            raise Refused(f"unpacks to more than {MAX_RATIO} times its size")
        return data

    def pieces(self, size: int, path: str) -> Iterator[bytes]:
        """Give the `size` bytes of an entry in pieces, then swallow its padding."""
        left = size
        while left:
            data = self.read(min(left, 1 << 18))
            if not data:
                raise Refused(f"the archive is cut short within {shown(path)}")
            left -= len(data)
            yield data
        self.read(-size % BLOCK)


def shown(name: str) -> str:
    """Give a name as it may stand in a message: one line, ASCII, not longer than 200."""
    text = name.encode("unicode_escape").decode("ascii")
    return text if len(text) <= 200 else text[:197] + "..."


def number(field: bytes, what: str) -> int:
    """Read a number of a header: octal, or base 256 where the first bit is set."""
    if field[:1] >= b"\x80":
        if field[0] != 0x80:
            raise Refused(f"a header has a negative or absurd {what}")
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if not re.match(rb"[0-7]*\Z", text):
        raise Refused(f"a header has a malformed {what}")
    return int(text or b"0", 8)


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """Read the records of a pax header, `length key=value newline` each."""
    records: dict[bytes, bytes] = {}
    while data.strip(b"\0"):
        match = re.match(rb"([1-9][0-9]{0,6}) ", data)
        length = int(match.group(1)) if match else 0
        record = data[match.end() : length - 1] if match else b""
        key, equals, value = record.partition(b"=")
        if not equals or length > len(data) or data[length - 1 : length] != b"\n":
            raise Refused("a pax header is malformed")
        records[key] = value
        data = data[length:]
    return records


def decoded(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"a name is not UTF-8: {shown(name.decode('latin-1'))}") from None


def safe_path(name: str) -> str:
    """Give a name without `./` and doubled slashes, or refuse it. "" is the root itself."""
    if name.startswith("/"):
        raise Refused(f"an absolute name: {shown(name)}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"a name that leads out: {shown(name)}")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise Refused(f"a control character in a name: {shown(name)}")
    if len(parts) > MAX_DEPTH:
        raise Refused(f"deeper than {MAX_DEPTH} directories: {shown(name)}")
    sizes = [len(part.encode("utf-8")) for part in parts]
    if sum(sizes) + len(parts) > MAX_PATH or max(sizes, default=0) > MAX_COMPONENT:
        raise Refused(f"too long a name: {shown(name)}")
    return "/".join(parts)


def entries(archive: Archive) -> Iterator[Entry]:
    """Read the entries; a file's pieces must be taken before the next entry is.

    Refuses what is no plain file or directory; says nothing about how entries go together.
    """
    extra: dict[bytes, bytes] = {}
    while True:
        header = archive.read(BLOCK)
        if not header or header == bytes(BLOCK):
            break
        if len(header) < BLOCK:
            raise Refused("the archive is cut short within a header")
        if number(header[148:156], "checksum") != sum(header[:148]) + 256 + sum(header[156:]):
            raise Refused("a header has a wrong checksum; this is not a tar.gz or it is damaged")
        kind = header[156:157]
        size = number(header[124:136], "size")
        if kind in (b"x", b"g", b"L", b"K"):
            if size > MAX_EXTENSION:
                raise Refused(f"an extended header of {size} bytes")
            data = b"".join(archive.pieces(size, "an extended header"))
            if kind == b"x":
                extra.update(pax_records(data))
            elif kind != b"g":
                extra[b"path" if kind == b"L" else b"linkpath"] = data.rstrip(b"\0")
            elif {b"path", b"size", b"linkpath"} & set(pax_records(data)):
                raise Refused("a global header that renames every file")
            continue
        name = header[:100].split(b"\0")[0]
        prefix = header[345:500].split(b"\0")[0]
        if header[257:263] == b"ustar\0" and prefix:
            name = prefix + b"/" + name
        name = extra.get(b"path", name)
        link = extra.get(b"linkpath", header[157:257].split(b"\0")[0])
        if b"size" in extra:
            if not re.fullmatch(rb"[0-9]{1,18}", extra[b"size"]):
                raise Refused("a pax header has a malformed size")
            size = int(extra[b"size"])
        if any(key.startswith(b"GNU.sparse") for key in extra):
            kind = b"S"
        extra = {}
        yield entry(decoded(name), kind, size, number(header[100:108], "mode"), decoded(link))
    while archive.read(1 << 18):  # to the end, for gzip's checksum
        pass


def entry(name: str, kind: bytes, size: int, mode: int, link: str) -> Entry:
    """Check one header by itself."""
    path = safe_path(name)
    directory = kind == b"5" or (kind in (b"0", b"\0") and name.endswith("/"))
    if kind not in (b"0", b"\0", b"7", b"5", b"1"):
        what = KINDS.get(kind, f"an entry of type {shown(kind.decode('latin-1'))}")
        raise Refused(f"{what}: {shown(path)}")
    if not path and not directory:
        raise Refused("a file without a name")
    if not directory and mode & 0o6000:
        raise Refused(f"a set-uid or set-gid file: {shown(path)}")
    if size > MAX_BYTES:
        raise Refused(f"a file of {size} bytes: {shown(path)}")
    if (directory or kind == b"1") and size:
        raise Refused(f"a directory or link that holds data: {shown(path)}")
    return Entry(path, directory, size, bool(mode & 0o100), safe_path(link) if kind == b"1" else "")


class Listing:
    """The entries that were accepted so far, and the rules about how they go together."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.directories: set[str] = set()
        self.names: dict[str, str] = {}
        self.total = 0

    def add(self, entry: Entry) -> None:
        """Accept one more entry, or refuse the bundle."""
        parents = entry.path.split("/")[:-1]
        for depth in range(1, len(parents) + 1):
            self._directory("/".join(parents[:depth]))
        if entry.directory:
            return self._directory(entry.path) if entry.path else None
        size = entry.size
        if entry.source:
            if entry.source not in self.files:
                raise Refused(f"a hard link to what is no earlier file: {shown(entry.path)}")
            size = self.files[entry.source]
        if entry.path in self.files:
            raise Refused(f"the same file twice: {shown(entry.path)}")
        if entry.path in self.directories:
            raise Refused(f"a file and a directory of one name: {shown(entry.path)}")
        self._claim(entry.path)
        self.files[entry.path] = size
        self.total += size
        if self.total > MAX_BYTES:
            raise Refused(f"unpacks to more than {MAX_BYTES} bytes")

    def _directory(self, path: str) -> None:
        if path in self.files:
            raise Refused(f"a file and a directory of one name: {shown(path)}")
        if path not in self.directories:
            self._claim(path)
            self.directories.add(path)

    def _claim(self, path: str) -> None:
        if len(self.names) >= MAX_FILES:
            raise Refused(f"more than {MAX_FILES} files and directories")
        key = unicodedata.normalize("NFC", path).casefold()
        other = self.names.setdefault(key, path)
        if other != path:
            raise Refused(f"two names that differ only in case: {shown(other)}, {shown(path)}")


class Checked(NamedTuple):
    """What the first pass found: the listing, the texts that were asked for, the manifest."""

    listing: Listing
    texts: dict[str, str]
    manifest: dict[str, Any] | None


def check(path: str) -> Checked:
    """Read the whole archive and write nothing."""
    archive = Archive(path)
    listing = Listing()
    texts: dict[str, str] = {}
    manifest, kept = None, 0
    for entry in entries(archive):
        listing.add(entry)
        if entry.directory or entry.source:
            continue
        limit = TEXT_BYTES if WANTED.fullmatch(entry.path) else 0
        if entry.path == "manifest.json":
            limit = MAX_MANIFEST
            if entry.size > limit:
                raise Refused(f"manifest.json is larger than {limit} bytes")
        data = bytearray()
        for piece in archive.pieces(entry.size, entry.path):
            data += piece[: limit - len(data)]
        if entry.path == "manifest.json":
            manifest = parsed_manifest(bytes(data))
        elif data and kept + len(data) <= TEXTS_BYTES:
            texts[entry.path] = data.decode("utf-8", "replace")
            kept += len(data)
    if not listing.files:
        raise Refused("the archive holds no file")
    return Checked(listing, texts, manifest)


def parsed_manifest(data: bytes) -> dict[str, Any]:
    """Read manifest.json: an object, no key twice, not nested deeper than MAX_MANIFEST_DEPTH."""

    def once(pairs: list[Any]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise Refused("manifest.json holds a key twice")
        return found

    def constant(name: str) -> None:
        raise Refused(f"manifest.json holds {name}, which is not JSON")

    def depth(value: Any) -> int:
        if isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
            raise Refused("manifest.json holds a NUL or half a character")
        if isinstance(value, dict):
            return 1 + max(map(depth, [*value, *value.values()]), default=0)
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    try:
        hooks: dict[str, Any] = {"object_pairs_hook": once, "parse_constant": constant}
        manifest = json.loads(data.decode("utf-8-sig"), **hooks)
        if depth(manifest) > MAX_MANIFEST_DEPTH:
            raise RecursionError
    except ValueError as error:
        raise Refused(f"manifest.json is not JSON: {error}") from None
    except RecursionError:
        raise Refused("manifest.json is nested too deeply") from None
    if not isinstance(manifest, dict):
        raise Refused("manifest.json is not an object")
    return manifest


def write(path: str, target: str, listing: Listing) -> None:
    """Read the archive again and write what was checked into the empty directory `target`."""
    os.umask(0o027)
    for directory in sorted(listing.directories):
        os.mkdir(os.path.join(target, directory), 0o750)
    archive = Archive(path)
    for entry in entries(archive):
        if entry.directory:
            continue
        with create(os.path.join(target, entry.path), entry.executable) as file:
            if entry.source:
                with open(os.path.join(target, entry.source), "rb") as source:
                    shutil.copyfileobj(source, file)
            else:
                file.writelines(archive.pieces(entry.size, entry.path))


def create(path: str, executable: bool) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o750 if executable else 0o640), "wb")


def report(checked: Checked) -> list[dict[str, Any]]:
    """Give the listing as JSON objects, one a line of ASCII of less than 32 KiB, the `end` last.

    `{"file": path, "size": bytes}`; `{"text": path, "piece": string}`, pieces of one text in order;
    `{"manifest": string}`, pieces of the manifest's JSON; `{"end": number of lines before it}`.
    """
    sizes = sorted(checked.listing.files.items())
    lines: list[dict[str, Any]] = [{"file": path, "size": size} for path, size in sizes]
    for path, text in sorted(checked.texts.items()):
        lines += [{"text": path, "piece": piece} for piece in cut(text)]
    if checked.manifest is not None:
        lines += [{"manifest": piece} for piece in cut(json.dumps(checked.manifest))]
    return [*lines, {"end": len(lines)}]


def cut(text: str) -> list[str]:
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def main(path: str, target: str) -> int:
    try:
        checked = check(path)
    except Refused as refusal:
        sys.stderr.write(f"bundle-invalid: {refusal}\n")
        return 65
    try:
        if os.listdir(target):
            sys.stderr.write("unpack-failed: the target directory is not empty\n")
            return 74
        write(path, target, checked.listing)
    except (OSError, Refused) as error:
        sys.stderr.write(f"unpack-failed: {shown(str(error))}\n")
        return 74
    for line in report(checked):
        sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
