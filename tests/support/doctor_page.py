"""What `supervisor doctor` says on several hosts, as docs/reference/doctor.md shows it.

The tests that have such a host hold the page against it. With WRITE_DOCTOR_PAGE=1 they write it:
`WRITE_DOCTOR_PAGE=1 ./dev test tests/packaging -k "doctor or container or debian"`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "doctor.md"
# Whether these are in order depends on the kind of control groups that the host has.
OF_GROUPS = {"limits", "totals"}
HYBRID = Path("/sys/fs/cgroup/unified/cgroup.procs")  # those of the host whose outputs are shown
_LISTENERS = re.compile(r"(?<=what listens here on TCP: ).*")  # whatever else runs here
_LINE = re.compile(r"^(ok  |note|FAIL)  ([^:\n]+): ", re.MULTILINE)


def hold(host: str, said: str, *, neutral: Mapping[str, str] | None = None) -> None:
    """Hold the block of a host against what doctor says there: which lines, and how each begins.

    neutral: paths of this machine → those that the page shows instead.
    """
    for path, shown in (neutral or {}).items():
        said = said.replace(path, shown)
    said = _LISTENERS.sub("127.0.0.1:3939 (python).", said)
    text = PAGE.read_text()
    found = _block(host, text)
    if os.environ.get("WRITE_DOCTOR_PAGE"):
        new = f"{found[1]}\n```text\n$ supervisor doctor\n{said}```\n\n{found[2]}"
        PAGE.write_text(text[: found.start()] + new + text[found.end() :])
        return
    assert _lines(found[0]) == _lines(said), f"WRITE_DOCTOR_PAGE=1 writes it anew: {said}"


def names(host: str) -> set[str]:
    """Give the names of the lines that the page shows of a host."""
    return {name for _, name in _lines(_block(host, PAGE.read_text())[0])}


def _block(host: str, text: str) -> re.Match[str]:
    block = re.compile(
        rf"(<!-- begin doctor {re.escape(host)} -->\n).*?(<!-- end doctor -->)", re.DOTALL
    )
    found = block.search(text)
    assert found, f"{PAGE.name} has no block for {host}"
    return found


def _lines(text: str) -> list[tuple[str, str]]:
    """Give mark and name of each line, once: a host may have several versions of a language."""
    exact = HYBRID.exists()
    pairs = ((mark, name) for mark, name in _LINE.findall(text))
    found = [(mark if exact or name not in OF_GROUPS else "", name) for mark, name in pairs]
    return list(dict.fromkeys(found))
