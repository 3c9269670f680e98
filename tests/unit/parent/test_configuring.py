"""What of a plan follows the file, and what stays whatever the file says."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import pytest

from supervisor import packets
from supervisor.errors import SupervisorError
from supervisor.log import Log
from supervisor.parent.configuring import Configuring, follow
from supervisor.parent.plan import Plan
from supervisor.settings import Configuration, configure, parse

QUIET = Log("parent", level="error", fd=os.open(os.devnull, os.O_WRONLY))
# numbers that belong to nobody; nothing is started with them
WHO = (
    "[Privileged]\nCoreUser = 61001\nGatewayUser = 61002\nInstallUser = 61003\nAdminGroup = 61004\n"
)


def configured(text: str) -> Configuration:
    return configure(parse(f"{WHO}{text}", "test.gcfg"))


def plan(text: str = "") -> Plan:
    programs = {"core": ("core",), "gateway": ("gateway",)}
    return Plan.of(configured(text), environ={"HOME": "/nowhere"}, programs=programs)


def test_the_same_file_changes_nothing_also_of_what_the_parent_holds() -> None:
    one = plan("[Scheduler]\nIdleTimeout = 7s\n")
    held: dict[str, Any] = {
        "uid_first": 7,
        "several_nodes": True,
        "data_dir": "/held",
        "run_dir": "/kept",
    }
    one = dataclasses.replace(one, settings=dataclasses.replace(one.settings, **held))

    assert one == follow(one, one.configuration)


def test_what_may_change_is_in_the_settings_of_the_children() -> None:
    fresh = configured("[Scheduler]\nIdleTimeout = 7s\n[Server]\nAddress = http://x\n")
    after = follow(plan(), fresh)

    assert (7.0, "") == (after.settings.scheduler.idle, after.settings.server_address)
    assert b'"IdleTimeout"' in after.data_of("core")
    assert b'"IdleTimeout"' not in after.data_of("gateway")


def test_without_a_way_to_read_it_the_file_is_not_read() -> None:
    with pytest.raises(SupervisorError, match="without the means"):
        Configuring(plan(), load=None, log=QUIET).read_again()


def test_an_answer_fits_into_a_packet_however_much_has_changed() -> None:
    text = "".join(f'[Moon "{"ä" * 100}{n}"]\nKey = 1\n' for n in range(5000))
    text += "".join(f"[Server]\nUnknown{n} = 1\n" for n in range(5000))
    file = "ä" * 150  # of which each letter is six bytes there
    fresh = configure(parse(WHO + text, file))
    answer = Configuring(plan(), load=lambda: fresh, log=QUIET).answer()

    assert answer["ok"]
    assert answer["kept"]
    assert answer["warnings"]
    assert len(json.dumps(answer)) < packets.LIMIT


def test_a_refusal_leaves_the_plan_as_it_was() -> None:
    configuring = Configuring(plan(), load=lambda: configured("[HTTP]\nListen = :1\n"), log=QUIET)
    before = configuring.plan

    assert not configuring.answer()["ok"]
    assert before is configuring.plan
