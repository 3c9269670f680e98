"""`python -I -m supervisor.parent.inventory [--config FILE]`: list the plugins without a server.

The core's user loads them, as in a server: this process, which may be root, loads none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from supervisor.errors import CODES, SupervisorError
from supervisor.parent.child import environment, sealed
from supervisor.parent.plan import Plan
from supervisor.settings import load


def main() -> int:
    """Print the plugins as JSON; a refusal is one message on standard error."""
    parser = argparse.ArgumentParser(prog="supervisor plugins", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE")
    given = parser.parse_args()
    try:
        plan = Plan.of(load(given.config), environ=os.environ)
    except SupervisorError as error:
        sys.stderr.write(f"supervisor plugins: {error}\n")
        return error.exit_status
    return _list(plan)


def _list(plan: Plan) -> int:
    """Let them be loaded, again without each that ends the process; print what came of it."""
    without: list[str] = []
    while True:
        status, lines = _load(plan, without)
        if not status:
            sys.stdout.write(lines[-1] + "\n")
            return 0
        tried = json.loads(lines[-1]) if lines else ""
        if not isinstance(tried, str) or not tried or tried in without:
            return status if status > 0 else CODES["plugin-invalid"].exit
        without.append(tried)


def _load(plan: Plan, without: list[str]) -> tuple[int, list[str]]:
    one, rootless = plan.who.core, plan.who.rootless
    settings = sealed("settings", plan.settings.to_json())
    left_out = [f"--without={name}" for name in without]
    try:
        done = subprocess.run(
            [*plan.argvs["core"], "--plugins", f"--fd=settings={settings}", *left_out],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=[settings],
            cwd="/",
            env=environment(os.environ, one, rootless=rootless),
            user=None if rootless else one.uid,
            group=None if rootless else one.gid,
            extra_groups=None if rootless else list(one.groups),
            check=False,
        )
    finally:
        os.close(settings)
    return done.returncode, done.stdout.decode().splitlines()


if __name__ == "__main__":
    raise SystemExit(main())
