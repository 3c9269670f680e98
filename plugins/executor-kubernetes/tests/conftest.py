"""Fixtures of the plugin's tests."""

from __future__ import annotations

import pytest
import trio

from tests.support.fake_api import FakeApi


@pytest.fixture
async def api(nursery: trio.Nursery) -> FakeApi:
    """A fake API server on loopback."""
    fake = FakeApi()
    await nursery.start(fake.serve)
    return fake
