"""Start a run: its directories, its limits, its pipes, and the clone that becomes its sandbox."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from supervisor import Egress, Log, layout
from supervisor.layout import MOUNT_ROOT, Role
from supervisor_unshare.helper import pool, runs
from supervisor_unshare.helper.directories import Directories
from supervisor_unshare.helper.pool import Wanted
from supervisor_unshare.helper.runs import LiveRun
from supervisor_unshare.helper.zygote_link import Clone, ZygoteLink
from supervisor_unshare.limits import cgroups
from supervisor_unshare.limits.removals import Removals
from supervisor_unshare.linux import filters, handing, idmap, landlock, syscalls
from supervisor_unshare.linux.answering import answers
from supervisor_unshare.linux.loop import Loop
from supervisor_unshare.network import uplink
from supervisor_unshare.network.namespace import Network
from supervisor_unshare.requests.fields import Refused
from supervisor_unshare.requests.jobs import Job
from supervisor_unshare.requests.rules import LANDLOCK, ROOT, SUBUID, Rules
from supervisor_unshare.root import build, homes, host, resolving, site
from supervisor_unshare.root.plan_confined import plan_confined
from supervisor_unshare.root.plan_mounts import (
    Base,
    Bind,
    Entry,
    packed,
    plan_own,
    plan_shared,
    writable,
)
from supervisor_unshare.root.template import Template
from supervisor_unshare.sandbox import confined, descendants, entry
from supervisor_unshare.sandbox.steps import StartFailed, step
from supervisor_unshare.tiers import subuid

_SOFT_FILES = 1024
_QUIET = 0.02  # seconds after a start, in which its program needs the processors most


class Starter:
    """Make runs. What all of them have in common is prepared once, when this is made."""

    def __init__(
        self,
        rules: Rules,
        *,
        bases: Mapping[str, str],
        directories: Directories,
        groups: cgroups.Hierarchies,
        removals: Removals,
        loop: Loop,
        log: Log,
    ) -> None:
        self._rules = rules
        self._bases = bases
        self._directories = directories
        self._groups = groups
        self._removals = removals
        self._log = log
        self._host = host.HostView(rules)
        self._template = None if rules.rootless else self._new_template()
        ids = (os.geteuid(), os.getegid()) if rules.rootless else None
        self._confined = rules.tier == LANDLOCK
        self._kind = entry.Kind(
            confined=self._confined,
            built=self._template is not None,
            ids=ids,
            bounded=not rules.rootless and self._drop_bounding_set(),
            mount_root=MOUNT_ROOT,
            landlock=0 if "landlock" in rules.without else landlock.version(),
            filter=b"" if "seccomp" in rules.without else filters.program(),
            asking=b"" if "seccomp" in rules.without else filters.program(asking=True),
        )
        namespaces = entry.NAMESPACES | (syscalls.CLONE_NEWUSER if rules.rootless else 0)
        if self._confined:
            namespaces = 0
            syscalls.adopt_orphans()  # those of an init that was killed
        self._zygote = ZygoteLink(rules, namespaces=namespaces, remove=removals.add)
        # Without a template the root is built in a copy of the host's mounts: not ahead of time.
        size = 0 if self._template is None else pool.SIZE
        self._pool = pool.Pool(loop, self._make, log, size)
        self._sources = build.open_bases(bases)
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            self._boot = file.read().strip()
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def start(self, job: Job) -> LiveRun:
        """Give a job to a sandbox; raises StartFailed, leaving nothing behind."""
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as handed:
            with step("prepare"):
                undo.callback(self._directories.remove_run, job.run)
                self._directories.make_run(job)
            clone = self._clone(job)
            undo.callback(clone.close)
            with step("cgroup"):
                cgroups.limit(self._groups, clone.group, job.limits)
            with step("pipes"):
                owner = None if self._rules.rootless else job.uid
                streams = []
                for _ in range(2):
                    streams.append(runs.new_pipe(owner, job.gid))
                    undo.callback(os.close, streams[-1][0])
                    handed.callback(os.close, streams[-1][1])
            fields, trees = self._confinement(job) if self._confined else self._planned(job)
            handed.callback(_close_all, trees)
            with step("network"):
                door = self._add_ways(job, trees)
            if door != -1:
                undo.callback(os.close, door)
            with step("job"), contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # One that has ended has said why.
                handing.send(clone.sock, fields, [streams[0][1], streams[1][1], *trees])
            with step("receipt"):
                started = runs.start_ticks(clone.pid)
            clone.sock.close()
            undo.pop_all()
        return LiveRun(
            job=job,
            group=clone.group,
            pid=clone.pid,
            pidfd=clone.pidfd,
            report=clone.report,
            stdout=streams[0][0],
            stderr=streams[1][0],
            boot=self._boot,
            started=started,
            door=door,
            seen=subuid.outer(job.uid) if self._rules.tier == SUBUID else None,
            ends_by=descendants.END if self._confined else signal.SIGKILL,
        )

    def succeeded(self) -> None:
        """Take note that a start has succeeded: the next one is prepared soon."""
        self._pool.refill(after=_QUIET)

    def ended(self) -> None:
        """Take note that a run has ended: nobody waits for it any more."""
        self._pool.hurry()

    def close(self) -> None:
        """End what was made ahead and what it is made from; the next start makes them again."""
        self._pool.close()
        self._zygote.close()

    def _clone(self, job: Job) -> Clone:
        if self._template is not None:
            with _doing() as doing:
                self._template.namespace(doing)
        generation = 0 if self._template is None else self._template.generation
        groups = cgroups.needed(self._groups, job.limits)
        linked = entry.LINKED if job.egress is Egress.USER else entry.OWN
        network = entry.HOST if job.egress is Egress.HOST else linked
        return self._pool.take(Wanted(generation=generation, groups=groups, network=network))

    def _make(self, wanted: Wanted) -> Clone:
        """Make what the pool keeps."""
        with contextlib.ExitStack() as undo:
            with step("cgroup"):
                group = cgroups.make(self._groups, wanted.groups, f"run-{os.urandom(6).hex()}")
            undo.callback(self._removals.add, group)
            template = None if self._template is None else self._template.built
            kind = {**vars(self._kind), "network": wanted.network}
            with step("pipes"):  # a refused clone has a name of its own
                clone = self._zygote.clone(kind, template, group)
            undo.pop_all()
        return clone

    def _planned(self, job: Job) -> tuple[dict[str, Any], list[int]]:
        """Give what the sandbox is told, and the trees that it gets with it, the caller's."""
        with step("plan"):
            shown = self._host.shown
            entries = self._own(job, shown)
        found = packed(entries)
        trees: list[int] = []
        if self._template is not None:
            with self._owners(job) as owners, contextlib.ExitStack() as undo:
                undo.callback(lambda: _close_all(trees))
                with _doing() as doing:
                    found = build.open_trees(found, self._sources, doing, trees, owners)
                undo.pop_all()
        elif job.mapped:
            raise Refused("this host cannot show files under another owner", code="run-as-refused")
        # Where it is no file system of its own, it would have room for anything.
        listening = () if self._rules.tier == ROOT else (layout.at(Role.SOCKET),)
        spec = entry.Spec(
            entries=found,
            shared=packed(plan_shared(shown.shared)) if self._template is None else [],
            bases=self._bases,
            writable=tuple(path for path in writable(entries) if path not in listening),
            listening=listening,
            uid=job.uid,
            gid=job.gid,
            groups=job.groups,
            argv=tuple(job.argv),
            env=dict(job.env),
            workdir=job.workdir,
            nice=job.limits.nice or 0,
            tmp=job.limits.tmp,
            rlimits=self._rlimits(job),
            network=tuple(self._network(job)),
        )
        return vars(spec), trees

    @contextlib.contextmanager
    def _owners(self, job: Job) -> Iterator[int | None]:
        """Give what shows the content's files as the process's: None where they are its own."""
        if not job.mapped:
            yield None
            return
        with step("owners"):
            owners = idmap.user_namespace(job.owner, job.uid, job.gid)
        try:
            yield owners
        finally:
            os.close(owners)

    def _own(self, job: Job, shown: host.Shown) -> tuple[Entry, ...]:
        asked = _asked(shown, job)
        beside = (*shown.own, *asked)
        return plan_own(
            job,
            (*shown.own, resolving.entry(linked=job.egress is Egress.USER)),
            uid=job.uid,
            gid=job.gid,
            site=asked,
            home=homes.home_of(job, self._rules.hidden, beside) if job.account else None,
        )

    def _network(self, job: Job) -> Network:
        own, linked = job.egress is not Egress.HOST, job.egress is Egress.USER
        return Network(
            own=own,
            port=job.port,
            uplink=uplink.command(self._rules.pasta, self._rules.ports) if linked else (),
            resolvers=resolving.of_host() if linked else "",
            uid=self._rules.network_uid,
        )

    def _add_ways(self, job: Job, trees: list[int]) -> int:
        """Add what the network needs to the descriptors; give our end of the door, or -1."""
        if job.egress is Egress.USER and self._template is not None:
            trees.append(uplink.tun_tree())
        if job.port is None:
            return -1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        trees.append(theirs.detach())
        return ours.detach()

    def _confinement(self, job: Job) -> tuple[dict[str, Any], list[int]]:
        """Give what a run without namespaces is told, and no trees."""
        shown = self._host.shown
        with step("plan"):
            plan = plan_confined(
                job,
                confined.reachable((*shown.shared, *shown.own), self._rules.hidden),
                _asked(shown, job),
                data_dir=self._bases[Base.DATA.value],
                run_dir=self._bases[Base.RUN.value],
            )
        spec = confined.Spec(
            allowed=list(plan.allowed),
            argv=plan.argv,
            env=dict(plan.env),
            workdir=plan.workdir,
            nice=job.limits.nice or 0,
            rlimits=self._rlimits(job),
        )
        return spec._asdict(), []

    def _new_template(self) -> Template | None:
        try:
            return Template(self._host, self._bases, own_user=self._rules.tier == SUBUID)
        except OSError as error:  # then a child may not either, and reports it as the start's end
            self._log.warning("no-template", error=str(error))
            return None

    def _drop_bounding_set(self) -> bool:
        """Give up, for all children, what only an exec by root could get back. Tell whether."""
        try:
            syscalls.keep_capabilities()  # else the helper could not execute itself anew
            syscalls.drop_bounding_set()
        except OSError as error:  # each child tries on its own, and its start fails with it
            self._log.warning("bounding-set", error=str(error))
            return False
        return True

    def _rlimits(self, job: Job) -> dict[int, tuple[int, int]]:
        if job.limits.files is None:
            files = (min(_SOFT_FILES, self._files), self._files)
        else:
            files = (min(job.limits.files, self._files),) * 2
        return {resource.RLIMIT_NOFILE: files, resource.RLIMIT_CORE: (0, 0)}


def _asked(shown: host.Shown, job: Job) -> tuple[Bind, ...]:
    try:
        asked = site.binds(shown.site, job)
    except ValueError as error:
        raise Refused(str(error)) from None
    for bind in asked:
        path = f"/{'/'.join(bind.parts)}"
        if not answers(path):
            text = f"the file system of {path} does not answer"
            raise StartFailed(f"mount {bind.target}", errno.ETIMEDOUT, text)
    return asked


@contextlib.contextmanager
def _doing() -> Iterator[build.Step]:
    """Let an OSError say in which of several steps it happened."""
    doing = build.Step()
    try:
        yield doing
    except OSError as error:
        raise StartFailed(doing.name, error.errno, str(error)) from error


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
