"""Write the generated parts of the documentation anew (`./dev docs`); a test compares them.

A generated part stands between the lines `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import click
import make_pictures
import make_testing
from make_diagrams import bundle_diagram, run_diagram
from supervisor_unshare.linux.filters import RULES

from supervisor.api.app import API_ROUTES
from supervisor.cli import root
from supervisor.core.figures import Figures
from supervisor.core.runs import pulse as pulse_times
from supervisor.core.scheduling import line
from supervisor.core.scheduling import seats as seat_times
from supervisor.errors import CODES
from supervisor.exposition import Histogram
from supervisor.lifecycle import ONE_SHOT, SERVING
from supervisor.plugins import hookspecs
from supervisor.settings import values
from supervisor.settings.effective import written
from supervisor.settings.keys import keys_of
from supervisor.settings.sections import SECTIONS
from supervisor.settings.unknown import file_of
from supervisor.templates import PAGES

DOCS = Path(__file__).parent
GENERATED = (
    *sorted((DOCS / "reference").glob("*.md")),
    *sorted((DOCS / "explanation").glob("*.md")),
)


def errors() -> str:
    """Give the table of error codes."""
    rows = [
        f"| `{c.name}` | {c.http} | {c.exit} | {c.number or ''} | {c.meaning} |"
        for c in CODES.values()
    ]
    head = ["| code | HTTP | exit | number | meaning |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def refused_calls() -> str:
    """Give the table of the system calls that the local executor refuses."""
    head = ["| calls | only | refused because |", "|---|---|---|"]
    rows = []
    for rule in RULES:
        only = ""
        if rule.argument is not None:
            values = ", ".join(f"`{value & 0xFFFFFFFF:#x}`" for value in rule.argument.values)
            masked = rule.argument.mask != 0xFFFFFFFF
            mask = f" (masked with `{rule.argument.mask:#o}`)" if masked else ""
            only = f"argument {rule.argument.index}: {rule.argument.deny.value} {values}{mask}"
        calls = " ".join(f"`{call}`" for call in rule.calls)
        rows.append(f"| {calls} | {only} | {rule.reason} |")
    return "\n".join([*head, *rows])


def hooks() -> str:
    """Give each hook with its arguments, what it returns, and its docstring."""
    parts = []
    for name, hook in vars(hookspecs).items():
        if name.startswith("supervisor_"):
            signature = str(inspect.signature(hook)).replace("'", "")
            parts.append(f"## `{name}{signature}`\n\n{inspect.getdoc(hook)}")
    return "\n\n".join(parts)


EVERYWHERE = ("as_json", "socket")  # options that the page explains once


def commands() -> str:
    """Give each command: how it is called, what it does, its options."""
    group = root.supervisor
    parts = []
    for name, command in _flat(group):
        context = click.Context(command, info_name=f"supervisor {name}")
        usage = " ".join(command.collect_usage_pieces(context))
        options = [
            f"| `{' '.join([*option.opts, option.metavar or '']).strip()}` | {option.help or ''} |"
            for option in command.params
            if isinstance(option, click.Option) and option.name not in EVERYWHERE
        ]
        table = (
            "\n\n" + "\n".join(["| option | meaning |", "|---|---|", *options]) if options else ""
        )
        parts.append(
            f"## `supervisor {name} {usage}`\n\n{inspect.cleandoc(command.help or '')}{table}"
        )
    return "\n\n".join(parts)


def _flat(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its whole name: those of a group instead of the group."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command
        if isinstance(command, click.Group):
            yield from _flat(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def pages() -> str:
    """Give each page of visitors with the slots that its template may have."""
    rows = []
    for name, page in PAGES.items():
        slots = [f"`{{{{{slot}}}}}`" for slot in sorted(page.slots)]
        slots += [f"`{{{{{{{slot}}}}}}}`" for slot in sorted(page.raw)]
        needed = " ".join(f"`{slot}`" for slot in sorted(page.needed))
        rows.append(f"| `{name}.html` | {page.what} | {' '.join(slots)} | {needed} |")
    return "\n".join(["| file | when | slots | must have |", "|---|---|---|---|", *rows])


def seats() -> str:
    """Give the times that a seat is held for, and who loses a place in line."""
    rows = [
        (seat_times.FIRM, "a page was loaded: the seat is kept for its WebSocket"),
        (seat_times.CALLED, "the same for a visitor who was called from the line"),
        (seat_times.RESERVED, "the visitor is still sent there if there is room"),
        (seat_times.CLOSED, "the session was closed in order: a reload gets its seat back"),
        (line.PATIENCE, "a waiting page has not asked again: its place in line is lost"),
        (pulse_times.PULSE, "a process with sessions has not answered: it computes"),
        (pulse_times.FRESH, "an answer counts for so long: then it is asked again"),
    ]
    lines = [f"| {seconds:g} | {what} |" for seconds, what in rows]
    return "\n".join(["| seconds | |", "|---|---|", *lines])


def settings() -> str:
    """Give the core's sections: what each key means, and what brings a change into force."""
    return "\n\n".join(section(kind, "##") for kind in SECTIONS)


