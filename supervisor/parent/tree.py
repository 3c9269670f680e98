"""The loop: starts and watches the children, reaps, passes signals on, and ends all in order."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from supervisor import packets
from supervisor.log import Log
from supervisor.parent.child import Program
from supervisor.parent.notify import Notifier
from supervisor.parent.watch import TimeLimits, Watch

_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
_FIRST_SHARE = 0.8  # of ShutdownTimeout is for core and gateway, the rest for the helper
_UNKILLABLE = 2.0  # seconds after SIGKILL
_LATE = 1.0  # seconds: the loop itself was not run


class Tree:
    """The children of one parent. `run` returns when all have ended."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        log: Log,
        shutdown_timeout: float,
        limits: TimeLimits,
        notifier: Notifier | None = None,
    ) -> None:
        self._watches = [Watch(program, limits=limits, log=log) for program in programs]
        self._log = log
        self._shutdown_timeout = shutdown_timeout
        self._notifier = notifier or Notifier(None)
        self._selector = selectors.DefaultSelector()
        self._begun = time.monotonic()
        self._announced = False
        self._stopping_since: float | None = None
        self._helper_told = False
        self._status = 0

    def run(self) -> int:
        """Keep the children until SIGTERM or SIGINT; give the exit status of the parent.

        0 after an ordered stop; the child's status where one refused to start.
        """
        with _signals() as wakeup:
            self._selector.register(wakeup, selectors.EVENT_READ, self._take_signals)
            try:
                while self._stopping_since is None or self._living():
                    self._turn()
                    if self._stopping_since and time.monotonic() > self._stop_deadlines()[-1]:
                        self._log.error("unkillable", children=[w.name for w in self._living()])
                        break
            finally:
                self._kill()
                self._selector.close()
        return self._status

    def _turn(self) -> None:
        asked = time.monotonic()
        for watch in self._watches:
            was = watch.child
            if self._stopping_since is None:
                watch.tick(asked)
            if watch.child is not None and watch.child is not was:
                self._selector.register(watch.child.control, selectors.EVENT_READ, watch)
        if self._stopping_since is not None:
            self._stop_on(asked)
        timeout = self._until_next(asked)
        events = self._selector.select(timeout)
        now = time.monotonic()
        for key, _ in events:
            if isinstance(key.data, Watch):
                self._take_message(key.data, now)
        for key, _ in events:
            if not isinstance(key.data, Watch):
                key.data(key.fileobj)
        if timeout is not None and now - asked > timeout + _LATE:
            for watch in self._watches:
                watch.forgive(now)
        self._announce(now)
        self._notifier.watchdog(now)

    def _until_next(self, now: float) -> float | None:
        moments = [self._notifier.next_watchdog()]
        if self._stopping_since is None:
            moments += [watch.deadline() for watch in self._watches]
        else:
            moments += [moment for moment in self._stop_deadlines() if moment > now]
        known = [moment for moment in moments if moment is not None]
        return max(0.0, min(known) - now) if known else None

    def _take_message(self, watch: Watch, now: float) -> bool:
        """Take one message of a child; False where there is none, or never will be again."""
        child = watch.child
        if child is None or child.control not in self._selector.get_map():
            return False
        try:
            received = packets.receive(child.control)
        except BlockingIOError:
            return False
        except packets.BadPacket as error:
            watch.condemn(f"broke its control link: {error}", now)
            received = None
        except OSError:  # reset: it died before it had read all
            received = None
        if received is None:
            self._selector.unregister(child.control)
            watch.lost(now)
            return False
        message, fds = received
        for fd in fds:
            os.close(fd)
        watch.message(message, now)
        return True

    def _take_signals(self, wakeup: socket.socket) -> None:
        for number in wakeup.recv(4096):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(signal.Signals(number).name)
            elif number == signal.SIGHUP:
                self._log.warning("not-reloaded", hint="settings are read at the start only")
        self._reap()

    def _reap(self) -> None:
        """Take every ended process: children of ours, and as pid 1 everybody's orphans."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            watch = self._watch_of(pid)
            if watch is None:
                self._log.debug("orphan-reaped", orphan=pid)
                continue
            self._take_end(watch, status)

    def _take_end(self, watch: Watch, status: int) -> None:
        now = time.monotonic()
        assert watch.child is not None
        while self._take_message(watch, now):  # its last words
            pass
        if watch.child.control in self._selector.get_map():
            self._selector.unregister(watch.child.control)
        refused = watch.refused(status)
        how = watch.ended(status, now, expected=self._stopping_since is not None)
        if refused and self._stopping_since is None:
            self._log.error("child-refused", child=watch.name, how=how)
            self._status = os.WEXITSTATUS(status)
            self._stop(f"{watch.name} refused to start")

    def _stop(self, reason: str) -> None:
        if self._stopping_since is not None:
            self._log.warning("killing-all", reason=reason)
            self._kill()
            return
        self._stopping_since = time.monotonic()
        self._log.info("stopping", reason=reason, seconds=self._shutdown_timeout)
        self._notifier.stopping()
        for watch in self._watches:
            watch.start_at = None
            if watch.child is not None and watch.name != "helper":
                seconds = self._shutdown_timeout * _FIRST_SHARE * 0.95
                watch.child.tell({"type": "stop", "seconds": round(seconds, 3)})

    def _stop_deadlines(self) -> tuple[float, float, float]:
        """Give when core and gateway are killed, when all are, when we go without the rest."""
        assert self._stopping_since is not None
        last = self._stopping_since + self._shutdown_timeout
        first = self._stopping_since + self._shutdown_timeout * _FIRST_SHARE
        return first, last, last + _UNKILLABLE

    def _stop_on(self, now: float) -> None:
        first, last, _ = self._stop_deadlines()
        if now >= last:
            self._kill()
            return
        if now >= first:
            for watch in self._living():
                if watch.name != "helper":
                    self._kill_one(watch)
        helper = next((watch for watch in self._living() if watch.name == "helper"), None)
        core_lives = any(watch.name == "core" for watch in self._living())
        if helper is not None and not core_lives and not self._helper_told:
            assert helper.child is not None
            self._helper_told = True
            helper.child.tell({"type": "stop", "seconds": round((last - now) * 0.9, 3)})

    def _kill(self) -> None:
        for watch in self._living():
            self._kill_one(watch)

    def _kill_one(self, watch: Watch) -> None:
        if watch.child is not None:
            watch.child.signal(signal.SIGKILL)

    def _announce(self, now: float) -> None:
        if not self._announced and all(watch.ready for watch in self._watches):
            self._announced = True
            self._log.info("ready", seconds=round(now - self._begun, 3))
            self._notifier.ready()

    def _living(self) -> list[Watch]:
        return [watch for watch in self._watches if watch.child is not None]

    def _watch_of(self, pid: int) -> Watch | None:
        for watch in self._living():
            if watch.child is not None and watch.child.pid == pid:
                return watch
        return None


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket that yields one byte, the number, for each signal; put all back at the end."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()
