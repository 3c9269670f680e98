"""Every test of the public contracts says what it promises: the reference is made from that."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from supervisor.testing import ExecutorContract, RuntimeContract
from supervisor.testing.executor import CoreFlows, Flows, Invariants, Scenarios, Stopping

TESTS = [
    test
    for contract in (ExecutorContract, RuntimeContract)
    for name, test in inspect.getmembers(contract, inspect.isfunction)
    if name.startswith("test_")
]


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.__name__)
def test_a_test_of_a_contract_says_what_it_promises(test: Callable[..., object]) -> None:
    assert test.__doc__


def test_the_tiers_are_all_of_the_contract() -> None:
    tiers = (Invariants, Stopping, Scenarios, Flows, CoreFlows)
    assert tiers == ExecutorContract.__bases__
    names = [name for tier in tiers for name in vars(tier) if name.startswith("test_")]
    assert len(set(names)) == len(names)
    assert {test.__name__ for test in TESTS} >= set(names)
