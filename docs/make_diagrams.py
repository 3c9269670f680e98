"""Draw the state diagrams, as Mermaid text, from the tables that the code runs."""

from __future__ import annotations

from supervisor.lifecycle import BUNDLE, ENDS, ONE_SHOT, SERVING, State, Table


def run_diagram(table: Table) -> str:
    """Give the diagram of a run's states; events with the same move share an arrow."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (was, event), now in table.items():
        arrows.setdefault((was, now), []).append(event.value)
    lines = [f"    {was} --> {now}: {', '.join(events)}" for (was, now), events in arrows.items()]
    ends = [f"    {end} --> [*]" for end in sorted(ENDS) if end in table.values()]
    return _mermaid([f"    [*] --> {State.QUEUED}", *lines, *ends])


def bundle_diagram() -> str:
    """Give the diagram of a bundle's states."""
    lines = [
        f"    {was} --> {now}: {event}" for event, moves in BUNDLE.items() for was, now in moves
    ]
    return _mermaid(["    [*] --> uploaded", *lines])


def _mermaid(lines: list[str]) -> str:
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


if __name__ == "__main__":
    print(run_diagram(SERVING), run_diagram(ONE_SHOT), bundle_diagram(), sep="\n\n")
