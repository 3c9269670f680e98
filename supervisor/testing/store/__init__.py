"""StoreContract: what every store promises, as tests. Subclass it for a store of your own.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            store = MyStore(tmp_path)
            store.migrate()
            yield store
            store.close()

        @pytest.fixture
        def away(self, store): ...     # a callable after which the database does not answer

        @pytest.fixture
        def another(self, store): ...  # a callable: one more store on the same database

Three tiers: Invariants hold of every record and every call, Scenarios are single situations, Flows
go the whole way, from one core to the next and from one store to another. LeaseContract is what
nodes rest upon. What a subclass gives no fixture for is skipped by name: `not claimed: ...`.
"""

from __future__ import annotations

from supervisor.testing.leases import LeaseContract
from supervisor.testing.store.flows import Flows
from supervisor.testing.store.invariants import Invariants
from supervisor.testing.store.made import RECORDS, content, new, run
from supervisor.testing.store.scenarios import Scenarios

__all__ = ["RECORDS", "StoreContract", "content", "new", "run"]


class StoreContract(Invariants, LeaseContract, Scenarios, Flows):
    """The promises of supervisor.Store. A subclass gives `store`, and `away` and `another`."""
