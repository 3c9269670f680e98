"""A server that looks busy: for looking at live screens. `python -m tests.support.busy SOCKET`

Fifty runs of many contents, names as long as they may be, titles of many scripts; nothing is real.
"""

from __future__ import annotations

import math
import os
import random
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from supervisor.api.access import ApiSettings
from supervisor.api.server import serve_api
from supervisor.core.service import ContentView, RunView, SessionView
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import Content, ContentId, Purpose, Run, Scaling, new_guid, new_job_key
from supervisor.model.ids import new_run_id
from supervisor.testing.fakes_service import FakeService

NAMES = {
    "sales-dashboard": "Sales",
    "regional-forecast-europe-north-and-the-baltic-states-2026-q4": "Forecast, north",
    "regional-forecast-europe-south-and-the-mediterranean-2026-q4": "Forecast, south",
    "klinische-studie": "Klinische Studie – Übersicht",
    "uriage": "売上ダッシュボード（四半期）",
    "smile": "Smiley 😀 stress test",
    "abc": "",
    "heavy_model": "One visitor, one process",
    "api-prices": "Prices",
    "broken-app": "Fails at start",
    "iris": "Iris explorer",
    "penguins": "Penguins",
}
REASONS = {
    State.STARTING: "a visitor waits",
    State.FAILED: "there is no package called 'ggplot2', which the app wants at its start",
    State.DRAINING: "replaced by a newer deployment",
}


class BusyService(FakeService):
    """Numbers that go up and down as sines, so that every look differs a little."""

    def __init__(self, runs: int = 50, seed: int = 1) -> None:
        super().__init__()
        dice = random.Random(seed)
        self.born = time.time()
        for number, (name, title) in enumerate(NAMES.items(), 1):
            content = Content(id=ContentId(number), guid=new_guid(), name=name, title=title)
            state = "failed" if name == "broken-app" else "running"
            each = 1 if name == "heavy_model" else 20
            self._keep(
                ContentView(
                    content=content, state=state, scaling=Scaling(most=8, sessions_each=each)
                )
            )
        views = list(self.views.values())
        for number in range(runs):
            view = views[min(number * 5 % 17, len(views) - 1)]
            state = State.READY
            if number % 11 == 3:
                state = State.STARTING
            elif number % 13 == 5:
                state = State.DRAINING
            elif view.state == "failed":
                state = State.STOPPING
            run = Run(
                id=new_run_id(),
                key=new_job_key(),
                content=view.content.id,
                purpose=Purpose.UNPACK if number == 20 else Purpose.SERVE,
                state=state,
                reason=REASONS.get(state, ""),
                executor="fake",
                created=self.born,
            )
            self.run_views[run.id] = RunView(
                run=run,
                content_name=view.content.name,
                content_guid=view.content.guid,
                pid=None if state is State.STARTING else dice.randrange(900, 4_000_000),
                cpu=dice.random() * 100,
                memory=int(dice.random() ** 3 * 4e9) + 40_000_000,
                processes=2,
                age=dice.random() ** 6 * 900_000,
            )

    async def runs(self, ref: str | None = None, *, ended: bool = False) -> Sequence[RunView]:
        """Give the runs as they are at this moment."""
        return [self._moved(n, view) for n, view in enumerate(await super().runs(ref, ended=ended))]

    async def contents(self) -> Sequence[ContentView]:
        """Give the contents with the sums of their runs."""
        runs = await self.runs()
        wave = time.time() - self.born
        return [
            attrs.evolve(
                view,
                processes=sum(run.content_guid == view.content.guid for run in runs),
                sessions=sum(run.sessions for run in runs if run.content_guid == view.content.guid),
                waiting=max(0, round(4 * math.sin(wave / 7 + n))) if n % 4 == 0 else 0,
            )
            for n, view in enumerate(await super().contents())
        ]

    async def sessions(self, ref: str | None = None) -> Sequence[SessionView]:
        """Give a seat for each session, and those in line."""
        found = [
            SessionView(
                content_name=run.content_name,
                content_guid=run.content_guid,
                state="away" if seat % 9 == 8 else "open",
                visitor=f"{hash((run.run.id, seat)) & 0xFFFFFFFF:08x}",
                run=run.run.id,
                age=run.age * seat / 20,
                quiet_client=float(seat),
                quiet_worker=seat / 3,
                bytes_in=seat * 1000,
                bytes_out=seat**4,
            )
            for run in await self.runs()
            for seat in range(run.sessions)
        ]
        line = [
            SessionView(
                content_name=view.content.name,
                content_guid=view.content.guid,
                state="waiting",
                visitor=f"{place:08x}",
                age=3.0 * place,
                position=place,
            )
            for view in await self.contents()
            for place in range(1, view.waiting + 1)
        ]
        return [seat for seat in (*found, *line) if ref in (None, seat.content_guid)]

    def _moved(self, number: int, view: RunView) -> RunView:
        lived = time.time() - self.born
        serves = view.run.purpose is Purpose.SERVE
        if view.run.state not in (State.READY, State.DRAINING) or not serves:
            return attrs.evolve(view, age=view.age + lived)
        wave = 0.5 + 0.5 * math.sin(lived / 9 + number)
        each = 1 if view.content_name == "heavy_model" else 20
        pace = 1.4 if number % 10 == 0 else 0.15
        return attrs.evolve(
            view,
            sessions=round(each * wave),
            requests=round(4 * wave) if number % 3 == 0 else 0,
            cpu=(view.cpu or 0) + lived * pace + math.sin(lived / 9 + number),
            memory=int((view.memory or 0) * (1 + 0.1 * wave)),
            age=view.age + lived,
        )


async def serve(path: Path, runs: int) -> None:
    """Serve it until cancelled."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        settings = ApiSettings(core_uid=os.getuid(), gateway_uid=-1)
        await serve_api(listener.detach(), BusyService(runs), settings, log=Log("core"))


if __name__ == "__main__":
    Path(sys.argv[1]).unlink(missing_ok=True)
    trio.run(serve, Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50)
