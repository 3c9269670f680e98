"""What a failed step says of the host."""

from __future__ import annotations

import errno

import pytest
from supervisor_unshare.tiers import probe


@pytest.mark.parametrize(
    ("step", "number", "rootless", "expected"),
    [
        ("clone", errno.EPERM, False, True),
        ("clone", errno.EAGAIN, False, False),
        ("user-namespace", errno.EACCES, True, True),
        ("new-root", errno.EPERM, True, True),
        ("exec /usr/bin/x", errno.ENOENT, True, False),
        ("prepare", errno.ENOSPC, False, False),
    ],
)
def test_a_host_that_forbids_sandboxes_is_told_from_a_start_that_failed(
    step: str, number: int, rootless: bool, expected: bool
) -> None:
    assert expected is probe.unavailable(step, number, rootless=rootless)
