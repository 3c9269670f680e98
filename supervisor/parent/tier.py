"""Ask the helper which tier of sandbox this host gives, before anything is taken or started."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from supervisor.errors import CODES, SupervisorError
from supervisor.network import Egress
from supervisor.parent.child import sealed

_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """What the helper says of this host. egress: how far content can be let reach in this tier."""

    name: str
    egress: frozenset[Egress]


def ask(argv: Sequence[str], settings: bytes, *, environ: Mapping[str, str]) -> Tier:
    """Run the helper's program with `--tier` and give what it says (see protocols.md).

    settings: as for the helper, with the tier that is wanted. Raises SupervisorError with the
    helper's own code and words where the host does not give it.
    """
    fd = sealed("settings", settings)
    try:
        done = subprocess.run(
            [*argv, "--tier", f"--fd=settings={fd}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=[fd],
            cwd="/",
            env=dict(environ),
            timeout=_SECONDS,
            check=False,
        )
        found = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise SupervisorError("helper-unavailable", f"the helper does not run: {error}") from None
    finally:
        os.close(fd)
    if "tier" in found:
        return Tier(
            name=str(found["tier"]), egress=frozenset(map(Egress, found.get("egress", Egress)))
        )
    if found.get("code") in CODES:
        raise SupervisorError(found["code"], found["message"], hint=found["hint"])
    said = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
    raise SupervisorError("helper-unavailable", f"the helper does not say its tier: {said}")
