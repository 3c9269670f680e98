from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import attrs
import pytest

from supervisor import settings as settings_package
from supervisor.errors import SupervisorError
from supervisor.model import Scaling
from supervisor.settings import (
    Configuration,
    Listen,
    Settings,
    configuration_file,
    configure,
    data_dir,
    load,
    parse,
    refuse_open_door,
    run_dir,
    unknown_keys,
)
from supervisor.settings.sections import SECTIONS
from supervisor.settings.unknown import unknown_sections
from supervisor.site_mounts import SiteMount

SAMPLE = Path(settings_package.__file__).with_name("sample.gcfg")
# The configuration of the reference system's container article, which people bring along.
CONTAINER = """\
[Server]
SenderEmail =
Address =
DataDir = /data
[Licensing]
LicenseType = remote
[Database]
Provider = postgres
[Postgres]
URL = "postgres://"
[HTTP]
Listen = :3939
[Authentication]
Provider = password
"""


def configured(text: str) -> Configuration:
    return configure(parse(text, "test.gcfg"))


def resolved(configuration: Configuration) -> Settings:
    return Settings.of(
        configuration,
        data_dir="/data",
        run_dir="/run/x",
        rootless=False,
        tier="root",
        core_uid=1,
        core_gid=2,
        gateway_uid=3,
        gateway_gid=4,
        install_uid=5,
        install_gid=6,
        admin_gid=None,
        templates={"full.html": "<title>Voll</title>"},
    )


def test_the_configuration_of_the_container_article_is_accepted() -> None:
    configuration = configured(CONTAINER)

    assert "/data" == configuration.server.data_dir
    assert "" == configuration.server.address == configuration.server.sender_email
    assert (Listen(host="", port=3939),) == configuration.http.listen
    assert "postgres" == configuration.database.provider
    assert "password" == configuration.authentication.provider
    assert {"url": ["postgres://"]} == configuration.plugin_sections()["postgres"]


def test_the_gaps_of_the_container_articles_configuration_are_named() -> None:
    assert [
        "test.gcfg:2: SenderEmail is empty: no e-mail can be sent",
        "test.gcfg:3: Address is empty: links are built from the first address of HTTP.Listen,"
        " which others may not be able to reach",
        "test.gcfg:6: LicenseType is accepted: no licence is needed",
    ] == list(configured(CONTAINER).warnings)


def test_names_are_the_same_in_any_case() -> None:
    assert 7 == configured("[scheduler]\nMAXPROCESSES = 7\n").scheduler.most


def test_seats_are_of_several_nodes() -> None:
    with pytest.raises(SupervisorError, match=r"Server\.Seats counts nothing where .* is alone"):
        configured("[Server]\nSeats = 2\n")
    assert 2 == configured("[Server]\nSeats = 2\nSeveralNodes = yes\n").server.seats


def test_the_last_value_counts_but_of_multi_keys_all() -> None:
    text = "[Server]\nAddress = a\nAddress = b\n[HTTP]\nListen = :1\n[HTTP]\nListen = :2\n"
    configuration = configured(text)

    assert "b" == configuration.server.address
    assert [1, 2] == [listen.port for listen in configuration.http.listen]


def test_an_empty_value_is_the_default() -> None:
    assert 8.0 == configured("[Server]\nShutdownTimeout =\n").server.shutdown_timeout


def test_the_scheduler_has_the_defaults_and_fields_of_the_models_scaling() -> None:
    given = dataclasses.asdict(configured("").scheduler)

    assert attrs.asdict(Scaling()).items() <= given.items()


