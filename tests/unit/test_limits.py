"""What a content's limits may be, what counts, and the code of each bound."""

from __future__ import annotations

import attrs
import pytest

from supervisor.errors import SupervisorError
from supervisor.limits import NAMES, Allowed
from supervisor.model import Limits
from supervisor.settings import configure, parse
from supervisor.settings.sections import Scheduler

MIB = 1 << 20


def own(**limits: object) -> dict[str, float | None]:
    return attrs.asdict(Limits(**limits))  # type: ignore[arg-type]


def test_every_limit_has_a_name_for_people() -> None:
    assert {field.name for field in attrs.fields(Limits)} == {*NAMES, "run_time"}


@pytest.mark.parametrize(
    ("scheduler", "limits", "code", "named"),
    [
        (Scheduler(), own(pids=-1), "limit-out-of-range", "pids_limit: -1"),
        (Scheduler(), own(memory_max=2**60), "limit-out-of-range", "memory_limit"),
        (Scheduler(), own(cpu=float("nan")), "limit-out-of-range", "cpu_limit: nan"),
        (Scheduler(), own(nice=20), "limit-out-of-range", "nice: 20 is not from 0 to 19"),
        (Scheduler(most_cpu=2.0), own(cpu=2.5), "limit-over-maximum", "MaxCPULimit, 2"),
        (Scheduler(most_tmp=5), own(tmp=0), "limit-over-maximum", "0, which is no limit, is more"),
        (Scheduler(most_memory_max=MIB), own(memory_max=MIB + 1), "limit-over-maximum", "1048577"),
        (Scheduler(), own(memory_max=9, memory_high=10), "memory-high-over-limit", "10 is more"),
        (Scheduler(memory_max=9), own(memory_high=10), "memory-high-over-limit", "limit, 9"),
    ],
)
def test_a_value_beyond_its_bound_has_a_code_and_a_sentence(
    scheduler: Scheduler, limits: dict[str, float | None], code: str, named: str
) -> None:
    with pytest.raises(SupervisorError) as caught:
        Allowed.of(scheduler).check(limits)
    assert code == caught.value.code
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("scheduler", "limits", "expected"),
    [
        (Scheduler(), own(), {}),
        (Scheduler(pids=50), own(), {"pids": 50}),
        (Scheduler(pids=50), own(pids=70), {"pids": 70}),
        (Scheduler(pids=50), own(pids=0), {}),
        (Scheduler(most_pids=60), own(), {"pids": 60}),
        (Scheduler(most_pids=60), own(pids=70), {"pids": 60}),  # it was lowered since
        (Scheduler(memory_max=1000), own(), {"memory_max": 1000, "memory_high": 900}),
        (Scheduler(memory_high=0.5), own(memory_max=100), {"memory_max": 100, "memory_high": 50}),
        (Scheduler(), own(memory_max=100, memory_high=0), {"memory_max": 100}),
        (Scheduler(), own(memory_high=70), {"memory_high": 70}),
    ],
)
def test_what_counts_is_the_contents_own_else_the_servers_within_its_maximum(
    scheduler: Scheduler, limits: dict[str, float | None], expected: dict[str, float]
) -> None:
    counting = Allowed.of(scheduler).counting(limits)
    assert expected == {name: value for name, value in counting.items() if value is not None}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("MemoryLimit = 2 GB\nMaxMemoryLimit = 1 GB", "is more than the server's MaxMemoryLimit"),
        ("Nice = 20", "20 is not from 0 to 19"),
    ],
)
def test_a_default_that_no_content_could_have_refuses_the_settings(line: str, said: str) -> None:
    with pytest.raises(SupervisorError, match=said) as caught:
        configure(parse(f"[Scheduler]\n{line}\n", "f"))
    assert str(caught.value).startswith("f:2:")
