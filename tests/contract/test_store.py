"""The store in memory keeps the promises that it stands in for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from supervisor.testing.fakes import AwayStore
from supervisor.testing.store import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> AwayStore:
        return AwayStore(away=False)

    @pytest.fixture
    def away(self, store: AwayStore) -> Callable[[], None]:
        def away() -> None:
            store.away = True

        return away

    @pytest.fixture
    def another(self, store: AwayStore) -> Callable[[], AwayStore]:
        return store.again
