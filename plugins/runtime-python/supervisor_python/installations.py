"""Finding the Python interpreters of this host, and asking each what it is."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

from supervisor import Installation

log = logging.getLogger(__name__)

USUAL = ("opt/python/*/bin/python3", "usr/local/bin/python3", "usr/bin/python3")
PROBE_SECONDS = 20.0


def find(configured: Sequence[str], *, root: str = "/") -> list[Installation]:
    """Give every Python that answers: those that have shiny first, then newest first.

    configured: paths of interpreters, which may lie in virtual environments; among equals they come
    first. root: where the usual places are looked for. What does not answer is logged and skipped.
    """
    executables = _existing([*configured, *_usual(Path(root))])
    found: dict[str, Installation] = {}
    with ThreadPoolExecutor(4) as pool:  # one that hangs must not hold up the others
        for installation in pool.map(probe, executables):
            if installation is not None:
                # A virtual environment's interpreter is a link: its prefix tells it apart.
                found.setdefault(installation.prefixes[0], installation)
    return sorted(found.values(), key=_preference, reverse=True)


def probe(executable: str) -> Installation | None:
    """Ask one Python for its version, prefixes and version of shiny; None if it cannot say."""
    source = files(__package__).joinpath("probe.py").read_text("utf-8")
    try:
        answer = subprocess.run(
            (executable, "-I", "-c", source),
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
        facts = json.loads(answer.stdout)
        real = os.path.realpath(facts["executable"])
        return Installation(
            runtime="python",
            version=facts["version"],
            executable=facts["executable"],
            prefixes=tuple(dict.fromkeys((*facts["prefixes"], str(Path(real).parent.parent)))),
            detail={"shiny": facts["shiny"], "real": real},
        )
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        log.warning("skipped %s, which does not work as Python: %s", executable, error)
        return None


def version_key(version: str) -> tuple[int, ...]:
    """Give what orders versions: 3.11.2 after 3.9.18."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _preference(one: Installation) -> tuple[bool, tuple[int, ...]]:
    return (one.detail["shiny"] != "", version_key(one.version))


def _usual(root: Path) -> Iterator[str]:
    for pattern in USUAL:
        yield from map(str, sorted(root.glob(pattern)))
    on_path = shutil.which("python3")
    if on_path:
        yield on_path


def _existing(candidates: Iterable[str]) -> list[str]:
    paths = (os.path.abspath(candidate) for candidate in candidates)
    return list(dict.fromkeys(path for path in paths if os.access(path, os.X_OK)))
