"""What `ps --watch` and `top` have in common: a live screen, plain tables, or JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.options import Session
from supervisor.cli.show import is_terminal

if TYPE_CHECKING:
    from supervisor.cli.rates import Overview
    from supervisor.cli.screen import Draw

interval_option = click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    metavar="S",
    help="Seconds between two looks (default: 2).",
)


def is_live() -> bool:
    """Tell whether standard output is a terminal that a live screen can be drawn on."""
    from rich.console import Console

    return is_terminal() and not Console().is_dumb_terminal


def show_live(session: Session, draw: Draw, interval: float, guid: str | None = None) -> int:
    """Show frames on the alternate screen until q; give the exit status."""
    from supervisor.cli.live import live

    return live(session.connect, draw, interval, guid)


def looks(
    session: Session, interval: float, guid: str | None = None
) -> Iterator[tuple[Overview | None, Overview]]:
    """Yield the overview before and now, at intervals; the first has none before.

    guid: of the only content to look at, or None.
    """
    from supervisor.cli.rates import narrowed

    before: Any = None
    with session.connect() as client:
        while True:
            began = time.monotonic()
            now = narrowed(client.get("/v1/supervisor/overview"), guid)
            yield before, now
            before = now
            time.sleep(max(0.0, began + interval - time.monotonic()))
