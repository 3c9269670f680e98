"""Read a job: what is to run, within the rules. Paths are never sent; they follow from ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor import Egress, layout
from supervisor.layout import MOUNT_ROOT, PlaceKind, PlaceRef, Role
from supervisor.site_mounts import covered
from supervisor_unshare.requests import fields
from supervisor_unshare.requests.fields import Refused
from supervisor_unshare.requests.identity import identity
from supervisor_unshare.requests.rules import LANDLOCK, Rules

_PURPOSES = frozenset({"unpack", "install", "render", "serve", "customize", "tidy"})
_OWN_ROLES = frozenset({Role.SCRATCH, Role.HOME, Role.SOCKET})  # given to every run anyway
_STOP_SIGNALS = frozenset({"TERM", "INT"})
_MAX_ARGUMENTS = 4096
_MAX_GROUPS = 1024
_NICEST = 19  # the kernel's
_CONTENTS_OWN = frozenset({"render", "serve", "customize"})  # purposes that run what was uploaded
_RAISE = "The maxima of limits are settings of [Scheduler]."


@dataclass(frozen=True, kw_only=True)
class PlacedMount:
    """One place of a job and where the process sees it."""

    place: PlaceRef
    at: str
    writable: bool


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a job that have a value; bytes, cores and counts as in the model."""

    memory_high: int | None = None
    memory_max: int | None = None
    cpu: float | None = None
    pids: int | None = None
    files: int | None = None
    tmp: int | None = None
    run_time: float | None = None
    nice: int | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that has passed every rule. owner to home are as in Identity."""

    run: str
    content: int
    guid: str = ""
    name: str = ""
    purpose: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    mounts: tuple[PlacedMount, ...] = ()
    owner: int = 0
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    account: str = ""
    home: str = ""
    limits: Limits = field(default_factory=Limits)
    grace: float = 5.0
    stop_signal: str = "TERM"
    egress: Egress = Egress.HOST
    port: int | None = None

    @property
    def mapped(self) -> bool:
        """Whether the content's files belong to somebody else on disk than to the process."""
        return self.owner != self.uid


def job(value: Any, rules: Rules) -> Job:
    """Check a whole job; raises Refused with the first rule that it breaks."""
    fields.mapping(value, "job")
    # A core from before these fields may ask.
    value = {"guid": "", "name": "", "egress": "host", **value}
    names = "version run content guid name purpose plan places uid gid groups limits grace egress"
    fields.exactly(value, names.split(), "the fields of a job")
    fields.integer(value["version"], "the job's version", least=1, most=1)
    content = fields.integer(value["content"], "content", least=1, most=2**53)
    if fields.text(value["purpose"], "purpose") not in _PURPOSES:
        raise Refused(f"unknown purpose {value['purpose']!r:.80}")
    who = identity(
        _id(value["uid"], "uid"),
        _id(value["gid"], "gid"),
        _groups(value["groups"]),
        content=content,
        purpose=value["purpose"],
        rules=rules,
    )
    plan = fields.mapping(value["plan"], "plan")
    plan = {"stop_signal": "TERM", "port": None, **plan}  # a core from before may ask
    names = "argv env workdir mounts ready prefix stop_signal port"
    fields.exactly(plan, names.split(), "the fields of a plan")
    if fields.text(plan["stop_signal"], "stop_signal") not in _STOP_SIGNALS:
        raise Refused(f"no process is asked to end by {plan['stop_signal']!r:.80}")
    run = fields.run_id(value["run"])
    port = plan["port"]
    return Job(
        run=run,
        content=content,
        guid=fields.text(value["guid"], "guid"),
        name=fields.text(value["name"], "name"),
        purpose=value["purpose"],
        argv=_argv(plan["argv"], rules),
        env=_env(plan["env"]),
        workdir=fields.path(plan["workdir"], "workdir"),
        mounts=_mounts(plan["mounts"], value["places"], content, value["purpose"], rules),
        **vars(who),
        limits=_limits(value["limits"]),
        grace=fields.seconds(value["grace"]),
        stop_signal=plan["stop_signal"],
        egress=egress(value["egress"], own=port is not None, rules=rules),
        port=port if port is None else fields.integer(port, "port", least=1024, most=65535),
    )


def egress(value: Any, *, own: bool, rules: Rules) -> Egress:
    """Check how far a job may reach. own: it needs a network of its own."""
    try:
        wanted = Egress(value)
    except ValueError:
        raise Refused(f"no process reaches {value!r:.80}", code="bad-request") from None
    if wanted is not wanted.within(rules.egress):
        raise Refused(
            f"egress {wanted} is more than the {rules.egress} that MostEgress of [Network] allows"
        )
    if own and wanted is Egress.HOST:
        raise Refused("content on a port has a network of its own, never the host's")
    if wanted in rules.reaches:
        return wanted
    if rules.tier == LANDLOCK:
        text = f"the tier {rules.tier} has no networks of its own: egress {wanted} cannot be had"
        raise Refused(text, code="egress-unavailable", hint="Another tier of [Privileged] has.")
    raise Refused(
        "egress user needs the program pasta, which is not installed",
        code="egress-unavailable",
        hint="Install the package passt (apt install passt), or choose egress none or host.",
    )


