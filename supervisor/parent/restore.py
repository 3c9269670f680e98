"""`python -I -m supervisor.parent.restore [--config FILE] BACKUP`: `supervisor restore`.

Bundles, keys and directories are written here, trees under the uid of the content that they belong
to; the records are taken by `supervisor.core.load`, under the core's. They come last: a server that
is started after half a restore knows of nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import IO, Any

from supervisor.errors import CODES, SupervisorError
from supervisor.layout import PlaceKind, PlaceRef, components
from supervisor.log import Log
from supervisor.parent import directories, lock
from supervisor.parent.child import environment, sealed
from supervisor.parent.identity import Identity
from supervisor.parent.plan import Plan
from supervisor.parent.untar import untar
from supervisor.settings import load

FORMAT = 1
_KEY = re.compile(r"keys/([a-z][a-z0-9-]*\.key)\Z")
_BUNDLE = re.compile(r"bundles/([0-9a-f]{64})\.tar\.gz\Z")
_TREE = re.compile(r"(?:apps/(\d{1,15})/(\d{1,15})|state/(\d{1,15}))\.tar\Z", re.ASCII)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What must hold nothing yet; `db` is asked by who takes the records.
_EMPTY = ("bundles", *directories.ROOT_OWNED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Restore:
    """One restore: a backup, opened, and the server whose DataDir is filled."""

    archive: tarfile.TarFile
    plan: Plan

    def run(self) -> dict[str, Any]:
        """Do it; give what the backup says of itself. Raises SupervisorError."""
        settings, who = self.plan.settings, self.plan.who
        about = self._about()
        _refuse_full(settings.data_dir)
        directories.make_data_dir(settings.data_dir, who)
        held = lock.hold_data_dir(settings.data_dir)
        try:
            self._load("--check")
            living = self._living()
            for member in self.archive.getmembers():
                self._take(member, living)
            self._load()
        finally:
            lock.release(held)
        return about

    def _about(self) -> dict[str, Any]:
        """Read the first and the last member; refuse what is incomplete or newer."""
        try:
            about = json.load(self._open("backup.json"))
            json.load(self._open("end.json"))
        except (KeyError, ValueError, tarfile.TarError):
            raise SupervisorError(
                "bad-request",
                f"{self.archive.name!r} is no complete backup of content-supervisor",
                hint="`supervisor backup FILE` writes one.",
            ) from None
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise SupervisorError(
                "schema-newer",
                f"the backup has format {about.get('format')}, this version knows {FORMAT}",
                hint=f"Restore it with version {about.get('version')} or newer.",
            )
        return about

    def _open(self, name: str) -> IO[bytes]:
        file = self.archive.extractfile(self.archive.getmember(name))
        if file is None:
            raise KeyError(name)
        return file

    def _living(self) -> frozenset[int]:
        """Give the ids of the contents that the records name and that are not removed."""
        entries = (json.loads(line) for line in self._open("records.jsonl"))
        records = (entry["record"] for entry in entries if entry["kind"] == "content")
        return frozenset(one["id"] for one in records if one.get("removed") is None)

    def _take(self, member: tarfile.TarInfo, living: frozenset[int]) -> None:
        """Write one member to where it belongs; names that mean nothing are left out."""
        core, data = self.plan.who.core, self.plan.settings.data_dir
        if found := _KEY.match(member.name):
            _write(self._open(member.name), os.path.join(data, "db", found[1]), core, 0o600)
        elif found := _BUNDLE.match(member.name):
            path = os.path.join(data, member.name)
            if _write(self._open(member.name), path, core, 0o444) != found[1]:
                os.unlink(path)
                raise SupervisorError("bundle-invalid", f"{member.name} of the backup is damaged")
        elif found := _TREE.match(member.name):
            content = int(found[1] or found[3])
            if content not in living:
                raise _strange(member.name, "belongs to no content of its records")
            place = PlaceRef(kind=PlaceKind.STATE, ids=(content,))
            if found[2]:
                place = PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(content, int(found[2])))
            self._plant(self._open(member.name), place, content)

    def _plant(self, tree: IO[bytes], place: PlaceRef, content: int) -> None:
        """Make a directory of a content's and fill it, as the content."""
        settings, who = self.plan.settings, self.plan.who
        parts = components(place)
        path = os.path.join(settings.data_dir, *parts)
        owner = who.core if who.rootless else self._content(content)
        if os.path.lexists(path):
            raise _strange("/".join(parts), "is in it twice")
        for depth in range(2, len(parts)):
            above = os.path.join(settings.data_dir, *parts[:depth])
            if not os.path.isdir(above):
                mode = 0o700 if who.rootless else 0o711
                directories.Directory(
                    path=above, uid=who.helper.uid, gid=who.core.gid, mode=mode
                ).make()
        mode = 0o700 if who.rootless else 0o750
        directories.Directory(path=path, uid=owner.uid, gid=owner.gid, mode=mode).make()
        untar(tree, path, None if who.rootless else owner)

    def _content(self, content: int) -> Identity:
        """Give a content's identity: never one outside of the range, which may be anybody's."""
        first, last = self.plan.settings.uid_first, self.plan.settings.uid_last
        uid = first + content
        if not first <= uid <= last:
            raise SupervisorError(
                "identity-invalid",
                f"content {content} of the backup would have the uid {uid};"
                f" the range of content uids is {first} to {last}",
                hint="Widen it with [Applications] UidFirst and UidLast.",
            )
        return Identity(name=str(uid), uid=uid, gid=uid)

    def _load(self, *arguments: str) -> None:
        """Let the core's user take the records, or only look whether it could."""
        one, rootless = self.plan.who.core, self.plan.who.rootless
        settings = sealed("settings", self.plan.settings.to_json())
        command = (sys.executable, "-I", "-m", "supervisor.core.load", f"--fd={settings}")
        records = self._open("records.jsonl")
        try:
            with subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.PIPE,
                pass_fds=[settings],
                cwd="/",
                env=environment(os.environ, one, rootless=rootless),
                user=None if rootless else one.uid,
                group=None if rootless else one.gid,
                extra_groups=None if rootless else list(one.groups),
            ) as child:
                assert child.stdin is not None
                try:
                    while piece := records.read(1 << 20):
                        child.stdin.write(piece)
                    child.stdin.close()
                except BrokenPipeError:  # it says why on standard error
                    pass
        finally:
            os.close(settings)
        if child.returncode:
            raise SystemExit(child.returncode if child.returncode > 0 else CODES["internal"].exit)


