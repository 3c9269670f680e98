"""What content would not start by the settings of [Network], told before anybody deploys any."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from supervisor.network import Egress, unmet

NONE, USER, HOST = Egress


@pytest.mark.parametrize(
    ("default", "most", "given", "expected"),
    [
        (HOST, HOST, Egress, ""),
        (HOST, HOST, {HOST}, ""),
        (USER, HOST, Egress, ""),
        (HOST, USER, Egress, ""),
        (HOST, USER, {HOST}, "no content starts: MostEgress of [Network] is USER"),
        (HOST, NONE, {HOST}, "no content starts: MostEgress of [Network] is NONE"),
        (HOST, USER, set(), "no content starts: MostEgress of [Network] is USER"),
        (USER, HOST, {NONE, HOST}, "without an egress of its own does not start: Egress of"),
        (HOST, USER, {NONE, HOST}, "is USER, and here there is NONE"),
        (NONE, HOST, {HOST}, "is NONE, and here there is HOST"),
    ],
)
def test_what_cannot_be_had_is_said_with_what_to_do(
    default: Egress, most: Egress, given: Collection[Egress], expected: str
) -> None:
    problem, hint = unmet(default, most, given)
    assert expected in problem
    assert bool(problem) is bool(expected) is bool(hint)
