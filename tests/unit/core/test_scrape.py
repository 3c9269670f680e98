"""What Prometheus is told: right, quick with many contents, and never too much."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families as parse

from supervisor.core import scrape as module
from supervisor.core.control import Control
from supervisor.core.figures import Figures
from supervisor.core.scheduling.starts import Starts
from supervisor.core.scrape import MOST_CONTENTS, Scrape
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import Cause, Exit, Purpose, RunId, Usage
from supervisor.policy import Load
from supervisor.testing.house import House, a_content, a_run


class Fixture:
    """A core of which only what is looked at exists."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.used: dict[RunId, Usage] = {}
        self.keepers: dict[str, Any] = {}
        self.looks = 0
        registry = SimpleNamespace(by_guid=self.keepers, workers={})
        executor = SimpleNamespace(capabilities=SimpleNamespace(usage=True), usage=self._usage)
        makers = SimpleNamespace(
            executors=SimpleNamespace(by_name={"fake": executor}, away=lambda name: "it is away"),
            plugins=SimpleNamespace(views=list),
        )
        contents = SimpleNamespace(
            registry=registry,
            makers=makers,
            starts=Starts(most=4),
            journal=SimpleNamespace(waiting=3, spilled=1),
            log=Log("core"),
        )
        self.registry = registry
        self.control = Control(sock=None, log=Log("core"))
        routes: Any = SimpleNamespace(gateways=[1, 2], answered={"2": 7})
        self.figures = Figures()
        self.scrape = Scrape(self.figures, contents, routes, self.control, "root")  # type: ignore[arg-type]

    async def _usage(self, runs: Any) -> dict[RunId, Usage]:
        self.looks += 1
        return {run: self.used[run] for run in runs if run in self.used}

    def add(self, number: int, *, taken: int = 0, cpu: float = 1.0) -> Any:
        """Add a content with one process."""
        keeper = self.house.keeper(a_content(number))
        run = RunId(f"run-{number}")
        worker = SimpleNamespace(
            id=run,
            state=State.READY,
            deployment=keeper.content.active_deployment,
            takes_visitors=True,
            ordered=False,
            sockets=taken,
            executor=SimpleNamespace(name="fake"),
            tracked=SimpleNamespace(run=a_run(id=run), ended=False),
            load=lambda taken, held: Load(run=run, ready=True, taken=taken, held=held),
        )
        keeper.workers.append(worker)  # type: ignore[arg-type]
        self.keepers[keeper.content.guid] = keeper
        self.registry.workers[run] = worker
        self.used[run] = Usage(cpu=cpu, memory=1000, processes=1)
        return keeper

    async def read(self) -> dict[str, Any]:
        """Give sample name and labels → value."""
        found = {}
        for family in parse((await self.scrape()).decode()):
            for sample in family.samples:
                labels = ",".join(v for k, v in sample.labels.items() if k != "content")
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found


@pytest.fixture
def fixture(house: House) -> Fixture:
    return Fixture(house)


async def test_seats_line_and_contents_are_told(fixture: Fixture) -> None:
    fixture.add(1, taken=3)
    keeper = fixture.add(2)
    keeper.line.join("k", "visitor", trio.current_time() - 5.0, comes_back=True)
    sleeping = fixture.house.keeper(a_content(3))
    fixture.keepers[sleeping.content.guid] = sleeping
    found = await fixture.read()
    assert (3, 37) == (found["supervisor_seats_used"], found["supervisor_seats_free"])
    assert 1 == found["supervisor_visitors_waiting"]
    assert 5 <= found["supervisor_visitors_waiting_oldest_seconds"] < 6
    assert 1 == found["supervisor_content_waiting{app-2}"]
    assert (2, 1) == (
        found["supervisor_contents{running}"],
        found["supervisor_contents{sleeping}"],
    )
    assert "supervisor_content_processes{app-3}" not in found
    assert (3, 1, 2) == tuple(
        found[f"supervisor_{name}"]
        for name in ("store_waiting", "store_spill_files", "gateways_connected")
    )
    assert (1, 7) == (
        found["supervisor_executor_away{fake}"],
        found["supervisor_http_answers_total{2xx}"],
    )


