"""What the helper does when the process that sandboxes are cloned from is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from supervisor_unshare.helper import zygote_link
from supervisor_unshare.helper.zygote_link import ZygoteLink
from supervisor_unshare.limits.cgroups import Group
from supervisor_unshare.requests.rules import Rules
from supervisor_unshare.sandbox.steps import StartFailed

RULES = Rules(
    tier="rootless",
    core_uid=1,
    core_gid=1,
    gateway_uid=2,
    gateway_gid=2,
    uid_first=10,
    uid_last=20,
    trees=(),
)
ENDS_BEFORE_IT_ANSWERS = """
import _socket, os, sys
sys.path[:0] = {paths!r}
from supervisor_unshare.linux import handing, syscalls
sock = _socket.socket(fileno=int(sys.argv[1]))
handing.send(sock, dict(ready=True))
_, (job, *_) = handing.receive(sock)
if syscalls.clone(syscalls.CLONE_PARENT, None)[0] == 0:
    sock.close()
    os.read(job, 1)  # until the helper has let go of it
os._exit(0)
"""


def children() -> set[str]:
    return set(Path("/proc/thread-self/children").read_text().split())


def test_a_clone_that_is_lost_with_its_zygote_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zygote_link, "_CODE", ENDS_BEFORE_IT_ANSWERS)
    before = children()
    link = ZygoteLink(RULES, namespaces=0, remove=lambda group: None)
    with pytest.raises(StartFailed, match="has ended"):
        link.clone({}, None, Group())
    assert before == children()
