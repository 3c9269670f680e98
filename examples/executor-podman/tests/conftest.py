"""A podman of the test's own: storage, image and control groups that nobody else has."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator

import attrs
import pytest
from supervisor_podman.settings import PodmanSettings

IMAGE = "localhost/of-this-host"
GROUPS = f"supervisor-podman-{os.getpid()}"


@attrs.frozen
class Storage:
    """Where this podman keeps what it has."""

    top: str

    @property
    def command(self) -> list[str]:
        return [
            "podman",
            f"--root={self.top}/root",
            f"--runroot={self.top}/run",
            f"--tmpdir={self.top}/tmp",
            "--cgroup-manager=cgroupfs",
            "--events-backend=file",
            *(["--runtime=runc"] if is_hybrid() else []),
        ]

    @property
    def settings(self) -> PodmanSettings:
        """An image without files, and this host's programs."""
        return PodmanSettings(
            image=(IMAGE,),
            command=" ".join(self.command),
            volume=("/usr:/usr:ro",),
            option=(f"--cgroup-parent=/{GROUPS}",) if os.geteuid() == 0 else (),
        )

    def podman(self, *arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            [*self.command, *arguments], input=stdin, capture_output=True, timeout=60
        )
        assert 0 == done.returncode, done.stderr.decode()
        return done.stdout.decode()


def is_hybrid() -> bool:
    """Whether this host has control groups of both versions at once, which crun refuses."""
    return os.path.exists("/sys/fs/cgroup/unified/cgroup.procs")


def empty_image() -> bytes:
    """A root file system, as a tar archive, in which everything is still to be mounted."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("usr", "etc", "tmp", "run", "proc", "dev", "sys", "var", "var/tmp", "home"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in ("bin", "sbin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(entry)
    return archive.getvalue()


@pytest.fixture(scope="session")
def storage() -> Iterator[Storage]:
    for programs in (["podman"], ["catatonit"], ["runc"] if is_hybrid() else ["crun", "runc"]):
        if not any(map(shutil.which, programs)):
            pytest.skip(f"needs the program {' or '.join(programs)}")
    storage = Storage(tempfile.mkdtemp(prefix="cs-podman-"))
    if os.geteuid() != 0:
        os.environ["XDG_RUNTIME_DIR"] = storage.top
    storage.podman("import", "-", IMAGE, stdin=empty_image())
    yield storage
    storage.podman("rm", "--all", "--force", "--time=0")
    storage.podman("rmi", "--all", "--force")
    if os.geteuid() != 0:
        storage.podman("unshare", "rm", "-rf", f"{storage.top}/root")
    for mounted in (f"{storage.top}/root/overlay", f"{storage.top}/root"):
        subprocess.run(["umount", mounted], capture_output=True, timeout=20)
    shutil.rmtree(storage.top)
    remove_groups()


def remove_groups() -> None:
    """Remove the control groups that podman made for these tests."""
    for top, groups, _ in os.walk("/sys/fs/cgroup"):  # others' may go meanwhile
        if GROUPS in groups:
            for directory, _, _ in os.walk(f"{top}/{GROUPS}", topdown=False):
                os.rmdir(directory)
