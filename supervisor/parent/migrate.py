"""`python -I -m supervisor.parent.migrate [--config FILE] TO`: what `supervisor migrate-store` is.

It sees to it that no server of this DataDir runs, and lets the core's user copy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from supervisor.errors import CODES, SupervisorError
from supervisor.parent import lock
from supervisor.parent.child import environment, sealed
from supervisor.parent.plan import Plan
from supervisor.settings import load


def main() -> int:
    """Copy; a refusal is one message on standard error and its exit status."""
    parser = argparse.ArgumentParser(prog="supervisor migrate-store", allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE")
    parser.add_argument("--from", dest="source")
    parser.add_argument("--json", dest="as_json", action="store_true")
    parser.add_argument("to")
    given = parser.parse_args()
    os.umask(0o022)
    try:
        plan = Plan.of(load(given.config), environ=os.environ)
        copied = _migrate(plan, given.source, given.to)
    except SupervisorError as error:
        text = json.dumps(error.as_json()) if given.as_json else f"supervisor: {error}"
        sys.stderr.write(f"{text}\n")
        return error.exit_status
    if given.as_json:
        sys.stdout.write(json.dumps({"copied": copied, "to": given.to}) + "\n")
        return 0
    for kind, count in copied.items():
        sys.stdout.write(f"{count:8} {kind}{'s' if count != 1 else ''}\n")
    sys.stderr.write(
        f"Copied. Now set [Database] Provider = {given.to} and start the server."
        " What was copied from is as it was.\n"
    )
    return 0


def _migrate(plan: Plan, source: str | None, to: str) -> dict[str, int]:
    settings = plan.settings
    os.makedirs(settings.data_dir, exist_ok=True)
    held = lock.hold_data_dir(settings.data_dir)
    try:
        return _copied(plan, ["--from", source, to] if source else [to])
    finally:
        lock.release(held)


def _copied(plan: Plan, arguments: list[str]) -> dict[str, int]:
    """Let the core's user copy, and read what it says."""
    one, rootless = plan.who.core, plan.who.rootless
    settings = sealed("settings", plan.settings.to_json())
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "supervisor.core.migrate", f"--fd={settings}", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
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
    if done.returncode == 0:
        copied: dict[str, int] = json.loads(done.stdout)
        return copied
    raise _refusal(done.stderr.decode(errors="replace"))


def _refusal(said: str) -> SupervisorError:
    """Give the error that the copy ended with: its last line."""
    *before, last = said.strip().splitlines() or [""]
    sys.stderr.writelines(f"{line}\n" for line in before)
    try:
        told: dict[str, Any] = json.loads(last)
        code = told["code"] if told["code"] in CODES else "internal"
        return SupervisorError(code, told["error"], hint=told["hint"])
    except (ValueError, KeyError, TypeError):
        return SupervisorError("internal", f"the copy ended without saying why: {last}")


if __name__ == "__main__":
    raise SystemExit(main())
