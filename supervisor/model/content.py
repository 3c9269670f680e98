"""Content, Bundle, Deployment: what publishers made and what of it is served."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import attrs

from supervisor.model.ids import BundleId, ContentId, DeploymentId, Guid


class ContentKind(StrEnum):
    """What a content is, as far as supervision cares."""

    APP = "app"
    API = "api"
    DOCUMENT = "document"
    SITE = "site"
    STATIC = "static"


@attrs.frozen(kw_only=True)
class Scaling:
    """How many processes serve a content, and its time limits in seconds (0 = never)."""

    least: int = 0
    most: int = 1
    sessions_each: int = 20
    load_factor: float = 0.5
    init: float = 60.0
    idle: float = 120.0
    connection: float = 3600.0
    read: float = 3600.0


@attrs.frozen(kw_only=True)
class Limits:
    """What one process of a content may use at most; None = no limit of ours.

    memory_high and memory_max in bytes, cpu in cores, tmp in bytes of the temporary directory,
    run_time in seconds.
    """

    memory_high: int | None = None
    memory_max: int | None = None
    cpu: float | None = None
    pids: int | None = None
    files: int | None = None
    tmp: int | None = None
    run_time: float | None = None


@attrs.frozen(kw_only=True)
class Content:
    """One thing that a publisher made: an app, an API, a document, a site or static files.

    uid is allotted once from the configured range and never given to another content; 0 stands for
    a server that runs without root, where content has the caller's uid. version counts changes and
    is what compare-and-set compares.
    """

    id: ContentId
    guid: Guid
    name: str
    title: str = ""
    kind: ContentKind | None = None
    app_mode: str | None = None
    uid: int = 0
    executor: str | None = None
    scaling: Scaling = Scaling()
    limits: Limits = Limits()
    environment: Mapping[str, str] = attrs.field(factory=dict)
    active_deployment: DeploymentId | None = None
    stopped: bool = False
    created: float = 0.0
    removed: float | None = None
    version: int = 1


class BundleState(StrEnum):
    """Where an uploaded bundle stands; the moves are in lifecycle.BUNDLE."""

    UPLOADED = "uploaded"
    UNPACKED = "unpacked"
    INSTALLING = "installing"
    READY = "ready"
    ACTIVE = "active"
    RETIRED = "retired"
    REJECTED = "rejected"


MOST_BUNDLE = 2 * 1024**3  # bytes of one uploaded bundle


@attrs.frozen(kw_only=True)
class Bundle:
    """One uploaded version of a content: an archive stored by the SHA-256 of its bytes."""

    id: BundleId
    content: ContentId
    digest: str
    size: int
    state: BundleState = BundleState.UPLOADED
    reason: str = ""
    manifest: Mapping[str, object] = attrs.field(factory=dict)
    created: float = 0.0
    version: int = 1


@attrs.frozen(kw_only=True)
class Deployment:
    """One unpacked bundle in a pristine directory of its own, and what a runtime detected."""

    id: DeploymentId
    content: ContentId
    bundle: BundleId
    runtime: str
    app_mode: str
    entrypoint: str
    installation: str = ""
    created: float = 0.0
    version: int = 1
