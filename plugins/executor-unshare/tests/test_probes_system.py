"""Hostile probes inside the finished sandbox: what is allowed there, layer by layer, and outside.

The numbers are those of probes.py. A probe that becomes possible, or impossible, fails a test.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.linux import filters, landlock

from supervisor import Access, Egress, Job, Mount, PlaceKind, PlaceRef, Role, layout
from tests.support.ablation import LAYERS, Layers, table, write_row

pytestmark = pytest.mark.system

PROGRAM = Path(__file__).with_name("probes.py")
AT = layout.at(Role.SOURCE)
WORLD = Path(__file__).with_name("world.py")
PORT = 5432  # on the loopback of its host
HOST_NETWORK = {56}  # by default content shares the host's loopback
WITHOUT_SCOPES = {55}  # what Landlock refuses only since Linux 6.12 (its version 6)
OF_TIERS: Mapping[str, Set[int]] = {
    "root": HOST_NETWORK,
    "subuid": HOST_NETWORK,
    "rootless": HOST_NETWORK,
    "landlock": HOST_NETWORK | {80},
}


@attrs.frozen
class Host:
    """What probes look for on the host. arguments: for the program, as a sandbox names things."""

    arguments: Mapping[str, Any]
    app: Path

    def outside(self) -> Mapping[str, Any]:
        """Give the arguments for a process without a sandbox."""
        return {**self.arguments, "library": str(self.app), "setuid": f"{self.app}/id"}


@pytest.fixture
def listeners() -> Iterator[tuple[str, int]]:
    """An abstract socket and a TCP port of the host; gives their addresses."""
    name = f"\0probe-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as abstract, socket.socket() as tcp:
        abstract.bind(name)
        tcp.bind(("127.0.0.1", 0))
        for listener in (abstract, tcp):
            listener.listen()
        yield name, tcp.getsockname()[1]


def _host(data_dir: Path, pid: int, listeners: tuple[str, int]) -> Host:
    secret = data_dir / "db" / "secret"
    app = data_dir / "apps" / "1" / "1"
    for directory in (secret.parent, app):
        directory.mkdir(parents=True)
    secret.write_text("x")
    shutil.copy(PROGRAM, app)
    shutil.copy("/usr/bin/id", app)
    (app / "id").chmod(0o4755)
    disks = sorted(os.listdir("/sys/block")) or ["vda"]
    numbers = filters.NUMBERS[os.uname().machine]
    arguments = {
        "calls": {**numbers, "x32 getpid": 0x40000000 + 39},
        "secret": str(secret),
        "data": str(data_dir),
        "top": "/srv",
        "disk": f"/dev/{disks[0]}",
        "library": AT,
        "setuid": f"{AT}/id",
        "abstract": listeners[0],
        "port": listeners[1],
        "pid": pid,
    }
    return Host(arguments, app)


def names() -> Mapping[int, str]:
    """Give what the probes try, by number."""
    probes = re.findall(r"^    (\d+): \(\s*\"([^\"]+)\"", PROGRAM.read_text(), re.M)
    return {int(number): name for number, name in probes}


def allowed(found: Mapping[str, str]) -> set[int]:
    """Give the numbers of the probes that were not refused."""
    return {int(number) for number, how in found.items() if how == "allowed"}


@pytest.mark.parametrize("layers", LAYERS, ids=lambda layers: layers.title)
async def test_probes_inside_layer_by_layer(
    layers: Layers,
    new_node: Callable[..., Any],
    job: Callable[..., Job],
    nursery: trio.Nursery,
    executor_of: Callable[..., UnshareExecutor],
    listeners: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is measured is what the table of the documentation says; `./dev bench ablation`
    writes that."""
    if landlock.version() < 6:
        pytest.skip("not on this kernel: Landlock with scopes")
    monkeypatch.setenv("PROBE_SECRET", "x")
    node = new_node(settings={"without": [*layers.without]})
    found = await _probed(node, job, nursery, listeners, executor_of(node), egress=layers.egress)
    row = layers.row(allowed(found), names())
    if os.environ.get("ABLATION") == "write":
        write_row(row)
    assert row in table(), found


