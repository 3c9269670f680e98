"""Where the Postgres server is: the section [Postgres] of the configuration."""

from __future__ import annotations

import os
import stat
from typing import ClassVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

import attrs

from supervisor import Context, SupervisorError, setting, values

_EXAMPLE = "postgres://supervisor@db.example.org/supervisor"
_SECRETS = frozenset({"password", "sslpassword", "passfile"})


def _url(text: str) -> str:
    """Check a URL; no message shows a password."""
    try:
        parts = urlsplit(text)
        given = _parameters(parts)
        secret = parts.password is not None or bool(_SECRETS & given.keys())
    except ValueError:
        raise values.Unfit(f"this is not a URL; it is like {_EXAMPLE}", secret=True) from None
    if parts.scheme not in ("postgres", "postgresql"):
        said = f"it does not begin with postgres://; it is like {_EXAMPLE}"
        raise values.Unfit(said, secret=True)
    if secret:
        raise values.Unfit(
            "it must not hold a password, which `config show` and logs would show",
            hint="Write it into a file that the core can read, and name it by PasswordFile.",
            secret=True,
        )
    if not (parts.netloc.rpartition("@")[2] or given.get("host") or given.get("hostaddr")):
        raise values.Unfit(
            "it names no host",
            code="database-url-no-host",
            hint=f"It is like {_EXAMPLE}, or ?host=/run/postgresql for a Unix socket.",
        )
    return text


def _parameters(parts: SplitResult) -> dict[str, str]:
    return dict(parse_qsl(parts.query, keep_blank_values=True))


@attrs.frozen(kw_only=True)
class PostgresSettings:
    """The section [Postgres], a field per key.

    url: postgres://USER@HOST:PORT/DATABASE, with any parameters of libpq behind a `?`; no password.
    password_file: the file whose first line is the password.
    """

    section: ClassVar[str] = "Postgres"

    url: str = setting(
        "URL", _url, "",
        about=f"where the database is: `{_EXAMPLE}`, with any parameters of libpq behind a `?`;"
        " never a password",
    )  # fmt: skip
    password_file: str = setting(
        "PasswordFile", values.path, "",
        about="a file whose first line is the password, which the core must be able to read; read"
        " anew for each connection",
    )  # fmt: skip


def read(context: Context) -> PostgresSettings:
    """Give the section; SupervisorError where it is wrong or has no URL."""
    settings = context.read(PostgresSettings)
    if not settings.url:
        raise _invalid(f"[Postgres] URL is not set; it is like {_EXAMPLE}")
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


def _invalid(message: str, *, hint: str = "") -> SupervisorError:
    return SupervisorError("settings-invalid", message, hint=hint)
