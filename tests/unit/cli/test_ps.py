"""Which columns `ps` has: those of nodes and tiers only where they say something."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.cli.ps import HEADERS, _table


def run(**fields: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": "01m80rty4v9xb231mczsnbcysw", "content": {"name": "sales"}, "purpose": "serve",
        "state": "ready", "pid": 7, "sessions": 0, "memory": 1, "age": 1.0, "reason": "",
        "node": "0123456789", "here": True, "tier": "root",
    }  # fmt: skip
    return {**plain, **fields}


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({}, []),
        ({"tier": None}, []),
        ({"tier": "rootless"}, ["TIER"]),
        ({"here": False}, ["NODE"]),
        ({"here": False, "tier": "landlock"}, ["NODE", "TIER"]),
    ],
)
def test_the_table_names_what_is_not_as_usual(
    fields: dict[str, Any], more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _table([run(), run(**fields)], {})
    head, first, second = capsys.readouterr().out.splitlines()
    assert [*HEADERS[:2], *more, *HEADERS[2:]] == head.split()
    for name in ("tier", "node"):
        if name.upper() in more:
            assert str(fields.get(name, "01234567")) in second.split()
    assert ("root" in first.split()) is ("TIER" in more)