async def test_cpu_of_a_content_only_grows_whatever_its_processes_do(
    fixture: Fixture, autojump_clock: trio.testing.MockClock
) -> None:
    keeper = fixture.add(1, cpu=10.0)
    name = "supervisor_content_cpu_seconds_total{app-1}"
    assert 10 == (await fixture.read())[name]
    await trio.sleep(2)
    fixture.used[RunId("run-1")] = Usage(cpu=12.5, memory=1000, processes=1)
    assert 12.5 == (await fixture.read())[name]
    await trio.sleep(2)
    known = fixture.used.pop(RunId("run-1"))  # the executor is away for a moment
    assert 12.5 == (await fixture.read())[name]
    await trio.sleep(2)
    fixture.used[RunId("run-1")] = known
    assert 12.5 == (await fixture.read())[name]
    await trio.sleep(2)
    keeper.workers.clear()
    fixture.registry.workers.clear()
    found = await fixture.read()
    assert (12.5, 0) == (found[name], found["supervisor_content_processes{app-1}"])
    await trio.sleep(2)
    fixture.keepers.clear()  # removed
    assert name not in await fixture.read()


async def test_two_who_ask_at_once_cost_one_look(
    fixture: Fixture, autojump_clock: trio.testing.MockClock
) -> None:
    fixture.add(1)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(fixture.scrape)
    assert 1 == fixture.looks
    await trio.sleep(1.1)
    await fixture.scrape()
    assert 2 == fixture.looks


async def test_a_thousand_contents_are_told_quickly(fixture: Fixture) -> None:
    for number in range(1, 1001):
        fixture.add(number, taken=number % 5)
    begun = time.perf_counter()
    text = await fixture.scrape()
    took = time.perf_counter() - begun
    assert 1000 == text.count(b"supervisor_content_processes{")
    assert took < 1.0  # measured: 0.03 s
    assert len(text) < 2_000_000


async def test_more_runs_than_fit_a_packet_are_asked_for_in_parts(fixture: Fixture) -> None:
    for number in range(1, 1002):
        fixture.add(number)
    found = await fixture.read()
    assert 2 == fixture.looks
    assert 1000 == found["supervisor_content_memory_bytes{app-1001}"]


async def test_contents_beyond_the_limit_are_counted_and_not_told(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_CONTENTS <= 5000
    monkeypatch.setattr(module, "MOST_CONTENTS", 20)
    for number in range(1, 31):
        fixture.add(number)
    found = await fixture.read()
    told = [name for name in found if name.startswith("supervisor_content_processes{")]
    assert (20, 10) == (len(told), found["supervisor_contents_left_out"])
    assert 30 == found["supervisor_contents{running}"]


async def test_the_servers_own_processes_are_told(fixture: Fixture) -> None:
    fixture.control.parts = {"pids": {}, "starts": {"gateway": 3}}
    found = await fixture.read()
    assert 3 == found["supervisor_process_starts_total{gateway}"]
    assert found["supervisor_process_memory_bytes{core}"] > 1_000_000
    assert found["supervisor_process_cpu_seconds_total{core}"] > 0


@pytest.mark.parametrize("purpose", [Purpose.SERVE, Purpose.UNPACK])
def test_starts_ends_and_times_are_counted_by_purpose_and_cause(purpose: Purpose) -> None:
    figures = Figures()
    run = a_run(purpose=purpose, created=100.0)

    def move(was: State, now: State, **fields: Any) -> None:
        nonlocal run
        run = attrs.evolve(run, state=now, **fields)
        figures.moved(run, was)

    move(State.QUEUED, State.STARTING)
    if purpose is Purpose.SERVE:
        move(State.STARTING, State.PROBING, started=101.0)
        move(State.PROBING, State.READY, ready=103.0)
        move(State.READY, State.STOPPING)
        end = Exit(cause=Cause.MEMORY)
        move(State.STOPPING, State.EXITED, ended=200.0, exit=end)
    else:
        move(State.STARTING, State.WORKING, started=101.0)
        move(State.WORKING, State.FAILED, ended=111.0, exit=Exit(cause=Cause.TOO_LONG))
    assert {(purpose.value,): 1} == figures.started.values
    ended = {
        Purpose.SERVE: ("serve", "exited", "memory"),
        Purpose.UNPACK: ("unpack", "failed", "too-long"),
    }
    assert {ended[purpose]: 1} == figures.ended.values
    text = "\n".join([*figures.cold_start.lines(), *figures.job.lines()])
    if purpose is Purpose.SERVE:
        assert "supervisor_cold_start_seconds_sum 3\n" in text
    else:
        assert 'supervisor_job_duration_seconds_sum{purpose="unpack"} 10' in text
        assert 'le="15"} 1' in text


def test_every_figure_has_a_name_of_ours_and_says_what_it_is() -> None:
    families = Figures().families
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    for family in families:
        assert family.name.startswith("supervisor_")
        assert ("counter" == family.kind) == family.name.endswith("_total")
        assert family.about.endswith(".")
