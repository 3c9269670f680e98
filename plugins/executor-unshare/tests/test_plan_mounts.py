"""The plan of a sandbox's root is data: what it shows, and what it never shows."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from supervisor_unshare.requests.jobs import Job, PlacedMount
from supervisor_unshare.root import host, site
from supervisor_unshare.root.host import look, shown_trees
from supervisor_unshare.root.plan_mounts import (
    ETC,
    OWN_ETC,
    OWN_FILES,
    OWN_TREES,
    PRIVATE,
    Base,
    Bind,
    Directory,
    Entry,
    File,
    Link,
    Mask,
    plan_own,
    plan_shared,
)

from supervisor.layout import MOUNT_ROOT, PlaceKind, PlaceRef
from supervisor.site_mounts import SiteMount, covered, misplaced

RUN = "01k00000000000000000000000"
HOST = (
    Bind(base=Base.HOST, parts=("usr",), target="/usr", optional=True),
    Link(target="/bin", to="usr/bin"),
)
JOB = Job(
    run=RUN,
    content=7,
    purpose="serve",
    argv=("/usr/bin/python3",),
    env={},
    workdir=f"{MOUNT_ROOT}/app",
    uid=700,
    gid=700,
)
APP = PlacedMount(
    place=PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(7, 3)), at=f"{MOUNT_ROOT}/app", writable=True
)
ARCHIVE = PlacedMount(
    place=PlaceRef(kind=PlaceKind.BUNDLE, components=("0" * 64,)),
    at=f"{MOUNT_ROOT}/bundle.tar.gz",
    writable=False,
)


def planned(job: Job = JOB) -> dict[str, Entry]:
    entries = (*plan_shared(HOST), *plan_own(job, (), uid=700, gid=700))
    return {entry.target: entry for entry in entries}


def test_only_what_is_listed_is_in_the_root() -> None:
    expected = {
        *("/usr", "/bin", "/etc/passwd", "/etc/group", "/proc", "/dev", "/run", "/home", "/tmp"),
        *("/var/tmp", "/opt/rstudio-connect", MOUNT_ROOT, "/etc/resolv.conf"),
        *(f"{MOUNT_ROOT}/tmp", f"{MOUNT_ROOT}/socket", "/run/passwd", "/run/group"),
    }
    assert expected == set(planned())


def test_a_runs_own_directories_and_written_places_alone_are_writable() -> None:
    entries = planned(dataclasses.replace(JOB, mounts=(APP, ARCHIVE))).values()
    writable = {e.target for e in entries if isinstance(e, Bind) and e.writable}
    expected = {"/home", "/tmp", "/var/tmp"}
    expected |= {f"{MOUNT_ROOT}/{name}" for name in ("tmp", "socket", "app")}
    assert expected == writable


def test_places_lie_below_data_dir_by_their_components() -> None:
    entries = planned(dataclasses.replace(JOB, mounts=(APP, ARCHIVE)))
    app, archive = entries[APP.at], entries[ARCHIVE.at]
    assert isinstance(app, Bind)
    assert isinstance(archive, Bind)
    assert (Base.DATA, ("apps", "7", "3")) == (app.base, app.parts)
    assert (Base.DATA, ("bundles", "0" * 64 + ".tar.gz")) == (archive.base, archive.parts)


def test_every_run_has_its_own_scratch_home_and_socket_directory() -> None:
    entries = planned()
    sources = {
        target: (entry.base, entry.parts)
        for target, entry in entries.items()
        if isinstance(entry, Bind) and entry.base is not Base.HOST
    }
    scratch = (Base.DATA, ("tmp", RUN))
    assert {
        "/tmp": scratch,
        "/var/tmp": scratch,
        f"{MOUNT_ROOT}/tmp": scratch,
        "/home": (Base.DATA, ("tmp", RUN, "home")),
        f"{MOUNT_ROOT}/socket": (Base.RUN, ("w", RUN)),
    } == sources


def test_what_runs_share_says_nothing_of_a_run() -> None:
    shared = plan_shared(HOST)
    assert {Base.HOST} == {entry.base for entry in shared if isinstance(entry, Bind)}
    assert [] == [entry for entry in shared if isinstance(entry, File)]


def test_parents_come_before_what_lies_in_them() -> None:
    deep = Bind(base=Base.HOST, parts=("home", "u", "venv"), target="/home/u/venv")
    targets = [entry.target for entry in plan_own(JOB, (deep,), uid=1, gid=1)]
    assert targets.index("/home") < targets.index("/home/u/venv")


def test_the_process_finds_its_own_name() -> None:
    entries = planned()
    assert Link(target="/etc/passwd", to="../run/passwd") == entries["/etc/passwd"]
    entry = entries["/run/passwd"]
    assert isinstance(entry, File)
    assert "content:x:700:700:content:/home:/bin/sh" in entry.text.splitlines()


@pytest.mark.parametrize(
    ("path", "expected"), [("/usr", True), ("/usr/lib", True), ("/usrlocal", False), ("/", False)]
)
def test_covered_compares_whole_components(path: str, expected: bool) -> None:
    assert expected == covered(path, ["/usr", "/opt/R"])


def test_links_of_the_host_stay_links_where_their_target_is_shown() -> None:
    for entry in look(shown_trees()):
        if isinstance(entry, Link):
            assert not entry.to.startswith("/run")


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("certificates", "ssl ca-certificates pki crypto-policies"),
        ("fonts", "fonts"),
        ("locales", "locale.alias locale.conf"),
        ("time zones", "localtime timezone"),
        ("ODBC", "odbc.ini odbcinst.ini ODBCDataSources freetds"),
        ("Kerberos", "krb5.conf krb5.conf.d"),
        ("resolver", "hosts host.conf gai.conf nsswitch.conf services protocols"),
        ("loader", "ld.so.cache ld.so.conf ld.so.conf.d"),
    ],
)
def test_the_base_has_what_programs_read_of_etc(what: str, names: str) -> None:
    assert set() == set(names.split()) - set(ETC), what


@pytest.mark.parametrize("name", OWN_ETC)
@pytest.mark.parametrize("where", ["/etc", OWN_FILES])
def test_no_mount_of_the_settings_stands_on_our_own_files(where: str, name: str) -> None:
    """The shared root has them already: with another one, it could not be built for anybody."""
    mount = SiteMount(name="m", path="/srv/file", at=f"{where}/{name}")
    assert 1 == len(list(misplaced([mount], ())))


PIECES = st.sampled_from(
    "etc passwd srv data opt R python usr bin lib share run var tmp home x group".split()
)
ANYWHERE = st.lists(PIECES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(ANYWHERE, max_size=3))
def test_whatever_mounts_the_settings_may_have_the_shared_root_can_be_built(
    places: list[str],
) -> None:
    mounts = [SiteMount(name="m", path="/srv/none", at=at) for at in places]
    assume(not list(misplaced(mounts, ())))
    placed = [mount for mount in mounts if not site.unplaced(mount, HOST)]
    shared = plan_shared((*HOST, *site.mount_points(placed, HOST)))
    targets = [entry.target for entry in shared]
    assert len(targets) == len(set(targets))
    leaves = [entry.target for entry in shared if not isinstance(entry, Directory)]
    assert [] == [one for one in leaves for other in targets if other.startswith(f"{one}/")]
    for mount in placed:
        assert mount.at in targets or covered(mount.at, OWN_TREES) or os.path.lexists(mount.at)


def test_private_keys_are_masked_where_certificates_are_shown(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "keys").touch()
    shown = Bind(base=Base.HOST, parts=tmp_path.parts[1:], target="/etc/ssl")
    hidden = [f"{tmp_path}/{name}" for name in ("private", "keys", "none")]
    assert [
        Mask(target="/etc/ssl/private", directory=True),
        Mask(target="/etc/ssl/keys", directory=False),
    ] == list(site.masks([shown], hidden))
    assert "/etc/ssl/private" in PRIVATE


def test_secrets_of_etc_are_not_shown() -> None:
    targets = {entry.target for entry in look(shown_trees())}
    assert not targets & {"/etc/shadow", "/etc/gshadow", "/etc/passwd", "/etc", "/etc/ssh"}


def test_a_tree_around_the_mount_root_is_shown_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("other", "server/venv", "server/mnt"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(host, "MOUNT_ROOT", f"{tmp_path}/server/mnt")
    monkeypatch.setattr(host, "TOOL_TREES", (str(tmp_path),))
    shown = {tree for tree in shown_trees() if tree.startswith(str(tmp_path))}
    assert {f"{tmp_path}/other", f"{tmp_path}/server/venv"} == shown
