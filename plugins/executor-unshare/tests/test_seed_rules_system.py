"""The rules of the process management article, each by its sentence, seen from inside sandboxes.

What a runtime's plan may ask for is held by the core (tests/unit/test_rights.py quotes the same
sentences); here are the jobs that come of it, carried out by a real helper.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import (
    Access,
    Job,
    Mount,
    PlaceKind,
    PlaceRef,
    Purpose,
    Role,
    SupervisorError,
    layout,
)

pytestmark = pytest.mark.system

READ, WRITE = Access.READ, Access.WRITE
APP, REPORT, TMP = (layout.at(role) for role in (Role.SOURCE, Role.OUTPUT, Role.SCRATCH))
PACKRAT, R_DATA = f"{layout.MOUNT_ROOT}/packrat/4.2.2", f"{layout.MOUNT_ROOT}/R/4.2.2"
PLACES = {
    Role.SOURCE: PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(7, 1)),
    Role.OUTPUT: PlaceRef(kind=PlaceKind.RENDERING, ids=(7, 1, 1)),
    Role.LIBRARY: PlaceRef(kind=PlaceKind.LIBRARY, components=("packrat", "4.2.2")),
    Role.RUNTIME_DATA: PlaceRef(kind=PlaceKind.LIBRARY, components=("R", "4.2.2")),
}
AT = {Role.SOURCE: APP, Role.OUTPUT: REPORT, Role.LIBRARY: PACKRAT, Role.RUNTIME_DATA: R_DATA}
JOBS = {
    "shiny": (Purpose.SERVE, APP, {Role.SOURCE: WRITE, Role.LIBRARY: READ}),
    "document": (
        Purpose.RENDER, APP, {Role.SOURCE: READ, Role.OUTPUT: WRITE, Role.LIBRARY: READ}
    ),
    "site": (Purpose.RENDER, REPORT, {Role.OUTPUT: WRITE, Role.LIBRARY: READ}),
    "install": (
        Purpose.INSTALL, APP, {Role.SOURCE: READ, Role.LIBRARY: WRITE, Role.RUNTIME_DATA: WRITE}
    ),
}  # fmt: skip
INSTALLER = 699_004  # the InstallUser of the settings, who need not have a name
EVERY = {"shiny", "document", "site", "install"}

# sentence → where → who may write there, who reads; for all others it is not there.
RULES = [
    ("The packrat data directory (read-only except when installing packages).",
     PACKRAT, {"install"}, {"shiny", "document", "site"}),
    ("The R data directory (only when installing packages).",
     R_DATA, {"install"}, set()),
    ("The directory containing the unpackaged R code (Shiny and R Markdown).",
     APP, {"shiny"}, {"document", "install"}),
    ("The document rendering destination directory (only for R Markdown).",
     REPORT, {"document", "site"}, set()),
    ("A per-process temporary directory (exposed over the original /tmp and /var/tmp).",
     "/tmp", EVERY, set()),
    ("A per-process temporary directory (exposed over the original /tmp and /var/tmp).",
     "/var/tmp", EVERY, set()),
    ("The intermediate directory is transient and not available after rendering completes.",
     TMP, EVERY, set()),
    ("Shiny applications have write access to the directory containing the unpackaged R code.",
     APP, {"shiny"}, {"document", "install"}),
    ("R Markdown documents have write access to the rendering destination directory and read"
     " access to a directory containing the unpackaged R code.",
     REPORT, {"document", "site"}, set()),
    ("Access to the original source directory is not provided because the source content is"
     " duplicated in the destination directory",
     APP, {"shiny"}, {"document", "install"}),
    ("The Server.DataDir directory containing all variable data used by RStudio Connect.",
     "{data_dir}", set(), set()),
    ("The Database.Dir directory, which can optionally be placed outside the data directory.",
     "{hidden}/db", set(), set()),
    ("Configuration directories, including /etc/rstudio-connect.",
     "{hidden}/etc", set(), set()),
    ("Configuration directories, including /etc/rstudio-connect.",
     "/etc/rstudio-connect", set(), set()),
    ("The /tmp and /var/tmp directories.", "{in_tmp}", set(), set()),
    ("The /tmp and /var/tmp directories.", "{in_var_tmp}", set(), set()),
    ("The /home hierarchy.", "{in_home}", set(), set()),
]  # fmt: skip

LOOK = """
import json, os, sys
seen = {}
for path in sys.argv[1:]:
    try:
        there = os.listdir(path)
    except OSError:
        seen[path] = ""
        continue
    try:
        open(f"{path}/mark", "x").close()
        os.unlink(f"{path}/mark")
        seen[path] = "write"
    except OSError:
        seen[path] = "read" if there else ""  # what is masked is empty
print(json.dumps([seen, os.getcwd()]))
"""


@pytest.fixture
def around() -> Iterator[dict[str, str]]:
    """Directories of the host, each with a file: in /tmp and so on, and in what is shown."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    above = {"in_tmp": "/tmp", "in_var_tmp": "/var/tmp", "in_home": "/home", "hidden": "/usr/local"}
    made = {name: tempfile.mkdtemp(prefix="seed-", dir=where) for name, where in above.items()}
    for path in made.values():
        os.chmod(path, 0o755)
        for directory in (path, f"{path}/db", f"{path}/etc"):
            os.makedirs(directory, exist_ok=True)
            Path(directory, "file").touch()
    yield made
    for path in made.values():
        shutil.rmtree(path)


def _fill_libraries(data_dir: str, uid: int) -> None:
    for role in (Role.LIBRARY, Role.RUNTIME_DATA):
        path = Path(data_dir, *layout.components(PLACES[role]))
        path.mkdir(parents=True)
        (path / "package").touch()
        os.chown(path, uid, uid)


