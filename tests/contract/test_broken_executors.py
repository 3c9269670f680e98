"""ExecutorContract is held by what it refuses: each broken executor fails the tests it names."""

from __future__ import annotations

import pytest
import trio

from tests.support.broken import BROKEN
from tests.support.memory_executor import MemoryExecutor
from tests.support.suite import MemoryContract, every_test, failures, named_in


def test_an_executor_without_a_fault_fails_nothing() -> None:
    assert {} == failures(MemoryExecutor)


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_executor_fails_the_tests_that_it_names_and_no_others(
    kind: type[MemoryExecutor],
) -> None:
    failed = failures(kind)
    assert named_in(kind) == set(failed), failed


def test_every_test_of_the_contract_refuses_somebody() -> None:
    refused = {name for kind in BROKEN for name in named_in(kind)}
    assert set(every_test(MemoryContract)) == refused


class _ServesAndLeaves(MemoryExecutor):
    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(0.001)


def test_an_executor_whose_serve_returns_fails_nearly_everything() -> None:
    assert len(failures(_ServesAndLeaves)) > 25
