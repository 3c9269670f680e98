"""The section [Postgres]: what is accepted, and that no password is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from supervisor_sql.address import PostgresSettings, password_of, place_of, read
from supervisor_sql.plugin import supervisor_stores

from supervisor import Context, SupervisorError


def section(**keys: str | list[str]) -> PostgresSettings:
    given = {key: value if isinstance(value, list) else [value] for key, value in keys.items()}
    return read(Context(data_dir="/", run_dir="/", settings={"postgres": given}, rootless=True))


def refused(url: str, **keys: str) -> SupervisorError:
    with pytest.raises(SupervisorError) as caught:
        section(url=url, **keys)
    return caught.value


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgres://me@db.example.org/records", "db.example.org/records"),
        ("postgresql://me@db:5433/records?sslmode=require", "db:5433/records"),
        ("postgres://[::1]/records", "[::1]/records"),
        ("postgres://me@/records?host=%2Frun%2Fpostgresql", "/run/postgresql/records"),
        ("postgres://me@one,two:5433/records", "one,two:5433/records"),
    ],
)
def test_a_url_with_a_host_is_accepted_and_told_without_its_user(url: str, place: str) -> None:
    assert url == section(url=["postgres://overridden", url]).url
    assert place == place_of(url)


@pytest.mark.parametrize(
    "url", ["postgres://", "postgres:///records", "postgres://me@/records", "postgres://?host="]
)
def test_a_url_without_a_host_has_a_code_of_its_own(url: str) -> None:
    error = refused(url)
    assert "database-url-no-host" == error.code
    assert "postgres://supervisor@db.example.org/supervisor" in error.hint


@pytest.mark.parametrize(
    "url", ["", "db.example.org", "mysql://me@db/records", "postgres://[::1/records"]
)
def test_what_is_no_url_of_postgres_is_refused(url: str) -> None:
    assert "settings-invalid" == refused(url).code


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me:geheim@db/records",
        "postgres://me@db/records?password=geheim",
        "postgres://me@db/records?sslpassword=geheim",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    error = refused(url)
    assert "settings-invalid" == error.code
    assert "PasswordFile" in error.hint
    assert "geheim" not in str(error)


def test_the_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("geheim\nno part of it\n")
    file.chmod(0o640)
    settings = section(url="postgres://db/x", passwordfile=str(file))
    assert "geheim" == password_of(settings)
    assert password_of(PostgresSettings(url="postgres://db/x")) is None


def test_a_password_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("geheim")
    file.chmod(0o644)
    with pytest.raises(SupervisorError, match="open to everybody") as caught:
        password_of(PostgresSettings(password_file=str(file)))
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_password_file_that_holds_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(SupervisorError) as caught:
        password_of(PostgresSettings(password_file=str(file)))
    assert "settings-invalid" == caught.value.code
    assert str(file) in caught.value.message


def test_a_password_file_needs_an_absolute_path() -> None:
    assert "settings-invalid" == refused("postgres://db/x", passwordfile="password").code


def test_the_provider_refuses_what_the_settings_lack_before_anything_else(tmp_path: Path) -> None:
    data = str(tmp_path)
    settings = {"postgres": {"url": ["postgres://"]}}
    context = Context(data_dir=data, run_dir=data, settings=settings, rootless=True)
    with pytest.raises(SupervisorError) as caught:
        supervisor_stores(context)["postgres"](context)
    assert "database-url-no-host" == caught.value.code
