"""Whose else the uids of contents are, by the files that give ordinary users ranges of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.requests.rules import Rules
from supervisor_unshare.tiers.ranges import finding

BESIDE = """
[ -e /etc/subuid ] || : > /etc/subuid
mount -t tmpfs none /mnt && echo bob:%d:65536 > /mnt/subuid && mount --bind /mnt/subuid /etc/subuid
exec "$@"
"""  # in mounts of its own


def rules(tier: str = "root") -> Rules:
    return Rules(
        tier=tier, core_uid=1, core_gid=1, gateway_uid=2, gateway_gid=2, uid_first=200_000,
        uid_last=299_999,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("ann:100000:65536\nbob:165536:65536\n", "165536 to 231071 are bob's"),
        ("ann:299999:1\n", "299999 to 299999 are ann's"),
        ("ann:1:4000000\n", "1 to 4000000 are ann's"),
        ("ann:134464:65536\nbob:300000:65536\n", ""),
        ("", ""),
        ("# none\nann:200000\nann:200000:0\nann:x:y\n\n", ""),
    ],
)
def test_a_range_that_others_have_is_told_where_it_is_the_contents_too(
    tmp_path: Path, text: str, shared: str
) -> None:
    (tmp_path / "subuid").write_text(text)
    told = finding(rules(), (f"{tmp_path}/subuid", f"{tmp_path}/none"))
    assert shared in told
    assert bool(shared) is bool(told)


def test_many_ranges_are_counted(tmp_path: Path) -> None:
    lines = (f"user{number}:{200_000 + number}:1" for number in range(8))
    (tmp_path / "subuid").write_text("\n".join(lines))
    assert "user4's by" in (told := finding(rules(), (f"{tmp_path}/subuid",)))
    assert " and 3 more:" in told


@pytest.mark.parametrize("tier", ["subuid", "rootless", "landlock"])
def test_without_root_contents_have_no_range_of_the_settings(tmp_path: Path, tier: str) -> None:
    (tmp_path / "subuid").write_text("ann:200000:65536\n")
    assert "" == finding(rules(tier), (f"{tmp_path}/subuid",))


@pytest.mark.system
@pytest.mark.parametrize("far", [False, True])
async def test_doctor_tells_of_it_with_what_to_do(
    new_node: Callable[..., Any],
    executor_of: Callable[..., UnshareExecutor],
    nursery: trio.Nursery,
    uid_first: int,
    far: bool,
) -> None:
    first = uid_first + (1_000_000_000 if far else 0)
    node = new_node(within=("unshare", "--mount", "sh", "-c", BESIDE % first, "sh"))
    executor = executor_of(node)
    await nursery.start(executor.serve)
    told = [one for one in await executor.check() if one.name == "uids"]
    assert far is (told == [])
    for one in told:
        assert not one.ok
        assert not one.fatal
        assert f"{first} to {first + 65535} are bob's by /etc/subuid" in one.text
        assert "UidFirst" in one.fix
