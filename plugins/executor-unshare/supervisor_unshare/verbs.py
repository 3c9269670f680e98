"""Read every message that reaches the helper. A closed set: what is not listed here is refused.

The core is not trusted: it may ask for known things with known fields, each within rules that come
from the root-owned settings. Paths are never sent; they follow from ids.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor import layout
from supervisor.layout import MOUNT_ROOT, PlaceKind, PlaceRef, Role

_RUN_ID = re.compile(r"[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}\Z")
_PURPOSES = frozenset({"unpack", "install", "render", "serve", "customize", "tidy"})
_OWN_ROLES = frozenset({Role.SCRATCH, Role.HOME, Role.SOCKET})  # given to every run anyway
_STOP_SIGNALS = frozenset({"TERM", "INT"})
_MAX_GRACE = 3600.0
_MAX_ARGUMENTS = 4096


class Refused(Exception):
    """A message that is malformed or breaks a rule; the text says which, the code how."""

    def __init__(self, message: str, *, code: str = "job-refused", hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the root-owned settings allow. trees: the paths that sandboxes see read-only.

    without: layers of the sandbox that are left out.
    several_nodes: whether other helpers may be at work in the same DataDir.
    """

    rootless: bool
    core_uid: int
    core_gid: int
    gateway_uid: int
    gateway_gid: int
    uid_first: int
    uid_last: int
    several_nodes: bool = False
    trees: tuple[str, ...] = ()
    executables: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()


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


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that has passed every rule."""

    run: str
    content: int
    purpose: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    mounts: tuple[PlacedMount, ...] = ()
    uid: int = 0
    gid: int = 0
    limits: Limits = field(default_factory=Limits)
    grace: float = 5.0
    stop_signal: str = "TERM"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A message of the closed set: its verb, its id and its checked arguments."""

    id: int
    verb: str
    arguments: Mapping[str, Any]


Checks = dict[str, Callable[[Any, Rules], Any]]


def parse(message: Mapping[str, Any], rules: Rules, verbs: Mapping[str, Checks]) -> Request:
    """Check a message against a table of verbs; raises Refused."""
    verb = message.get("type")
    if not isinstance(verb, str) or verb not in verbs:
        raise Refused(f"unknown verb {verb!r}", code="bad-request")
    checks = verbs[verb]
    given = {key: value for key, value in message.items() if key not in ("type", "id")}
    _exactly(given, checks, f"the fields of {verb}")
    number = integer(message.get("id"), "id", least=0, most=2**53)
    arguments = {key: check(given[key], rules) for key, check in checks.items()}
    return Request(id=number, verb=verb, arguments=arguments)


def run_id(value: Any, _: Rules | None = None) -> str:
    """Check a run id."""
    if not isinstance(value, str) or not _RUN_ID.match(value):
        raise Refused(f"{value!r:.80} is not a run id", code="bad-request")
    return value


def place(value: Any, _: Rules | None = None) -> PlaceRef:
    """Check a place: an object of kind, ids and components in the form of layout.components."""
    _object(value, "place")
    _exactly(value, ("kind", "ids", "components"), "the fields of a place")
    if not isinstance(value["ids"], list) or not isinstance(value["components"], list):
        raise Refused("the ids and components of a place are lists", code="bad-request")
    try:
        kind = PlaceKind(value["kind"])
        ref = PlaceRef(kind=kind, ids=tuple(value["ids"]), components=tuple(value["components"]))
        layout.components(ref)
    except ValueError as error:
        raise Refused(f"not a place: {error}", code="bad-request") from None
    return ref


def integer(value: Any, name: str, *, least: int, most: int) -> int:
    """Check a whole number; booleans and floats are none."""
    if type(value) is not int or not least <= value <= most:
        raise Refused(
            f"{name} is not a whole number from {least} to {most}: {value!r:.80}",
            code="bad-request",
        )
    return value


def seconds(value: Any, _: Rules | None = None) -> float:
    """Check a time span from 0 to an hour."""
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= _MAX_GRACE:
        raise Refused(f"{value!r:.80} is not a number of seconds", code="bad-request")
    return float(value)


def content_uid(uid: int, content: int, rules: Rules) -> int:
    """Check the uid of a content: its own of the range, never root's, the core's or the gateway's.

    Gives the uid that the process will have: rootless, that of the helper.
    """
    if rules.rootless:
        if uid not in (0, os.geteuid()):
            raise Refused(f"uid {uid} needs a helper that runs as root")
        return os.geteuid()
    if uid in (0, rules.core_uid, rules.gateway_uid):
        raise Refused(f"uid {uid} belongs to root, the core or the gateway")
    if not rules.uid_first <= uid <= rules.uid_last:
        raise Refused(f"uid {uid} lies outside {rules.uid_first} to {rules.uid_last}")
    if uid != rules.uid_first + content:
        raise Refused(f"uid {uid} belongs to content {uid - rules.uid_first}, not {content}")
    return uid


