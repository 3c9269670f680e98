"""What names this server's objects in the cluster, and opens its Pods: one key in DataDir."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import attrs

from supervisor import RunId


@attrs.frozen
class Key:
    """A secret of this server. All that is derived from it is the same in the next core."""

    value: bytes = attrs.field(repr=False)

    @property
    def instance(self) -> str:
        """The name of this server, for labels."""
        return hmac.new(self.value, b"instance", hashlib.sha256).hexdigest()[:16]

    def secret(self, run: RunId) -> str:
        """What the Pod of a run demands of whoever connects."""
        return hmac.new(self.value, f"access {run}".encode("ascii"), hashlib.sha256).hexdigest()


def read_key(path: Path) -> Key:
    """Read the key at `path`, or make it there, readable by us alone. Raises OSError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return Key(path.read_bytes())
    with os.fdopen(fd, "wb") as file:
        file.write(secrets.token_bytes(32))
    return Key(path.read_bytes())
