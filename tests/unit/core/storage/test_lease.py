"""The lease of the data directory: who holds it is named, and a dead core is succeeded at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import attrs
import pytest

from supervisor.core.storage import lease as leases
from supervisor.core.storage.lease import Owner
from supervisor.errors import LeaseLost, SupervisorError
from supervisor.model import ContentId, Lease
from supervisor.testing.fakes import MemoryStore


def owner(*, node: str = "node-1", pid: int = 4711, tick: int = 5) -> Owner:
    return Owner(node=node, pid=pid, host="a host", since="2026-01-02T03:04:05Z", tick=tick)


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    return process.pid


@pytest.fixture
def neighbour() -> Iterator[Owner]:
    """A living process that says who it is."""
    script = (
        "from supervisor.core.storage.lease import Owner\n"
        "print(Owner.here('node-1'), flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = Owner.read(process.stdout.readline().strip())
        assert said is not None
        yield said
        process.kill()


def test_an_owner_can_be_read_back() -> None:
    assert owner() == Owner.read(str(owner()))
    assert str(owner()).startswith("node-1:4711 ")
    assert Owner.read("somebody") is None


def test_this_process_describes_itself() -> None:
    assert os.getpid() == Owner.here("n").pid
    assert Owner.here("n") == Owner.read(str(Owner.here("n")))


def test_a_living_holder_is_named_in_the_refusal() -> None:
    store = MemoryStore()
    leases.take(store, str(owner()))
    with pytest.raises(SupervisorError) as caught:
        leases.take(store, str(owner(pid=2)))
    assert "data-dir-held" == caught.value.code
    assert "pid 4711 on a host since 2026-01-02T03:04:05Z" in caught.value.message


def test_a_holder_that_no_core_of_ours_wrote_is_named_as_it_stands() -> None:
    store = MemoryStore()
    store.claim(leases.NAME, "a tool", 15.0)
    with pytest.raises(SupervisorError, match="a tool"):
        leases.take(store, str(owner()))


def test_an_expired_lease_is_taken() -> None:
    now = 0.0
    store = MemoryStore(clock=lambda: now)
    first = leases.take(store, str(owner()))
    now = leases.TTL + 1
    assert first.fence < leases.take(store, str(owner(pid=2))).fence


def test_the_dead_core_of_this_node_is_succeeded_at_once(dead_pid: int) -> None:
    store = MemoryStore()
    first = leases.take(store, str(owner(pid=dead_pid)))
    new = str(owner(pid=os.getpid()))
    lease = leases.take(store, new, may_replace=leases.is_dead_core_of("node-1"))
    assert new == lease.owner
    assert first.fence < lease.fence


def test_a_living_core_of_this_node_is_not_succeeded(neighbour: Owner) -> None:
    store = MemoryStore()
    leases.take(store, str(neighbour))
    with pytest.raises(SupervisorError):
        leases.take(store, str(owner()), may_replace=leases.is_dead_core_of("node-1"))


def test_another_process_with_the_pid_of_a_dead_core_does_not_keep_its_lease(
    neighbour: Owner,
) -> None:
    store = MemoryStore()
    leases.take(store, str(attrs.evolve(neighbour, tick=neighbour.tick - 1)))
    assert leases.take(store, str(owner()), may_replace=leases.is_dead_core_of("node-1"))


def test_a_killed_core_that_nobody_has_reaped_is_succeeded() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    store = MemoryStore()
    leases.take(store, str(owner(pid=process.pid)))
    assert leases.take(store, str(owner()), may_replace=leases.is_dead_core_of("node-1"))
    process.communicate()


def test_a_core_of_another_node_is_not_succeeded(dead_pid: int) -> None:
    store = MemoryStore()
    leases.take(store, str(owner(node="node-2", pid=dead_pid)))
    with pytest.raises(SupervisorError):
        leases.take(store, str(owner()), may_replace=leases.is_dead_core_of("node-1"))


# -- alone, or one of several -------------------------------------------------------------------


def test_servers_that_share_a_store_each_hold_a_lease_of_their_own() -> None:
    store = MemoryStore()
    one = leases.join(store, owner(node="a"), several=True)
    two = leases.join(store, owner(node="b"), several=True)
    assert ["node/a", "node/b"] == [one.name, two.name]
    assert ["a", "b"] == [leases.node_of(lease) for lease in (one, two)]


@pytest.mark.parametrize("alone_first", [True, False])
def test_a_server_that_is_alone_and_one_of_several_exclude_each_other(alone_first: bool) -> None:
    store = MemoryStore()
    leases.join(store, owner(node="a"), several=not alone_first)
    with pytest.raises(SupervisorError, match="pid 4711 on a host") as caught:
        leases.join(store, owner(node="b"), several=alone_first)
    assert "data-dir-held" == caught.value.code
    assert "SeveralNodes = yes" in caught.value.hint
    assert ["a"] == [leases.node_of(lease) for lease in store.leases()[1]]


def test_a_store_for_one_server_refuses_to_serve_several() -> None:
    store = MemoryStore()
    store.several_nodes = False
    with pytest.raises(SupervisorError, match="'memory'") as caught:
        leases.join(store, owner(), several=True)
    assert "store-serves-one" == caught.value.code
    assert leases.join(store, owner(), several=False)


def test_a_server_that_is_alone_takes_over_what_a_node_before_it_had() -> None:
    store = MemoryStore()
    store.claim_all([leases.of_content(ContentId(7)), "seat/x/1"], "before-the-reboot", 30.0)
    leases.join(store, owner(), several=False)
    assert store.claim("content/7", "node-1", 30.0) is not None


def test_a_node_that_comes_back_after_a_server_that_is_alone_has_started_is_fenced() -> None:
    now = 0.0
    store = MemoryStore(clock=lambda: now)
    late = leases.join(store, owner(node="a"), several=True)
    now = leases.TTL + 1
    leases.join(store, owner(node="b"), several=False)
    renewed = store.claim(late.name, late.owner, leases.TTL)
    assert renewed is None or late.fence < renewed.fence
    with pytest.raises(LeaseLost):
        store.apply([], late)


def test_the_dead_core_of_this_node_does_not_keep_it_from_being_one_of_several(
    dead_pid: int,
) -> None:
    store = MemoryStore()
    leases.join(store, owner(pid=dead_pid), several=False)
    leases.join(store, owner(pid=os.getpid()), several=True)
    assert ["node/node-1"] == [lease.name for lease in store.leases()[1]]


def test_the_name_of_a_lease_says_whose_it_is() -> None:
    assert ContentId(12) == leases.content_of(leases.of_content(ContentId(12)))
    assert [None] * 4 == [
        leases.content_of(name) for name in ("content/", "content/x", "node/1", "12")
    ]


# -- records of an older version ----------------------------------------------------------------


@pytest.mark.parametrize("several", [True, False])
def test_records_are_not_changed_while_a_server_of_an_older_version_is_at_work(
    several: bool,
) -> None:
    store = MemoryStore()
    leases.enter(store, owner(node="older"), several=several)
    store.is_older = True
    before = store.leases()[1]
    with pytest.raises(SupervisorError, match=r"older version.*pid 4711 on a host") as caught:
        leases.enter(store, owner(node="newer"), several=several)
    assert "data-dir-held" == caught.value.code
    assert store.is_older
    assert before == store.leases()[1]


def test_records_are_changed_once_the_older_server_has_gone() -> None:
    now = 0.0
    store = MemoryStore(clock=lambda: now)
    leases.enter(store, owner(node="older"), several=True)
    store.is_older = True
    now = leases.TTL + 1
    assert "node/newer" == leases.enter(store, owner(node="newer"), several=True).name
    assert not store.is_older


def test_a_dead_core_of_this_node_does_not_keep_its_successor_from_changing_the_records(
    dead_pid: int,
) -> None:
    store = MemoryStore()
    leases.enter(store, owner(pid=dead_pid), several=True)
    store.is_older = True
    leases.enter(store, owner(), several=True)
    assert not store.is_older


def test_a_newer_server_that_came_before_our_lease_was_seen_ends_the_start() -> None:
    class Overtaken(MemoryStore):
        def claim(self, name: str, owner: str, ttl: float) -> Lease | None:
            self.is_newer = True
            return super().claim(name, owner, ttl)

        def migrate(self, permit: object = None) -> None:
            if hasattr(self, "is_newer"):
                raise SupervisorError("schema-newer", "the database has schema 2")

    store = Overtaken()
    with pytest.raises(SupervisorError, match="schema 2"):
        leases.enter(store, owner(), several=True)
    assert () == tuple(store.leases()[1])


def test_a_reload_asks_first_and_changes_nothing(neighbour: Owner) -> None:
    store = MemoryStore()
    leases.enter(store, neighbour, several=True)  # the core that the reload replaces
    store.is_older = True
    leases.can_enter(store, neighbour.node)
    assert store.is_older
    store.claim("node/other", str(owner(node="other")), 30.0)
    with pytest.raises(SupervisorError, match="older version"):
        leases.can_enter(store, neighbour.node)
    assert store.is_older