def refuse_beyond(job: Job, maxima: Mapping[str, float]) -> None:
    """Hold a job to the most of each limit; raises Refused.

    The programs of ours that unpack and tidy have no limits: they may have none, but not more.
    """
    for name, most in maxima.items():
        value = getattr(job.limits, name)
        if value is None and job.purpose in _CONTENTS_OWN:
            raise Refused(f"no limit {name} is given, where the most is {most}", hint=_RAISE)
        if value is not None and value > most:
            raise Refused(f"the limit {name}, {value}, is more than the most, {most}", hint=_RAISE)


def _id(value: Any, name: str) -> int:
    return fields.integer(value, name, least=0, most=2**32 - 2)


def _groups(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > _MAX_GROUPS:
        raise Refused(f"groups is not a list of at most {_MAX_GROUPS} numbers", code="bad-request")
    return tuple(_id(group, "a group") for group in value)


def _argv(value: Any, rules: Rules) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_ARGUMENTS:
        raise Refused("argv is not a list of at least one argument", code="bad-request")
    argv = tuple(fields.text(argument, "an argument") for argument in value)
    program = fields.path(argv[0], "argv[0]")
    if not covered(program, (*rules.trees, *rules.executables, *rules.programs)):
        raise Refused(
            f"{program} is not among the programs that content may be started with",
            hint="Programs below the system's directories and Executables of [Privileged] are.",
        )
    return argv


def _env(value: Any) -> dict[str, str]:
    fields.mapping(value, "env")
    for name, text in value.items():
        if not name or "=" in fields.text(name, "a variable's name"):
            raise Refused(f"{name!r:.80} cannot be the name of a variable", code="bad-request")
        fields.text(text, f"the value of {name}")
    return dict(value)


def _mounts(
    mounts: Any, places: Any, content: int, purpose: str, rules: Rules
) -> tuple[PlacedMount, ...]:
    fields.mapping(places, "places")
    if not isinstance(mounts, list):
        raise Refused("mounts is not a list", code="bad-request")
    placed: dict[str, PlacedMount] = {}
    for mount in mounts:
        fields.mapping(mount, "mount")
        fields.exactly(mount, ("role", "access", "at", "name"), "the fields of a mount")
        role, access = fields.text(mount["role"], "role"), fields.text(mount["access"], "access")
        if role not in set(Role) or access not in ("read", "write"):
            raise Refused(f"unknown mount {mount!r:.200}", code="bad-request")
        if role in _OWN_ROLES:
            continue
        key = f"{role}/{fields.text(mount['name'], 'name')}"
        if key not in places:
            raise Refused(f"no place is given for the mount {key:.80}", code="bad-request")
        ref = fields.place(places[key])
        writable = access == "write"
        _may_show(ref, writable, content, purpose, rules)
        if role == Role.RUNTIME_DATA and purpose != "install":
            raise Refused("only an install sees an interpreter's own data")
        at = _mount_point(mount["at"])
        # Below a place, its mount point would be made by root where the content may move things.
        for other in placed:
            if f"{at}/".startswith(f"{other}/") or other.startswith(f"{at}/"):
                raise Refused(f"the mounts {other} and {at} overlap", code="bad-request")
        placed[at] = PlacedMount(place=ref, at=at, writable=writable)
    return tuple(placed.values())


def _may_show(ref: PlaceRef, writable: bool, content: int, purpose: str, rules: Rules) -> None:
    """A job sees places of its own content, archives read-only, and libraries of the settings."""
    if ref.ids and ref.ids[0] != content:
        raise Refused(f"the {ref.kind} of content {ref.ids[0]} is not content {content}'s")
    if ref.kind == PlaceKind.SCRATCH:
        raise Refused("a scratch place is made with the run and cannot be named")
    if ref.kind == PlaceKind.BUNDLE and writable:
        raise Refused("an uploaded archive is shown read-only")
    if ref.kind == PlaceKind.LIBRARY:
        if ref.components[0] not in rules.libraries:
            raise Refused(f"{ref.components[0]} is not a library of the settings")
        if writable and purpose != "install":
            raise Refused("only an install writes to a library")


def _mount_point(value: Any) -> str:
    at = fields.path(value, "a mount's path")
    own = {layout.at(Role.SCRATCH), layout.at(Role.SOCKET)}
    inside = at.startswith(MOUNT_ROOT + "/")
    if not inside or any(at == path or at.startswith(path + "/") for path in own):
        raise Refused(f"nothing can be mounted at {at:.200}")
    return at


def _limits(value: Any) -> Limits:
    fields.mapping(value, "limits")
    value = {"nice": None, **value}  # a core from before this field may ask
    names = "memory_high memory_max cpu pids files tmp run_time nice".split()
    fields.exactly(value, names, "the fields of limits")
    for name, limit in value.items():
        if limit is None:
            continue
        whole = name not in ("cpu", "run_time")
        if type(limit) is not int and (whole or type(limit) is not float):
            raise Refused(f"the limit {name} is not a number", code="bad-request")
        if not 0 < limit < 2**53 or (name == "nice" and limit > _NICEST):
            raise Refused(f"the limit {name} is out of range", code="bad-request")
    return Limits(**value)
