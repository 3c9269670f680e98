"""What `[Mount "name"]` may show, where, and to whom."""

from __future__ import annotations

import dataclasses

import pytest

from supervisor.errors import SupervisorError
from supervisor.settings import configure, parse
from supervisor.settings.configuration import site_mounts
from supervisor.site_mounts import SiteMount, covered, misplaced

HIDDEN = ("/var/lib/content-supervisor", "/run/content-supervisor", "/etc/content-supervisor")
GUID = "0d3b6f3a-6f1c-4c7f-9d0e-2f6a35c1b001"


def mount(path: str = "/srv/data", at: str = "", **fields: object) -> SiteMount:
    return SiteMount(name="m", path=path, at=at or path, **fields)  # type: ignore[arg-type]


def problems(*mounts: SiteMount) -> list[str]:
    return [str(problem) for problem in misplaced(mounts, HIDDEN)]


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("/srv/data", ""),
        ("/usr/local/share/fonts", ""),
        ("/shared/software/R", "/opt/R"),
        ("/srv/conf/odbc.ini", "/etc/odbc.ini"),
        ("/run/postgresql", "/run/postgresql"),
        ("/home/alice/data", ""),
        ("/var/lib/data", ""),
        ("/etc/krb5.keytab", ""),
    ],
)
def test_what_sites_need_may_be_shown(path: str, at: str) -> None:
    assert [] == problems(mount(path, at))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "lies in it"),
        ("/var/lib", "/var/lib/content-supervisor lies in it"),
        ("/var/lib/content-supervisor", "it is what content must not see"),
        ("/var/lib/content-supervisor/db", "it lies in /var/lib/content-supervisor"),
        ("/etc", "/etc/content-supervisor lies in it"),
        ("/proc/1", "it lies in /proc"),
        ("/dev/shm", "it lies in /dev"),
        ("relative", "not a plain absolute path"),
        ("/srv/../etc", "not a plain absolute path"),
        ("//srv", "not a plain absolute path"),
    ],
)
def test_what_content_must_not_see_is_never_shown(path: str, said: str) -> None:
    [problem] = problems(mount(path, "/srv/x"))
    assert said in problem
    assert '[Mount "m"]' in problem


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("/", "below /"),
        ("/proc", "it is what a sandbox has itself"),
        ("/proc/x", "it lies in /proc, which"),
        ("/etc", "it holds /etc/passwd, which"),
        ("/etc/passwd", "it is what"),
        ("/etc/passwd/x", "it lies in /etc/passwd"),
        ("/usr", "it holds /usr/bin"),
        ("/lib", "it is what"),
        ("/var", "it holds /var/tmp"),
        ("/home", "it is what"),
        ("/opt", "it holds /opt/content-supervisor/mnt"),
        ("/opt/rstudio-connect/mnt/app", "it lies in /opt/rstudio-connect"),
        ("/run/passwd", "it is what"),
        ("/srv/./x", "not a plain absolute path"),
    ],
)
def test_nothing_stands_where_a_sandbox_has_something_itself(at: str, said: str) -> None:
    [problem] = problems(mount("/srv/data", at))
    assert said in problem


def test_two_stand_at_one_place_only_for_contents_of_their_own() -> None:
    inner = mount("/srv/other", "/srv/data/inner")
    assert "overlaps" in problems(mount(), inner)[0]
    assert "overlaps" in problems(mount(), mount("/srv/other", "/srv/data", contents=("1",)))[0]
    own = mount(contents=("2",)), mount("/srv/other", "/srv/data", contents=("1",))
    assert [] == problems(*own)


@pytest.mark.parametrize(
    ("word", "seen"),
    [
        ("12", True),
        ("13", False),
        (GUID, True),
        (GUID.upper(), True),
        ("sales", True),
        ("Sales", False),
    ],
)
def test_a_content_is_meant_by_number_guid_or_name(word: str, seen: bool) -> None:
    assert seen is mount(contents=("99", word)).is_for(12, GUID, "sales")


def test_a_name_is_never_taken_for_a_number_or_a_guid() -> None:
    assert not mount(contents=("12",)).is_for(5, "other", "12")
    assert not mount(contents=(GUID,)).is_for(5, "other", GUID)


def test_without_contents_it_is_for_every_one() -> None:
    assert mount().is_for(1, "", "")


def test_json_gives_the_same_mount() -> None:
    one = mount(contents=("a", "b"), writable=True)
    assert one == SiteMount.of_json({**dataclasses.asdict(one), "contents": ["a", "b"]})


def test_the_settings_say_all_of_it() -> None:
    text = f"""\
[Mount "data"]
Path = /srv/data/
[Mount "inbox"]
Path = /srv/in
At = /srv/inbox
Access = write
Content = sales
Content = {GUID}
"""
    assert (
        SiteMount(name="data", path="/srv/data", at="/srv/data"),
        SiteMount(
            name="inbox", path="/srv/in", at="/srv/inbox", writable=True, contents=("sales", GUID)
        ),
    ) == site_mounts(configure(parse(text, "test.gcfg")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Path = /srv/x\nAt = srv", "not an absolute path"),
        ("Path = /srv/x\nAccess = EXECUTE", "READ"),
        ("At = /srv/x", "has no Path"),
        ("Path = /etc/rstudio-connect", "content must not see"),
        ("Path = /srv/x\nAt = /tmp", "cannot stand at /tmp"),
    ],
)
def test_wrong_settings_are_refused_by_their_section(text: str, said: str) -> None:
    with pytest.raises(SupervisorError, match=said) as caught:
        configure(parse(f'[Mount "m"]\n{text}\n', "test.gcfg"))
    assert "settings-invalid" == caught.value.code


def test_the_database_and_the_file_itself_are_hidden_too() -> None:
    text = '[Server]\nDataDir = /data/cs\n[Mount "m"]\nPath = /data\n'
    with pytest.raises(SupervisorError, match="/data/cs lies in it"):
        configure(parse(text, "test.gcfg"))
    text = '[Database]\nDir = /srv/db\n[Mount "m"]\nPath = /srv\n'
    with pytest.raises(SupervisorError, match="/srv/db lies in it"):
        configure(parse(text, "test.gcfg"))
    with pytest.raises(SupervisorError, match=r"/srv/conf/x\.gcfg lies in it"):
        configure(parse('[Mount "m"]\nPath = /srv/conf\n', "x"), file="/srv/conf/x.gcfg")


def test_covered_compares_whole_components() -> None:
    assert covered("/usr/lib", ["/usr"])
    assert not covered("/usrlocal", ["/usr"])
    assert covered("/srv", ["/"])
