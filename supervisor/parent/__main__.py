"""`python -I -m supervisor.parent [--config FILE]`: what `supervisor serve` becomes."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial

from supervisor.errors import CODES, SupervisorError
from supervisor.log import Log
from supervisor.parent.serve import check, resume, serve
from supervisor.settings import load


def main() -> int:
    """Serve until told to stop; a refusal is one message on standard error and its exit status."""
    parser = argparse.ArgumentParser(
        prog="supervisor serve", description="Run the server in the foreground.", allow_abbrev=False
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.add_argument("--check", type=int, metavar="FD", help=argparse.SUPPRESS)
    parser.add_argument("--resume", type=int, metavar="FD", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    command = [sys.executable, "-I", "-m", "supervisor.parent"]
    if arguments.config:
        command += ["--config", os.path.abspath(arguments.config)]
    read = partial(load, arguments.config)
    try:
        if arguments.check is not None:
            return check(read(), arguments.check)
        if arguments.resume is not None:
            return resume(arguments.resume, read, command=command)
        return serve(read(), command=command, load=read)
    except SupervisorError as error:
        who = "" if arguments.check is not None else "supervisor serve: "
        sys.stderr.write(f"{who}{error}\n")
        return error.exit_status
    except Exception as error:
        if arguments.check is not None:
            raise  # whoever asked reads the traceback
        Log("parent").error("internal", exc=error)
        return CODES["internal"].exit


if __name__ == "__main__":
    raise SystemExit(main())
