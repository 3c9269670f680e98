"""Fixtures of the plugin's tests."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from importlib.resources import files

import pytest
import trio

from tests.support.fake_api import FakeApi


@pytest.fixture
async def api(nursery: trio.Nursery) -> FakeApi:
    """A fake API server on loopback."""
    fake = FakeApi()
    await nursery.start(fake.serve)
    return fake


@pytest.fixture(scope="session")
def entrance() -> Callable[..., list[str]]:
    """Give the command of a Pod's entrance, by app, secret, ports and signal."""
    program = files("supervisor_executor_kubernetes").joinpath("sidecar.py").read_text("utf-8")

    def command(app: str, secret: str, port: int, orders: int, signal: str = "TERM") -> list[str]:
        digest = hashlib.sha256(secret.encode()).hexdigest()
        words = [app, digest, str(port), str(orders), signal]
        return [sys.executable, "-I", "-S", "-W", "error", "-c", program, *words]

    return command
