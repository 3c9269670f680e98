"""Which tier is chosen, and what a person is told where none can be had: by facts alone."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from supervisor_unshare.tiers.advice import advice
from supervisor_unshare.tiers.choice import Unavailable, choose
from supervisor_unshare.tiers.facts import Facts
from supervisor_unshare.tiers.trial import Failure, Outcome

WORKS = Outcome()
EVERY_CAPABILITY = (1 << 41) - 1
CONTAINER = 0x800405FB  # what podman gives by default: no SYS_ADMIN
ROOT = Facts(root=True, capabilities=EVERY_CAPABILITY, landlock=7)
CALLER = Facts(root=False, landlock=7, subuid="there is no newuidmap")


def facts(base: Facts, **changes: Any) -> Facts:
    return Facts(**{**vars(base), **changes})


def only(*working: str) -> Callable[[str], Outcome]:
    """A host where these tiers work, and the clone of the others is refused."""
    refused = Failure(step="clone", errno=errno.EPERM, message="Operation not permitted")
    return lambda tier: WORKS if tier in working else Outcome(failure=refused)


@attrs.frozen
class Case:
    asked: str
    facts: Facts
    works: tuple[str, ...]
    expected: str


CHOSEN = [
    Case("auto", ROOT, ("root",), "root"),
    Case("root", ROOT, ("root",), "root"),
    Case("auto", CALLER, ("rootless", "landlock"), "rootless"),
    Case("rootless", CALLER, ("rootless",), "rootless"),
    Case("landlock", CALLER, ("landlock",), "landlock"),
    Case("landlock", CALLER, ("rootless", "landlock"), "landlock"),
    Case("auto", facts(CALLER, subuid=""), ("subuid", "rootless"), "subuid"),
    Case("auto", facts(CALLER, subuid=""), ("rootless",), "rootless"),
    Case("rootless", facts(CALLER, subuid=""), ("subuid", "rootless"), "rootless"),
]


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: f"{case.asked}-{case.expected}")
def test_the_tier_that_was_asked_for_is_chosen_or_the_best(case: Case) -> None:
    assert case.expected == choose(case.asked, case.facts, only(*case.works)).tier


REFUSED = [
    ("auto", ROOT, (), "sandbox-unavailable", "the step 'clone' failed"),
    ("auto", facts(ROOT, capabilities=CONTAINER), (), "sandbox-unavailable", "--cap-add=SYS_ADMIN"),
    ("auto", CALLER, ("landlock",), "sandbox-unavailable", "Tier = landlock"),
    ("auto", ROOT, ("landlock",), "sandbox-unavailable", "Helper = none"),
    ("root", CALLER, (), "tier-unavailable", "does not run as root"),
    ("rootless", ROOT, ("rootless",), "tier-unavailable", "--user 10001"),
    ("landlock", ROOT, ("landlock",), "tier-unavailable", "ordinary user"),
    ("subuid", CALLER, ("subuid",), "tier-unavailable", "usermod --add-subuids"),
    ("landlock", facts(CALLER, landlock=0), ("landlock",), "tier-unavailable", "lsm="),
    ("landlock", facts(CALLER, landlock=2), ("landlock",), "tier-unavailable", "Linux 6.2"),
    ("landlock", facts(CALLER, landlock=2), ("landlock",), "tier-unavailable", "newer kernel"),
    (
        "landlock", facts(CALLER, without=frozenset({"seccomp"})), ("landlock",),
        "tier-unavailable", "[Privileged] Without",
    ),
    ("best", ROOT, ("root",), "settings-invalid", "auto, root, subuid, rootless, landlock"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "found", "works", "code", "expected"), REFUSED)
def test_what_cannot_be_had_is_refused_with_what_to_change(
    asked: str, found: Facts, works: tuple[str, ...], code: str, expected: str
) -> None:
    with pytest.raises(Unavailable) as refusal:
        choose(asked, found, only(*works))
    assert code == refusal.value.code
    assert expected in f"{refusal.value} {refusal.value.hint}"


def test_a_tier_that_the_facts_rule_out_is_not_tried() -> None:
    tried: list[str] = []

    def attempt(tier: str) -> Outcome:
        tried.append(tier)
        return WORKS

    choose("auto", CALLER, attempt)
    assert ["rootless"] == tried


def test_a_refused_pivot_root_is_no_hindrance_and_is_told() -> None:
    assert choose("auto", ROOT, lambda _: Outcome(moved=True)).moved


FILTERED = facts(CALLER, filtered=True)
ADVICE = [
    ("root", ROOT, "exec /usr/bin/x", errno.ENOENT, "not visible in the sandbox"),
    ("root", ROOT, "workdir /opt", errno.ENOENT, "made by a mount"),
    ("root", facts(ROOT, capabilities=CONTAINER), "clone", errno.EPERM, "--cap-add=SYS_ADMIN"),
    ("root", facts(ROOT, capabilities=CONTAINER), "mounts", errno.EPERM, "--privileged"),
    ("root", facts(ROOT, apparmor=True), "new-root", errno.EACCES, "apparmor=unconfined"),
    ("root", facts(ROOT, filtered=True), "enter-root", errno.EPERM, "seccomp=unconfined"),
    ("root", ROOT, "identity", errno.EPERM, "SETUID"),
    ("root", ROOT, "new-root", errno.ENOSYS, "kernel is too old"),
    ("root", ROOT, "cgroup", errno.ENOSPC, ""),
    ("rootless", CALLER, "mount /proc", errno.EPERM, "systempaths=unconfined"),
    ("rootless", CALLER, "mount /proc", errno.EPERM, "unmask=ALL"),
    ("rootless", facts(CALLER, userns=0), "clone", errno.ENOSPC, "user.max_user_namespaces is 0"),
    ("rootless", CALLER, "clone", errno.EINVAL, "no user namespaces"),
    ("rootless", CALLER, "clone", errno.EPERM, "unprivileged_userns_clone"),
    ("rootless", FILTERED, "clone", errno.EPERM, "Tier = landlock"),
    ("rootless", CALLER, "user-namespace", errno.EACCES, "apparmor_restrict_unprivileged_userns"),
    ("landlock", CALLER, "landlock", errno.EPERM, "refuses it"),
]


@pytest.mark.parametrize(("tier", "found", "step", "number", "expected"), ADVICE)
def test_a_failed_step_comes_with_advice(
    tier: str, found: Facts, step: str, number: int, expected: str
) -> None:
    said = advice(Failure(step=step, errno=number), tier, found)
    assert expected in said
    assert bool(expected) == bool(said)