def _owner_of(data_dir: str, place: PlaceRef, *inside: str) -> int:
    return Path(data_dir, *layout.components(place), *inside).stat().st_uid


@pytest.fixture
async def run(
    new_node: Callable[..., Any],
    job: Callable[..., Job],
    nursery: trio.Nursery,
    around: dict[str, str],
    uid_first: int,
) -> Callable[..., Awaitable[str]]:
    """Run a program as one of JOBS of content 7 in one helper; gives what it wrote."""
    hidden = [f"{around['hidden']}/{name}" for name in ("db", "etc")]
    installer = {"install_uid": INSTALLER, "install_gid": INSTALLER}
    node = new_node(settings={**installer, "hidden": hidden, "libraries": ["packrat", "R"]})
    around["data_dir"] = node.data_dir
    _fill_libraries(node.data_dir, INSTALLER)
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    await executor.prepare(PLACES[Role.SOURCE], 7, uid_first + 7)
    source = Path(node.data_dir, *layout.components(PLACES[Role.SOURCE]))
    (source / "app.R").touch()
    os.chown(source / "app.R", uid_first + 7, uid_first + 7)

    async def start(
        kind: str,
        *argv: str,
        content: int = 7,
        more: Mapping[Role, Access] | None = None,
        **places: PlaceRef,
    ) -> str:
        purpose, workdir, rights = JOBS[kind]
        rights = {**rights, **(more or {})}
        mounts = [Mount(role=role, access=access, at=AT[role]) for role, access in rights.items()]
        known = {**PLACES, **{Role(role): place for role, place in places.items()}}
        own = {f"{role.value}/": known[role] for role in rights}
        made = job(
            *argv, content=content, purpose=purpose, workdir=workdir, mounts=mounts, places=own,
            uid=INSTALLER if purpose is Purpose.INSTALL else None,
        )  # fmt: skip
        receipt = await executor.start(made)
        return b"".join([chunk.data async for chunk in executor.output(receipt)]).decode()

    return start


async def test_every_sentence_of_masks_and_exposures_holds_for_every_kind_of_process(
    run: Callable[..., Awaitable[str]], around: dict[str, str]
) -> None:
    paths = [path.format(**around) for _, path, _, _ in RULES]
    wrong = []
    for kind in JOBS:
        seen, workdir = json.loads(await run(kind, "/usr/bin/python3", "-c", LOOK, *paths))
        for (sentence, _, writes, reads), path in zip(RULES, paths, strict=True):
            expected = "write" if kind in writes else "read" if kind in reads else ""
            if expected != seen[path]:
                wrong.append((sentence, kind, path, seen[path]))
        assert JOBS[kind][1] == workdir
    assert [] == wrong


async def test_the_application_directory_is_shared_by_its_processes_and_new_at_each_deployment(
    run: Callable[..., Awaitable[str]],
) -> None:
    """ "This application directory is the working directory when launching Shiny. Data written here
    will be visible to all processes associated with that Shiny application but are not visible to
    other R processes. … A deployment creates a new application directory containing only the
    deployed content." """
    assert "" == await run("shiny", "/bin/sh", "-c", "echo kept > written")
    assert "kept\n" == await run("shiny", "/bin/cat", f"{APP}/written")
    new = PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(7, 2))
    assert "" == await run("shiny", "/bin/ls", "-A", source=new)
    with pytest.raises(SupervisorError, match="is not content 8's"):
        await run("shiny", "/bin/ls", content=8)


async def test_nothing_of_one_rendering_or_process_is_seen_by_another(
    run: Callable[..., Awaitable[str]],
) -> None:
    """ "A new output directory is created whenever the document is rendered. Data created during
    one rendering is not visible to another." And of the temporary directory: "per-process"."""
    script = f"ls -A {REPORT} /tmp /var/tmp; touch {REPORT}/made /tmp/made"
    first = await run("document", "/bin/sh", "-c", script)
    again = PlaceRef(kind=PlaceKind.RENDERING, ids=(7, 1, 2))
    assert first == await run("document", "/bin/sh", "-c", script, output=again)
    assert "made" not in first


async def test_installs_run_as_the_one_user_who_owns_what_they_write(
    run: Callable[..., Awaitable[str]], around: dict[str, str], uid_first: int
) -> None:
    """What the install of one content has built is shown to others, so it is none of theirs. The
    content's own files are shown as that user's; on disk they stay the content's."""
    script = f"id -u; stat -c %u app.R {APP}; touch {PACKRAT}/made; (echo > app.R) 2>&1 | wc -l"
    said = (await run("install", "/bin/sh", "-c", script)).split()
    assert [str(INSTALLER)] * 3 + ["1"] == said
    assert INSTALLER == _owner_of(around["data_dir"], PLACES[Role.LIBRARY], "made")
    assert uid_first + 7 == _owner_of(around["data_dir"], PLACES[Role.SOURCE])


async def test_the_helper_by_itself_holds_what_is_for_installs_alone(
    run: Callable[..., Awaitable[str]],
) -> None:
    """ "(read-only except when installing packages)", "(only when installing packages)"."""
    for kind in JOBS.keys() - {"install"}:
        for role in (Role.LIBRARY, Role.RUNTIME_DATA):
            with pytest.raises(SupervisorError, match="only an install writes"):
                await run(kind, "/bin/true", more={role: WRITE})
        with pytest.raises(SupervisorError, match="only an install sees"):
            await run(kind, "/bin/true", more={Role.RUNTIME_DATA: READ})
