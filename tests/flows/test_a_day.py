"""A day of many contents on a clock that jumps: the real core, simulated processes and visitors.

What must hold is in tests/support/day/rules.py; what happens, in its neighbours. `./dev bench
simulation` runs larger days, and any seed again.
"""

from __future__ import annotations

import pytest

from supervisor.core.scheduling.line import Line, Place
from tests.support.day.simulate import Day, simulate
from tests.support.day.world import RuleBroken

CROWDED = Day(seed=1, contents=4, visitors=300)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_day_of_sixty_contents_breaks_no_rule(seed: int) -> None:
    result = simulate(Day(seed=seed, contents=60, visitors=250))
    assert result.figures["sessions"] > 250
    assert result.figures["entered from the line"] > 0
    assert result.figures["came back"] > 0
    assert result.figures["adopted"] > 0


def test_a_crowded_day_breaks_no_rule() -> None:
    assert simulate(CROWDED).figures["entered from the line"] > 20


def test_a_core_that_lets_the_last_in_line_in_first_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def last(line: Line) -> Place | None:
        return next((place for place in reversed(list(line)) if place.counts), None)

    monkeypatch.setattr(Line, "first", last)
    with pytest.raises(RuleBroken, match="overtakes"):
        simulate(CROWDED)


def test_a_seed_tells_the_same_story_again() -> None:
    day = Day(seed=4, contents=8, visitors=30)
    assert simulate(day).figures == simulate(day).figures
