"""What a failed step says of the host."""

from __future__ import annotations

import errno

import pytest
from supervisor_unshare.tiers import probe


def test_doctor_says_what_an_older_landlock_does_not_hold() -> None:
    told = {
        version: {one["name"]: one["text"] for one in probe.layers(frozenset(), version=version)}
        for version in (0, 2, 6)
    }
    assert "landlock holds." == told[6]["landlock"]
    assert "version 2" in told[2]["landlock"]
    assert "abstract sockets" in told[2]["landlock"]
    assert "No landlock" in told[0]["landlock"]


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
