"""Container images of the host's own files, without a registry or a daemon that builds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from tests.kube.place import Failed, Place

TOOLS = """
    sh bash env cat cp dirname basename id ls mkdir mv ln rm sed grep sleep tar uname date head
    tail touch chmod readlink which expr printf test true false wc sort kill echo
""".split()
OTHERS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/usr/lib/ssl/openssl.cnf",
    "/usr/lib/locale/C.utf8",
)
SKIPPED = {"__pycache__", "test", "tests", "idlelib", "ensurepip", "tkinter"}
PASSWD = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"
DIRECTORIES = {"/tmp": 0o1777, **dict.fromkeys(("/proc", "/sys", "/dev", "/run", "/etc"), 0o755)}
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class Files:
    """Files of the host for an image: each at its own place, with every link on the way to it."""

    def __init__(self) -> None:
        self.links: dict[str, str] = {}
        self.files: set[str] = set()
        self._seen: set[str] = set()

    def add(self, path: str | Path, skip: Iterable[str] = ()) -> None:
        """Add a file, or all of a directory but the names in `skip`, as far as it exists."""
        path = os.path.abspath(path)
        real = self.follow(path)
        if real in self._seen:
            return
        self._seen.add(real)
        if os.path.isdir(real):
            for entry in os.scandir(real):
                if entry.name not in skip:
                    self.add(entry.path, skip)
        elif os.path.isfile(real):
            self.files.add(real)

    def add_libraries(self) -> None:
        """Add what the programs and libraries so far are linked with (ldd gives it in full)."""
        linked = sorted(path for path in self.files if _is_elf(path))
        for start in range(0, len(linked), 100):
            command = ["ldd", *linked[start : start + 100]]
            said = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
            for library in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE):
                self.add(library)

    def write(self, tar: tarfile.TarFile) -> None:
        """Write directories, links and files; only root's to change, everybody's to read."""
        places = {*self.links, *self.files}
        parents = {str(parent) for place in places for parent in Path(place).parents}
        for place in sorted({*parents, *DIRECTORIES} - {"/", *self.links}):
            _entry(tar, place, tarfile.DIRTYPE, DIRECTORIES.get(place, 0o755))
        for place, target in sorted(self.links.items()):
            _entry(tar, place, tarfile.SYMTYPE, 0o777, link=target)
        for place in sorted(self.files):
            with open(place, "rb") as file:
                found = os.fstat(file.fileno())
                mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
                _entry(tar, place, tarfile.REGTYPE, mode, file, found.st_size)
        for place, text in {"/etc/passwd": PASSWD, "/etc/group": GROUP}.items():
            data = text.encode()
            _entry(tar, place, tarfile.REGTYPE, 0o644, io.BytesIO(data), len(data))

    def follow(self, path: str) -> str:
        """Follow a path, noting each link; gives where it really leads."""
        done, rest = "/", path.strip("/").split("/")
        while rest:
            here = os.path.join(done, rest.pop(0))
            if os.path.islink(here):
                self.links[here] = os.readlink(here)
                target = os.path.normpath(os.path.join(done, self.links[here]))
                done, rest = "/", [*target.strip("/").split("/"), *rest]
            else:
                done = here
        return done


def make(
    place: Place,
    name: str,
    *,
    python: bool = False,
    r: bool = False,
    add: Iterable[Path] = (),
) -> str:
    """Write an image for every later `up`; gives its name for a Pod (imagePullPolicy: Never).

    python, r: the host's own, with their libraries; add: files, directories and virtual
    environments of the host. Everything is readable by every user.
    """
    files = Files()
    for tool in TOOLS:
        if found := shutil.which(tool, path="/usr/bin:/bin"):
            files.add(found)
    for path in OTHERS:
        files.add(path)
    for path in ("/bin", "/sbin", "/lib", "/lib64"):
        files.follow(path)
    if python:
        _add_python(files)
    if r:
        _add_r(files)
    for wanted in add:
        if not wanted.exists():
            raise Failed(f"{wanted}: there is no such file or directory")
        files.add(wanted, {"__pycache__"})
    files.add_libraries()
    return _write(place, name, files.write, {"Cmd": ["/bin/sh"]})


def make_pause(place: Place) -> str:
    """Write the image of the process that holds a Pod's namespaces."""
    data = (place.bin / "pause").read_bytes()

    def fill(tar: tarfile.TarFile) -> None:
        _entry(tar, "pause", tarfile.REGTYPE, 0o755, io.BytesIO(data), len(data))

    return _write(place, "pause", fill, {"Entrypoint": ["/pause"]})


