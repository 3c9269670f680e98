"""/v1/supervisor/config: of a core with settings, and of one without."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from supervisor.core.configured import Configured
from supervisor.core.control import Control
from supervisor.log import Log
from supervisor.settings import Settings, configure, parse

if TYPE_CHECKING:
    from conftest import Served, Start  # type: ignore[attr-defined]
else:
    Served = Start = object

QUIET = Log("core", level="error", fd=os.open(os.devnull, os.O_WRONLY))
TEXT = "[Scheduler]\nMaxProcesses = 7\n[Moon]\nToken = hunter2\n"


def configured() -> Configured:
    settings = Settings.of(
        configure(parse(TEXT, "test.gcfg")),
        data_dir="/data", run_dir="/run/x", rootless=True, tier="rootless", core_uid=1, core_gid=1,
        gateway_uid=1, gateway_gid=1, install_uid=1, install_gid=1, admin_gid=None,
    )  # fmt: skip
    return Configured(settings, Control(sock=None, log=QUIET))


async def test_settings_are_told_with_their_origin_and_without_secrets(start: Start) -> None:
    served = await start(configured=configured())
    async with served.client() as client:
        answer = await client.get("/v1/supervisor/config")
    rows = {f"{row['section']}.{row['key']}": row for row in answer.json()["settings"]}
    assert (["7"], "test.gcfg:2") == (
        rows["Scheduler.MaxProcesses"]["values"],
        rows["Scheduler.MaxProcesses"]["origin"],
    )
    assert ["(secret)"] == rows["Moon.Token"]["values"]
    assert "hunter2" not in answer.text


async def test_what_the_api_knows_of_the_settings_follows_them(start: Start) -> None:
    served = await start(configured=configured())
    async with served.client() as client:
        scheduler = (await client.get("/server_settings/scheduler")).json()
    assert 7 == scheduler["max_processes"]


async def test_a_core_without_settings_says_so(served: Served) -> None:
    async with served.client() as client:
        answer = await client.get("/v1/supervisor/config")
    assert (503, "unavailable") == (answer.status_code, answer.json()["code"])
