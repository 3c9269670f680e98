"""The cluster that other tests stand on: it ends with who started it, and leaves nothing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kube import cluster
from tests.kube.place import CHECKOUT, Failed, Place, start_time

if TYPE_CHECKING:
    from conftest import Needs

pytestmark = pytest.mark.system

WATCHED = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")

START = """
import sys, time
from pathlib import Path
from typing import TYPE_CHECKING
from tests.kube import cluster
from tests.kube.place import Place
cluster.up(Place(Path(sys.argv[1])), api_only=True, with_caller=True)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def lone_kube(needs: Needs, tmp_path: Path) -> Iterator[Place]:
    """A place of the test's own; the programs are unpacked once."""
    needs.kube()
    shared, own = Place(), Place(tmp_path / "kube")
    own.root.mkdir()
    cluster.unpack(shared)
    own.bin.symlink_to(shared.bin)
    yield own
    cluster.down(own)


def host(place: Place) -> list[str]:
    """What a cluster could change on the machine; others mount things for a while below /tmp."""
    values = [(Path("/proc/sys") / name).read_text() for name in WATCHED]
    links = sorted(os.listdir("/sys/class/net"))
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    temporary = f"{tempfile.gettempdir()}/"
    ours = [
        mount
        for mount in mounts
        if not mount.split()[1].startswith(temporary) or str(place.root) in mount
    ]
    return [*values, *links, *ours]


def groups(place: Place) -> list[Path]:
    walk = os.walk("/sys/fs/cgroup")  # what goes meanwhile is left out
    return [Path(top, place.group) for top, groups, _ in walk if place.group in groups]


def test_a_cluster_whose_starter_is_killed_ends_and_the_machine_is_as_it_was(
    lone_kube: Place,
) -> None:
    place = lone_kube
    before = host(place)
    command = [sys.executable, "-c", START, str(place.root)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as starter:
        try:
            assert starter.stdout is not None
            assert "up\n" == starter.stdout.readline()
            server = place.pid("kube-apiserver")
            with place.network():
                assert "ok" == place.ask("GET", "/readyz")
            with pytest.raises(Failed, match="without a node"):
                cluster.up(place)
            assert before == host(place)
            holder = place.holder()
            assert holder is not None
        finally:
            starter.send_signal(signal.SIGKILL)
    wait_for_end(server)
    assert place.holder() is None
    cluster.down(place)
    assert [] == groups(place)
    assert before == host(place)
    assert {"bin", "images", "lock"} == set(os.listdir(place.root))


def wait_for_end(pid: int) -> None:
    started = start_time(pid)
    if started is not None:
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], 20)[0]
        finally:
            os.close(descriptor)
