"""`supervisor reload` as the tree sees it: one check at a time, then step after step."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator

from supervisor.log import Log
from supervisor.parent import renewal
from supervisor.parent.child import Child
from supervisor.parent.children import Children
from supervisor.parent.notify import Notifier
from supervisor.parent.reload import Check, Reload
from supervisor.parent.watch import Watch


class Reloading:
    """Ask the new code; say when the parent may become it; as the new code, renew the others.

    reload: None where the parent cannot execute itself anew. resumed: this is the new code.
    """

    def __init__(
        self,
        children: Children,
        *,
        reload: Reload | None,
        log: Log,
        notifier: Notifier,
        resumed: bool,
    ) -> None:
        self._children = children
        self._reload = reload
        self._log = log
        self._notifier = notifier
        self._check: Check | None = None
        self._steps = self._renew_all() if resumed else None
        self._next_step = 0.0
        self.wanted = False  # the new code holds: the parent may become it

    @property
    def busy(self) -> bool:
        """Whether a reload is under way, from the question to the last step."""
        return self._check is not None or self.renews

    @property
    def renews(self) -> bool:
        """Whether the steps after the parent's own are under way."""
        return self._steps is not None

    def ask(self, asker: Child | None) -> None:
        """Ask the new code whether it can go on from here; the asker is told what comes of it."""
        reason = "a reload is under way"
        if self._reload is None:
            reason = "this server was started without the means to"
        elif self._check is None and not self.renews:
            self._notifier.reloading()
            try:
                self._check = self._reload.check(self._children.saved(), asker=asker)
            except OSError as error:
                reason = f"the new code cannot be asked: {error}"
            else:
                self._log.info("reload-asked", check=self._check.pid)
                return
        self._refuse(asker, reason, "")

    def deadline(self) -> float | None:
        """Give the next moment at which `go_on` has something to do."""
        if self._check is not None:
            return self._check.since + self._children.limits.start
        return self._next_step if self.renews else None

    def go_on(self) -> None:
        """Go on with the steps, and end a check that takes too long."""
        now = time.monotonic()
        if self._check is not None and now >= self._check.since + self._children.limits.start:
            os.kill(self._check.pid, signal.SIGKILL)
        if self._steps is not None:
            try:
                self._next_step = next(self._steps)
            except StopIteration:
                self._steps = None

    def ended(self, pid: int, status: int) -> bool:
        """Take an ended process; False where it was not the check."""
        check = self._check
        if check is None or pid != check.pid:
            return False
        refusal = check.result(status)
        if refusal is None:
            self.wanted = True
        else:
            self._check = None
            self._refuse(check.asker, *refusal)
        return True

    def become_new(self) -> None:
        """Become the new code. Returns only where that fails: then nothing has changed."""
        assert self._check is not None
        assert self._reload is not None
        check, self._check, self.wanted = self._check, None, False
        self._log.info("reloading")
        if check.asker is not None:
            check.asker.tell({"type": "reloading"})
        try:
            self._reload.execute(self._children.saved())
        except OSError as error:
            self._refuse(None, f"the new code cannot be executed: {error}", "")

    def abandon(self) -> None:
        """Do no more: the server stops."""
        ended, self._steps, self.wanted = self.wanted, None, False
        if self._check is not None:
            check, self._check = self._check, None
            if not ended:
                check.abandon()
            self._refuse(check.asker, "the server stops", "")

    def _refuse(self, asker: Child | None, reason: str, hint: str) -> None:
        self._log.error("not-reloaded", reason=reason, hint=hint)
        if self._check is None and not self.renews:
            self._notifier.ready()
        if asker is not None:
            asker.tell({"type": "reloaded", "ok": False, "reason": reason, "hint": hint})

    def _renew_all(self) -> Generator[float, None, None]:
        children, limit = self._children, self._children.limits.start
        problems: list[str] = []

        def told(watch: Watch, problem: str) -> None:
            if problem:
                problems.append(f"{watch.name}: {problem}")
                self._log.error("not-renewed", child=watch.name, reason=problem)

        if (helper := children.named("helper")) is not None:
            told(helper, (yield from renewal.renew(helper, limit)))
        if (gateway := children.named("gateway")) is not None:
            second = children.watch("gateway")
            children.leaving.append(second)
            told(gateway, (yield from renewal.start_beside(gateway, second, limit)))
            self._follow(gateway, second)
        if (core := children.named("core")) is not None:
            told(core, (yield from renewal.replace(core, limit)))
        self._log.info("reloaded", problems=len(problems))
        if core is not None and core.child is not None:
            reason = "; ".join(problems)
            core.child.tell({"type": "reloaded", "ok": not problems, "reason": reason, "hint": ""})

    def _follow(self, old: Watch, second: Watch) -> None:
        """Let a second gateway that is ready take the place; the old one finishes what is open."""
        leaving, kept, now = self._children.leaving, self._children.kept, time.monotonic()
        if not second.ready:
            if second.child is not None:
                second.child.signal(signal.SIGKILL)
            elif second in leaving:  # it never lived
                leaving.remove(second)
            return
        leaving.remove(second)
        second.retired = False
        kept[kept.index(old)] = second
        old.retire()
        if old.child is not None:
            leaving.append(old)
            old.leave(self._children.limits.drain, now)
        for oldest in leaving[: -renewal.MOST_LEAVING]:
            oldest.leave(0.0, now)