def test_a_value_that_does_not_fit_is_shown_where_it_stands() -> None:
    with pytest.raises(SupervisorError) as caught:
        configured("[Scheduler]\n  LoadFactor = 2\n")

    assert caught.value.message.startswith("test.gcfg:2:16: LoadFactor: '2' is not a number")
    assert "LoadFactor = 2" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Scheduler]\nMinProcesses = 4\n", "test.gcfg:2:16: MinProcesses: 4 is more than the 3"),
        ("[Scheduler]\nMaxProcesses = 0\n", "test.gcfg:2:16: MaxProcesses: 0 is not 1 or more"),
        ("[Scheduler]\nMaxProcesses = 21\n", "test.gcfg:2:16: MaxProcesses: 21 is more than the"),
        (
            "[Scheduler]\nMaxProcessesLimit = 2\n",
            "test.gcfg:2:21: MaxProcessesLimit: MaxProcesses 3 is more than the server's",
        ),
        (
            "[Scheduler]\nMaxProcesses = 20\nMinProcesses = 11\n",
            "test.gcfg:3:16: MinProcesses: 11 is more than the server's MinProcessesLimit, 10",
        ),
        ("[Scheduler]\nMaxConnsPerProcess = 0\n", "test.gcfg:2:22: MaxConnsPerProcess: 0 is not"),
        ("[Scheduler]\nIdleTimeout = 31d\n", "test.gcfg:2:15: IdleTimeout: 2678400 s is not"),
        ("[Applications]\nUidFirst = 0\n", "not a range"),
        ("[Applications]\nUidFirst = 9\nUidLast = 8\n", "not a range"),
        ('[Mount "fonts"]\n', None),
        ('[Mount "fonts"]\nPath =\n', "has no Path"),
        ('[Mount "fonts"]\nPath = fonts\n', "not an absolute path"),
        ("[Mount]\nPath = /fonts\n", '[Mount "name"]'),
        ('[Server "x"]\nAddress = y\n', "written [Server]"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, said: str | None) -> None:
    if said is None:
        assert {} == configured(text).mounts
        return
    with pytest.raises(SupervisorError) as caught:
        configured(text)
    assert "settings-invalid" == caught.value.code
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "[Server]\nDatDir = /x\n",
            "test.gcfg:2: [Server] has no key DatDir; did you mean DataDir?",
        ),
        ("[Server]\nZzz = /x\n", "test.gcfg:2: [Server] has no key Zzz, it is ignored"),
        ("[Server]\nSenderEmail = a@b.c\n", "test.gcfg:2: SenderEmail has no effect yet"),
    ],
)
def test_a_key_that_will_do_nothing_is_a_warning(text: str, warning: str) -> None:
    (said,) = configured(text).warnings

    assert said.endswith(warning)


def test_a_key_that_a_section_of_a_plugin_does_not_have_is_a_warning() -> None:
    entries = configured("[r]\nExecutabel = /R\nExecutable = /R\n[Other]\nX = 1\n").entries
    (said,) = unknown_keys(entries, {"R": {"executable": "Executable"}})

    assert "test.gcfg:2: [r] has no key Executabel; did you mean Executable?" == said


def test_a_section_that_nobody_has_is_one_warning_with_the_nearest_one() -> None:
    entries = configured("[Sever]\nk = 1\nl = 2\n[Zoo]\nx = 1\n").entries

    assert [
        "test.gcfg:2: no loaded plugin has a section [Sever]; did you mean [Server]?",
        "test.gcfg:5: no loaded plugin has a section [Zoo], it is ignored",
    ] == unknown_sections(entries, SECTIONS)


def test_sections_of_plugins_pass_through_with_all_their_values() -> None:
    sections = configured(
        '[R]\nExecutable = /a\nExecutable = /b\n[RPackageRepository "CRAN"]\nURL = u\n'
    ).plugin_sections()

    assert {"executable": ["/a", "/b"]} == sections["r"]
    assert {"url": ["u"]} == sections['rpackagerepository "CRAN"']


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.gcfg"
    file.write_text("[Server]\nDataDir = /a\n[HTTP]\nListen = :1\nListen = :2\n")
    configuration = load(
        str(file),
        environ={
            "SUPERVISOR_SERVER_DATADIR": "/b",
            "SUPERVISOR_SERVER_SHUTDOWN_TIMEOUT": "3s",
            "SUPERVISOR_HTTP_LISTEN": "127.0.0.1:3",
            "SUPERVISOR_PYTHON_EXECUTABLE": "/python",
            "SUPERVISOR_SERVER_URL": "unix:///of-supervisord.sock",
            "OTHER_SERVER_DATADIR": "/c",
        },
    )

    assert "/b" == configuration.server.data_dir
    assert 3.0 == configuration.server.shutdown_timeout
    assert (Listen(host="127.0.0.1", port=3),) == configuration.http.listen
    assert {"executable": ["/python"]} == configuration.plugin_sections()["python"]
    assert () == configuration.warnings


def test_an_interpreter_that_either_key_names_may_be_started(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.gcfg"
    file.write_text("[Server]\nRVersion = /opt/R/4.2.2\n[R]\nExecutable = /srv/R\n")
    configuration = load(str(file), environ={})

    assert ("/opt/R/4.2.2/bin/R", "/srv/R") == resolved(configuration).executables
    assert {
        "r": {"executable": ["/opt/R/4.2.2/bin/R", "/srv/R"]}
    } == configuration.plugin_sections()
    assert () == configuration.warnings


def test_a_wrong_override_names_its_variable() -> None:
    with pytest.raises(SupervisorError, match="environment variable SUPERVISOR_HTTP_LISTEN"):
        load(environ={"SUPERVISOR_HTTP_LISTEN": "nonsense", "HOME": "/nowhere"}, uid=1)


def test_without_a_file_the_defaults_count() -> None:
    configuration = load(environ={"HOME": "/nowhere"}, uid=1)

    assert Configuration() == configuration
    assert (Listen(host="127.0.0.1", port=3939),) == configuration.http.listen


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match=r"no configuration file .*/missing\.gcfg"):
        load(str(tmp_path / "missing.gcfg"))


