"""Which files of a folder stay at home: a fixed list, and .supervisorignore or .rscignore."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import attrs

from supervisor.errors import SupervisorError

IGNORE_FILES = (".supervisorignore", ".rscignore")
ALWAYS = (
    ".git",
    ".svn",
    ".hg",
    ".Rproj.user",
    ".Rhistory",
    ".DS_Store",
    ".ipynb_checkpoints",
    "__pycache__",
    "node_modules",
    ".venv",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "/renv/library",
    "/renv/staging",
    "/rsconnect",
    "/.posit",
    *(f"/{name}" for name in IGNORE_FILES),
)


@attrs.frozen
class Ignore:
    """Patterns as .gitignore has them; the last one that matches decides, `!` takes back.

    A pattern with a slash inside or in front counts from the folder, any other matches at every
    depth; one that ends in a slash matches directories only; `*` also matches slashes.
    """

    patterns: tuple[str, ...]

    def matches(self, path: str, *, directory: bool) -> bool:
        """Tell whether a path (relative to the folder, with /) stays at home."""
        verdict = False
        name = path.rpartition("/")[2]
        for pattern in self.patterns:
            keep = pattern.startswith("!")
            wanted = pattern.removeprefix("!")
            if wanted.endswith("/") and not directory:
                continue
            wanted = wanted.rstrip("/")
            subject = path if "/" in wanted else name
            if fnmatchcase(subject, wanted.lstrip("/")):
                verdict = not keep
        return verdict


def read_ignore(folder: Path) -> Ignore:
    """Read what the folder says itself, after what never belongs into a bundle."""
    patterns = list(ALWAYS)
    for name in IGNORE_FILES:
        try:
            text = (folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise SupervisorError(
                "bad-request", f"{folder / name} cannot be read: {error}."
            ) from None
        lines = (line.strip() for line in text.splitlines())
        patterns += [line for line in lines if line and not line.startswith("#")]
    return Ignore(tuple(patterns))
