"""The loop: starts and watches the children, reaps, passes signals on, and ends all in order."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from supervisor import packets
from supervisor.errors import SupervisorError
from supervisor.log import Log
from supervisor.parent.child import Child, Program, sealed
from supervisor.parent.children import Children
from supervisor.parent.configuring import Configuring, refusal
from supervisor.parent.logs import Logs
from supervisor.parent.notify import Notifier
from supervisor.parent.reload import Reload
from supervisor.parent.reloading import Reloading
from supervisor.parent.watch import Watch

_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
_OF_CORE = frozenset({"reload", "configure", "reopen-logs", "audit"})
_ORDERS: dict[int, str] = {
    signal.SIGTERM: "end-server", signal.SIGINT: "end-server", signal.SIGHUP: "config-reload",
    signal.SIGUSR1: "reopen-logs", signal.SIGUSR2: "reload",
}  # fmt: skip
_FIRST_SHARE = 0.8  # of ShutdownTimeout is for core and gateway, the rest for the helper
_UNKILLABLE = 2.0  # seconds after SIGKILL
_LATE = 1.0  # seconds: the loop itself was not run


class Tree:
    """The children of one parent. `run` returns when all have ended.

    configuring: the settings in force. logs: what the children write to; it alone opens files
    again.
    reload: how the parent executes itself anew, None where it cannot. children: what was saved of
    those that live on through that; then the reload goes on with them.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        log: Log,
        configuring: Configuring,
        logs: Logs | None = None,
        notifier: Notifier | None = None,
        reload: Reload | None = None,
        children: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._log = log
        self._configuring = configuring
        self._logs = logs
        self._resumed = bool(children)
        limits = configuring.limits
        self._children = Children(programs, limits=limits, log=log, saved=children)
        self._notifier = notifier or Notifier(None)
        self._reloading = Reloading(
            self._children,
            reload=reload,
            log=log,
            notifier=self._notifier,
            resumed=bool(children),
        )
        self._selector = selectors.DefaultSelector()
        self._begun = time.monotonic()
        self._announced = False
        self._stopping_since: float | None = None
        self._helper_told = False
        self._starts: Counter[str] = Counter()
        self._told_parts: object = None
        self._status = 0

    def run(self) -> int:
        """Keep the children until SIGTERM or SIGINT; give the exit status of the parent.

        0 after an ordered stop; the child's status where one refused to start.
        """
        with _signals() as wakeup:
            self._selector.register(wakeup, selectors.EVENT_READ, self._take_signals)
            for watch in self._children.living:
                self._listen_to(watch)
            if self._resumed:  # the settings may name other files now
                self._hand_logs_on()
            self._reap()  # who has ended while the parent executed itself anew
            try:
                while self._stopping_since is None or self._children.living:
                    self._turn()
                    if self._reloading.wanted:
                        self._become_new(wakeup)
                    if self._stopping_since and time.monotonic() > self._stop_deadlines()[-1]:
                        self._log.error(
                            "unkillable", children=[w.name for w in self._children.living]
                        )
                        break
            finally:
                self._kill()
                self._selector.close()
        return self._status

    def _turn(self) -> None:
        asked = time.monotonic()
        before = {watch: watch.child for watch in self._children.all}
        if self._stopping_since is None:
            self._reloading.go_on()
            for watch in self._children.all:
                watch.tick(asked)
        else:
            self._stop_on(asked)
        for watch in self._children.living:
            if watch.child is not before.get(watch):
                self._listen_to(watch)
                self._starts[watch.name] += 1
        self._tell_parts()
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
            for watch in self._children.all:
                watch.forgive(now)
        self._announce(now)
        self._notifier.watchdog(now)

    def _tell_parts(self) -> None:
        """Tell the core which processes there are, and how often each was started."""
        core = self._children.named("core")
        pids = {w.name: w.child.pid for w in self._children.kept if w.child is not None}
        told = pids, dict(self._starts)
        if core is None or not core.ready or core.child is None or told == self._told_parts:
            return
        if core.child.tell({"type": "parts", "pids": pids, "starts": told[1]}):
            self._told_parts = told

    def _until_next(self, now: float) -> float | None:
        moments = [self._notifier.next_watchdog()]
        if self._stopping_since is None:
            moments += [watch.deadline() for watch in self._children.all]
            moments.append(self._reloading.deadline())
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
        if watch.name == "core" and message["type"] in _OF_CORE:
            self._serve_core(child, message)
        else:
            watch.message(message, now)
        return True

    def _serve_core(self, child: Child, message: packets.Message) -> None:
        if message["type"] == "reload":
            self._reload_for(child)
        elif message["type"] == "configure":
            self._configure_for(child)
        elif message["type"] == "reopen-logs":
            problems = self._reopen_logs()
            reason = "; ".join(problems)
            child.tell({"type": "reopened-logs", "ok": not problems, "reason": reason})
        elif self._logs is not None and isinstance(message.get("record"), dict):
            self._audit(message["record"])

    def _audit(self, record: Mapping[str, object]) -> None:
        assert self._logs is not None
        before = self._logs.audit.dropped
        self._logs.audit.write(record)
        if self._logs.audit.dropped > before:
            self._log.error("audit-line-lost", lines=self._logs.audit.dropped)

    def _reopen_logs(self) -> list[str]:
        """Open the logs again under their paths, for ourselves and all children."""
        problems = self._logs.reopen() if self._logs is not None else []
        for problem in problems:
            self._log.error("log-not-reopened", problem=problem)
        self._hand_logs_on()
        self._log.info("logs-reopened", problems=len(problems))
        return problems

    def _hand_logs_on(self) -> None:
        if self._logs is None:
            return
        access = self._logs.access
        for watch in self._children.living:
            assert watch.child is not None
            fds: tuple[int, ...] = (self._logs.service,)
            if watch.name == "gateway" and access is not None:
                fds = (self._logs.service, access)
            names = ["service", "access"][: len(fds)]
            watch.child.tell({"type": "logs", "names": names}, fds)

    def _take_signals(self, wakeup: socket.socket) -> None:
        for number in wakeup.recv(4096):
            if self._logs is not None and number in _ORDERS:
                said = {"outcome": "asked", "signal": signal.Signals(number).name}
                self._logs.audit.write({"action": _ORDERS[number], **said})
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(signal.Signals(number).name)
            elif number == signal.SIGHUP:
                self._configure_for(None)
            elif number == signal.SIGUSR1:
                self._reopen_logs()
            elif number == signal.SIGUSR2:
                self._reload_for(None)
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
            if self._reloading.ended(pid, status):
                continue
            watch = self._children.of(pid)
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
        if watch in self._children.leaving:
            self._children.leaving.remove(watch)
        elif refused and self._stopping_since is None:
            self._log.error("child-refused", child=watch.name, how=how)
            self._status = os.WEXITSTATUS(status)
            self._stop(f"{watch.name} refused to start")

    def _reload_for(self, asker: Child | None) -> None:
        if self._stopping_since is None:
            self._reloading.ask(asker)

    def _configure_for(self, asker: Child | None) -> None:
        """Read the file again; what may change is in force before the asker hears of it."""
        if self._stopping_since is not None:
            return
        if self._reloading.busy:
            busy = SupervisorError("unavailable", "a reload is under way", recoverable=True)
            self._log.error("settings-refused", problem=busy.message)
            answer = refusal(busy)
        else:
            if self._announced:
                self._notifier.reloading()
            answer = self._configuring.answer()
            if answer["ok"]:
                self._hand_settings_on()
            if self._announced:
                self._notifier.ready()
        if asker is not None:
            asker.tell(answer)

    def _hand_settings_on(self) -> None:
        data_of = self._configuring.plan.data_of
        self._children.configure(data_of, self._configuring.limits)
        # The helper first: the core may ask it for what has just been allowed.
        for watch in sorted(self._children.living, key=lambda watch: watch.name != "helper"):
            assert watch.child is not None
            settings = sealed("settings", data_of(watch.name))
            if not watch.child.tell({"type": "settings"}, (settings,)):
                self._log.error("not-configured", child=watch.name)
            os.close(settings)

    def _become_new(self, wakeup: socket.socket) -> None:
        # Signals wait from here until the new code takes them; those that came are taken now.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            with suppress(BlockingIOError):
                self._take_signals(wakeup)
            if self._reloading.wanted:
                self._reloading.become_new()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _stop(self, reason: str) -> None:
        if self._stopping_since is not None:
            self._log.warning("killing-all", reason=reason)
            self._kill()
            return
        self._stopping_since = time.monotonic()
        self._log.info("stopping", reason=reason, seconds=self._configuring.shutdown_timeout)
        self._notifier.stopping()
        self._reloading.abandon()
        for watch in self._children.all:
            watch.start_at = None
            if watch.child is not None and watch.name != "helper":
                seconds = self._configuring.shutdown_timeout * _FIRST_SHARE * 0.95
                watch.child.tell({"type": "stop", "seconds": round(seconds, 3)})

    def _stop_deadlines(self) -> tuple[float, float, float]:
        """Give when core and gateway are killed, when all are, when we go without the rest."""
        assert self._stopping_since is not None
        last = self._stopping_since + self._configuring.shutdown_timeout
        first = self._stopping_since + self._configuring.shutdown_timeout * _FIRST_SHARE
        return first, last, last + _UNKILLABLE

    def _stop_on(self, now: float) -> None:
        first, last, _ = self._stop_deadlines()
        if now >= last:
            self._kill()
            return
        if now >= first:
            for watch in self._children.living:
                if watch.name != "helper":
                    self._kill_one(watch)
        helper = next((watch for watch in self._children.living if watch.name == "helper"), None)
        core_lives = any(watch.name == "core" for watch in self._children.living)
        if helper is not None and not core_lives and not self._helper_told:
            assert helper.child is not None
            self._helper_told = True
            helper.child.tell({"type": "stop", "seconds": round((last - now) * 0.9, 3)})

    def _kill(self) -> None:
        for watch in self._children.living:
            self._kill_one(watch)

    def _kill_one(self, watch: Watch) -> None:
        if watch.child is not None:
            watch.child.signal(signal.SIGKILL)

    def _announce(self, now: float) -> None:
        if self._announced or self._reloading.renews:
            return
        if self._children.ready:
            self._announced = True
            self._log.info("ready", seconds=round(now - self._begun, 3))
            self._notifier.ready()

    def _listen_to(self, watch: Watch) -> None:
        assert watch.child is not None
        self._selector.register(watch.child.control, selectors.EVENT_READ, watch)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket that yields one byte, the number, for each signal; put all back at the end."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # those that have waited come now
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()
