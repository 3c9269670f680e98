"""Which node has which content, and what becomes of its processes: leases on a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio

from supervisor.errors import LeaseLost, SupervisorError
from supervisor.interfaces import Change
from supervisor.lifecycle import State
from supervisor.model import Content, ContentId, Overrides, Purpose, Receipt
from supervisor.testing.executors import WELL, Behaviour
from supervisor.testing.house import a_job, a_run
from tests.support.nodes import TTL, Cluster, LiveNode, cluster_in

LOOK = 5.0  # seconds between two looks


@pytest.fixture
async def cluster(short: Path) -> AsyncIterator[Cluster]:
    async with cluster_in(short) as made:
        yield made


async def two(
    cluster: Cluster, *, contents: int = 1, **fields: object
) -> tuple[LiveNode, LiveNode]:
    """Start two nodes; the first has all contents, each with a process that serves."""
    for number in range(1, contents + 1):
        cluster.publish(number, **fields)
    first, second = await cluster.node("first-node"), await cluster.node("second-node")
    await trio.sleep(LOOK)
    assert (set(range(1, contents + 1)), set()) == (first.has, second.has)
    assert {State.READY} == {worker.state for worker in first.workers}
    return first, second


async def never_stops(receipt: Receipt, grace: float) -> None:
    await trio.sleep_forever()


async def test_each_content_belongs_to_one_node_and_the_other_says_whose_it_is(
    cluster: Cluster,
) -> None:
    _, second = await two(cluster, contents=3)
    assert ["first-node"] * 3 == [cluster.holder(number) for number in (1, 2, 3)]
    assert {"elsewhere"} == {view.state for view in await second.contents.contents()}
    with pytest.raises(SupervisorError, match="first-no") as caught:
        await second.contents.restart("app-1")
    assert "other-node" == caught.value.code
    assert 3 == len(await second.contents.runs())
    assert {False} == {view.here for view in await second.contents.runs()}


async def test_two_that_start_at_once_share_what_there_is_without_doubles(
    cluster: Cluster,
) -> None:
    for number in range(1, 21):
        cluster.publish(number)
    nodes: list[LiveNode] = []

    async def start(name: str) -> None:
        nodes.append(await cluster.node(name))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start, "one")
        nursery.start_soon(start, "two")
    await trio.sleep(LOOK)
    assert set(range(1, 21)) == nodes[0].has | nodes[1].has
    assert set() == nodes[0].has & nodes[1].has
    assert 20 == sum(len(node.local.living) for node in nodes)


async def test_a_new_content_belongs_to_the_node_that_made_it(cluster: Cluster) -> None:
    first, second = await two(cluster)
    made = await second.contents.create_content("made-there")
    assert "second-node" == cluster.holder(made.id)
    await trio.sleep(LOOK + 1)
    assert ({1}, {made.id}) == (first.has, second.has)
    assert ["app-1", "made-there"] == [
        view.content.name for view in await first.contents.contents()
    ]
    with pytest.raises(SupervisorError):
        await first.contents.create_content("made-there")
    assert 2 == len(cluster.store.find("content"))


async def test_a_killed_node_is_succeeded_within_the_time_of_a_lease(cluster: Cluster) -> None:
    first, second = await two(cluster)
    (worker,) = first.workers
    await first.kill()
    with trio.fail_after(TTL + 0.2):
        while second.has != {1}:  # noqa: ASYNC110
            await trio.sleep(0.1)
    lost = cluster.run(worker.id)
    assert (State.LOST, "its node first-no is gone") == (lost.state, lost.reason)
    await trio.sleep(1)
    assert [State.READY] == [one.state for one in second.workers]


async def test_what_a_node_has_stays_its_own_however_long_it_takes_over_something(
    cluster: Cluster,
) -> None:
    first, second = await two(cluster)
    made = await second.contents.create_content("made-there")
    for _ in range(5):  # each of which takes the time that a stop may take
        run = a_run(purpose=Purpose.UNPACK, state=State.WORKING, executor="far", node="first-node")
        await first.journal.intent(Change(kind="run", record=run))
        await cluster.far.start(a_job(run))
    cluster.far.stop = never_stops  # type: ignore[method-assign]
    await first.kill()
    for _ in range(100):
        await trio.sleep(1)
        assert "second-node" == cluster.holder(made.id)
    assert {1, made.id} == second.has
    assert ["second-node"] * 2 == [cluster.holder(number) for number in (1, made.id)]


async def test_processes_that_outlive_nodes_are_adopted_and_not_started_again(
    cluster: Cluster,
) -> None:
    first, second = await two(cluster, executor="far")
    (worker,) = first.workers
    await first.kill()
    await trio.sleep(TTL + 1)
    (adopted,) = second.workers
    assert (worker.id, State.READY) == (adopted.id, adopted.state)
    assert "second-node" == cluster.run(worker.id).node
    assert (1, 0) == (cluster.far.count("start"), cluster.far.count("stop"))


async def test_a_node_that_stood_still_too_long_stops_its_processes_and_writes_nothing(
    cluster: Cluster,
) -> None:
    first, second = await two(cluster, contents=2)
    runs = [worker.id for worker in first.workers]
    first.halt()
    await trio.sleep(TTL + LOOK)
    assert {1, 2} == second.has
    assert 2 == len(first.local.living)
    before = [cluster.run(run) for run in runs]
    first.go_on()
    await trio.sleep(1)
    assert [] == first.local.living
    assert (set(), []) == (first.has, first.workers)
    await trio.sleep(LOOK)
    assert before == [cluster.run(run) for run in runs]
    assert {State.LOST} == {run.state for run in before}
    assert {"elsewhere"} == {view.state for view in await first.contents.contents()}
    assert [State.READY, State.READY] == [worker.state for worker in second.workers]


async def test_it_leaves_alone_what_outlives_nodes_and_another_has_adopted(
    cluster: Cluster,
) -> None:
    first, second = await two(cluster, executor="far")
    (worker,) = first.workers
    first.halt()
    await trio.sleep(TTL + LOOK)
    first.go_on()
    await trio.sleep(LOOK)
    assert ([], [worker.id]) == (first.workers, [adopted.id for adopted in second.workers])
    assert (1, 0) == (cluster.far.count("start"), cluster.far.count("stop"))


async def test_losing_one_content_does_not_wait_for_another(cluster: Cluster) -> None:
    cluster.publish(1, executor="far")
    cluster.publish(2)
    first = await cluster.node("first-node")
    second = await cluster.node("second-node")
    await trio.sleep(LOOK)
    first.halt()
    await trio.sleep(TTL + LOOK)

    async def never(kind: str, key: str | int) -> None:
        await trio.sleep_forever()

    first.journal.get = never  # type: ignore[method-assign]
    first.go_on()
    await trio.sleep(1)
    assert ([], {1, 2}) == (first.local.living, second.has)


async def test_a_process_that_ends_while_its_content_is_lost_takes_no_other_along(
    cluster: Cluster,
) -> None:
    content = cluster.publish(1, executor="far")
    content = attrs.evolve(content, scaling=Overrides(least=2, most=2), version=2)
    cluster.store.apply([Change(kind="content", record=content, was=1)])
    first = await cluster.node("first-node")
    await cluster.node("second-node")
    await trio.sleep(LOOK)
    ends, goes_on = (worker.id for worker in first.workers)
    first.halt()
    await trio.sleep(TTL + LOOK)
    get = first.journal.get

    async def meanwhile(kind: str, key: str | int) -> object:
        if key == ends:
            cluster.far.runs[ends].dies(WELL)
            await trio.sleep(1)
        return await get(kind, key)

    first.journal.get = meanwhile  # type: ignore[method-assign]
    first.go_on()
    await trio.sleep(LOOK)
    assert goes_on in {run.job.run for run in cluster.far.living}


async def test_it_stops_what_it_started_elsewhere_when_the_other_had_given_it_up(
    cluster: Cluster,
) -> None:
    """The start was asked for, and comes through after the takeover: nobody else knows of it."""
    cluster.far.behaves = lambda job: Behaviour(start=TTL + 10)
    cluster.publish(1, executor="far")
    first = await cluster.node("first-node")
    second = await cluster.node("second-node")
    await trio.sleep(1)
    first.halt()
    (asked,) = first.workers
    cluster.far.behaves = Behaviour()
    await trio.sleep(TTL + LOOK)
    assert State.LOST is cluster.run(asked.id).state
    first.go_on()
    await trio.sleep(2 * TTL)
    (served,) = second.workers
    assert [served.id] == [run.job.run for run in cluster.far.living]


async def test_one_that_goes_on_in_time_has_lost_nothing(cluster: Cluster) -> None:
    first, second = await two(cluster)
    (worker,) = first.workers
    first.halt()
    await trio.sleep(TTL - 2 * LOOK)
    first.go_on()
    await trio.sleep(2 * TTL)
    assert ({1}, set()) == (first.has, second.has)
    assert [worker] == first.workers
    assert State.READY is worker.state


async def test_while_nobody_can_claim_nobody_loses_anything(cluster: Cluster) -> None:
    first, second = await two(cluster)
    (worker,) = first.workers
    first.halt()
    second.halt()
    await trio.sleep(10 * TTL)
    first.go_on()
    await trio.sleep(1)
    second.go_on()
    await trio.sleep(LOOK)
    assert ({1}, set()) == (first.has, second.has)
    assert ([worker], State.READY) == (first.workers, worker.state)


async def test_nothing_starts_after_the_lease_was_lost(cluster: Cluster) -> None:
    first, second = await two(cluster)
    (worker,) = first.workers
    first.halt()
    worker.stop("to be replaced", grace=0.0)
    await trio.sleep(TTL + LOOK)
    started = first.local.count("start")
    first.go_on()
    await trio.sleep(LOOK)
    assert started == first.local.count("start")
    assert ([], {1}) == (first.local.living, second.has)


async def test_a_fact_of_an_earlier_tenure_is_refused_though_the_content_is_ours_again(
    cluster: Cluster,
) -> None:
    first, second = await two(cluster)
    stale = first.claims.fence(ContentId(1))
    first.halt()
    await trio.sleep(TTL + LOOK)
    first.go_on()
    await trio.sleep(LOOK)
    await second.kill()
    await trio.sleep(TTL + LOOK)
    assert {1} == first.has
    assert stale.fence < first.claims.fence(ContentId(1)).fence
    with pytest.raises(LeaseLost):
        cluster.store.apply([Change(kind="run", record=a_run(), fence=stale)])


async def test_a_change_of_a_content_that_was_never_claimed_is_refused(cluster: Cluster) -> None:
    first, second = await two(cluster)
    with pytest.raises(LeaseLost):
        await second.journal.intent(Change(kind="run", record=a_run()))
    await first.journal.intent(Change(kind="run", record=a_run()))


async def test_what_a_node_gives_back_is_taken_at_the_next_look(cluster: Cluster) -> None:
    first, second = await two(cluster, contents=2)
    await first.kill()
    first.journal.going.set()
    await first.claims.give_back()
    await trio.sleep(LOOK + 0.1)
    assert {1, 2} == second.has


async def test_a_node_that_stops_takes_nothing_more_and_keeps_what_it_has(
    cluster: Cluster,
) -> None:
    first, second = await two(cluster)
    made = await second.contents.create_content("made-there")
    second.holdings.rest()
    await first.kill()
    await first.claims.give_back()
    await trio.sleep(3 * TTL)
    assert ("", "second-node") == (cluster.holder(1), cluster.holder(made.id))
    assert {made.id} == second.has


async def test_runs_of_a_removed_content_whose_node_died_are_ended_and_its_lease_given_back(
    cluster: Cluster,
) -> None:
    first, second = await two(cluster)
    (worker,) = first.workers
    await first.kill()
    stored = cluster.store.get("content", 1)
    assert isinstance(stored, Content)
    gone = attrs.evolve(stored, removed=5.0, version=2)
    cluster.store.apply([Change(kind="content", record=gone, was=1)])
    await trio.sleep(TTL + LOOK)
    assert (State.LOST, set()) == (cluster.run(worker.id).state, second.has)
    assert "" == cluster.holder(1)


async def test_a_one_shot_of_a_lost_content_is_stopped(cluster: Cluster) -> None:
    first, _ = await two(cluster)
    run = a_run(purpose=Purpose.UNPACK, state=State.WORKING, node="first-node")
    await first.journal.intent(Change(kind="run", record=run))
    await first.local.start(a_job(run))
    first.halt()
    await trio.sleep(TTL + LOOK)
    first.go_on()
    await trio.sleep(LOOK)
    assert [] == first.local.living


async def test_a_seat_goes_to_as_many_nodes_as_there_are_seats(cluster: Cluster) -> None:
    first, second = await two(cluster)
    third = await cluster.node("third-node")
    mine = await first.claims.claim_seat("licence", 2)
    assert mine == await first.claims.claim_seat("licence", 2)
    assert "seat/licence/2" == (await second.claims.claim_seat("licence", 2)).name  # type: ignore[union-attr]
    assert await third.claims.claim_seat("licence", 2) is None
    await trio.sleep(2 * TTL)  # they are renewed with everything else
    assert await third.claims.claim_seat("licence", 2) is None
    await first.kill()
    await trio.sleep(TTL)
    assert "seat/licence/1" == (await third.claims.claim_seat("licence", 2)).name  # type: ignore[union-attr]


async def three_with_two_seats(cluster: Cluster) -> list[LiveNode]:
    """Start two nodes that have all contents, and one that stands by."""
    for number in (1, 2, 3):
        cluster.publish(number)
    first = await cluster.node("first-node", seats=2)
    second = await cluster.node("second-node", seats=2)
    await second.contents.create_content("made-there")
    third = await cluster.node("third-node", seats=2)
    await trio.sleep(LOOK)
    assert [{1, 2, 3}, {4}, set()] == [first.has, second.has, third.has]
    return [first, second, third]


def seats(cluster: Cluster) -> dict[str, str]:
    """Who has which seat."""
    held = cluster.store.leases()[1]
    return {lease.name: lease.owner for lease in held if lease.name.startswith("seat/")}


async def test_a_node_without_a_seat_stands_by_and_says_so(cluster: Cluster) -> None:
    *_, third = await three_with_two_seats(cluster)
    shown = {view.name: view.node for view in await third.contents.leases()}
    assert "first-node" == shown["seat/server/1"]
    assert "second-node" == shown["seat/server/2"]
    with pytest.raises(SupervisorError, match="stands by: 2 others") as caught:
        await third.contents.create_content("made-here")
    assert "other-node" == caught.value.code
    assert 4 == len(cluster.store.find("content", {"removed": None}))
    await trio.sleep(2 * TTL)  # seats are renewed with everything else
    assert set() == third.has


async def test_a_seat_that_is_given_back_goes_to_who_stands_by(cluster: Cluster) -> None:
    first, second, third = await three_with_two_seats(cluster)
    first.holdings.rest()  # as on SIGTERM
    await first.claims.give_back()
    await trio.sleep(LOOK + 1.0)
    assert {1, 2, 3, 4} == second.has | third.has
    assert len(seats(cluster)) <= 2
    assert "first-node" not in seats(cluster).values()


async def test_the_seat_of_a_killed_node_is_free_within_its_time(cluster: Cluster) -> None:
    for number in (1, 2):
        cluster.publish(number)
    first = await cluster.node("first-node", seats=1)
    second = await cluster.node("second-node", seats=1)
    await first.kill()
    await trio.sleep(TTL + LOOK)
    assert {1, 2} == second.has
    assert {"seat/server/1": "second-node"} == seats(cluster)


async def test_a_node_that_has_lost_its_seat_has_nothing(cluster: Cluster) -> None:
    for number in (1, 2):
        cluster.publish(number)
    first = await cluster.node("first-node", seats=1)
    await trio.sleep(LOOK)
    assert 2 == len(first.local.living)
    (seat,) = (lease for lease in cluster.store.leases()[1] if lease.name == "seat/server/1")
    cluster.store.release(seat)
    assert cluster.store.claim("seat/server/1", "another", 10 * TTL)
    await trio.sleep(2 * LOOK)
    assert set() == first.has
    assert [] == first.local.living
    assert ["", ""] == [cluster.holder(number) for number in (1, 2)]


@pytest.mark.parametrize("contents", [1, 50])
async def test_a_server_that_is_alone_asks_its_store_seven_times_until_it_serves(
    cluster: Cluster, contents: int
) -> None:
    for number in range(1, contents + 1):
        cluster.publish(number, stopped=True)
    asked: list[str] = []
    cluster.store.enter = asked.append  # type: ignore[assignment, method-assign]
    await cluster.node("alone", several=False)
    # With `migrate` before it is eight. MemoryStore claims many one by one, by `claim`.
    one_by_one = asked[4 : 4 + contents]
    assert ["claim"] * contents == one_by_one
    assert ["claim", "leases", "find", "find"] == asked[:4]
    assert ["find", "find"] == asked[4 + contents :]
