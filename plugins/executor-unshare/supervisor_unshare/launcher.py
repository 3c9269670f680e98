"""The helper process: `python -I -m supervisor_unshare.launcher --fd NAME=NUMBER ...`.

Resident, one thread, standard library only. It starts every local content process, so that no
interpreter starts per launch, and stays their parent while cores come and go. Its end is theirs.

Descriptors: control (the parent; its end means: end at once), settings (JSON), helper (listening,
for the core), helper-connect (listening, for the gateway). The first and last may be absent.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor import Log, __version__, packets
from supervisor_unshare.helper import renew
from supervisor_unshare.helper.configured import read_rules, read_settings
from supervisor_unshare.helper.runs import LiveRun
from supervisor_unshare.helper.service import Answer, Fail, Service
from supervisor_unshare.limits import priority
from supervisor_unshare.linux import syscalls
from supervisor_unshare.linux.loop import Link, Loop
from supervisor_unshare.requests import verbs
from supervisor_unshare.requests.fields import Refused
from supervisor_unshare.requests.rules import SUBUID
from supervisor_unshare.sandbox.steps import StartFailed
from supervisor_unshare.tiers import detect, probe, subuid

_MOST_GATEWAYS = 4  # old ones may still serve their visitors to the end
_LARGEST_ID = 2**53
_CLEANUP = 0.8  # seconds of a stop that are kept for killing and removing


class Launcher:
    """Tie the service to its sockets: parent, core, gateway."""

    def __init__(
        self,
        descriptors: Mapping[str, int],
        settings: Mapping[str, Any],
        *,
        adopted: Sequence[LiveRun] | None = None,
    ) -> None:
        self._log = Log(
            "helper",
            form=settings.get("log_form", "TEXT"),
            level=settings.get("log_level", "info"),
        )
        self._loop = Loop(lambda error: self._log.error("callback-failed", exc=error))
        self._parent: Link | None = None
        self._core: Link | None = None
        self._gateways: list[Link] = []
        self._rules = read_rules(settings)
        self._service = Service(
            self._loop,
            self._rules,
            data_dir=os.path.realpath(settings["data_dir"]),
            run_dir=os.path.realpath(settings["run_dir"]),
            log=self._log,
            notify=self._tell_core,
        )
        self._sockets = {
            name: socket.socket(fileno=fd) for name, fd in descriptors.items() if name != "settings"
        }
        self._adopted = adopted
        self._renewal: renew.Renewal | None = None

    def run(self) -> None:
        """Serve until the parent is gone or says stop."""
        if self._adopted is None:
            self._service.prepare_directories()
        else:
            self._service.adopt(self._adopted)
        self._listen("helper", self._rules.core_uid, self._accept_core)
        if "helper-connect" in self._sockets:
            self._listen("helper-connect", self._rules.gateway_uid, self._accept_gateway)
        if "control" in self._sockets:
            self._serve_parent()
        priority.keep()
        gc.collect()
        gc.freeze()  # the children share these pages as long as nobody writes to them
        gc.disable()
        self._log.info(
            "helper-ready",
            tier=self._rules.tier,
            limits=",".join(sorted(self._service.limits)),
            version=__version__,
            runs=len(self._service.runs),
        )
        self._loop.run()
        self._service.end_all()

    def _serve_parent(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the parent speaks for the terminal
        # The parent's death, which the kernel would answer with SIGKILL, leaves time to clean up.
        signal.signal(signal.SIGUSR1, _hurry)
        syscalls.die_with_parent(signal.SIGUSR1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, renew.WAITING_SIGNALS)
        parent = self._parent = Link(
            self._loop,
            self._sockets["control"],
            lambda message: self._from_parent(parent, message),
            lambda _: self._loop.stop(),
        )
        parent.send({"type": "hello", "v": packets.VERSION})
        parent.send({"type": "ready"})

    def _from_parent(self, parent: Link, message: packets.Message) -> None:
        if message["type"] == "renew" and parent.given and self._renewal is None:
            self._renew(parent, [str(part) for part in message["argv"]], parent.given.pop(0))
        if message["type"] == "logs" and parent.given:
            for standard in (1, 2):  # the service log has another file now
                os.dup2(parent.given[0], standard)
        if message["type"] == "settings" and parent.given:
            self._configure(parent.given.pop(0))
        if message["type"] != "stop":
            return
        if self._renewal is not None:
            self._renewal.abandon()
        seconds = message.get("seconds")
        grace = max(0.0, seconds - _CLEANUP) if isinstance(seconds, int | float) else 0.0
        for run in self._service.runs.values():
            if run.pidfd != -1:
                self._service.end(run, min(grace, run.job.grace))
        self._stop_when_empty()
        self._loop.after(grace, self._loop.stop)

    def _configure(self, fd: int) -> None:
        """Take what of the settings may change while runs go on."""
        try:
            settings = read_settings(fd)
            self._service.maxima = dict(settings["maxima"])
            self._log.form, self._log.level = settings["log_form"], settings["log_level"]
        except (ValueError, KeyError, TypeError) as error:
            self._log.error("settings", problem=f"the old ones stay in force: {error!r}")

    def _renew(self, parent: Link, argv: Sequence[str], settings: int) -> None:
        def declined(reason: str) -> None:
            self._renewal = None
            os.close(settings)
            self._log.error("not-renewed", reason=reason)
            parent.send({"type": "not-renewed", "reason": reason})

        descriptors = {name: sock.fileno() for name, sock in self._sockets.items()}
        self._renewal = renew.Renewal(
            self._loop,
            self._service.runs,
            argv=argv,
            descriptors={**descriptors, "settings": settings},
            declined=declined,
            leave=self._service.leave,
        )
        self._renewal.start()

    def _stop_when_empty(self) -> None:
        if any(run.pidfd != -1 for run in self._service.runs.values()):
            self._loop.after(0.02, self._stop_when_empty)
        else:
            self._loop.stop()

    def _listen(self, name: str, uid: int, accept: Callable[[socket.socket], None]) -> None:
        listener = self._sockets[name]
        listener.setblocking(False)

        def ready() -> None:
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors, most likely: let some be given back
                self._log.error("accept-failed", socket=name, error=str(error))
                self._loop.unwatch(listener.fileno())
                self._loop.after(1.0, lambda: self._loop.watch(listener.fileno(), ready))
                return
            found = packets.peer(sock)[1]
            if found == uid:
                accept(sock)
            else:
                self._log.warning("peer-refused", socket=name, uid=found)
                sock.close()

        self._loop.watch(listener.fileno(), ready)

    def _accept_core(self, sock: socket.socket) -> None:
        link = Link(self._loop, sock, lambda message: self._serve(link, message), self._closed)
        if self._core is not None:
            self._core.close("a newer core has connected")
        self._core = link

    def _accept_gateway(self, sock: socket.socket) -> None:
        def received(message: packets.Message) -> None:
            actions: dict[str, Callable[..., None]] = {
                "hello": self._hello_gateway,
                "connect": self._service.connect,
            }
            self._do(link, message, verbs.GATEWAY_VERBS, actions)

        link = Link(self._loop, sock, received, self._closed)
        self._gateways = [*(other for other in self._gateways if other.open), link]
        if len(self._gateways) > _MOST_GATEWAYS:
            self._gateways[0].close("newer gateways have connected")

    def _closed(self, reason: str) -> None:
        if reason:
            self._log.warning("link-closed", reason=reason)

    def _tell_core(self, event: packets.Message) -> None:
        if self._core is not None:
            self._core.send(event)

    def _serve(self, link: Link, message: packets.Message) -> None:
        service = self._service
        if self._parent is not None and message["type"] == "start":
            self._parent.take()  # settings that the core may have heard of since they were sent
        actions: dict[str, Callable[..., None]] = {
            "hello": self._hello,
            "start": service.start,
            "stop": service.stop,
            "list": service.list_runs,
            "output": service.output,
            "usage": service.usage,
            "forget": service.forget,
            "prepare": service.prepare,
            "seal": service.seal,
            "remove": service.remove,
            "doctor": service.doctor,
            "connect": service.connect,
        }
        self._do(link, message, verbs.CORE_VERBS, actions)

    def _do(
        self,
        link: Link,
        message: packets.Message,
        table: Mapping[str, verbs.Checks],
        actions: Mapping[str, Callable[..., None]],
    ) -> None:
        number = message.get("id")
        if type(number) is not int or abs(number) > _LARGEST_ID:
            number = None  # refused below, and not repeated: an answer has room for so much

        def answer(fds: tuple[int, ...] = (), **fields: Any) -> None:
            link.send({"type": "ok", "id": number, **fields}, fds)

        def fail(error: Exception) -> None:
            facts = self._described(error)
            verb = str(message["type"])[:40]
            # who waits for content to listen asks again and again
            log = self._log.debug if facts["code"] == "unavailable" else self._log.warning
            log("refused", verb=verb, code=facts["code"], reason=facts["message"])
            link.send({"type": "error", "id": number, **facts})

        try:
            request = verbs.parse(message, self._rules, table)
            actions[request.verb](answer, fail, **request.arguments)
        except (Refused, StartFailed) as error:
            fail(error)
        except Exception as error:  # a defect must not take the content down with it
            self._log.error("verb-failed", exc=error, verb=str(message.get("type")))
            fail(error)

    def _described(self, error: Exception) -> dict[str, Any]:
        if isinstance(error, Refused):
            facts = {"code": error.code, "message": str(error), "hint": error.hint}
            return {**facts, "step": "", "errno": None}
        if isinstance(error, StartFailed):
            never = probe.unavailable(error.step, error.number, rootless=self._rules.rootless)
            code = "sandbox-unavailable" if never else "sandbox-failed"
            code = "egress-unavailable" if error.step == "network" else code
            text = f"the step {error.step!r} failed: {error}"
            facts = {"code": code, "message": text, "hint": probe.hint(error, self._rules)}
            return {**facts, "step": error.step, "errno": error.number}
        text = f"the helper failed: {type(error).__name__}: {error}"
        return {"code": "internal", "message": text, "hint": "", "step": "", "errno": None}

    def _hello(self, answer: Answer, fail: Fail, v: int) -> None:
        answer(
            v=_common(v),
            tier=self._rules.tier,
            limits=sorted(self._service.limits),
            egress=sorted(self._rules.reaches),
            runs=self._service.lines,
        )

    def _hello_gateway(self, answer: Answer, fail: Fail, v: int) -> None:
        answer(v=_common(v))


def _common(v: int) -> int:
    if (version := packets.common(v)) is None:
        raise Refused(f"the helper does not speak version {v}", code="bad-request")
    return version


def _hurry(number: int, frame: object) -> None:
    """Let SIGALRM, by its default action, end a helper that hangs while its parent is dead."""
    signal.setitimer(signal.ITIMER_REAL, _CLEANUP)


def main(arguments: list[str] | None = None) -> int:
    """Run the helper; gives its exit status."""
    parser = argparse.ArgumentParser(prog="supervisor_unshare.launcher")
    parser.add_argument("--fd", action="append", default=[], metavar="NAME=NUMBER")
    parser.add_argument("--tier", action="store_true", help="only say which tier this host gives")
    parser.add_argument("--check", type=int, metavar="FD", help="only read settings and runs")
    parser.add_argument("--resume", type=int, metavar="FD", help="go on with these runs")
    parsed = parser.parse_args(arguments)
    descriptors = {name: int(fd) for name, _, fd in (pair.partition("=") for pair in parsed.fd)}
    for fd in descriptors.values():
        os.set_inheritable(fd, False)
    os.umask(0o022)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings = read_settings(descriptors["settings"])
    if parsed.tier:
        sys.stdout.write(detect.answer(settings))
        return 0
    try:
        if settings.get("tier") == SUBUID and os.geteuid() != 0:
            subuid.enter()
        if parsed.check is not None:
            renew.read(parsed.check)
            read_rules(settings)
            return 0
        adopted = None if parsed.resume is None else renew.read(parsed.resume)
        renew.keep_to_ourselves(adopted or ())
        launcher = Launcher(descriptors, settings, adopted=adopted)
    except (ValueError, OSError) as error:
        if parsed.check is not None:
            sys.stderr.write(f"{error}\n")
            return 78
        Log("helper", form=settings.get("log_form", "TEXT")).error(
            "cannot-serve", reason=str(error)
        )
        return 78
    launcher.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
