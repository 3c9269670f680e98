"""Ids: run ids (ULIDs), guids, job keys; each safe in DNS names, cgroups, sockets and paths."""

from __future__ import annotations

import os
import re
import time
import uuid
from typing import NewType

RunId = NewType("RunId", str)
ContentId = NewType("ContentId", int)
BundleId = NewType("BundleId", int)
DeploymentId = NewType("DeploymentId", int)
Guid = NewType("Guid", str)

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_RUN_ID = re.compile(r"[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}\Z")
_KEY_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def new_run_id(*, milliseconds: int | None = None, entropy: bytes | None = None) -> RunId:
    """Make a run id: a lower-case ULID of 26 characters, in the order of time (ms)."""
    if milliseconds is None:
        milliseconds = time.time_ns() // 1_000_000
    if entropy is None:
        entropy = os.urandom(10)
    number = (milliseconds << 80) | int.from_bytes(entropy, "big")
    digits = [_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return RunId("".join(digits))


def is_run_id(text: str) -> bool:
    """Tell whether the text has the exact form of a run id."""
    return _RUN_ID.match(text) is not None


def new_guid() -> Guid:
    """Make a guid, as it stands in URLs and in the API."""
    return Guid(str(uuid.uuid4()))


def new_job_key() -> str:
    """Make a public job key: 16 alphanumerics (the form that publishing clients expect)."""
    return "".join(_KEY_ALPHABET[byte % 62] for byte in os.urandom(16))
