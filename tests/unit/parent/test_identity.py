from __future__ import annotations

import pwd

import pytest

from supervisor.errors import SupervisorError
from supervisor.parent import identity
from supervisor.parent.identity import Identities
from supervisor.settings import Configuration, configure, parse

NUMBERS = {
    "CoreUser": "61001", "GatewayUser": "61002:62002", "InstallUser": "61003", "AdminGroup": "61004"
}  # fmt: skip


def configured(more: str = "", **users: str) -> Configuration:
    lines = "\n".join(f"{key} = {value}" for key, value in (NUMBERS | users).items())
    return configure(parse(f"[Privileged]\n{lines}\n{more}", "test.gcfg"))


def resolve(more: str = "", **users: str) -> Identities:
    return identity.resolve(configured(more, **users), uid=0, gid=0)


def refusal(more: str = "", **users: str) -> str:
    with pytest.raises(SupervisorError) as caught:
        resolve(more, **users)
    assert "identity-invalid" == caught.value.code
    return caught.value.message


def test_as_root_the_children_are_three_users_and_the_core_is_in_the_gateways_group() -> None:
    who = resolve()

    assert (61001, 61001, (62002,)) == (who.core.uid, who.core.gid, who.core.groups)
    assert (61002, 62002, ()) == (who.gateway.uid, who.gateway.gid, who.gateway.groups)
    assert (0, 61003, 61004) == (who.helper.uid, who.install.uid, who.admin_gid)
    assert not who.rootless


def test_without_root_all_are_the_caller() -> None:
    who = identity.resolve(Configuration(), uid=1234, gid=5678)

    assert {(1234, 5678)} == {
        (one.uid, one.gid) for one in (who.core, who.gateway, who.helper, who.install)
    }
    assert who.rootless


def test_a_user_is_found_by_its_name() -> None:
    entry = pwd.getpwnam("nobody")
    found = identity.user("nobody")

    assert (entry.pw_uid, entry.pw_gid, entry.pw_dir) == (found.uid, found.gid, found.home)


def test_a_group_of_administrators_may_be_missing() -> None:
    assert resolve(AdminGroup="no-such-group").admin_gid is None


@pytest.mark.parametrize(
    ("users", "more", "said"),
    [
        ({"CoreUser": "no-such-user"}, "", "there is no user 'no-such-user'"),
        ({"CoreUser": "0"}, "", "0 and root share the uid 0"),
        ({"GatewayUser": "61001"}, "", "share the uid 61001"),
        ({"GatewayUser": "61009:61001"}, "", "share the gid 61001"),
        ({"InstallUser": "61002"}, "", "share the uid 61002"),
        ({"CoreUser": "66005"}, "", "66005 (uid 66005) lies in the range 66000 to 99999"),
        ({}, "[Applications]\nUidFirst = 65000\nUidLast = 66000\n", "nobody (uid 65534)"),
        ({}, "[Applications]\nRunAs = root\n", "Applications.RunAs = root"),
        ({}, "[Applications]\nRunAs = 61001\n", "Applications.RunAs = 61001"),
    ],
)
def test_identities_that_overlap_are_refused(users: dict[str, str], more: str, said: str) -> None:
    assert said in refusal(more, **users)
