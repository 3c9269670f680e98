"""A host without R: the server starts, says so, and runs what it can."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.leftovers import nothing_is_left
from tests.support.server import CONTENT_PYTHON, LiveServer, live_server
from tests.system.conftest import EXAMPLES
from tests.system.test_bad_apps import fetch

pytestmark = pytest.mark.system

# Nobody in the mount namespace of this server finds an R: an empty directory lies over each home.
HIDE = """
for home in /usr/lib/R /usr/lib64/R /usr/local/lib/R /usr/local/lib64/R /opt/R /opt/local; do
    test ! -d $home || mount -t tmpfs none $home
done
for program in $(which -a R Rscript); do mount --bind /bin/false $program; done
exec "$@"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    if os.geteuid() != 0:
        pytest.skip("needs root: ./dev test as root runs the system tests")
    if not CONTENT_PYTHON.exists():
        pytest.skip("needs .dev/python: ./dev test makes it")
    with live_server(start=False) as made:
        yield made.start(within=("unshare", "-m", "sh", "-ec", HIDE, "sh"))
        nothing_is_left(made)


def test_doctor_says_that_there_is_no_r(server: LiveServer) -> None:
    server.until(
        lambda: "runtime r: no interpreter found" in server.supervisor("doctor").stdout, 20
    )
    assert "install one, or set [r] Executable" in server.supervisor("doctor").stdout


def test_python_apps_run(server: LiveServer) -> None:
    path = server.deploy(EXAMPLES / "shiny-python-core", "python")

    assert fetch(server, path)[0] == 200


def test_deploying_an_r_app_says_that_r_is_missing(server: LiveServer) -> None:
    done = server.supervisor(
        "deploy", str(EXAMPLES / "shiny-r-hello"), "--name", "hello", "--json", check=False
    )

    assert done.returncode == 69
    assert '"runtime-missing"' in done.stderr
    assert "Traceback" not in done.stderr
    assert server.row("list", name="hello")["supervisor"]["state"] == "empty"
    server.supervisor("remove", "hello", "--yes")
    nothing_is_left(server)
