"""The image of examples/docker in real containers, and the how-to that leads to them, followed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support import doctor_page
from tests.support.containers import Container, Podman, new_podman
from tests.support.r_copies import copy_r, package, served
from tests.support.sessions import open_sessions

if TYPE_CHECKING:
    from conftest import Needs
else:
    Needs = object

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "containers.md").read_text()
R_APP, PYTHON_APP = ROOT / "examples" / "shiny-r-hello", ROOT / "examples" / "shiny-python-core"
DOCKERS_FILES = "golang-github-docker-docker-dev"
DOCKERS_PROFILE = "usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json"
SERVER = "http://127.0.0.1:3939"
RESTRICTED = re.findall(r"^\| `(--user \S+ --cap-drop .*?)` \|", PAGE, re.MULTILINE)[0].split()
KILLED_AFTER = 10.0  # seconds that `docker stop` gives


@pytest.fixture(scope="module")
def podman(needs: Needs) -> Iterator[Podman]:
    """A podman with the image, built as the how-to says."""
    needs.root()
    for program in ("podman", "runc", "debootstrap"):
        needs.program(program)
    with new_podman() as podman:
        [build] = commands("Build the image")
        podman.docker(*build)
        yield podman


@pytest.fixture(scope="module")
def dockers_profile(tmp_path_factory: pytest.TempPathFactory, needs: Needs) -> Path:
    """Docker's own profile of system calls, from Debian's sources of Docker."""
    needs.program("apt-get")
    place = tmp_path_factory.mktemp("profile")
    subprocess.run(["apt-get", "-q", "download", DOCKERS_FILES], cwd=place, check=True, timeout=120)
    [package] = place.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, place / "files"], check=True, timeout=60)
    return place / "files" / DOCKERS_PROFILE


@pytest.fixture(scope="module")
def shared_r(tmp_path_factory: pytest.TempPathFactory, needs: Needs) -> Path:
    """A folder with two installations of R, one and two."""
    needs.r("shiny")
    folder = tmp_path_factory.mktemp("software")
    folder.chmod(0o755)
    for name in ("one", "two"):
        copy_r(folder / name, at=f"/opt/R/{name}")
    return folder


@pytest.fixture
def volume(podman: Podman, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty volume that the server may use: the option that says so."""
    if "restricted" not in request.node.name:
        tmp_path.chmod(0o755)
        return f"--volume={tmp_path}:/data"
    [chown] = commands("What each right gives")
    podman.docker(*[word.replace("content:/data", "restricted:/data") for word in chown])
    return "--volume=restricted:/data"