def test_a_file_that_is_no_text_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.gcfg"
    file.write_bytes(b"[Server]\nAddress = \xff\n")

    with pytest.raises(SupervisorError, match=r"supervisor\.gcfg:2:11: this is not UTF-8"):
        load(str(file))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match=r"cannot read .*: Is a directory"):
        load(str(tmp_path))


def test_places_follow_the_tier() -> None:
    home = {"HOME": "/home/me"}

    assert "/etc/content-supervisor/supervisor.gcfg" == configuration_file(home, uid=0)
    assert "/home/me/.config/content-supervisor/supervisor.gcfg" == configuration_file(home, uid=7)
    assert "/var/lib/content-supervisor" == data_dir(Configuration(), home, uid=0)
    assert "/home/me/.local/share/content-supervisor" == data_dir(Configuration(), home, uid=7)
    assert "/run/content-supervisor" == run_dir(Configuration(), home, uid=0)
    assert "/tmp/content-supervisor-7" == run_dir(Configuration(), home, uid=7)
    runtime = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert "/run/user/7/content-supervisor" == run_dir(Configuration(), runtime, uid=7)
    assert "/data" == data_dir(configured("[Server]\nDataDir = /data/\n"), home, uid=0)


def test_children_read_the_same_settings_that_the_parent_wrote() -> None:
    text = CONTAINER + '[Mount "f"]\nPath = /f\n[R]\nExecutable = /opt/R/bin/R\n'
    settings = resolved(configured(text))
    fd = os.memfd_create("settings")
    os.write(fd, settings.to_json())

    assert settings == Settings.read(fd)
    assert (SiteMount(name="f", path="/f", at="/f"),) == settings.site_mounts
    assert ("/opt/R/bin/R",) == settings.executables


def test_the_json_is_that_of_the_contract() -> None:
    message = json.loads(resolved(configured('[Mount "f"]\nPath = /f\n')).to_json())

    assert {
        "section": "Mount", "subsection": "f", "key": "Path", "value": "/f",
        "file": "test.gcfg", "line": 2, "column": 8, "text": "Path = /f",
    } == message["entries"][0]  # fmt: skip
    assert {
        "data_dir", "run_dir", "rootless", "tier", "core_uid", "core_gid", "gateway_uid",
        "gateway_gid", "install_uid", "install_gid", "admin_gid", "uid_first", "uid_last",
        "most_egress", "loopback_ports",
        "several_nodes", "run_as", "run_as_group",
        "log_form", "log_level", "mounts", "server_address", "executables", "templates",
        "parent_pid",
        "access_form", "trusted_proxies", "without", "hidden", "totals", "maxima",
    } == set(message["settings"])  # fmt: skip


def test_who_needs_no_entries_gets_none() -> None:
    message = json.loads(resolved(configured(CONTAINER)).to_json(entries=False))

    assert [] == message["entries"]
    assert "/data" == message["settings"]["data_dir"]


@pytest.mark.parametrize("text", ["{}", '{"settings": {}, "entries": []}', "[]", "no"])
def test_other_json_is_no_settings(text: str) -> None:
    with pytest.raises(ValueError):
        Settings.from_json(text)


@pytest.mark.parametrize(
    ("text", "authenticators", "refused"),
    [
        ("", (), False),
        ("[HTTP]\nListen = [::1]:1\n", (), False),
        ("[HTTP]\nListen = :1\n", (), True),
        ("[HTTP]\nListen = 127.0.0.1:1\nListen = 10.0.0.1:1\n", (), True),
        ("[HTTP]\nListen = :1\n[Authentication]\nProvider = None\n", (), False),
        ("[HTTP]\nListen = :1\n[Authentication]\nProvider = password\n", (), True),
        ("[HTTP]\nListen = :1\n[Authentication]\nProvider = password\n", ("password",), False),
    ],
)
def test_the_door_is_open_to_others_only_by_a_written_word(
    text: str, authenticators: tuple[str, ...], refused: bool
) -> None:
    if refused:
        with pytest.raises(SupervisorError, match="open to other machines"):
            refuse_open_door(configured(text), authenticators)
    else:
        refuse_open_door(configured(text), authenticators)


def test_the_sample_names_only_keys_that_exist_with_their_defaults() -> None:
    lines = SAMPLE.read_text().splitlines()
    known = {field.metadata["name"] for kind in SECTIONS for field in dataclasses.fields(kind)}
    enabled = [
        line.removeprefix("; ")
        if line.startswith("; [") or line.removeprefix("; ").split(" =")[0] in known
        else line
        for line in lines
        if not line.startswith("; Provider = none lets")
    ]
    configuration = configured("\n".join(enabled))

    assert [] == [said for said in configuration.warnings if "Address is empty" not in said]
    assert {"fonts"} == set(configuration.mounts)
    assert Configuration().scheduler == configuration.scheduler
    assert Configuration().applications == configuration.applications
    assert Configuration().http == configuration.http
    assert Configuration().logging == configuration.logging
    assert () == configured(SAMPLE.read_text()).warnings
