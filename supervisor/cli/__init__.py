"""The command line. Importing this package loads nothing; commands load when they run."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (default: of sys.argv) and give its exit status. Prints its own errors."""
    from supervisor.cli.root import run

    return run(arguments)
