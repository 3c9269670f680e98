"""What system tests share: a server per module with the example apps, and visitors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import CONTENT_PYTHON, LiveServer, live_server

EXAMPLES = Path(__file__).parents[2] / "examples"
BAD = Path(__file__).parents[1] / "content"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """A real server as root, shared by the tests of a module; named skips where it cannot be."""
    if os.geteuid() != 0:
        pytest.skip("needs root: ./dev test as root runs the system tests")
    for program in ("Rscript", "chromium"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: ./dev system says how to install it")
    if not CONTENT_PYTHON.exists():
        pytest.skip("needs .dev/python: ./dev test makes it")
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
