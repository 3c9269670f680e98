"""DataDir is moved away: what serves goes on, what needs it says so, a new one is named so."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from tests.support.server import live_server
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system


def status(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as page:
        return int(page.status)


def test_a_data_dir_that_is_moved_away_is_said_and_nothing_is_half_done(needs: Any) -> None:
    needs.root()
    needs.python("shiny")
    with live_server() as server:
        path = server.deploy(EXAMPLES / "shiny-python-core", "stays")
        late = ("deploy", str(EXAMPLES / "shiny-python-core"), "--name", "late")
        away = server.base / "moved"
        server.data_dir.rename(away)

        done = server.supervisor(*late, check=False)
        assert 69 == done.returncode
        assert f"Server.DataDir = {server.data_dir} is away: No such file" in done.stderr
        assert "Put the directory back where it was." in done.stderr
        assert "is away" in server.supervisor("doctor", check=False).stdout
        assert 200 == status(server.url + path)
        assert not server.data_dir.exists()
        assert "Traceback" not in server.log()

        away.rename(server.data_dir)
        server.supervisor(*late)
        assert {"stays", "late"} == {row["name"] for row in server.json("list")}


def test_a_start_without_the_data_that_was_there_says_that_it_begins_anew(needs: Any) -> None:
    needs.root()
    with live_server() as server:
        assert "(new, empty)" in server.log()
        assert 0 == server.stop()
        server.log_path.unlink()
        server.start()
        assert "(new, empty)" not in server.log()


def test_a_server_whose_contents_would_get_other_uids_does_not_start(needs: Any) -> None:
    needs.root()
    needs.python("shiny")
    with live_server() as server:
        server.deploy(EXAMPLES / "shiny-python-core", "stays")
        assert 0 == server.stop()
        before, told = server.config.read_text(), len(server.log())
        server.config.write_text(before.replace("UidFirst = 300000", "UidFirst = 301000"))
        server.start(wait=False)
        assert server.process is not None
        assert 78 == server.process.wait(30)
        said = server.log()[told:]
        assert "content 1 has the uid 300001" in said
        assert "Write UidFirst = 300000 in [Applications]" in said
        assert "Traceback" not in said
        server.config.write_text(before)
        server.start()
