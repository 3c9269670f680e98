"""A gateway between a fake core and fake workers, for the tests of this directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway_world import Wire, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world whose core is up; its gateway starts on first use."""
    world = World(tmp_path)
    world.core.start()
    yield world
    world.close()
    log = tmp_path / "gateway.log"
    if log.exists():
        text = log.read_text("utf-8", "replace")
        sys.stderr.write(text)
        assert "crashed" not in text


@pytest.fixture
def wire() -> type[Wire]:
    """What a test needs to speak HTTP by hand."""
    return Wire
