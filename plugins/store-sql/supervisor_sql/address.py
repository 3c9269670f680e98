"""Where the Postgres server is: the section [Postgres] of the configuration."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

import attrs

from supervisor import SupervisorError

_EXAMPLE = "postgres://supervisor@db.example.org/supervisor"
_SECRETS = frozenset({"password", "sslpassword", "passfile"})


@attrs.frozen(kw_only=True)
class PostgresSettings:
    """The section [Postgres], a field per key.

    url: postgres://USER@HOST:PORT/DATABASE, with any parameters of libpq behind a `?`; no password.
    password_file: the file whose first line is the password.
    """

    section: ClassVar[str] = "Postgres"

    url: str = ""
    password_file: str = ""


def read(section: Mapping[str, Sequence[str]]) -> PostgresSettings:
    """Read the section as Context.section gives it.

    Raises SupervisorError: database-url-no-host, settings-invalid. No message shows a password.
    """
    one = {key: values[-1] for key, values in section.items() if values}
    settings = PostgresSettings(url=one.get("url", ""), password_file=one.get("passwordfile", ""))
    if not settings.url:
        raise _invalid(f"[Postgres] URL is not set; it is like {_EXAMPLE}")
    _check(settings.url)
    if settings.password_file and not settings.password_file.startswith("/"):
        raise _invalid("[Postgres] PasswordFile is not an absolute path")
    return settings


def password_of(settings: PostgresSettings) -> str | None:
    """Give the first line of the password's file, None without one; read anew for each connection.

    Raises SupervisorError("settings-invalid") for a file that cannot be read, or that everybody
    could.
    """
    path = settings.password_file
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
                raise _invalid(
                    f"the password file {path} is open to everybody",
                    hint=f"Let its group be the core's, and: chmod 0640 {path}",
                )
            password = file.readline().rstrip("\r\n")
    except OSError as error:
        raise _invalid(
            f"the password file {path} cannot be read: {error.strerror}",
            hint="The core reads it, as [Privileged] CoreUser: chgrp it to that user's group.",
        ) from None
    except UnicodeDecodeError:
        raise _invalid(f"the password file {path} is not UTF-8 text") from None
    if not password:
        raise _invalid(f"the first line of the password file {path} is empty")
    return password


def place_of(url: str) -> str:
    """Give host, port and database of a URL that was read, for messages."""
    parts = urlsplit(url)
    host = _parameters(parts).get("host") or parts.netloc.rpartition("@")[2]
    return f"{host}{parts.path}"


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        given = _parameters(parts)
        secret = parts.password is not None or bool(_SECRETS & given.keys())
    except ValueError:
        raise _invalid(f"[Postgres] URL is not a URL; it is like {_EXAMPLE}") from None
    if parts.scheme not in ("postgres", "postgresql"):
        raise _invalid(f"[Postgres] URL does not begin with postgres://; it is like {_EXAMPLE}")
    if secret:
        raise _invalid(
            "[Postgres] URL must not hold a password, which `config show` and logs would show",
            hint="Write it into a file that the core can read, and name it by PasswordFile.",
        )
    if not (parts.netloc.rpartition("@")[2] or given.get("host") or given.get("hostaddr")):
        raise SupervisorError(
            "database-url-no-host",
            "[Postgres] URL names no host",
            hint=f"It is like {_EXAMPLE}, or ?host=/run/postgresql for a Unix socket.",
        )


def _parameters(parts: SplitResult) -> dict[str, str]:
    return dict(parse_qsl(parts.query, keep_blank_values=True))


def _invalid(message: str, *, hint: str = "") -> SupervisorError:
    return SupervisorError("settings-invalid", message, hint=hint)
