"""/v1/supervisor/path: what it knows of contents and of the settings' mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from supervisor.site_mounts import SiteMount

if TYPE_CHECKING:
    from conftest import Start  # type: ignore[attr-defined]
else:
    Start = object

MOUNT = SiteMount(name="data", path="/mnt/data", at="/srv/data", contents=("hello",))


@pytest.mark.parametrize(("name", "for_it"), [("hello", True), ("other", False)])
@pytest.mark.parametrize("path", ["/srv/data/x", "/mnt/data/x"])
async def test_a_mount_is_turned_both_ways_and_says_for_whom_it_is(
    start: Start, name: str, for_it: bool, path: str
) -> None:
    served = await start(site_mounts=(MOUNT,))
    async with served.client() as client:
        await client.post("/v1/content", json={"name": name})
        query = {"path": path, "content": name}
        [way] = (await client.get("/v1/supervisor/path", params=query)).json()
    assert ("/mnt/data/x", "/srv/data/x") == (way["physical"], way["sandbox"])
    assert '[Mount "data"], read-only, for hello' in way["about"]
    assert for_it is ("not for this one" not in way["about"])


async def test_a_content_that_is_not_there_is_said_so(start: Start) -> None:
    served = await start()
    async with served.client() as client:
        query = {"path": "/tmp/x", "content": "nobody"}
        answer = await client.get("/v1/supervisor/path", params=query)
    assert (404, "not-found") == (answer.status_code, answer.json()["code"])
