"""Draw the pictures of docs/explanation from the functions that the core runs (`./dev docs`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from supervisor import policy
from supervisor.model import RunId, Scaling
from supervisor.policy import Load

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 300, 52, 46, 34
COLOURS = ("#1f5fbf", "#c2571a", "#2e7d4f")

Points = Sequence[tuple[float, float]]


def processes() -> str:
    """How many processes there are while sessions come one after the other and then leave."""
    lines = [
        (f"LoadFactor {factor:g}", _grown(Scaling(load_factor=factor, most=3, sessions_each=20)))
        for factor in (0.0, 0.5, 1.0)
    ]
    return _plot(
        "Processes while sessions come one by one: 20 seats each, at most 3",
        "open sessions",
        "processes",
        lines,
        x_most=60,
        y_most=4,
        x_step=10,
        y_step=1,
    )


def _grown(scaling: Scaling) -> Points:
    """Let sessions come one by one, each to the process with the fewest; start what is missing."""
    loads = [Load(run=RunId("0"), ready=True)]
    points: list[tuple[float, float]] = [(0, 1)]
    for sessions in range(1, scaling.most * scaling.sessions_each + 1):
        chosen = policy.choose(scaling, loads)
        if chosen is None:
            loads.append(Load(run=RunId(str(len(loads))), ready=True))
            chosen = loads[-1].run
        loads = [
            Load(run=load.run, ready=True, taken=load.taken + one, held=load.held + one)
            for load in loads
            for one in [int(load.run == chosen)]
        ]
        for _ in range(policy.missing(scaling, loads)):
            loads.append(Load(run=RunId(str(len(loads))), ready=True))
        points += [(sessions, points[-1][1]), (sessions, len(loads))]
    return points


def waits() -> str:
    """How long a content that does not start is left alone after each failure."""
    failures = range(1, policy.GIVE_UP_AFTER)
    lines = [
        (name, [(count, policy.delay(count, dice)) for count in failures])
        for name, dice in (("at least", 0.0), ("on average", 0.5), ("at most", 1.0))
    ]
    return _plot(
        f"Wait before the next try; after {policy.GIVE_UP_AFTER} failures a person must ask",
        "failed starts in a row",
        "seconds",
        lines,
        x_most=5,
        y_most=12,
        x_step=1,
        y_step=2,
    )


def _plot(
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[tuple[str, Points]],
    *,
    x_most: float,
    y_most: float,
    x_step: int,
    y_step: int,
) -> str:
    """Give an SVG with a line per name, readable on light and dark pages."""

    def x(value: float) -> float:
        return round(LEFT + value / x_most * (WIDTH - LEFT - 16), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / y_most * (HEIGHT - BOTTOM - TOP - 22), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{title}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-weight="bold" fill="#1b1f24">{title}</text>',
    ]
    for value in range(0, int(x_most) + 1, x_step):
        parts.append(
            f'<text x="{x(value)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" '
            f'fill="#57606a">{value}</text>'
        )
    for value in range(0, int(y_most) + 1, y_step):
        parts.append(
            f'<path d="M{LEFT} {y(value)}H{WIDTH - 16}" stroke="#d5dae0"/>'
            f'<text x="{LEFT - 8}" y="{y(value) + 4}" text-anchor="end" '
            f'fill="#57606a">{value}</text>'
        )
    for number, (name, points) in enumerate(lines):
        drift = (number - 1) * 2.5  # lines that coincide stay visible
        path = " ".join(f"{x(px)},{round(y(py) + drift, 1)}" for px, py in points)
        colour, at = COLOURS[number], LEFT + 48 + number * 150
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<path d="M{at} {TOP + 4}h18" stroke="{colour}" stroke-width="3"/>'
            f'<text x="{at + 24}" y="{TOP + 8}" fill="#1b1f24">{name}</text>'
        )
    parts.append(
        f'<text x="{WIDTH - 16}" y="{HEIGHT - 10}" text-anchor="end" '
        f'fill="#57606a">{x_label}</text>'
        f'<text x="8" y="{TOP + 8}" fill="#57606a">{y_label}</text></svg>'
    )
    return "\n".join(parts) + "\n"


PICTURES: dict[str, Callable[[], str]] = {"processes.svg": processes, "waits.svg": waits}


def main() -> None:
    """Write the pictures that have changed."""
    for name, draw in PICTURES.items():
        path, text = IMAGES / name, draw()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
