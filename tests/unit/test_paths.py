"""Physical paths and those of sandboxes are turned into each other, and explained."""

from __future__ import annotations

import pytest

from supervisor.paths import Known, Way, ways
from supervisor.site_mounts import SiteMount

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
        ("libraries/R/4.2.2/x", [f"{MNT}/R/4.2.2/x"]),
        ("libraries/python-environments/pip/3.11/a", [f"{MNT}/python-environments/pip/3.11/a"]),
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
        (f"{MNT}/R/4.2.2", f"{DATA}/libraries/R/4.2.2"),
        (f"{MNT}/tmp/Rtmp/x", f"{DATA}/tmp/{OF_RUN}/Rtmp/x"),
        (f"{MNT}/socket/app.sock", f"{RUN}/w/{OF_RUN}/app.sock"),
    ],
)
def test_a_file_of_a_sandbox_is_found_on_disk(sandbox: str, physical: str) -> None:
    inside = sandbox.replace("/opt/rstudio-connect", "/opt/content-supervisor")
    assert [(physical, inside)] == turned(sandbox, content=12, deployment=3, run=OF_RUN)


# The examples of the process management article. Its XX and YY are content and deployment; its
# package cache lies in `libraries` here.
ARTICLE = [
    ("# A source Shiny application", "apps/12/3/app.R", "app/app.R"),
    ("# A source R Markdown document", "apps/12/3/index.Rmd", "app/index.Rmd"),
    (
        "# An HTML document rendered from that R Markdown document",
        "reports/12/1/7/index.html",
        "report/index.html",
    ),
    ("# A staticly deployed document", "apps/12/3/index.html", "app/index.html"),
    (
        "# The Shiny package inside the packrat cache",
        "libraries/packrat/3.2.5/v2/library/shiny",
        "packrat/3.2.5/v2/library/shiny/",
    ),
]


@pytest.mark.parametrize(("example", "below", "inside"), ARTICLE, ids=lambda text: text[:40])
def test_the_articles_examples_hold_in_both_directions(
    example: str, below: str, inside: str
) -> None:
    """ "    => /opt/rstudio-connect/mnt/app/app.R", and so on."""
    there = f"/opt/rstudio-connect/mnt/{inside}"
    ours = there.replace("/opt/rstudio-connect", "/opt/content-supervisor").rstrip("/")
    assert [(f"{DATA}/{below}", ours)] == turned(f"{DATA}/{below}")
    physical, _ = turned(there, content=12, deployment=3)[0]
    known = f"{DATA}/{below}".replace("12/1/7", "12/{variant}/{rendering}")
    assert known == physical


MOUNTS = (
    SiteMount(name="data", path="/mnt/nfs/data", at="/srv/data"),
    SiteMount(name="inbox", path="/srv/in", at="/home/in", writable=True, contents=("sales",)),
)


@pytest.mark.parametrize(
    ("path", "known", "way"),
    [
        ("/srv/data/x.csv", Known(), ("/mnt/nfs/data/x.csv", "/srv/data/x.csv")),
        ("/mnt/nfs/data", Known(), ("/mnt/nfs/data", "/srv/data")),
        ("/home/in/x", Known(content=1, name="sales"), ("/srv/in/x", "/home/in/x")),
        ("/home/in/x", Known(content=1, name="hr"), ("/srv/in/x", "/home/in/x")),
    ],
)
def test_mounts_of_the_settings_are_turned_and_explained(
    path: str, known: Known, way: tuple[str, str]
) -> None:
    [found] = ways(path, data_dir=DATA, run_dir=RUN, known=known, mounts=MOUNTS)
    assert way == (found.physical, found.sandbox)
    data = "data" in way[0]
    assert ('[Mount "data"], read-only, for every content' in found.about) is data
    assert ('[Mount "inbox"], which it may change, for sales' in found.about) is not data
    assert (known.name == "hr") is ("not for this one" in found.about)


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
