"""What a person is told when a host forbids a step."""

from __future__ import annotations

import errno

import pytest
from supervisor_unshare import probe


@pytest.mark.parametrize(
    ("step", "number", "rootless", "expected"),
    [
        ("exec /usr/bin/x", errno.ENOENT, False, "not visible in the sandbox"),
        ("workdir /opt", errno.ENOENT, False, "made by a mount"),
        ("clone", errno.EPERM, False, "CAP_SYS_ADMIN"),
        ("clone", errno.EPERM, True, "user namespaces"),
        ("clone", errno.ENOSPC, True, "user.max_user_namespaces"),
        ("user-namespace", errno.EACCES, True, "apparmor_restrict_unprivileged_userns"),
        ("mount /proc", errno.EPERM, True, "systempaths=unconfined"),
        ("new-root", errno.ENOSYS, False, "kernel is too old"),
        ("cgroup", errno.ENOSPC, False, ""),
    ],
)
def test_a_failed_step_comes_with_advice(
    step: str, number: int, rootless: bool, expected: str
) -> None:
    advice = probe.hint(step, number, rootless=rootless)
    assert expected in advice
    assert bool(expected) == bool(advice)


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
