"""What the helper does with the pipe on which an init reports."""

from __future__ import annotations

import os

from supervisor_unshare.helper.runs import LiveRun, Phase
from supervisor_unshare.helper.service import Service
from supervisor_unshare.limits.cgroups import Group
from supervisor_unshare.linux.loop import Loop
from supervisor_unshare.requests.jobs import Job

from supervisor import Egress


def _raise(error: Exception) -> None:
    raise error


def _live(report: int) -> LiveRun:
    job = Job(
        run="0" * 26, content=1, purpose="serve", argv=(), env={}, workdir="/", egress=Egress.USER
    )
    return LiveRun(
        job=job, group=Group(), pid=0, pidfd=-1, report=report, stdout=-1, stderr=-1, boot="",
        started=0, phase=Phase.RUNNING, facts={"running": True},
    )  # fmt: skip


def test_an_init_that_waits_for_its_last_processes_does_not_keep_the_helper_busy() -> None:
    # It has closed its report, and its pidfd is not ready while one of them hangs in the kernel.
    loop = Loop(_raise)
    service = Service.__new__(Service)
    service._loop = loop
    read, write = os.pipe2(os.O_NONBLOCK)
    run = _live(read)
    service._watch(run)
    os.write(write, b'{"status": 0}\n')
    os.close(write)
    loop.after(0.05, loop.stop)
    loop.run()
    watched = read in loop._selector.get_map()
    os.close(read)
    assert 0 == run.facts["status"]
    assert not watched
