"""A day of a thousand contents and ten thousand sessions on a clock that jumps.

The core is the real one; processes, gateways, visitors and operators are simulated, and every rule
of tests/support/day/rules.py is held all day. `--seed N --contents N --visitors N` runs another.
"""

from __future__ import annotations

import argparse

import trio

from tests.support.day.simulate import Day, Result, simulate

SHARES = (0.5, 0.95, 0.99)


def report(day: Day, result: Result) -> None:
    """Print what has happened, and how long it took."""
    print(f"seed {day.seed}: {day.contents} contents, {day.visitors} visitors")
    print(
        f"{result.simulated / 3600:.1f} h in {result.seconds:.1f} s ({result.cpu:.1f} s CPU):"
        f" {result.figures['messages'] / result.cpu:.0f} link messages a second of CPU"
    )
    for name, figure in result.figures.items():
        print(f"  {name}: {figure}")
    waits = [result.waited[int(len(result.waited) * share)] for share in SHARES]
    print("  seconds from page to app, p50, p95, p99:", *(f"{wait:.1f}" for wait in waits))


def main() -> None:
    """Run one day."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("seed", 1), ("contents", 1000), ("visitors", 5600)):
        parser.add_argument(f"--{name}", type=int, default=default)
    day = Day(**vars(parser.parse_args()))
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # as under pytest: a seed tells all
    report(day, simulate(day))


if __name__ == "__main__":
    main()
