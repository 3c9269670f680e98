"""docs/write-a-store.md names all that a store has and may raise."""

from __future__ import annotations

import re
from pathlib import Path

from supervisor.errors import CODES
from supervisor.interfaces import Store
from supervisor.testing.store.fixtures import StoreFixtures

PAGE = (Path(__file__).parents[2] / "docs" / "write-a-store.md").read_text()


def test_the_page_tells_of_every_method_of_a_store() -> None:
    methods = {name for name in vars(Store) if not name.startswith("_")} - {"name", "plugin_api"}
    assert set() == {name for name in methods if f"`{name}" not in PAGE}


def test_the_page_shows_every_fixture_of_the_contract() -> None:
    fixtures = {name for name in vars(StoreFixtures) if not name.startswith("_")}
    assert set() == {name for name in fixtures if f"def {name}(self" not in PAGE}


def test_the_codes_of_the_page_exist() -> None:
    told = set(re.findall(r"`([a-z]+-[a-z-]+)`", PAGE))
    assert told
    assert set() == told - CODES.keys()
