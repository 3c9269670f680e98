"""An administrator's own page templates, read once at the start: the gateway opens no file."""

from __future__ import annotations

import os
import stat

from supervisor.errors import SupervisorError
from supervisor.parent import trust
from supervisor.templates.check import check

SIZE_LIMIT = 65536  # bytes of one file


def read_templates(folder: str | None, *, owner: int) -> dict[str, str]:
    """Read the `*.html` of a folder, file name → text; none where there is no folder.

    Files belong to root or `owner`. Raises SupervisorError("settings-invalid") naming the first
    file that cannot be used, and why; "not-root-owned" for a folder in which others than root could
    put a link, by which root would publish what root alone can read.
    """
    if folder is None:
        return {}
    if owner == 0:
        trust.refuse_writable([folder])
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".html"))
    except OSError as error:
        raise _refusal(folder, str(error.strerror)) from None
    files: dict[str, str] = {}
    for name in names:
        try:
            files[name] = _read(os.path.join(folder, name), owner)
            check(name, files[name])
        except UnicodeDecodeError as error:
            raise _refusal(folder, f"{name}: no UTF-8 at byte {error.start}") from None
        except OSError as error:
            raise _refusal(folder, f"{name}: {error.strerror}") from None
        except ValueError as error:
            raise _refusal(folder, f"{name}: {error}") from None
    return files


def _read(path: str, owner: int) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no regular file")
        if found.st_uid not in (0, owner):
            raise ValueError(f"it belongs to uid {found.st_uid}, and would speak for the server")
        if found.st_mode & stat.S_IWOTH:
            raise ValueError("everybody can write it, and it would speak for the server")
        data = file.read(SIZE_LIMIT + 1)
    if len(data) > SIZE_LIMIT:
        raise ValueError(f"it is over {SIZE_LIMIT // 1024} KiB")
    # As browsers read it: the hash of a script, by which it may run, is made of these lines.
    return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def _refusal(folder: str, reason: str) -> SupervisorError:
    return SupervisorError(
        "settings-invalid",
        f"Pages.Templates = {folder}: {reason}",
        hint="docs/reference/pages.md names the pages and what each may hold.",
    )
