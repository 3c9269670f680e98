"""Access: administrators by the kernel's word, everybody else is a visitor."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import attrs

from supervisor.api.peer import Peer

SOCKET_NAME = "core.sock"
TOKEN_NAME = "admin.token"  # beside core.sock, mode 0600
GIB = 1024**3


@attrs.frozen(kw_only=True)
class ApiSettings:
    """What the API must know. admin_gid None: no group has that right. max_bundle in bytes.

    token: where gateway and core have one uid (no root), a uid cannot tell an administrator from a
    visitor whom the gateway forwards. There the administrator also shows this secret.
    """

    core_uid: int
    gateway_uid: int
    admin_gid: int | None = None
    token: str | None = attrs.field(default=None, repr=False)
    max_bundle: int = 4 * GIB


def api_settings(settings: Mapping[str, object]) -> ApiSettings:
    """Make ApiSettings from what the parent resolved; without root, write the token file anew.

    The administrators' group is the one that the parent gave core.sock to. Raises OSError where the
    token cannot be written into RunDir.
    """
    core_uid, gateway_uid = settings["core_uid"], settings["gateway_uid"]
    assert isinstance(core_uid, int)
    assert isinstance(gateway_uid, int)
    run_dir = Path(str(settings["run_dir"]))
    token = write_token(run_dir) if core_uid == gateway_uid else None
    try:
        admin_gid = (run_dir / SOCKET_NAME).stat().st_gid
    except OSError:
        admin_gid = None
    return ApiSettings(core_uid=core_uid, gateway_uid=gateway_uid, admin_gid=admin_gid, token=token)


def write_token(directory: Path) -> str:
    """Make a new secret and put it beside the socket, readable by this uid alone."""
    token = secrets.token_urlsafe(32)
    fresh = directory / f".{TOKEN_NAME}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    fresh.replace(directory / TOKEN_NAME)
    return token


def is_administrator(peer: Peer, authorization: str, settings: ApiSettings) -> bool:
    """Tell whether this peer may do everything. authorization: the request's header, or ""."""
    if settings.token is not None:
        shown = authorization.removeprefix("Key ").strip()
        return peer.uid in (0, settings.core_uid) and hmac.compare_digest(
            shown.encode(), settings.token.encode()
        )
    if peer.uid == settings.gateway_uid:
        return False
    if peer.uid in (0, settings.core_uid):
        return True
    return settings.admin_gid is not None and settings.admin_gid in peer.groups
