"""One child and its successors: when to start it, whether it hangs, what its successor is told.

No clock and no loop here: `now` (monotonic seconds) comes from the tree.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor import packets
from supervisor.log import Log
from supervisor.parent.child import Child, Program, start

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
LONGEST_AFTER_READY = 1.0  # it can do its work: whoever waits for it should not wait long
HEALTHY_AFTER = 10.0  # seconds alive after which a death starts the back-off anew
TRACE_TIME = 0.3  # seconds for writing the stacks
LEAVE_TIME = 10.0  # seconds beyond what it was given in which a child that leaves must end
LINGER_TIME = 5.0  # seconds that a child may live on after it has closed its control link
# Exit statuses (sysexits.h) by which a child refuses to start, for a reason that a person must
# mend. Not 69 and 70: a service that is away comes back, and a defect may pass.
REFUSALS = frozenset(range(64, 79)) - {69, 70}


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLimits:
    """Seconds: from start to ready, and between beats thereafter where a child beats.

    drain: how long a gateway that was replaced may go on with what is open.
    """

    start: float = 60.0
    beat: float = 15.0
    drain: float = 3600.0


_SAVED = (
    "ready", "ever_ready", "start_at", "readies", "retired", "_leaving", "_delay", "_started",
    "_heard", "_kill_at", "_killed", "_verdict", "_previous",
)  # fmt: skip


class Watch:
    """Keep one program running until told to let it end."""

    def __init__(
        self,
        program: Program,
        *,
        limits: TimeLimits,
        log: Log,
        launch: Callable[[Program], Child] = start,
    ) -> None:
        self.program = program
        self.child: Child | None = None
        self.ready = False
        self.ever_ready = False
        self.start_at: float | None = 0.0
        self.readies = 0  # how often a living child has said that it is ready
        self.declined = ""  # why the living child does not renew itself
        self.retired = False  # whoever follows this child has a watch of its own
        self._leaving = False
        self._limits = limits
        self._log = log
        self._launch = launch
        self._delay = 0.0
        self._started = 0.0
        self._heard = 0.0
        self._kill_at: float | None = None
        self._killed = False
        self._verdict = ""
        self._previous: packets.Message | None = None

    @property
    def name(self) -> str:
        """The child's name."""
        return self.program.name

    def configure(self, program: Program, limits: TimeLimits) -> None:
        """Start the next generation with other settings, and take other limits now."""
        self.program, self._limits = program, limits

    def start(self, now: float) -> None:
        """Start the next generation; where that fails, try again later."""
        self.start_at, self._started, self._heard = None, now, now
        self.ready, self._kill_at, self._killed, self._verdict = False, None, False, ""
        self._leaving, self.declined = False, ""
        try:
            self.child = self._launch(self.program)
        except OSError as error:
            self._log.error("child-not-started", child=self.name, reason=str(error))
            self._back_off(now)
            return
        self._log.info("child-started", child=self.name, child_pid=self.child.pid)
        if self._previous is not None:
            self.child.tell(self._previous)

    def message(self, message: packets.Message, now: float) -> None:
        """Take a message of the living child."""
        kind = message["type"]
        if kind == "hello":
            if packets.common(message.get("v")) is None:
                self.condemn(f"speaks version {message.get('v')!r} of the link", now)
            elif self.ready:  # it has executed itself anew
                self.ready, self._started = False, now
        elif kind == "not-renewed":
            self.declined = str(message.get("reason") or "it did not say why")
        elif kind == "ready" and not self.ready:
            self.ready = self.ever_ready = True
            self.readies += 1
            self._heard = now
            self._log.info("child-ready", child=self.name, seconds=round(now - self._started, 3))
        elif kind == "beat" and self.ready:
            self._heard = now

    def lost(self, now: float) -> None:
        """Take the end of the control link: a child that cannot be told to stop must end soon."""
        if not self._killed:
            self._kill_at = min(self._kill_at or now + LINGER_TIME, now + LINGER_TIME)

    def leave(self, seconds: float, now: float) -> None:
        """Tell the child to end in order within `seconds`, and kill it where it does not.

        May be told again, with less time. Its successor, if any, is started at once after its end.
        """
        assert self.child is not None
        self._leaving = True
        self._kill_at = now + seconds + LEAVE_TIME
        self.child.tell({"type": "leave", "seconds": seconds})

    def retire(self) -> None:
        """Start no successor any more."""
        self.retired, self.start_at = True, None

    def deadline(self) -> float | None:
        """Give the next moment at which `tick` has something to do."""
        if self.child is None:
            return self.start_at
        if self._kill_at is not None:
            return self._kill_at
        if self._killed:
            return None
        if not self.ready:
            return self._started + self._limits.start
        return self._heard + self._limits.beat if self.program.beats else None

    def tick(self, now: float) -> None:
        """Do what is due: start, ask a hung child for its stacks, kill it."""
        due = self.deadline()
        if due is None or now < due:
            return
        if self.child is None:
            self.start(now)
        elif self._kill_at is None:
            what = "no beat" if self.ready else "not ready"
            since = self._heard if self.ready else self._started
            self.condemn(f"hung: {what} for {now - since:.1f} s", now)
        else:
            self._kill_at, self._killed = None, True
            self.child.signal(signal.SIGKILL)

    def forgive(self, now: float) -> None:
        """Count from now: the parent itself did not run, so the silence proves nothing."""
        self._heard = max(self._heard, now)

    def ended(self, status: int, now: float, *, expected: bool = False) -> str:
        """Take the end of the child, plan its successor, and say how it ended."""
        assert self.child is not None
        trace = self.child.reaped()
        how = self._verdict or describe(status)
        fields = {"child": self.name, "child_pid": self.child.pid, "how": how}
        if trace:
            fields["trace"] = trace
        left = self._leaving and status == 0
        tell = self._log.info if expected or left else self._log.warning
        tell("child-ended", **fields)
        self._previous = None
        if self.program.beats and not left:
            self._previous = {"type": "previous", "exit": how, "trace": trace}
        self.child = None
        if self._leaving:
            self._delay = 0.0
        self._back_off(now)
        self.ready = False
        return how

    def saved(self) -> dict[str, object]:
        """Give what `restored` needs, as JSON; the child's descriptors stay open meanwhile."""
        fields: dict[str, object] = {name: getattr(self, name) for name in _SAVED}
        if self.child is not None:
            child = self.child
            trace = -1 if child.trace is None else child.trace
            fields["child"] = {"pid": child.pid, "control": child.control.fileno(), "trace": trace}
        return {"name": self.name, **fields}

    def restored(self, fields: Mapping[str, Any]) -> Watch:
        """Go on where the watch that was saved stood; gives itself."""
        for name in _SAVED:
            setattr(self, name, fields[name])
        if "child" in fields:
            pid, control, trace = (fields["child"][name] for name in ("pid", "control", "trace"))
            sock = socket.socket(fileno=control)
            sock.setblocking(False)
            self.child = Child(
                name=self.name, pid=pid, control=sock, trace=None if trace == -1 else trace
            )
        return self

    def refused(self, status: int) -> bool:
        """Tell whether the child said by its exit status that a person must mend something."""
        return not self.ever_ready and os.WIFEXITED(status) and os.WEXITSTATUS(status) in REFUSALS

    def condemn(self, verdict: str, now: float) -> None:
        """Ask the child for its stacks, if it can write them, and kill it a moment later."""
        assert self.child is not None
        if self._verdict:
            return
        self._verdict = verdict
        self._log.error("child-condemned", child=self.name, reason=verdict)
        self._kill_at = now + TRACE_TIME
        if self.program.beats:
            self.child.signal(signal.SIGUSR2)

    def _back_off(self, now: float) -> None:
        if self.retired:
            return
        if now - self._started >= HEALTHY_AFTER:
            self._delay = 0.0
        longest = LONGEST_AFTER_READY if self.ready else LONGEST_DELAY
        self.start_at = now + min(self._delay, longest)
        self._delay = min(max(self._delay * 2, FIRST_DELAY), longest)


def describe(status: int) -> str:
    """Give a wait status in words: `exit status 1`, `signal 9 (SIGKILL)`."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"signal {number} ({signal.Signals(number).name})"
        except ValueError:
            return f"signal {number}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"
