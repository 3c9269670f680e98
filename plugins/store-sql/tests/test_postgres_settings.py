"""The section [Postgres]: what its URL must and must not say."""

from __future__ import annotations

import pytest
from supervisor_sql.address import read

from supervisor import Context, SupervisorError


def context(text: str) -> Context:
    return Context.of_text(f"[Postgres]\n{text}\n")


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me@db.example.org/records",
        "postgresql://db:5433/records?sslmode=require",
        "postgres:///records?host=/run/postgresql",
    ],
)
def test_a_url_that_names_a_host_is_taken_as_it_is(url: str) -> None:
    assert url == read(context(f"URL = {url}")).url


@pytest.mark.parametrize("url", ["postgres://", "postgres:///records", "postgres://me@/records"])
def test_a_url_without_a_host_has_an_error_of_its_own(url: str) -> None:
    with pytest.raises(SupervisorError, match="URL: it names no host") as caught:
        read(context(f"URL = {url}"))
    assert "database-url-no-host" == caught.value.code


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://db/records", "does not begin with postgres://"),
        ("postgres://[db/records", "not a URL"),
        ("postgres://me:hunter2@db/records", "must not hold a password"),
        ("postgres://db/records?password=hunter2", "must not hold a password"),
        ("", "URL is not set"),
    ],
)
def test_another_url_is_refused_and_no_password_is_shown(url: str, said: str) -> None:
    with pytest.raises(SupervisorError, match=said) as caught:
        read(context(f"URL = {url}"))
    assert "settings-invalid" == caught.value.code
    assert "hunter2" not in str(caught.value)


def test_a_password_file_is_an_absolute_path() -> None:
    with pytest.raises(SupervisorError, match="PasswordFile: 'here' is not an absolute path"):
        read(context("URL = postgres://db/records\nPasswordFile = here"))
