"""Which accounts of this machine content may run as. Debian has root, games and www-data."""

from __future__ import annotations

import pytest

from supervisor import accounts
from supervisor.accounts import Account


def account(name: str) -> Account:
    found = accounts.named(name)
    assert found is not None
    return found


def test_an_account_is_found_by_name_and_by_number() -> None:
    games = account("games")
    assert games == accounts.of_uid(games.uid)
    assert games.gid in games.groups


@pytest.mark.parametrize("name", ["", "nobody-of-this-name", "a\0b"])
def test_a_name_that_is_none_finds_nothing(name: str) -> None:
    assert accounts.named(name) is None
    assert accounts.of_uid(2**32 - 7) is None


@pytest.mark.parametrize(
    ("name", "default", "group", "why"),
    [
        ("games", "games", "", ""),
        ("games", "", "games", ""),
        ("www-data", "games", "www-data", ""),
        ("games", "", "", "names no group"),
        ("games", "", "no-such-group", "names no group"),
        ("www-data", "games", "", "not a member of the group games"),
        ("root", "root", "root", "is root"),
    ],
)
def test_who_may_be_given_to_a_content(name: str, default: str, group: str, why: str) -> None:
    said = accounts.refusal(account(name), default=default, group=group, forbidden=())
    assert (why in said) if why else said == ""


def test_a_user_of_the_server_is_refused_even_as_the_default() -> None:
    games = account("games")
    said = accounts.refusal(games, default="games", group="games", forbidden=(games.uid,))
    assert "the server itself" in said
