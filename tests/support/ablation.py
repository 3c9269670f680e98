"""The documentation's table of what each layer of the sandbox holds, measured by the probes."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

import attrs

from supervisor import Egress

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "sandbox.md"
BEGIN, END = "<!-- begin layer by layer -->\n", "<!-- end layer by layer -->"
HEAD = "| sandbox | allowed of 84 | which |\n|---|---|---|"
OF_THE_KERNEL = frozenset({29, 30, 31, 32, 33, 47, 48, 50, 51})  # without the filter, it decides


@attrs.frozen(kw_only=True)
class Layers:
    """A sandbox with some of its layers. without: those that are left out."""

    title: str
    without: tuple[str, ...] = ()
    egress: Egress = Egress.HOST

    def row(self, allowed: Set[int], names: Mapping[int, str]) -> str:
        """Give its line of the table."""
        undecided = OF_THE_KERNEL if "seccomp" in self.without else frozenset[int]()
        decided = sorted(allowed - undecided)
        more = f", and up to {len(undecided)} more as the kernel decides" if undecided else ""
        which = ", ".join(names[number] for number in decided)
        return f"| {self.title} | {len(decided)}{more} | {which} |"


LAYERS = (
    Layers(title="whole, egress `none`", egress=Egress.NONE),
    Layers(title="whole, egress `host` (the default)"),
    Layers(title="without Landlock", without=("landlock",)),
    Layers(title="without seccomp", without=("seccomp",)),
    Layers(
        title="without both: namespaces, new root and identity", without=("landlock", "seccomp")
    ),
)


def table() -> list[str]:
    """Give the lines of the table as it stands on the page."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip().splitlines()


def write_row(row: str) -> None:
    """Put a line into the table, in the place of the one with its title."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = {line.split("|")[1].strip(): line for line in (*table()[2:], row)}
    ordered = [rows[layers.title] for layers in LAYERS if layers.title in rows]
    made = "\n".join([HEAD, *ordered])
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n\n{END}{after}")