def import_image(tar: Path, enter: Iterable[str] = ()) -> None:
    """Hand an image to containerd; enter: how to get to where it runs. Failed with its words."""
    command = [*enter, "ctr", "--namespace", "k8s.io", "images", "import", str(tar)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise Failed(f"containerd refused {tar.name}: {done.stderr.strip()}")


def provide(
    place: Place, name: str, *, python: bool = False, r: bool = False, add: Iterable[Path] = ()
) -> str:
    """Make an image and hand it to the running cluster; gives its name for a Pod."""
    full = make(place, name, python=python, r=r, add=add)
    import_running(place, name)
    return full


def import_running(place: Place, name: str) -> None:
    """Hand an image to the cluster if it is up with a node; else the next `up` does it."""
    try:
        target = str(place.init())
        place.pid("containerd")
    except Failed:
        return
    import_image(
        place.images / f"{name}.tar", ["nsenter", f"--target={target}", "--mount", "--pid"]
    )


def _add_python(files: Files) -> None:
    """The system's interpreter with its standard library, as python3 too."""
    import sys
    import sysconfig

    program = os.path.realpath(sys.executable)
    library = sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix})
    files.add(program)
    files.add(library, SKIPPED)
    files.links["/usr/local/bin/python3"] = program


def _add_r(files: Files) -> None:
    """The host's R with all installed packages, and fonts to draw with."""
    asked = subprocess.run(["R", "RHOME"], check=True, capture_output=True, text=True, timeout=60)
    home = asked.stdout.strip()
    for path in (home, "/etc/R", "/usr/share/R/share", "/usr/local/lib/R"):
        files.add(path, {"doc", "html", "help", "demo", "include", "tests"})
    for path in ("/usr/bin/R", "/usr/bin/Rscript", "/etc/fonts", "/usr/share/fontconfig"):
        files.add(path)
    files.add("/usr/share/fonts/truetype/dejavu")
    files.add("/usr/share/zoneinfo/Etc/UTC")
    files.links["/etc/localtime"] = "/usr/share/zoneinfo/Etc/UTC"


def _write(
    place: Place, name: str, fill: Callable[[tarfile.TarFile], None], config: dict[str, list[str]]
) -> str:
    """Write an image of one layer as `docker save` would; gives its full name."""
    full = f"localhost/{name}:1"
    place.images.mkdir(parents=True, exist_ok=True)
    layer = place.images / f".{name}.layer"
    try:
        with tarfile.open(layer, "w") as tar:
            fill(tar)
        with layer.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            about = json.dumps(
                {
                    "architecture": "amd64",
                    "os": "linux",
                    "config": {"Env": [f"PATH={PATH}", "LANG=C.UTF-8", "TZ=UTC"], **config},
                    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
                }
            ).encode()
            about_name = f"{hashlib.sha256(about).hexdigest()}.json"
            layers = [f"{digest}/layer.tar"]
            manifest = [{"Config": about_name, "RepoTags": [full], "Layers": layers}]
            listed = json.dumps(manifest).encode()
            part = layer.with_suffix(".part")
            file.seek(0)
            with tarfile.open(part, "w") as tar:
                _entry(tar, about_name, tarfile.REGTYPE, 0o644, io.BytesIO(about), len(about))
                _entry(
                    tar, "manifest.json", tarfile.REGTYPE, 0o644, io.BytesIO(listed), len(listed)
                )
                _entry(tar, layers[0], tarfile.REGTYPE, 0o644, file, layer.stat().st_size)
        part.replace(place.images / f"{name}.tar")
    finally:
        layer.unlink(missing_ok=True)
    return full


def _entry(
    tar: tarfile.TarFile,
    place: str,
    kind: bytes,
    mode: int,
    data: BinaryIO | None = None,
    size: int = 0,
    link: str = "",
) -> None:
    info = tarfile.TarInfo(place.lstrip("/"))
    info.type, info.mode, info.size, info.linkname = kind, mode, size, link
    tar.addfile(info, data)


def _is_elf(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"