def job(value: Any, rules: Rules) -> Job:
    """Check a whole job; raises Refused with the first rule that it breaks."""
    _object(value, "job")
    fields = "version run content purpose plan places uid gid groups limits grace".split()
    _exactly(value, fields, "the fields of a job")
    integer(value["version"], "the job's version", least=1, most=1)
    content = integer(value["content"], "content", least=1, most=2**53)
    uid = content_uid(integer(value["uid"], "uid", least=0, most=2**32 - 2), content, rules)
    gid = integer(value["gid"], "gid", least=0, most=2**32 - 2)
    if rules.rootless:
        gid = os.getegid()
    elif gid not in (0, uid):
        raise Refused(f"gid {gid} is not the content's own, {uid}")
    if value["groups"] != []:
        raise Refused("supplementary groups are not allowed")
    if _text(value["purpose"], "purpose") not in _PURPOSES:
        raise Refused(f"unknown purpose {value['purpose']!r:.80}")
    plan = _object(value["plan"], "plan")
    plan = {"stop_signal": "TERM", **plan}  # a core from before this field may ask
    fields = "argv env workdir mounts ready prefix stop_signal".split()
    _exactly(plan, fields, "the fields of a plan")
    if _text(plan["stop_signal"], "stop_signal") not in _STOP_SIGNALS:
        raise Refused(f"no process is asked to end by {plan['stop_signal']!r:.80}")
    run = run_id(value["run"])
    return Job(
        run=run,
        content=content,
        purpose=value["purpose"],
        argv=_argv(plan["argv"], rules),
        env=_env(plan["env"]),
        workdir=_path(plan["workdir"], "workdir"),
        mounts=_mounts(plan["mounts"], value["places"], content, value["purpose"], rules),
        uid=uid,
        gid=gid if rules.rootless else uid,
        limits=_limits(value["limits"]),
        grace=seconds(value["grace"]),
        stop_signal=plan["stop_signal"],
    )


def _argv(value: Any, rules: Rules) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_ARGUMENTS:
        raise Refused("argv is not a list of at least one argument", code="bad-request")
    argv = tuple(_text(argument, "an argument") for argument in value)
    program = _path(argv[0], "argv[0]")
    trees = (*rules.trees, *rules.executables)
    if not any(program == tree or program.startswith(tree + "/") for tree in trees):
        raise Refused(
            f"{program} is not among the programs that content may be started with",
            hint="Programs below the system's directories and Executables of [Privileged] are.",
        )
    return argv


def _env(value: Any) -> dict[str, str]:
    _object(value, "env")
    for name, text in value.items():
        if not name or "=" in _text(name, "a variable's name"):
            raise Refused(f"{name!r:.80} cannot be the name of a variable", code="bad-request")
        _text(text, f"the value of {name}")
    return dict(value)


def _mounts(
    mounts: Any, places: Any, content: int, purpose: str, rules: Rules
) -> tuple[PlacedMount, ...]:
    _object(places, "places")
    if not isinstance(mounts, list):
        raise Refused("mounts is not a list", code="bad-request")
    placed: dict[str, PlacedMount] = {}
    for mount in mounts:
        _object(mount, "mount")
        _exactly(mount, ("role", "access", "at", "name"), "the fields of a mount")
        role, access = _text(mount["role"], "role"), _text(mount["access"], "access")
        if role not in set(Role) or access not in ("read", "write"):
            raise Refused(f"unknown mount {mount!r:.200}", code="bad-request")
        if role in _OWN_ROLES:
            continue
        key = f"{role}/{_text(mount['name'], 'name')}"
        if key not in places:
            raise Refused(f"no place is given for the mount {key:.80}", code="bad-request")
        ref = place(places[key])
        writable = access == "write"
        _may_show(ref, writable, content, purpose, rules)
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
    at = _path(value, "a mount's path")
    own = {layout.at(Role.SCRATCH), layout.at(Role.SOCKET)}
    inside = at.startswith(MOUNT_ROOT + "/")
    if not inside or any(at == path or at.startswith(path + "/") for path in own):
        raise Refused(f"nothing can be mounted at {at:.200}")
    return at


def _limits(value: Any) -> Limits:
    _object(value, "limits")
    names = "memory_high memory_max cpu pids files tmp run_time".split()
    _exactly(value, names, "the fields of limits")
    for name, limit in value.items():
        if limit is None:
            continue
        whole = name not in ("cpu", "run_time")
        if type(limit) is not int and (whole or type(limit) is not float):
            raise Refused(f"the limit {name} is not a number", code="bad-request")
        if not 0 < limit < 2**53:
            raise Refused(f"the limit {name} is out of range", code="bad-request")
    return Limits(**value)


def _path(value: Any, name: str) -> str:
    text = _text(value, name)
    if not text.startswith("/") or text.startswith("//") or os.path.normpath(text) != text:
        raise Refused(f"{name} is not a plain absolute path: {text:.200}", code="bad-request")
    return text


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise Refused(f"{name} is not text: {value!r:.80}", code="bad-request")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused(f"{name} is not text: {value!r:.80}", code="bad-request") from None
    return value


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{name} is not an object", code="bad-request")
    return value


def _exactly(value: Mapping[str, Any], names: Any, what: str) -> None:
    if set(value) != set(names):
        wrong = sorted(set(value) ^ set(names))
        raise Refused(
            f"{what} are {', '.join(names)}; differing: {wrong!r:.200}", code="bad-request"
        )


def _number(name: str, least: int, most: int) -> Callable[[Any, Rules], int]:
    return lambda value, _: integer(value, name, least=least, most=most)


def _run_list(value: Any, _: Rules) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Refused("runs is not a list", code="bad-request")
    return tuple(run_id(run) for run in value)


CORE_VERBS: dict[str, Checks] = {
    "hello": {"v": _number("v", 0, 1000)},
    "start": {"job": job},
    "stop": {"run": run_id, "grace": seconds},
    "list": {},
    "output": {"run": run_id},
    "usage": {"runs": _run_list},
    "forget": {"run": run_id},
    "prepare": {
        "place": place,
        "content": _number("content", 1, 2**53),
        "uid": _number("uid", 0, 2**32 - 2),
    },
    "seal": {"place": place},
    "remove": {"place": place},
    "doctor": {},
}
GATEWAY_VERBS: dict[str, Checks] = {
    "hello": {"v": _number("v", 0, 1000)},
    "connect": {"run": run_id},
}
