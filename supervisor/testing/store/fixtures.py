"""What a test class of a store gives, and what it may."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import pytest

from supervisor.interfaces import Store


class StoreFixtures:
    """The fixtures of StoreContract; a subclass gives `store` and the others that it can."""

    @pytest.fixture
    @abstractmethod
    def store(self) -> Any:
        """Give an empty, migrated store."""

    @pytest.fixture
    def away(self) -> Callable[[], None]:
        """Give a callable after which the database of `store` does not answer."""
        pytest.skip("not claimed: a way to take the database away")

    @pytest.fixture
    def another(self, store: Store) -> Callable[[], Store]:
        """Give a callable that makes one more store on the same database, as a new core would."""
        pytest.skip("not claimed: a second store on the same database")
