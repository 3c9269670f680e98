"""Physical paths and those of sandboxes are turned into each other, and explained."""

from __future__ import annotations

import pytest

from supervisor.paths import Known, Way, ways

DATA, RUN = "/var/lib/content-supervisor", "/run/content-supervisor"
MNT = "/opt/content-supervisor/mnt"
OF_RUN = "01m80f8sfnypmf4749r00hb59j"


def turned(path: str, **known: int | str) -> list[tuple[str | None, str | None]]:
    found = ways(path, data_dir=DATA, run_dir=RUN, known=Known(**known))  # type: ignore[arg-type]
    assert all(way.about for way in found)
    return [(way.physical, way.sandbox) for way in found]


@pytest.mark.parametrize(
    ("below", "sandbox"),
    [
        ("apps/12/3/app.R", [f"{MNT}/app/app.R"]),
        ("apps/12/3", [f"{MNT}/app"]),
        ("reports/12/1/7/index.html", [f"{MNT}/report/index.html"]),
        ("state/12/shiny_bookmarks/a/input.rds", [f"{MNT}/state/shiny_bookmarks/a/input.rds"]),
        (f"tmp/{OF_RUN}/Rtmp/x", ["/tmp/Rtmp/x", "/var/tmp/Rtmp/x", f"{MNT}/tmp/Rtmp/x"]),
        (f"tmp/{OF_RUN}/home/.cache", ["/home/.cache"]),
        (f"bundles/{'a' * 64}.tar.gz", [f"{MNT}/bundle.tar.gz"]),
    ],
)
def test_a_file_on_disk_is_found_in_the_sandbox(below: str, sandbox: list[str]) -> None:
    assert [(f"{DATA}/{below}", each) for each in sandbox] == turned(f"{DATA}/{below}")


@pytest.mark.parametrize(
    "below",
    ["", "db/supervisor.db", "apps", "apps/12", "apps/x/3", "jobs/12/run/log", "bundles/b.tar.gz"],
)
def test_the_rest_of_the_data_directory_is_hidden(below: str) -> None:
    path = f"{DATA}/{below}".rstrip("/")
    [way] = ways(path, data_dir=DATA, run_dir=RUN)
    assert Way(physical=path, sandbox=None, about=way.about) == way
    assert "hidden" in way.about


@pytest.mark.parametrize(
    ("sandbox", "physical"),
    [
        (f"{MNT}/app/app.R", f"{DATA}/apps/12/3/app.R"),
        ("/opt/rstudio-connect/mnt/app/app.R", f"{DATA}/apps/12/3/app.R"),
        (f"{MNT}/state", f"{DATA}/state/12"),
        ("/tmp/Rtmp/x", f"{DATA}/tmp/{OF_RUN}/Rtmp/x"),
        ("/var/tmp/x", f"{DATA}/tmp/{OF_RUN}/x"),
        ("/home/.cache", f"{DATA}/tmp/{OF_RUN}/home/.cache"),
        (f"{MNT}/socket/app.sock", f"{RUN}/w/{OF_RUN}/app.sock"),
    ],
)
def test_a_file_of_a_sandbox_is_found_on_disk(sandbox: str, physical: str) -> None:
    inside = sandbox.replace("/opt/rstudio-connect", "/opt/content-supervisor")
    assert [(physical, inside)] == turned(sandbox, content=12, deployment=3, run=OF_RUN)


def test_what_is_not_known_stands_in_braces() -> None:
    path = f"{MNT}/app/app.R"
    assert [(f"{DATA}/apps/{{content}}/{{deployment}}/app.R", path)] == turned(path)
    assert [(f"{DATA}/apps/12/{{deployment}}/app.R", path)] == turned(path, content=12)


def test_what_is_the_hosts_is_the_same_inside() -> None:
    assert [("/usr/lib/R", "/usr/lib/R")] == turned("/usr/lib/R")
    assert [("/tmpfoo", "/tmpfoo")] == turned("/tmpfoo")


def test_dots_are_taken_out_before_anything_is_looked_at() -> None:
    [(physical, sandbox)] = turned(f"{DATA}/apps/12/3/../../../db/x")
    assert (f"{DATA}/db/x", None) == (physical, sandbox)


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(ValueError, match="is not an absolute path"):
        ways("app/app.R", data_dir=DATA, run_dir=RUN)
