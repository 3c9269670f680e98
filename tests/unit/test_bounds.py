"""What a content's scaling may be, and the code and number of each bound."""

from __future__ import annotations

import attrs
import pytest

from supervisor import bounds
from supervisor.errors import CODES, SupervisorError
from supervisor.model import Overrides, Scaling

LIMITS = {"least_limit": 10, "most_limit": 20}


@pytest.mark.parametrize(
    ("overrides", "code", "number", "named"),
    [
        (Overrides(least=-1), "min-processes-negative", 191, "min_processes: -1"),
        (Overrides(least=11, most=20), "min-processes-over-limit", 45, "MinProcessesLimit, 10"),
        (Overrides(least=4), "min-processes-over-max", 114, "min_processes: 4 is more than the 3"),
        (Overrides(most=0), "max-processes-not-positive", 192, "max_processes: 0"),
        (Overrides(most=21), "max-processes-over-limit", 113, "MaxProcessesLimit, 20"),
        (Overrides(sessions_each=0), "max-conns-not-positive", None, "max_conns_per_process: 0"),
        (Overrides(load_factor=1.5), "load-factor-out-of-range", 150, "load_factor: 1.5"),
        (Overrides(load_factor=float("nan")), "load-factor-out-of-range", 150, "nan"),
        (Overrides(idle=-1.0), "timeout-out-of-range", 151, "idle_timeout: -1 s"),
        (Overrides(init=2_592_001.0), "timeout-out-of-range", 151, "init_timeout: 2592001 s"),
        (Overrides(read=float("inf")), "timeout-out-of-range", 151, "read_timeout"),
        (Overrides(drain=-0.5), "timeout-out-of-range", 151, "drain_timeout: -0.5 s"),
    ],
)
def test_a_value_beyond_its_bound_has_a_code_and_a_number(
    overrides: Overrides, code: str, number: int | None, named: str
) -> None:
    with pytest.raises(SupervisorError) as caught:
        bounds.check(overrides.over(Scaling()), **LIMITS)
    assert (code, number) == (caught.value.code, CODES[code].number)
    assert named in caught.value.message


@pytest.mark.parametrize(
    "overrides",
    [
        Overrides(),
        Overrides(least=3),
        Overrides(least=10, most=10),
        Overrides(most=20, sessions_each=1, load_factor=0.0),
        Overrides(load_factor=1.0, init=0.0, idle=2_592_000.0, notice=False),
    ],
)
def test_the_bounds_themselves_are_allowed(overrides: Overrides) -> None:
    bounds.check(overrides.over(Scaling()), **LIMITS)


def test_every_number_is_given_once() -> None:
    numbers = [code.number for code in CODES.values() if code.number is not None]
    assert len(numbers) == len(set(numbers))


def test_every_field_of_a_scaling_has_a_name_for_people() -> None:
    assert [field.name for field in attrs.fields(Scaling)] == list(bounds.NAMES)
