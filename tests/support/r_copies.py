"""Further installations of R: copies of this host's that run at a path of their own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

HOME = Path("/usr/lib/R")
_CONTROL = """Package: r-{name}
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: a copy of R
"""


def copy_r(place: Path, *, at: str) -> None:
    """Copy this host's R so that it runs at the path `at`: programs, libraries and settings.

    Its packages are the host's, by links.
    """
    home = place / "lib" / "R"
    packages = ("library", "site-library")
    shutil.copytree(HOME, home, symlinks=True, ignore=shutil.ignore_patterns(*packages))
    for name in packages:
        (home / name).symlink_to(HOME / name)
    program = home / "bin" / "R"
    text = program.read_text()
    assert f"R_HOME_DIR={HOME}\n" in text
    program.write_text(text.replace(f"R_HOME_DIR={HOME}\n", f"R_HOME_DIR={at}/lib/R\n"))
    (place / "bin").mkdir()
    (place / "bin" / "R").symlink_to("../lib/R/bin/R")


def package(installation: Path, target: Path, *, at: str) -> None:
    """Make a Debian package that brings an installation to the path `at`."""
    tree = target.with_suffix("")
    shutil.copytree(installation, tree / at.lstrip("/"), symlinks=True)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(_CONTROL.format(name=target.stem))
    build = ("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build")
    subprocess.run([*build, tree, target], check=True, capture_output=True, timeout=60)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder on loopback; give the address."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
