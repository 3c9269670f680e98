"""Plan and Job: what to run, first as a runtime says it, then self-contained for an executor."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import attrs

from supervisor.layout import PlaceRef, Role
from supervisor.model.content import Limits
from supervisor.model.ids import ContentId, RunId
from supervisor.network import Egress


class Purpose(StrEnum):
    """What a run is for. Each purpose has rights of its own (rights.py)."""

    UNPACK = "unpack"
    INSTALL = "install"
    RENDER = "render"
    SERVE = "serve"
    CUSTOMIZE = "customize"
    TIDY = "tidy"


class Access(StrEnum):
    """How a mount may be used."""

    READ = "read"
    WRITE = "write"


@attrs.frozen(kw_only=True)
class Mount:
    """One place, shown to the process at a sandbox path. `name` tells several of one role apart."""

    role: Role
    access: Access
    at: str
    name: str = ""


@attrs.frozen(kw_only=True)
class Ready:
    """How to tell that a process serves: GET `path` answers with one of `statuses`.

    An empty tuple of statuses accepts any answer below 500. `connect_only` is for servers that
    answer nothing until their first computation is done. GET `pulse` is answered at once by a
    process that does not compute, and late by one that does; None asks as for being ready. It is
    asked for before every other new session, so it should cost less than a page.
    """

    path: str = "/"
    statuses: tuple[int, ...] = ()
    connect_only: bool = False
    pulse: str | None = None


STOP_SIGNALS = ("TERM", "INT")
FIRST_PORT = 1024  # those below are for root


@attrs.frozen(kw_only=True)
class Plan:
    """How to do one thing with a bundle, as its runtime says it. Pure data; no physical path.

    argv[0] is an absolute path inside the sandbox. A process that serves listens on the Unix socket
    layout.LISTEN_AT, which it finds in the environment as SUPERVISOR_LISTEN. `prefix` says how the
    process learns its public path: "strip" = not at all, the gateway strips it. `stop_signal`,
    "TERM" or "INT", is what asks the process and its group to end; KILL follows after the grace.

    port: for what cannot listen on a Unix socket: the TCP port of 127.0.0.1 on which it listens
    instead, in a network of its own, so that many may have the same one.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = attrs.field(factory=dict)
    workdir: str
    mounts: tuple[Mount, ...] = ()
    ready: Ready | None = None
    prefix: str = "strip"
    stop_signal: str = attrs.field(default="TERM", validator=attrs.validators.in_(STOP_SIGNALS))
    port: int | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            [attrs.validators.ge(FIRST_PORT), attrs.validators.le(65535)]
        ),
    )


@attrs.frozen(kw_only=True)
class Job:
    """A run, self-contained: an executor needs nothing else. Travels as JSON.

    runtime is who planned it: an executor may keep an image for each. guid and name are those of
    the content, by which settings may mean it. places maps "role/name" of each mount to where it
    lies. uid 0 means the caller's own uid (a server without root). grace is in seconds, from asking
    the process to end until it is killed. egress: how far it reaches into the network.
    """

    version: int = 1
    run: RunId
    content: ContentId
    purpose: Purpose
    plan: Plan
    runtime: str = ""
    guid: str = ""
    name: str = ""
    places: Mapping[str, PlaceRef] = attrs.field(factory=dict)
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    limits: Limits = Limits()
    grace: float = 5.0
    egress: Egress = Egress.HOST


def place_key(mount: Mount) -> str:
    """Give the key of a mount's place in Job.places."""
    return f"{mount.role.value}/{mount.name}"