def commands(heading: str) -> list[list[str]]:
    """Give the words of each command of Docker's that a section of the how-to shows."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)).splitlines()
    assert lines
    assert all(line.startswith("docker ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def url_of(said: str) -> str:
    [path] = set(re.findall(r"/content/[-0-9a-f]+/", said))
    return f"{SERVER}{path}"


async def serves(container: Container, deployed: dict[str, str]) -> None:
    """A visitor moves a slider of each app and gets the value that belongs to it."""
    with container.network():
        async with open_sessions([(url, name) for name, url in deployed.items()]) as sessions:
            for session in sessions:
                assert await session.answers(12), session.output


def deploy_both(container: Container) -> dict[str, str]:
    """Give output → address of an app of R and one of Python."""
    found = {"double": container.deploy(R_APP), "total": container.deploy(PYTHON_APP)}
    return {output: url_of(said) for output, said in found.items()}


def test_the_compose_file_starts_the_container_of_the_how_to() -> None:
    words = commands("Run it")[0]
    options = dict(pairwise(words))
    compose = yaml.safe_load((ROOT / "examples" / "docker" / "compose.yaml").read_text())
    service = compose["services"]["content-supervisor"]
    assert [options["--cap-add"]] == service["cap_add"]
    assert [options["--publish"]] == service["ports"]
    assert [options["--volume"].split(":")[1]] == [one.split(":")[1] for one in service["volumes"]]
    assert words[-1] == service["image"]
    assert (ROOT / "examples" / "docker" / service["build"]["context"]).resolve() == ROOT


async def test_the_how_to_can_be_followed(podman: Podman, shared_r: Path) -> None:
    container = podman.container("content")
    for command in commands("Run it"):
        done = podman.docker(*command)
        if command[0] == "run":
            container.until_ready()
        elif command[0] == "exec" and command[-1] == "doctor":
            doctor_page.hold("sysadmin", done.stdout)
    listed = json.loads(container.supervisor("list", "--json"))
    outputs = {R_APP.name: "double", PYTHON_APP.name: "total"}
    deployed = {outputs[row["name"]]: f"{SERVER}/content/{row['guid']}/" for row in listed}
    await serves(container, deployed)
    for command in commands("Stop and upgrade"):
        podman.docker(*command)
    container.until_ready()
    await serves(container, deployed)
    for command in commands("Several versions of R")[1:]:
        podman.docker(*[word.replace("/srv/software/R", str(shared_r)) for word in command])
        if command[0] == "run":
            container.until_ready()
    listed = container.supervisor("doctor")
    for home in ("/usr/lib/R", "/opt/R/one/lib/R", "/opt/R/two/lib/R"):
        assert f" at {home}/bin/R\n" in listed
    podman("rm", "--force", "--time=0", "content")


@pytest.mark.parametrize("right", ["privileged", "docker", "restricted"])
async def test_apps_are_served_stopped_in_order_and_served_again_from_the_volume(
    right: str, podman: Podman, dockers_profile: Path, volume: str
) -> None:
    rights = {
        "privileged": ["--privileged"],
        "docker": ["--cap-add=SYS_ADMIN", f"--security-opt=seccomp={dockers_profile}"],
        "restricted": [*RESTRICTED, f"--security-opt=seccomp={dockers_profile}"],
    }[right]
    with podman.started(right, *rights, volume) as one:
        one.until_ready()
        assert "NOTE" not in one.log()
        doctor_page.hold(right, one.supervisor("doctor"))
        deployed = deploy_both(one)
        await serves(one, deployed)
        one.run("sh", "-c", "for n in 1 2 3; do sleep 0.1 & done")
        with one.network():
            async with open_sessions([(deployed["double"], "double")]):
                status, seconds = one.stop()
        assert 0 == status, one.log()
        assert seconds < KILLED_AFTER
    with podman.started(right, *rights, volume) as another:  # at once: nobody holds anything
        another.until_ready()
        await serves(another, deployed)
        assert [] == another.zombies()


def test_without_the_capability_the_server_refuses_to_start_and_says_what_to_add(
    podman: Podman,
) -> None:
    with podman.started("plain", "--volume=plain:/data") as plain:
        status = plain.ended()
        said = plain.log()
    assert 71 == status, said
    assert "--cap-add=SYS_ADMIN" in said
    assert said.strip() in PAGE


def test_data_that_would_be_lost_with_the_container_is_told_first(podman: Podman) -> None:
    with podman.started(
        "lost", "--cap-add=SYS_ADMIN", "--volume=v:/var/lib/content-supervisor"
    ) as lost:
        lost.until_ready()
        first = lost.log().splitlines()[:8]
        doctor = lost.supervisor("doctor")
    warning = (
        "/data is no volume: it is lost with this container;"
        " the volume at /var/lib/content-supervisor is not used"
    )
    assert any(warning in line for line in first)
    assert f"note  data: {warning}\n" in doctor


def test_a_second_container_on_a_volume_is_refused_and_harms_nothing(podman: Podman) -> None:
    rights = ("--cap-add=SYS_ADMIN", "--volume=shared:/data")
    with podman.started("first", *rights) as first:
        first.until_ready()
        url = url_of(first.deploy(PYTHON_APP))
        before = first.run("find", "/data/tmp", "/run/content-supervisor/w").stdout
        with podman.started("second", *rights) as second:
            assert 75 == second.ended()
            said = second.log()
        assert "is held by another living server (pid 1 on " in said
        assert before == first.run("find", "/data/tmp", "/run/content-supervisor/w").stdout
        assert "200" in first.run("curl", "-si", url).stdout.splitlines()[0]


async def test_versions_of_r_are_added_when_the_image_is_built_and_serve(
    podman: Podman, shared_r: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        package(shared_r / name, tmp_path / f"r-{name}.deb", at=f"/opt/R/{name}")
    with served(tmp_path) as address:
        build = commands("Several versions of R")[0]
        words = [word.replace("https://packages.example.org", address) for word in build]
        podman.docker(*words)
    chosen = "--env=SUPERVISOR_R_EXECUTABLE=/opt/R/two/bin/R"
    with podman.started(
        "versions", "--cap-add=SYS_ADMIN", "--volume=versions:/data", chosen
    ) as one:
        one.until_ready()
        assert {"one", "two"} <= {
            *re.findall(r" at /opt/R/(\w+)/lib/R/bin/R\n", one.supervisor("doctor"))
        }
        said = one.deploy(R_APP)
        assert "it runs on /opt/R/two/lib/R/bin/R" in said
        await serves(one, {"double": url_of(said)})
