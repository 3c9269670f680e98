"""What doctor says of the machine's TCP listeners."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from supervisor_unshare.requests.rules import Rules
from supervisor_unshare.tiers.listeners import Listener, here, parse
from supervisor_unshare.tiers.network_findings import findings

from supervisor import Egress

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"
REST = "00000000:00000000 00:00000000 00000000     0        0"
TABLE = [
    HEAD,
    f"   0: 0100007F:1538 00000000:0000 0A {REST} 4711 1",
    f"   1: 00000000:0016 00000000:0000 0A {REST} 4712 1",
    f"   2: 0100007F:1538 0100007F:9C40 01 {REST} 4713 1",
    f"   3: 00000000000000000000000001000000:1F90 {'0' * 32}:0000 0A {REST} 4714 1",
    f"   4: 0000000000000000FFFF00000100007F:1F91 {'0' * 32}:0000 0A {REST} 4715 1",
]


def rules(**fields: object) -> Rules:
    known = {
        "tier": "root", "core_uid": 1, "core_gid": 1, "gateway_uid": 2, "gateway_gid": 2,
        "uid_first": 1000, "uid_last": 2000, **fields,
    }  # fmt: skip
    return Rules(**known)  # type: ignore[arg-type]


def test_the_tables_of_the_kernel_are_read() -> None:
    found = [(one.address, one.port, one.is_loopback) for one in parse(TABLE)]
    assert [
        ("127.0.0.1", 5432, True),
        ("0.0.0.0", 22, False),
        ("::1", 8080, True),
        ("127.0.0.1", 8081, True),
    ] == found


def test_a_listener_of_this_process_is_found_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        (mine,) = (one for one in here() if (one.address, one.port) == ("127.0.0.1", port))
    with open(f"/proc/{os.getpid()}/comm", encoding="utf-8") as file:
        assert file.read().strip() == mine.program


def test_doctor_names_what_egress_host_exposes() -> None:
    found = findings(rules(), lambda: [Listener(22, "0.0.0.0", "sshd"), Listener(631, "::1")])
    (host,) = (one for one in found if one["name"] == "egress-host")
    assert "0.0.0.0:22 (sshd), [::1]:631." in host["text"]


def test_doctor_says_what_egress_user_lacks() -> None:
    (user, _) = findings(rules(), list)
    assert not user["ok"]
    assert "passt" in user["fix"]


@pytest.mark.parametrize(("said", "ok"), [("", True), ("/dev/net/tun: Permission denied", False)])
def test_doctor_tries_the_device_that_egress_user_needs(
    said: str, ok: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("supervisor_unshare.tiers.network_findings.TUN", str(tmp_path))
    (user, _) = findings(rules(pasta="/usr/bin/pasta"), list, lambda _: said)
    assert (user["ok"], said in user["text"]) == (ok, True)


def test_doctor_is_silent_about_what_nobody_may_have() -> None:
    assert [] == findings(rules(egress=Egress.NONE))
