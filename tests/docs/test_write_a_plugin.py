"""Follow docs/write-an-executor.md and write-a-runtime.md to the letter, knowing nothing else.

In a fresh folder: each `sh` block is run, each Python block is written to the file that the line
before it names. What was seen is compared with the transcript that is kept, without its figures;
UPDATE_TRANSCRIPTS=1 writes it anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRANSCRIPTS = Path(__file__).parent / "transcripts"
_BLOCK = re.compile(r"(?:`([\w./-]+)`:\n\n)?```(sh|python)\n(.*?)```", re.DOTALL)
PAGES = ("write-an-executor", "write-a-runtime")


def steps(page: str) -> Iterator[tuple[str, str]]:
    """Give what a reader does: ("run", command) or (name of a file, its text)."""
    for file, language, text in _BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text()):
        if language == "python":
            assert file, f"a Python block of {page} names no file"
            yield file, text
        else:
            yield from (("run", command) for command in text.splitlines())


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an index would have of ours."""
    place = tmp_path_factory.mktemp("index")
    for source in (ROOT, *sorted((ROOT / "plugins").iterdir())):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
        done = subprocess.run(build, cwd=source, capture_output=True, text=True, timeout=120)
        assert 0 == done.returncode, done.stderr
    return place


def environment(wheels: Path) -> dict[str, str]:
    """The environment of a reader without an index: ours from the folder, others as they are."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    pip = {"NO_INDEX": "1", "NO_DEPS": "1", "FIND_LINKS": str(wheels), "QUIET": "2"}
    pip |= {"NO_BUILD_ISOLATION": "0", "ROOT_USER_ACTION": "ignore"}  # 0 is how pip spells it
    pip |= {"DISABLE_PIP_VERSION_CHECK": "1"}
    return {**kept, **{f"PIP_{key}": value for key, value in pip.items()}}


def follow(page: str, folder: Path, env: dict[str, str]) -> str:
    """Do what the page says, and give what was seen."""
    seen, where = [], folder
    for kind, text in steps(page):
        if kind != "run":
            (where / kind).write_text(text)
            seen.append(f"(wrote {kind}, {len(text.splitlines())} lines)")
            continue
        seen.append(f"$ {text}")
        if text.startswith("cd "):
            where /= text.removeprefix("cd ")
            continue
        done = subprocess.run(
            text,
            shell=True,
            cwd=where,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert 0 == done.returncode, "\n".join([*seen, done.stdout])
        seen += done.stdout.splitlines()
        if "pip install 'content-supervisor" in text:  # what an index would have of others
            [packages] = where.glob("venv/lib/python*/site-packages")
            (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return "\n".join(seen) + "\n"


def without_figures(transcript: str) -> str:
    """Leave out what differs with the time, the place, and what the contract tests by now."""
    of_pytest = re.compile(r"[.s]* +\[|SKIPPED|=+ short test summary")
    lines = [line for line in transcript.splitlines() if not of_pytest.match(line)]
    text = "\n".join(lines) + "\n"
    return re.sub(r"\d+ passed(, \d+ skipped)? in [\d.]+s( \([\d:]+\))?", "N passed in N s", text)


@pytest.mark.parametrize("page", PAGES)
def test_a_reader_who_knows_only_this_page_can_do_it(
    page: str, wheels: Path, tmp_path: Path
) -> None:
    transcript = without_figures(follow(page, tmp_path, environment(wheels)))
    kept = TRANSCRIPTS / f"{page}.txt"
    if os.environ.get("UPDATE_TRANSCRIPTS"):
        kept.write_text(transcript)
    assert kept.read_text() == transcript


@pytest.mark.parametrize("page", PAGES)
def test_the_page_shows_commands_and_whole_files(page: str) -> None:
    kinds = [kind for kind, _ in steps(page)]
    assert kinds.count("run") >= 6
    assert any(kind.startswith("supervisor_") for kind in kinds)


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_pass_before_and_after_the_reader_s_change(page: str) -> None:
    text = (TRANSCRIPTS / f"{page}.txt").read_text()
    assert 2 == text.count("\nN passed in N s")
    assert "failed" not in text
