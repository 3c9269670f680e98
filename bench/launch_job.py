"""The job of the launch benchmarks: a command in the sandbox of one content."""

from __future__ import annotations

from supervisor import Egress, Job, Plan, Purpose
from supervisor.model import ContentId, new_run_id

UID = 700_001
ENV = {"PATH": "/usr/bin:/bin"}


def job(*argv: str, egress: Egress = Egress.HOST) -> Job:
    """Make a job that runs a command in the sandbox of one content."""
    plan = Plan(argv=argv, env=ENV, workdir="/tmp")
    purpose = Purpose.SERVE
    content = ContentId(1)
    return Job(
        run=new_run_id(),
        content=content,
        purpose=purpose,
        plan=plan,
        uid=UID,
        gid=UID,
        egress=egress,
    )
