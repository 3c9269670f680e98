"""What system tests share: a server per module with the example apps, and visitors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import LiveServer, live_server

EXAMPLES = Path(__file__).parents[2] / "examples"
BAD = Path(__file__).parents[1] / "content"


@pytest.fixture(scope="session")
def everything(needs: Any) -> None:
    """What a real server with real apps and visitors needs of the machine."""
    needs.root()
    needs.r("shiny")
    needs.python("shiny")
    needs.chromium()


@pytest.fixture(scope="module")
def server(everything: None) -> Iterator[LiveServer]:
    """A real server as root, shared by the tests of a module."""
    with live_server() as running:
        yield running


@pytest.fixture(scope="module")
def r_app(server: LiveServer) -> str:
    """The path of the R example on the module's server."""
    return server.deploy(EXAMPLES / "shiny-r-hello", "r-hello")


@pytest.fixture(scope="module")
def python_app(server: LiveServer) -> str:
    """The path of the Python example on the module's server."""
    return server.deploy(EXAMPLES / "shiny-python-core", "python-core")