@pytest.mark.parametrize(
    ("egress", "root"), [(Egress.NONE, True), (Egress.USER, True), (Egress.USER, False)]
)
async def test_probes_inside_with_a_network_of_its_own(
    egress: Egress,
    root: bool,
    caller: int,
    new_node: Callable[..., Any],
    job: Callable[..., Job],
    nursery: trio.Nursery,
    executor_of: Callable[..., UnshareExecutor],
    listeners: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is allowed but, where pasta is, to see that process of its own."""
    if not landlock.version():
        pytest.skip("not on this kernel: Landlock")
    if egress is Egress.USER and not (shutil.which("pasta") and shutil.which("ip")):
        pytest.skip("not installed: pasta, ip")
    monkeypatch.setenv("PROBE_SECRET", "x")
    as_whom = () if root else ("--as", str(caller))
    world = ("unshare", "-n", "-m", sys.executable, str(WORLD), *as_whom)
    within = world if egress is Egress.USER else ()
    node = new_node(within=within, caller=None if root else caller)
    name, port = listeners
    where = (name, PORT if within else port)
    asked = job if root else partial(job, uid=0)
    found = await _probed(node, asked, nursery, where, executor_of(node), egress=egress)
    assert ({80} if within else set()) == allowed(found), found


async def _probed(
    node: Any,
    job: Callable[..., Job],
    nursery: trio.Nursery,
    listeners: tuple[str, int],
    executor: UnshareExecutor,
    **fields: Any,
) -> Mapping[str, str]:
    """Run the probes in a sandbox of the node; give what came of each."""
    host = _host(Path(node.data_dir), node.process.pid, listeners)
    await nursery.start(executor.serve)
    asked = job(
        "/usr/bin/python3", f"{AT}/probes.py", json.dumps(host.arguments),
        mounts=[Mount(role=Role.SOURCE, access=Access.READ, at=AT)],
        places={"source/": PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(1, 1))},
        **fields,
    )  # fmt: skip
    receipt = await executor.start(asked)
    with trio.fail_after(30):
        output = b"".join([chunk.data async for chunk in executor.output(receipt)])
    found: Mapping[str, str] = json.loads(output)
    assert 84 == len(found)
    return found


@pytest.mark.parametrize("tier", OF_TIERS)
async def test_probes_inside_each_tier(
    tier: str,
    new_node: Callable[..., Any],
    new_ranger: Callable[[], Any],
    job: Callable[..., Job],
    caller: int,
    nursery: trio.Nursery,
    executor_of: Callable[..., UnshareExecutor],
    listeners: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = landlock.version()
    if version < (6 if tier == "landlock" else 1):
        pytest.skip("not on this kernel: Landlock, for this tier with scopes")
    monkeypatch.setenv("PROBE_SECRET", "x")
    asked = partial(job, uid=0)
    if tier == "root":
        node, asked = new_node(), partial(job)
    elif tier == "subuid":
        node = new_ranger()
    else:
        node = new_node(caller=caller, settings={"tier": tier})
    found = await _probed(node, asked, nursery, listeners, executor_of(node))
    assert OF_TIERS[tier] | (WITHOUT_SCOPES if version < 6 else set()) == allowed(found), found


def test_each_probe_that_a_tier_allows_stands_in_the_documentation_with_its_reason() -> None:
    page = Path(__file__).parents[3] / "docs" / "explanation" / "sandbox.md"
    _, _, after = page.read_text().partition("<!-- begin allowed by tier -->")
    table, _, _ = after.partition("<!-- end allowed by tier -->")
    told: dict[str, set[int]] = {}
    for line in table.strip().splitlines()[2:]:
        tier, number, probe, reason = (cell.strip() for cell in line.strip("|").split("|"))
        assert f'{number}: ("{probe}"' in re.sub(r"\(\s+", "(", PROGRAM.read_text())
        assert len(reason) > 20
        told.setdefault(tier.strip("`"), set()).add(int(number))
    assert told == OF_TIERS
    assert all(len(numbers) <= 10 for numbers in told.values())


def test_probes_are_not_vacuous_most_are_allowed_without_a_sandbox(
    tmp_path: Path, listeners: tuple[str, int]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    host = _host(tmp_path / "data", os.getpid(), listeners)
    command = ["unshare", "--mount", "--uts", sys.executable, str(PROGRAM)]
    done = subprocess.run(
        [*command, json.dumps(host.outside())],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PROBE_SECRET": "x"},
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    refused = {number: how for number, how in found.items() if how != "allowed"}
    assert len(allowed(found)) >= 70, json.dumps(refused)
