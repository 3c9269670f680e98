"""Start a run: its directories, its group, its pipes, and the child that becomes its sandbox."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Mapping

from supervisor import Log
from supervisor_unshare import cgroups, host, root, runs, sandbox, syscalls
from supervisor_unshare.directories import Directories
from supervisor_unshare.jobs import Job
from supervisor_unshare.plan_mounts import Base, plan_own, plan_shared
from supervisor_unshare.rules import Rules
from supervisor_unshare.runs import LiveRun
from supervisor_unshare.steps import StartFailed, step
from supervisor_unshare.template import Template

_SOFT_FILES = 1024


class Starter:
    """Make runs. What all of them have in common is prepared once, when this is made."""

    def __init__(
        self,
        rules: Rules,
        *,
        bases: Mapping[Base, str],
        directories: Directories,
        groups: cgroups.Hierarchies,
        log: Log,
    ) -> None:
        self._rules = rules
        self._bases = bases
        self._directories = directories
        self._groups = groups
        self._log = log
        self._host = host.HostView(rules.trees)
        self._template = None if rules.rootless else self._new_template()
        self._bounded = not rules.rootless and self._drop_bounding_set()
        self._layers = sandbox.Layers.but(rules.without)
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            self._boot = file.read().strip()
        self._files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def start(self, job: Job) -> LiveRun:
        """Clone the sandbox of a job; raises StartFailed, leaving nothing behind."""
        rootless = self._rules.rootless
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as handed:
            with step("prepare"):
                undo.callback(self._directories.remove_run, job.run)
                self._directories.make_run(job)
            with step("cgroup"):
                group = cgroups.create(self._groups, job.run, job.limits)
                undo.callback(group.remove)
            with step("pipes"):
                owner = None if rootless else job.uid
                streams = [runs.new_pipe(owner, job.gid) for _ in range(2)]
                streams.append(os.pipe2(os.O_CLOEXEC))
                for read, write in streams:
                    undo.callback(os.close, read)
                    handed.callback(os.close, write)
                os.set_blocking(streams[2][0], False)
            template = self._copy_template()
            if template is not None:
                handed.callback(os.close, template)
            with step("plan"):
                shown = self._host.shown
                spec = sandbox.Spec(
                    template=template,
                    shared=plan_shared(shown.shared) if template is None else (),
                    entries=plan_own(job, shown.own, uid=job.uid, gid=job.gid),
                    bases=self._bases,
                    uid=job.uid,
                    gid=job.gid,
                    argv=job.argv,
                    env=job.env,
                    workdir=job.workdir,
                    rlimits=self._rlimits(job),
                    report=streams[2][1],
                    stdout=streams[0][1],
                    stderr=streams[1][1],
                    user_namespace=rootless,
                    bounded=self._bounded,
                    layers=self._layers,
                )
            with step("clone"):
                pid, pidfd = self._clone(spec, group)
            undo.pop_all()
        return LiveRun(
            job=job,
            group=group,
            pid=pid,
            pidfd=pidfd,
            report=streams[2][0],
            stdout=streams[0][0],
            stderr=streams[1][0],
            boot=self._boot,
            started=runs.start_ticks(pid),
        )

    def _new_template(self) -> Template | None:
        try:
            return Template(self._host, self._bases)
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

    def _copy_template(self) -> int | None:
        if self._template is None:
            return None
        doing = root.Step()
        try:
            return self._template.copy(doing)
        except OSError as error:
            raise StartFailed(doing.name, error.errno, str(error)) from error

    def _clone(self, spec: sandbox.Spec, group: cgroups.Group) -> tuple[int, int]:
        """Make the child; in it, this never returns."""
        flags = sandbox.NAMESPACES | (syscalls.CLONE_NEWUSER if self._rules.rootless else 0)
        unified = group.open_unified()
        procs = group.open_procs(but=group.unified)
        try:
            try:
                pid, pidfd = syscalls.clone(flags, unified)
            except OSError as error:
                if unified is None or error.errno != errno.ENOSYS:
                    raise
                procs += group.open_procs(but=None)
                pid, pidfd = syscalls.clone(flags)
            if pid == 0:
                sandbox.run(spec, procs)
        finally:
            for fd in (*procs, *([] if unified is None else [unified])):
                os.close(fd)
        return pid, pidfd

    def _rlimits(self, job: Job) -> dict[int, tuple[int, int]]:
        if job.limits.files is None:
            files = (min(_SOFT_FILES, self._files), self._files)
        else:
            files = (min(job.limits.files, self._files),) * 2
        return {resource.RLIMIT_NOFILE: files, resource.RLIMIT_CORE: (0, 0)}
