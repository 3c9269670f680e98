"""`supervisor migrate-store`: to another database, and on as before."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from tests.support.postgres import Postgres
from tests.support.server import LiveServer, live_server
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system


def migrate(server: LiveServer, *arguments: str) -> tuple[int, str]:
    done = server.supervisor(
        "migrate-store", "--config", str(server.config), *arguments, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_server_moves_to_another_database_and_serves_on(
    needs: Any, postgres: Postgres, postgres_url: str
) -> None:
    needs.root()
    needs.python("shiny")
    with live_server(extra=f'[Postgres]\nURL = "{postgres_url}"\n') as server:
        path = server.deploy(EXAMPLES / "shiny-python-core", "moves")
        guid = server.row("list", name="moves")["guid"]

        status, said = migrate(server, "postgres")
        assert (75, True) == (status, "[data-dir-held]" in said), said
        server.stop()
        status, said = migrate(server, "sqlite")
        assert (64, True) == (status, "in 'sqlite' already" in said), said
        status, said = migrate(server, "oracle")
        assert (78, True) == (status, "[no-store]" in said), said

        status, said = migrate(server, "postgres")
        assert 0 == status, said
        assert "1 content\n" in said
        assert "Provider = postgres" in said
        status, said = migrate(server, "postgres")
        assert (75, True) == (status, "not empty" in said), said

        with server.config.open("a") as file:
            file.write("[Database]\nProvider = postgres\n")
        server.start()
        assert guid == server.row("list", name="moves")["guid"]
        with urllib.request.urlopen(server.url + path, timeout=60) as page:
            assert 200 == page.status
        server.supervisor("deploy", str(EXAMPLES / "shiny-python-core"), "--name", "another")
        found = postgres.execute("SELECT name FROM contents ORDER BY id", postgres_url)
        assert [("moves",), ("another",)] == found
