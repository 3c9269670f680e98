"""A tier that the host cannot give stops the start, with one message; nothing weaker takes over."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import live_server

pytestmark = pytest.mark.system
CALLER = 61900
REFUSING = Path(__file__).parents[1] / "support" / "refusing.py"
NO_ADMIN = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")


def refusing(*rules: str) -> tuple[str, ...]:
    """Run a command where these system calls are refused."""
    return (sys.executable, str(REFUSING), *rules, "--")


REFUSALS: list[tuple[str, int, Sequence[str], str, int, str]] = [
    ("", 0, NO_ADMIN, "sandbox-unavailable", 71, "--cap-add=SYS_ADMIN"),
    ("", 0, refusing("namespaces"), "sandbox-unavailable", 71, "seccomp=unconfined"),
    ("", CALLER, refusing("namespaces"), "sandbox-unavailable", 71, "Tier = landlock"),
    ("root", CALLER, (), "tier-unavailable", 78, "does not run as root"),
    ("landlock", 0, (), "tier-unavailable", 78, "--user 10001"),
    ("landlock", CALLER, refusing("landlock_create_ruleset"), "tier-unavailable", 78, "lsm="),
    ("bubble", CALLER, (), "settings-invalid", 78, "auto, root, subuid, rootless, landlock"),
]


@pytest.mark.parametrize(("tier", "uid", "within", "code", "status", "expected"), REFUSALS)
def test_a_host_that_does_not_give_the_tier_stops_the_start_with_what_to_change(
    needs: Any, tier: str, uid: int, within: Sequence[str], code: str, status: int, expected: str
) -> None:
    needs.root()
    extra = f"[Privileged]\nTier = {tier}\n" if tier else ""
    with live_server(uid=uid, extra=extra, start=False) as one:
        process = one.start(wait=False, within=within).process
        assert process is not None
        assert status == process.wait(20), one.log()
        said = one.log()
        assert 1 == said.count(f"[{code}]"), said
        assert expected in said
        assert "Traceback" not in said
        assert len(said.splitlines()) <= 3
        assert not one.data_dir.exists()
