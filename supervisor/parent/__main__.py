"""`python -I -m supervisor.parent [--config FILE]`: what `supervisor serve` becomes."""

from __future__ import annotations

import argparse
import sys

from supervisor.errors import CODES, SupervisorError
from supervisor.log import Log
from supervisor.parent.serve import serve
from supervisor.settings import load


def main() -> int:
    """Serve until told to stop; a refusal is one message on standard error and its exit status."""
    parser = argparse.ArgumentParser(
        prog="supervisor serve", description="Run the server in the foreground.", allow_abbrev=False
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    arguments = parser.parse_args()
    try:
        return serve(load(arguments.config))
    except SupervisorError as error:
        sys.stderr.write(f"supervisor serve: {error}\n")
        return error.exit_status
    except Exception as error:
        Log("parent").error("internal", exc=error)
        return CODES["internal"].exit


if __name__ == "__main__":
    raise SystemExit(main())
