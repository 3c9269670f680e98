"""Something is killed or stopped at random, and everybody is served again, round after round.

A seed gives the same faults again: who is hit, which of several, killed or stopped for how long.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import psutil
import trio

from tests.support.guests import Cut, Guest, Guests, guests
from tests.support.leftovers import api, nothing_is_left
from tests.support.server import LiveServer, live_server
from tests.support.shiny_client import SessionEnded

CONTENT = Path(__file__).parents[1] / "content"
KINDS = ("r", "python")
VICTIMS = ("parent", "helper", "core", "gateway", "init", "content")
MOST, EACH = 3, 8  # processes of a content, and seats of a process
LIMIT = 5.0  # seconds for everybody to be served again, on a quiet machine
ALIVE = 12.0  # age of a run to be hit: what dies sooner counts as a crash at its start
SHORTEST, LONGEST = 0.2, 8.0  # seconds for which a process is stopped
REPLACED = 15.0  # seconds for a killed part of the server to be there again
SETTLED = 20.0  # seconds in which lost sessions have given back their seats


@attrs.frozen(kw_only=True)
class Fault:
    """What happens in a round. which: 0 to 1, of several processes; stop: seconds, 0 is a kill."""

    number: int
    victim: str
    which: float
    stop: float

    def __str__(self) -> str:
        done = f"stopped for {self.stop:.1f} s" if self.stop else "killed"
        return f"round {self.number}: {self.victim} {done}"


def faults(seed: int) -> Iterator[Fault]:
    """Give the faults of a seed, without an end."""
    dice = random.Random(seed)
    number = 0
    while True:
        number += 1
        victim, which = dice.choice(VICTIMS), dice.random()
        killed, seconds = dice.random() < 0.5, dice.uniform(SHORTEST, LONGEST)
        yield Fault(number=number, victim=victim, which=which, stop=0.0 if killed else seconds)


@attrs.define(eq=False)
class Chaos:
    """One server with guests, that is hit again and again. history: a line for each round.

    uids: those of its contents; limit: seconds for everybody to be served again.
    """

    server: LiveServer
    party: Guests
    uids: range
    limit: float
    history: list[str] = attrs.field(factory=list)
    _run_of: dict[str, str] = attrs.field(factory=dict)  # the app's own name of its process → run
    _pid_of: dict[str, int] = attrs.field(factory=dict)  # run → its init
    _ever: set[psutil.Process] = attrs.field(factory=set)

    async def round(self, fault: Fault) -> float:
        """Let a fault happen; give the seconds from its end until everybody was served again.

        Raises AssertionError, with the latest rounds, where anything is not as it must be.
        """
        begun = trio.current_time()
        hit = ""
        try:
            await self.party.served(120.0)
            hit, pid = await trio.to_thread.run_sync(self._pick, fault)
            await self._strike(fault, hit, pid)
            waited = await self._everybody_is_served()
            self._only_whose_process_ended_were_cut_off(fault, hit, self.party.cuts(since=begun))
            self._each_run_is_one_process()
            await trio.to_thread.run_sync(self._nothing_is_twice_or_too_much)
        except Exception as error:
            told = "\n".join([*self.history[-10:], f"{fault} {hit}: {type(error).__name__}"])
            raise AssertionError(f"{_reasons(error)}\nWhat came before:\n{told}") from error
        self.history.append(f"{fault} {hit}: served after {waited:.2f} s")
        if waited > LIMIT:
            slowest = max(self.party, key=lambda guest: guest.visits[-1].waited)
            self.history[-1] += "; the slowest:" + "".join(f"\n  {one}" for one in slowest.tries)
        return waited

    async def end(self) -> None:
        """Let everybody leave; no seat and nothing else may be left."""
        await self.party.leave()
        await trio.to_thread.run_sync(
            lambda: self.server.until(lambda: not self._seats(), SETTLED, "no seat is taken")
        )
        await trio.to_thread.run_sync(nothing_is_left, self.server)

    # -- the fault ----------------------------------------------------------------------------

    def _pick(self, fault: Fault) -> tuple[str, int]:
        """Give the run that is hit, "" for a part of the server, and the pid of the victim."""
        server = self.server
        self._ever.update(self._here())
        if fault.victim not in ("init", "content"):
            pid = getattr(server, fault.victim)
            assert pid is not None, f"there is no {fault.victim}"
            return "", pid
        runs = sorted(self._runs(), key=lambda run: (run["content"]["name"], run["created_time"]))
        run = runs[int(fault.which * len(runs))]
        time.sleep(max(0.0, ALIVE - run["age"]))
        init = psutil.Process(run["pid"])
        return run["id"], init.pid if fault.victim == "init" else init.children()[0].pid

    async def _strike(self, fault: Fault, hit: str, pid: int) -> None:
        """Kill or stop; return when the victim runs again or its successor is there."""
        if not fault.stop:
            os.kill(pid, signal.SIGKILL)
            await trio.to_thread.run_sync(self._replaced, fault.victim, pid)
            return
        spared = [guest for guest in self.party if not _depends(fault, hit, guest.run)]
        os.kill(pid, signal.SIGSTOP)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, fault.stop)
                for guest in spared:
                    nursery.start_soon(guest.move)
        finally:
            os.kill(pid, signal.SIGCONT)

    def _replaced(self, victim: str, old: int) -> None:
        server = self.server
        if victim == "parent":
            assert server.process is not None
            server.process.wait(10)
            server.start(wait=False)
            server.until(lambda: server.ping() == 200 and self._answers(), REPLACED, "a server")
        elif victim == "core":
            server.until(lambda: server.core not in (None, old), REPLACED, "a new core")
            server.until(self._answers, REPLACED, "a core that answers")
        elif victim in ("gateway", "helper"):
            server.until(
                lambda: getattr(server, victim) not in (None, old), REPLACED, f"a new {victim}"
            )

    def _answers(self) -> bool:
        try:
            api(self.server, "/v1/content")
        except (httpx2.HTTPError, OSError):
            return False
        return True

    # -- what must hold afterwards ------------------------------------------------------------

    async def _everybody_is_served(self) -> float:
        """Return when each guest has had an answer of its session since now; give how long."""
        begun = trio.current_time()

        async def one(guest: Guest) -> None:
            while True:
                await self.party.served(math.inf, [guest])
                try:
                    await guest.move(seconds=self.limit + 1)
                    return
                except SessionEnded:
                    continue

        with trio.move_on_after(self.limit) as limit:
            async with trio.open_nursery() as nursery:
                for guest in self.party:
                    nursery.start_soon(one, guest)
        waited = trio.current_time() - begun
        assert not limit.cancelled_caught, (
            f"not served in {self.limit} s: {self.party.complaints()}"
        )
        return waited

    def _only_whose_process_ended_were_cut_off(
        self, fault: Fault, hit: str, cuts: list[Cut]
    ) -> None:
        wrong = [cut for cut in cuts if fault.stop or not _depends(fault, hit, cut.run)]
        assert wrong == [], f"{len(wrong)} cut off for nothing: {wrong[:3]}"

    def _each_run_is_one_process(self) -> None:
        for visit in (visit for guest in self.party for visit in guest.visits):
            run = self._run_of.setdefault(visit.process, visit.run)
            assert run == visit.run, f"one process answers for the runs {run} and {visit.run}"
        assert len(self._run_of) == len(set(self._run_of.values())), "two processes of one run"

    def _nothing_is_twice_or_too_much(self) -> None:
        runs = self._runs()
        for run in runs:
            pid = self._pid_of.setdefault(run["id"], run["pid"])
            assert pid == run["pid"], f"run {run['id']} was started twice: {pid}, {run['pid']}"
        for kind in KINDS:
            counted = [
                run["state"]
                for run in runs
                if run["content"]["name"] == f"{kind}-app" and run["state"] != "draining"
            ]
            assert len(counted) <= MOST, f"{kind}-app has {counted}"
        wanted = {"open": len(self.party)}
        self.server.until(lambda: self._seats() == wanted, SETTLED, f"the seats are {wanted}")
        nothing_is_left(self.server)
        self.server.until(lambda: not self._strays(), 5.0, "processes that nobody needs end")

    def _runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api(self.server, "/v1/supervisor/runs")
        return [run for run in found if run["pid"] and run["state"] in ("ready", "draining")]

    def _seats(self) -> dict[str, int]:
        """How many are open, away, reserved, and how many visitors wait."""
        return Counter(one["state"] for one in api(self.server, "/v1/supervisor/sessions"))

    def _here(self) -> set[psutil.Process]:
        """The server's processes, its contents' among them."""
        parent = psutil.Process(self.server.parent)
        return {parent, *parent.children(recursive=True)}

    def _strays(self) -> set[psutil.Process]:
        """Processes that were the server's or are some content's, and are not the server's now."""
        here = self._here()
        found = {one for one in self._ever - here if _runs_on(one)}
        for process in psutil.process_iter():
            try:
                if process.uids().real in self.uids and process not in here and _runs_on(process):
                    found.add(process)
            except psutil.NoSuchProcess:
                continue
        return found


