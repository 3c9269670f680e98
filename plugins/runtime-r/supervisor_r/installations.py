"""Finding the R installations of this host, and asking each what it is."""

from __future__ import annotations

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

HOMES = (
    "/usr/lib/R",
    "/usr/lib64/R",
    "/usr/local/lib/R",
    "/usr/local/lib64/R",
    "/opt/local/lib/R",
    "/opt/local/lib64/R",
)
VERSIONED = ("/opt/R", "/opt/local/R")
PROBE_SECONDS = 20.0


def find(configured: Sequence[str], *, root: str = "/") -> list[Installation]:
    """Give every R that answers: those that have shiny first, then newest first.

    configured: paths of `R` executables. Where neither they nor the usual places hold an R, PATH is
    searched. root: where the usual places are looked for. What does not answer is logged, skipped.
    """
    executables = _existing([*configured, *_usual(Path(root))]) or _existing(_on_path())
    found: dict[str, Installation] = {}
    with ThreadPoolExecutor(4) as pool:  # one that hangs must not hold up the others
        for installation in pool.map(probe, executables):
            if installation is not None:
                found.setdefault(installation.executable, installation)
    return sorted(found.values(), key=_preference, reverse=True)


def probe(executable: str) -> Installation | None:
    """Ask one R for its version, home, directories and version of shiny; None if it cannot say."""
    source = files(__package__).joinpath("probe.R").read_text("utf-8")
    arguments = ("--slave", "--no-restore", "--no-save", "--no-environ", "--no-init-file")
    try:
        answer = subprocess.run(
            (executable, *arguments, "-e", "eval(parse(text=Sys.getenv('SUPERVISOR_PROBE')))"),
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "SUPERVISOR_PROBE": source},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=True,
            text=True,
            errors="replace",
        )
        facts = _facts(answer.stdout)
        home = facts["home"][0]
        return Installation(
            runtime="r",
            version=facts["version"][0],
            executable=f"{home}/bin/R",
            prefixes=tuple(dict.fromkeys((_prefix(home), *facts["prefix"]))),
            detail={"home": home, "shiny": facts["shiny"][0]},
        )
    except (OSError, subprocess.SubprocessError, KeyError) as error:
        log.warning("skipped %s, which does not work as R: %s", executable, error)
        return None


def version_key(version: str) -> tuple[int, ...]:
    """Give what orders versions: 4.10.0 after 4.9.3."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _preference(one: Installation) -> tuple[bool, tuple[int, ...]]:
    return (one.detail["shiny"] != "", version_key(one.version))


def _usual(root: Path) -> Iterator[str]:
    for home in HOMES:
        yield str(root / home.lstrip("/") / "bin" / "R")
    for parent in VERSIONED:
        for child in sorted((root / parent.lstrip("/")).glob("*")):
            yield str(child / "bin" / "R")


def _on_path() -> list[str]:
    executable = shutil.which("R")
    return [executable] if executable else []


def _existing(candidates: Iterable[str]) -> list[str]:
    real = (os.path.realpath(candidate) for candidate in candidates)
    return list(dict.fromkeys(path for path in real if os.access(path, os.X_OK)))


def _facts(text: str) -> dict[str, list[str]]:
    facts: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, tab, value = line.partition("\t")
        if tab:
            facts.setdefault(key, []).append(value)
    return facts


def _prefix(home: str) -> str:
    """Give the directory to show for a home: all of /opt/R/4.3.1, yet only /usr/lib/R of /usr."""
    top = Path(home).parent.parent
    return home if str(top) in ("/usr", "/usr/local", "/") else str(top)
