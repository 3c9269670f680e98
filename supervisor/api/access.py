"""Access: administrators by the kernel's word, everybody else is a visitor."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import attrs

from supervisor.api.peer import Peer
from supervisor.layout import ADMIN_TOKEN
from supervisor.model.content import MOST_BUNDLE
from supervisor.settings import Settings
from supervisor.settings.sections import Network, Scheduler
from supervisor.site_mounts import SiteMount


@attrs.frozen(kw_only=True)
class ApiSettings:
    """What the API must know. admin_gid None: no group has that right. max_bundle in bytes.

    scheduler: defaults and limits of a content's scaling. templates: an administrator's own pages.

    token: where gateway and core have one uid (no root), a uid cannot tell an administrator from a
    visitor whom the gateway forwards. There the administrator also shows this secret.
    """

    core_uid: int
    gateway_uid: int
    admin_gid: int | None = None
    token: str | None = attrs.field(default=None, repr=False)
    max_bundle: int = MOST_BUNDLE
    scheduler: Scheduler = Scheduler()
    templates: Mapping[str, str] = attrs.field(factory=dict)
    data_dir: str = "/var/lib/content-supervisor"
    run_dir: str = "/run/content-supervisor"
    site_mounts: tuple[SiteMount, ...] = ()
    network: Network = Network()


def api_settings(settings: Settings) -> ApiSettings:
    """Make ApiSettings from what the parent resolved; without root, write the token file anew.

    Raises OSError where the token cannot be written into RunDir.
    """
    shared = settings.core_uid == settings.gateway_uid
    return ApiSettings(
        core_uid=settings.core_uid,
        gateway_uid=settings.gateway_uid,
        admin_gid=settings.admin_gid,
        token=write_token(Path(settings.run_dir)) if shared else None,
        scheduler=settings.scheduler,
        templates=settings.templates,
        data_dir=settings.data_dir,
        run_dir=settings.run_dir,
        site_mounts=settings.site_mounts,
        network=settings.network,
    )


def write_token(directory: Path) -> str:
    """Make a new secret and put it beside the socket, readable by this uid alone."""
    token = secrets.token_urlsafe(32)
    fresh = directory / f".{ADMIN_TOKEN}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token)
    fresh.replace(directory / ADMIN_TOKEN)
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
