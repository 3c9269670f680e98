"""RuntimeContract is held by what it refuses: each broken runtime fails the tests it names."""

from __future__ import annotations

import pytest

from supervisor.testing import RuntimeContract
from tests.support.broken_runtimes import BROKEN
from tests.support.suite import at_once, named_in, runtime_failures
from tests.support.toy_runtime import ToyRuntime


def test_a_runtime_without_a_fault_fails_nothing() -> None:
    assert {} == runtime_failures(ToyRuntime)


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_runtime_fails_the_tests_that_it_names_and_no_others(
    kind: type[ToyRuntime],
) -> None:
    failed = runtime_failures(kind)
    assert named_in(kind) == set(failed), failed


def test_every_test_of_the_contract_refuses_somebody() -> None:
    refused = {name for kind in BROKEN for name in named_in(kind)}
    assert at_once(RuntimeContract) == refused
