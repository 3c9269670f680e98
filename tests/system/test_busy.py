"""A process that computes is not given a new visitor while another can be started."""

from __future__ import annotations

import pytest

from tests.support import computing
from tests.support.server import live_server

pytestmark = pytest.mark.system


async def test_a_second_visitor_does_not_wait_for_a_computation_of_fifteen_seconds(
    everything: None,
) -> None:
    with live_server(extra=computing.SCALING) as server:
        found = await computing.waits(server, computing.deploy(server))
    print(f"cold {found.cold:.2f} s, while another computes {found.busy:.2f} s")
    assert found.busy < computing.COMPUTES / 2