def _strange(name: str, why: str) -> SupervisorError:
    return SupervisorError(
        "bad-request",
        f"the backup is not as `supervisor backup` writes it: {name} {why}",
        hint="Restore another one; this one was changed or is damaged.",
    )


def _refuse_full(data_dir: str) -> None:
    for name in _EMPTY:
        try:
            found = os.listdir(os.path.join(data_dir, name))
        except FileNotFoundError:
            continue
        if found:
            raise SupervisorError(
                "data-dir-unusable",
                f"Server.DataDir = {data_dir} is not empty: {name} holds {found[0]}",
                hint="Restore into an empty one: move what is there away, or name another"
                " directory with --data-dir.",
            )


def _write(source: IO[bytes], path: str, owner: Identity, mode: int) -> str:
    """Write a new file of the core's; give its SHA-256. One that is there is replaced.

    The core can write to the directory, so nothing that lies there already is opened.
    """
    digest = hashlib.sha256()
    partial = f"{path}.restored"
    with suppress(FileNotFoundError):
        os.unlink(partial)
    fd = os.open(partial, _NEW, 0o600)
    with os.fdopen(fd, "wb") as target:
        while piece := source.read(1 << 20):
            digest.update(piece)
            target.write(piece)
        target.flush()
        os.fchown(fd, owner.uid, owner.gid)
        os.fchmod(fd, mode)
        os.fsync(fd)
    os.replace(partial, path)
    return digest.hexdigest()


def _members(about: dict[str, Any]) -> Iterator[str]:
    names = about.get("contents", {})
    yield f"{len(names)} content{'s' if len(names) != 1 else ''}"
    yield f"{about.get('records', 0)} records"


def main() -> int:
    """Restore; a refusal is one message on standard error and its exit status."""
    parser = argparse.ArgumentParser(prog="supervisor restore", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE")
    parser.add_argument("backup")
    given = parser.parse_args()
    os.umask(0o022)
    try:
        plan = Plan.of(load(given.config), environ=os.environ)
        with closing(_opened(given.backup)) as archive:
            about = Restore(archive=archive, plan=plan).run()
    except SupervisorError as error:
        sys.stderr.write(f"supervisor restore: {error}\n")
        return error.exit_status
    except OSError as error:
        problem = SupervisorError(
            "data-dir-unusable", f"{error.strerror or error}: {error.filename or given.backup}"
        )
        sys.stderr.write(f"supervisor restore: {problem}\n")
        return problem.exit_status
    except Exception as error:
        Log("parent").error("internal", exc=error)
        return CODES["internal"].exit
    sys.stderr.write(
        f"Restored {', '.join(_members(about))} into {plan.settings.data_dir}."
        " Start the server: it takes up what is there.\n"
    )
    return 0


def _opened(path: str) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (OSError, tarfile.TarError) as error:
        raise SupervisorError("bad-request", f"{path} cannot be read: {error}") from None


if __name__ == "__main__":
    raise SystemExit(main())
