"""What the settings allow at most holds for a core that asks for more, and follows the settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Job, Limits, Purpose, SupervisorError, packets

pytestmark = pytest.mark.system


@pytest.fixture
def node(new_node: Callable[..., Any]) -> Any:
    return new_node(settings={"maxima": {"files": 100}})


def configure(node: Any, **settings: Any) -> None:
    """Tell the helper other settings, as the parent does."""
    node.settings = {**node.settings, **settings}
    memory = node.settings_memory()
    packets.send(node.control, {"type": "settings"}, (memory,))
    os.close(memory)


@pytest.mark.parametrize("files", [None, 101])
async def test_a_core_that_asks_for_more_than_the_most_is_refused(
    executor: UnshareExecutor, job: Callable[..., Job], files: int | None
) -> None:
    with pytest.raises(SupervisorError, match="limit files") as caught:
        await executor.start(job("/usr/bin/true", limits=Limits(files=files)))
    assert "job-refused" == caught.value.code
    assert "[Scheduler]" in caught.value.hint
    assert [] == await executor.list()


async def test_within_the_most_it_starts_and_our_own_programs_have_no_limit(
    executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    await executor.start(job("/usr/bin/true", limits=Limits(files=100)))
    await executor.start(job("/usr/bin/true", purpose=Purpose.UNPACK))


async def test_the_most_follows_the_settings_while_runs_go_on(
    node: Any, executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    log: Mapping[str, str] = {"log_form": "TEXT", "log_level": "info"}
    configure(node, maxima={"files": 200}, **log)
    await executor.start(job("/usr/bin/true", limits=Limits(files=200)))
    configure(node, maxima={"files": 50}, **log)
    with pytest.raises(SupervisorError, match="more than the most, 50"):
        await executor.start(job("/usr/bin/true", limits=Limits(files=100)))
    configure(node, maxima={}, **log)
    await executor.start(job("/usr/bin/true"))
    configure(node, maxima=7, **log)
    await executor.start(job("/usr/bin/true"))
    assert "the old ones stay in force" in node.log
