"""Content, Bundle, Deployment: what publishers made and what of it is served."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import attrs

from supervisor.model.ids import BundleId, ContentId, DeploymentId, Guid
from supervisor.network import Egress


class ContentKind(StrEnum):
    """What a content is, as far as supervision cares."""

    APP = "app"
    API = "api"
    DOCUMENT = "document"
    SITE = "site"
    STATIC = "static"


@attrs.frozen(kw_only=True)
class Scaling:
    """How many processes serve a content, and its time limits in seconds (0 = never).

    least and most: processes; sessions_each: seats of one process; load_factor: the share of all
    seats taken from which another process is started. init: from start to ready; idle: without
    anybody until it is ended; connection and read: of silence until a session is ended, either way
    and of the client; reconnect: for which a lost session keeps its seat; drain: for which sessions
    may stay on a process that was replaced; notice: whether pages announce the end of that.
    """

    least: int = 0
    most: int = 3
    sessions_each: int = 20
    load_factor: float = 0.5
    init: float = 60.0
    idle: float = 120.0
    connection: float = 3600.0
    read: float = 3600.0
    reconnect: float = 15.0
    drain: float = 3600.0
    notice: bool = True


@attrs.frozen(kw_only=True)
class Overrides:
    """What was set of Scaling for one content; None = the server's default counts."""

    least: int | None = None
    most: int | None = None
    sessions_each: int | None = None
    load_factor: float | None = None
    init: float | None = None
    idle: float | None = None
    connection: float | None = None
    read: float | None = None
    reconnect: float | None = None
    drain: float | None = None
    notice: bool | None = None

    def over(self, defaults: Scaling) -> Scaling:
        """Give the scaling that counts."""
        own = attrs.asdict(self, filter=lambda _, value: value is not None)
        return attrs.evolve(defaults, **own)


@attrs.frozen(kw_only=True)
class Limits:
    """What one process of a content may use at most; None = no limit of ours.

    memory_high and memory_max in bytes, cpu in cores, tmp in bytes of all temporary files,
    run_time in seconds. nice, 0 to 19, is no limit but a rank: the higher, the less it gets of a
    busy processor. Of a content, None is the server's default, and 0 is no limit.
    """

    memory_high: int | None = None
    memory_max: int | None = None
    cpu: float | None = None
    pids: int | None = None
    files: int | None = None
    tmp: int | None = None
    run_time: float | None = None
    nice: int | None = None


@attrs.frozen(kw_only=True)
class Content:
    """One thing that a publisher made: an app, an API, a document, a site or static files.

    uid is allotted once from the configured range and never given to another content; 0 stands for
    a server that runs without root, where content has the caller's uid. run_as: the name of an
    account that it runs as instead; its files stay its uid's. egress: how far it reaches into the
    network, None = as far as the server says. Runs made before `rolled`
    (wall-clock seconds) are to be replaced. version counts changes and is what compare-and-set
    compares.
    """

    id: ContentId
    guid: Guid
    name: str
    title: str = ""
    kind: ContentKind | None = None
    app_mode: str | None = None
    uid: int = 0
    executor: str | None = None
    run_as: str | None = None
    scaling: Overrides = Overrides()
    limits: Limits = Limits()
    egress: Egress | None = None
    environment: Mapping[str, str] = attrs.field(factory=dict)
    active_deployment: DeploymentId | None = None
    stopped: bool = False
    rolled: float = 0.0
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
    GOING = "going"


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

    @property
    def is_going(self) -> bool:
        """Whether its archive is being removed: nobody can deploy it any more."""
        return self.state is BundleState.GOING


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