def plugin_settings() -> str:
    """Give the sections of the plugins of this repository."""
    kinds = [
        kind
        for point in sorted(entry_points(group=hookspecs.GROUP), key=lambda point: point.name)
        if (point.dist and point.dist.name.startswith("content-supervisor"))
        for kind in getattr(point.load(), "supervisor_settings", lambda: ())()
    ]
    return "\n\n".join(section(kind, "###") for kind in kinds)


def readers() -> str:
    """Give the functions that make values of text, for the sections of plugins."""
    rows = [
        f"| `values.{name}` | {(inspect.getdoc(reader) or '').splitlines()[0]} |"
        for name, reader in vars(values).items()
        if inspect.isfunction(reader) and reader.__module__ == values.__name__
        if not name.startswith("_")
    ]
    return "\n".join(["| | |", "|---|---|", *rows])


def section(kind: type, heading: str) -> str:
    """Give the heading, prose and table of one section."""
    name = f'{kind.section} "name"' if getattr(kind, "named", False) else kind.section
    lines = [f"{heading} [{name}]", ""]
    if about := getattr(kind, "about", ""):
        lines += [about, ""]
    lines += ["| key | default | change by | meaning |", "|---|---|---|---|"]
    for key in keys_of(kind).values():
        default = key.unset or ", ".join(f"`{value}`" for value in written(key)) or "none"
        meaning = f"several; {key.about}" if key.multi else key.about
        if key.secret:
            meaning += f"; secret, and `{file_of(key)}` may name a file that holds it"
        lines.append(f"| `{key.name}` | {default} | {key.change} | {meaning} |")
    return "\n".join(lines)


def api() -> str:
    """Give each route of the API: how it is called, and what it does."""
    rows = []
    for route in API_ROUTES:
        method = next(iter((route.methods or set()) - {"HEAD"}))
        does = (inspect.getdoc(route.endpoint) or "").split("\n")[0].replace("|", "\\|")
        rows.append(f"| `{method}` | `{route.path}` | {does} |")
    return "\n".join(["| | path | |", "|---|---|---|", *rows])


def metrics() -> str:
    """Give every figure: its kind, its labels and what it means."""
    rows = []
    for family in Figures().families:
        labels = " ".join(f"`{label}`" for label in family.labels)
        about = family.about
        if isinstance(family, Histogram):
            about += f" Buckets: {' '.join(f'{bound:g}' for bound in family.bounds)} s."
        rows.append(f"| `{family.name}` | {family.kind} | {labels} | {about} |")
    return "\n".join(["| name | kind | labels | meaning |", "|---|---|---|---|", *rows])


PARTS: dict[str, Callable[[], str]] = {
    "serving": lambda: run_diagram(SERVING),
    "one-shot": lambda: run_diagram(ONE_SHOT),
    "bundle": bundle_diagram,
    "errors": errors,
    "seccomp": refused_calls,
    "hooks": hooks,
    "commands": commands,
    "api": api,
    "metrics": metrics,
    "pages": pages,
    "seats": seats,
    "settings": settings,
    "plugin-settings": plugin_settings,
    "readers": readers,
    **make_testing.PARTS,
}


def renewed(text: str) -> str:
    """Give a page with every generated part as it should be now. KeyError: an unknown part."""
    return re.sub(
        r"<!-- begin ([\w-]+) -->\n.*?<!-- end \1 -->",
        lambda match: (
            f"<!-- begin {match[1]} -->\n\n{PARTS[match[1]]()}\n\n<!-- end {match[1]} -->"
        ),
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    """Write every page whose generated parts have changed, and every picture."""
    make_pictures.main()
    for page in GENERATED:
        text = page.read_text()
        if (new := renewed(text)) != text:
            page.write_text(new)
            print(f"wrote {page}")


if __name__ == "__main__":
    main()
