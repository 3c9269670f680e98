"""Who is an administrator: by uid, by group, by token."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from supervisor.api.access import ApiSettings, api_settings, is_administrator, write_token
from supervisor.api.peer import Peer
from supervisor.settings import Settings, configure

CORE, GATEWAY, ADMINS = 900, 901, 77
SETTINGS = ApiSettings(core_uid=CORE, gateway_uid=GATEWAY, admin_gid=ADMINS)
ROOTLESS = ApiSettings(core_uid=1000, gateway_uid=1000, admin_gid=1000, token="secret")


def peer(uid: int, *groups: int) -> Peer:
    return Peer(pid=1, uid=uid, gid=uid, groups=frozenset({uid, *groups}))


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (peer(0), True),
        (peer(CORE), True),
        (peer(1234, ADMINS), True),
        (peer(1234), False),
        (peer(GATEWAY), False),
        (peer(GATEWAY, ADMINS), False),  # what it forwards comes from the network, whatever it is
    ],
)
def test_with_root_uid_and_group_decide(who: Peer, expected: bool) -> None:
    assert expected is is_administrator(who, "", SETTINGS)


@pytest.mark.parametrize(
    ("who", "shown", "expected"),
    [
        (peer(1000), "Key secret", True),
        (peer(0), "Key secret", True),
        (peer(1000), "", False),  # the gateway has the same uid
        (peer(1000), "Key wrong", False),
        (peer(1000), "Key sécret", False),
        (peer(1001, 1000), "Key secret", False),
    ],
)
def test_without_root_the_token_decides(who: Peer, shown: str, expected: bool) -> None:
    assert expected is is_administrator(who, shown, ROOTLESS)


def test_without_an_administrators_group_nobody_is_a_member() -> None:
    settings = ApiSettings(core_uid=CORE, gateway_uid=GATEWAY)
    assert not is_administrator(peer(1234, ADMINS), "", settings)


def test_the_token_is_for_its_owner_alone_and_new_each_time(tmp_path: Path) -> None:
    first, second = write_token(tmp_path), write_token(tmp_path)
    assert first != second
    assert second == (tmp_path / "admin.token").read_text()
    assert 0o600 == stat.S_IMODE((tmp_path / "admin.token").stat().st_mode)
    assert ["admin.token"] == os.listdir(tmp_path)


def known(run_dir: Path, core_uid: int, gateway_uid: int, admin_gid: int | None) -> Settings:
    return Settings.of(
        configure([]),
        data_dir="/data",
        run_dir=str(run_dir),
        rootless=core_uid == gateway_uid,
        tier="root",
        core_uid=core_uid,
        core_gid=core_uid,
        gateway_uid=gateway_uid,
        gateway_gid=gateway_uid,
        install_uid=902,
        install_gid=902,
        admin_gid=admin_gid,
    )


def test_settings_of_a_server_with_root_have_no_token(tmp_path: Path) -> None:
    settings = api_settings(known(tmp_path, CORE, GATEWAY, ADMINS))
    assert (None, ADMINS) == (settings.token, settings.admin_gid)
    assert [] == os.listdir(tmp_path)


def test_settings_of_a_server_without_root_write_the_token(tmp_path: Path) -> None:
    settings = api_settings(known(tmp_path, 1000, 1000, None))
    assert (tmp_path / "admin.token").read_text() == settings.token
    assert "secret" not in repr(ROOTLESS)
