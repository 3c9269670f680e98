"""Sandboxes made ahead: cloned, in their groups, with the root that all share, waiting for a job.

A start takes one that fits and makes it the job's own; another is made a while after that, or when
a run has ended, so its cost falls into a moment in which nobody waits. Each is used once. One never
fits again once the host's view has changed (another generation of the template), and none is kept
that has died. It has seen nothing but the template: no job, no environment, no place.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass

from supervisor import Log
from supervisor_unshare.helper.zygote_link import Clone
from supervisor_unshare.linux.loop import Loop
from supervisor_unshare.sandbox.steps import StartFailed

SIZE = 2  # waiting; each holds about as much memory as the init of a run


@dataclass(frozen=True)
class Wanted:
    """What a clone must have been made for.

    generation: of the template; groups: the directories in which it has its own; network: as in
    sandbox.Kind.
    """

    generation: int
    groups: frozenset[str]
    network: str


class Pool:
    """Keep up to `size` clones, new ones for what was wanted last.

    make is called for each, and may raise StartFailed and OSError.
    """

    def __init__(self, loop: Loop, make: Callable[[Wanted], Clone], log: Log, size: int) -> None:
        self._loop = loop
        self._make = make
        self._log = log
        self._size = size
        self._waiting: list[tuple[Wanted, Clone]] = []
        self._wanted: Wanted | None = None
        self._filling = False

    def take(self, wanted: Wanted) -> Clone:
        """Give a clone, the caller's now; made on the spot where none waits. Raises as make does.

        One whose preparation fails says so in its report.
        """
        self._wanted = wanted
        for one in self._waiting:
            if one[0] == wanted and _lives(one[1]):
                self._waiting.remove(one)
                self._loop.unwatch(one[1].pidfd)
                return one[1]
        return self._make(wanted)

    def refill(self, *, after: float = 0.0) -> None:
        """Make what is missing, some seconds from now or at hurry().

        Called when a start has succeeded: what always fails is not tried without end.
        """
        if self._size and not self._filling:
            self._filling = True
            self._loop.after(after, self._fill)

    def hurry(self) -> None:
        """Do at once what refill() has put off, if it has."""
        if self._filling:
            self._loop.after(0.0, self._fill)

    def close(self) -> None:
        """End all that wait. The pool may be used again."""
        self._wanted = None
        while self._waiting:
            self._drop(self._waiting[0])

    def _fill(self) -> None:
        """Make one, and the next in a later turn of the loop."""
        if not self._filling:  # hurry() came before
            return
        self._filling = False
        wanted = self._wanted
        if wanted is None:
            return
        for one in [one for one in self._waiting if one[0].generation != wanted.generation]:
            self._drop(one)
        if sum(one[0] == wanted for one in self._waiting) >= self._size:
            return
        if len(self._waiting) >= self._size:
            self._drop(next(one for one in self._waiting if one[0] != wanted))
        try:
            clone = self._make(wanted)
        except (StartFailed, OSError) as error:  # the next start tries again and tells
            self._log.warning("not-prepared", reason=str(error))
            return
        made = (wanted, clone)
        self._waiting.append(made)
        self._loop.watch(clone.pidfd, lambda: self._ended(made))
        self.refill()

    def _ended(self, one: tuple[Wanted, Clone]) -> None:
        self._log.warning("prepared-ended", pid=one[1].pid)
        self._drop(one)

    def _drop(self, one: tuple[Wanted, Clone]) -> None:
        self._waiting.remove(one)
        self._loop.unwatch(one[1].pidfd)
        one[1].close()


def _lives(clone: Clone) -> bool:
    poll = select.poll()
    poll.register(clone.pidfd, select.POLLIN)
    return not poll.poll(0)
