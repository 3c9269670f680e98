"""What doctor says on this machine, as root and not, is what its page shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import doctor_page
from tests.support.server import CONTENT_PYTHON, live_server

if TYPE_CHECKING:
    from conftest import Needs
else:
    Needs = object

pytestmark = pytest.mark.system
USER = 10001
# The device that udev lets everybody open, whatever it is on this machine; then the user.
DEVICE = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "


@pytest.mark.parametrize(("host", "uid"), [("root", 0), ("rootless", USER)])
def test_doctor_says_on_this_machine_what_its_page_shows(host: str, uid: int, needs: Needs) -> None:
    needs.root()
    needs.r("shiny")
    needs.python("shiny")
    become = f"setpriv --reuid {uid} --regid {uid} --clear-groups " if uid else ""
    script = f'{DEVICE}{become}"$@"'
    with live_server(uid=uid, start=False) as server:
        server.start(within=("unshare", "--mount", "sh", "-c", script, "sh"))
        neutral = {
            str(server.data_dir): "/var/lib/content-supervisor",
            str(server.base): "/run/content-supervisor",
            str(server.python.parents[1]): "/opt/content-supervisor/venv",
            str(CONTENT_PYTHON): "/opt/python/debian",
            str(Path(__file__).parents[2]): "/opt/content-supervisor",
        }
        doctor_page.hold(host, server.supervisor("doctor").stdout, neutral=neutral)


def test_the_page_shows_every_line_of_a_machine_with_cgroup_v2_too() -> None:
    """No such machine is at hand here: what was shown on one can grow old by its lines alone."""
    of_tests = {"mount content-python"}
    assert doctor_page.names("root") - of_tests == doctor_page.names("unit")
