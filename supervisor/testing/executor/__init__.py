"""ExecutorContract: what every executor promises, as tests. Subclass it for an executor of yours.

    class TestMyExecutor(ExecutorContract):
        scale = 3.0                    # of a slow backend: all its times are so much longer

        @pytest.fixture
        def new_executor(self): ...    # a callable that makes one more instance, same backend

        @pytest.fixture
        def alive(self): ...           # an async callable: how much of a run the backend still has

        def adapt(self, job, program): # what your jobs need besides: a uid, an image
            return attrs.evolve(job, uid=1000, gid=1000)

Three tiers: Invariants hold for every executor, whatever it runs; Scenarios are single situations;
Flows go the whole way, from one core to the next and from a bundle to a visitor. What the
executor's Capabilities do not claim is skipped by name: `not claimed: ...`.
"""

from __future__ import annotations

from supervisor.testing.executor.core_flows import CoreFlows
from supervisor.testing.executor.flows import Flows
from supervisor.testing.executor.harness import Alive, NewExecutor
from supervisor.testing.executor.invariants import Invariants
from supervisor.testing.executor.scenarios import Scenarios
from supervisor.testing.executor.stopping import Stopping

__all__ = [
    "Alive",
    "CoreFlows",
    "ExecutorContract",
    "Flows",
    "Invariants",
    "NewExecutor",
    "Scenarios",
    "Stopping",
]


class ExecutorContract(Invariants, Stopping, Scenarios, Flows, CoreFlows):
    """The promises of supervisor.Executor. A subclass gives `new_executor` and `alive`.

    scale: by what all times are multiplied, 1 for a backend that starts a process in milliseconds;
    shell, python: where jobs find them; rule: how to tell that programs.SERVES answers; in_memory:
    whether the backend lives in the test's own process, so that no other can start anything there.
    """