@asynccontextmanager
async def chaos(count: int = 30, *, limit: float = LIMIT) -> AsyncIterator[Chaos]:
    """A server with an R and a Python app and this many guests, half of them each."""
    first = 1_000_000 + os.getpid() % 10_000 * 100  # uids that no other server of this host has
    uids = range(first, first + 100)
    extra = (
        f"[Applications]\nUidFirst = {uids[0]}\nUidLast = {uids[-1]}\n"
        f"[Scheduler]\nMaxProcesses = {MOST}\nMaxConnsPerProcess = {EACH}\nLoadFactor = 1.0\n"
    )
    with live_server(extra=extra) as server:
        for kind in KINDS:
            server.deploy(CONTENT / f"{kind}-counts-its-visitors", f"{kind}-app")
        urls = [server.url + server.path(f"{kind}-app") for kind in KINDS]
        async with guests([urls[number % len(urls)] for number in range(count)]) as party:
            yield Chaos(server, party, uids, limit)


def _depends(fault: Fault, hit: str, run: str) -> bool:
    """Whether a session on this run feels the fault: its bytes stop, or its process ends."""
    if fault.victim == "gateway":
        return True
    if fault.victim in ("parent", "helper"):
        return not fault.stop
    return fault.victim in ("init", "content") and run == hit


def _reasons(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(sorted({_reasons(one) for one in error.exceptions}))
    return f"{type(error).__name__}: {error}"


def _runs_on(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
