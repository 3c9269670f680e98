"""Pack a folder into a bundle: tar.gz with a manifest.json that names every file's checksum."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

import attrs

from supervisor.cli.ignore import Ignore, read_ignore
from supervisor.errors import SupervisorError

MANIFEST = "manifest.json"
# What lies at the top of a folder that some runtime may know; the server looks closer.
LOOKED_FOR = tuple(
    "app.R server.R plumber.R entrypoint.R *.Rmd *.qmd *.py *.ipynb index.html *.html".split()
)


@attrs.frozen(kw_only=True)
class Packed:
    """A bundle on disk: an open file at its start, its size in bytes, how many files it holds."""

    file: IO[bytes]
    size: int
    count: int


def list_files(folder: Path) -> list[str]:
    """Give the files to deploy, relative to the folder, sorted.

    Raises bad-request, no-app-found, bundle-invalid (a link that leads out, a name that is not
    UTF-8).
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        hint = f"Deploy the folder that holds it: {folder.parent}" if folder.is_file() else ""
        raise SupervisorError("bad-request", f"'{folder}' {what}.", hint=hint)
    files = sorted(_walk(folder, "", read_ignore(folder)))
    if not files:
        raise SupervisorError("no-app-found", f"'{folder}' holds no file to deploy.")
    if MANIFEST not in files and not any(_known(path) for path in files):
        raise SupervisorError(
            "no-app-found",
            f"'{folder}' holds no app. Looked at its top for: {', '.join(LOOKED_FOR)}.",
            hint="Deploy the folder that holds the app's main file, or put a manifest.json there.",
        )
    return files


def total_size(folder: Path, files: Sequence[str]) -> int:
    """Give the bytes of the files together, as far as they are there."""
    total = 0
    for path in files:
        with suppress(OSError):
            total += (folder / path).stat().st_size
    return total


def pack(
    folder: Path,
    files: Sequence[str],
    into: IO[bytes],
    advance: Callable[[int], object] = lambda count: None,
) -> Packed:
    """Write the bundle. A manifest of the folder's own stays, with fresh checksums.

    advance is called with the number of bytes just read. Raises bundle-invalid for a file that
    cannot be read or that changes meanwhile.
    """
    manifest = _manifest(folder)
    checksums: dict[str, Any] = {}
    with tarfile.open(fileobj=into, mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=6) as tar:
        for path in files:
            if path != MANIFEST:
                checksums[path] = {"checksum": _add(tar, folder / path, path, advance)}
        text = json.dumps({**manifest, "files": checksums}, indent=1).encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    size = into.tell()
    into.seek(0)
    return Packed(file=into, size=size, count=len(files))


def _walk(folder: Path, below: str, ignore: Ignore) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder / below), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder / below, error) from None
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        is_directory = entry.is_dir(follow_symlinks=False)
        if ignore.matches(path, directory=is_directory):
            continue
        if is_directory:
            if not os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                yield from _walk(folder, path, ignore)
        elif entry.is_symlink():
            yield _checked_link(folder, path)
        elif entry.is_file(follow_symlinks=False):
            yield _checked_name(path)


def _checked_link(folder: Path, path: str) -> str:
    # What a link means here may not exist there, or may be a secret of this machine.
    target = (folder / path).resolve()
    if not target.is_relative_to(folder.resolve()) or not target.is_file():
        raise SupervisorError(
            "bundle-invalid",
            f"'{path}' is a link to '{target}', which is no file of the folder.",
            hint="Put a copy in its place, or name it in .supervisorignore.",
        )
    return _checked_name(path)


def _checked_name(path: str) -> str:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise SupervisorError(
            "bundle-invalid",
            f"The name of the file {path!r} is not UTF-8.",
            hint="Rename it, or leave it out with a pattern in .supervisorignore.",
        ) from None
    return path


def _known(path: str) -> bool:
    lower = path.lower()
    return "/" not in path and any(fnmatchcase(lower, name.lower()) for name in LOOKED_FOR)


def _manifest(folder: Path) -> dict[str, Any]:
    # The server's runtimes find out the kind of app; null tells them to.
    nothing_known = {"version": 1, "metadata": {"appmode": None}}
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        return nothing_known
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, RecursionError) as error:
        raise SupervisorError("bundle-invalid", f"'{path}' is not JSON: {error}.") from None
    if not isinstance(manifest, dict):
        raise SupervisorError("bundle-invalid", f"'{path}' must hold a JSON object.")
    return manifest


class _Digested:
    """A file that is hashed while tarfile reads it."""

    def __init__(self, file: IO[bytes], advance: Callable[[int], object]) -> None:
        self._file = file
        self._advance = advance
        self.md5 = hashlib.md5(usedforsecurity=False)

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self.md5.update(data)
        self._advance(len(data))
        return data


def _add(tar: tarfile.TarFile, file: Path, path: str, advance: Callable[[int], object]) -> str:
    try:
        with open(file, "rb") as source:
            facts = os.fstat(source.fileno())
            entry = tarfile.TarInfo(path)
            entry.size = facts.st_size
            entry.mtime = int(facts.st_mtime)
            entry.mode = 0o755 if facts.st_mode & stat.S_IXUSR else 0o644
            digested = _Digested(source, advance)
            try:
                tar.addfile(entry, digested)
            except OSError as error:
                if error.errno is not None:
                    raise
                raise SupervisorError(
                    "bundle-invalid", f"'{file}' became shorter while it was read."
                ) from None
    except OSError as error:
        raise _unreadable(file, error) from None
    return digested.md5.hexdigest()


def _unreadable(path: Path, error: OSError) -> SupervisorError:
    return SupervisorError(
        "bundle-invalid",
        f"'{path}' cannot be read: {error.strerror or error}.",
        hint="Make it readable, or name it in .supervisorignore.",
    )
