"""Run the gateway: `python -I -m supervisor.gateway --fd settings=N --fd http-0=N …`."""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import signal
import socket
import sys
from typing import Any

from supervisor import packets
from supervisor.gateway import answers
from supervisor.gateway.access import Access
from supervisor.gateway.figures import FiguresExchange
from supervisor.gateway.gateway import Gateway
from supervisor.gateway.loop import IN, Loop
from supervisor.gateway.proxies import Proxies
from supervisor.log import Log
from supervisor.sink import redirect


class Control:
    """The parent's end of our life: `stop` and `leave` end in order, its end ends us at once."""

    def __init__(self, sock: socket.socket, gateway: Gateway) -> None:
        self._sock = sock
        self._gateway = gateway
        sock.setblocking(False)
        gateway.loop.watch(sock.fileno(), IN, self)
        packets.send(sock, {"type": "hello", "v": packets.VERSION})

    def ready(self) -> None:
        """Say that connections are accepted."""
        packets.send(self._sock, {"type": "ready"})

    def event(self, mask: int) -> None:
        """Take one message of the parent."""
        try:
            packet = packets.receive(self._sock)
        except BlockingIOError:
            return
        except (OSError, packets.BadPacket):
            packet = None
        if packet is None:
            os._exit(0)  # the parent is gone: nothing of ours may outlive it
        message, fds = packet
        if message["type"] == "logs":
            self._reopen(message.get("names"), fds)
        if message["type"] == "settings" and fds:
            self._configure(fds.pop(0))
        for fd in fds:
            os.close(fd)
        if message["type"] == "stop":
            self._gateway.stop(float(message.get("seconds", 10)))
        elif message["type"] == "leave":
            self._gateway.leave(float(message.get("seconds", 0)))

    def _reopen(self, names: object, fds: list[int]) -> None:
        """Go on with the files that the parent has opened anew; takes what it uses of `fds`."""
        for name in names if isinstance(names, list) else ():
            if not fds:
                break
            fd = fds.pop(0)
            if name == "service":
                redirect(fd)
            elif name == "access" and self._gateway.access is not None:
                self._gateway.access.replace(fd)
            else:
                os.close(fd)

    def _configure(self, fd: int) -> None:
        """Take what of the settings may change without a new process."""
        log = self._gateway.loop.log
        try:
            settings = read_settings(fd)
            log.form = settings.get("log_form", "TEXT")
            log.level = str(settings.get("log_level", "info")).lower()
            answers.brand(dict(settings.get("templates") or {}))
        except (ValueError, KeyError, OSError) as error:
            log.error("settings", problem=str(error))

    def crashed(self) -> None:
        """Stay: a message that makes no sense is in the log."""


def read_arguments(arguments: list[str]) -> dict[str, int]:
    """Read `--fd NAME=NUMBER` pairs; exits with status 2 and the usage for anything else."""
    parser = argparse.ArgumentParser(prog="supervisor.gateway")
    parser.add_argument("--fd", action="append", default=[], metavar="NAME=NUMBER")
    given = (item.partition("=") for item in parser.parse_args(arguments).fd)
    return {name: int(number) for name, _, number in given}


def read_settings(fd: int) -> dict[str, Any]:
    """Read the sealed memfd that the parent shares with all its children."""
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb", closefd=True) as file:
        settings = json.load(file)["settings"]
    assert isinstance(settings, dict)
    return settings


def main(arguments: list[str]) -> int:
    """Serve until told to stop."""
    log = Log("gateway")
    try:
        fds = read_arguments(arguments)
        settings = read_settings(fds["settings"])
        log = Log(
            "gateway",
            form=settings.get("log_form", "TEXT"),
            level=str(settings.get("log_level", "info")).lower(),
        )
        run_dir = str(settings["run_dir"])
        answers.brand(dict(settings.get("templates") or {}))
    except (ValueError, KeyError, OSError) as error:
        log.error("gateway-arguments", reason=str(error))
        return 64
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = Loop(log)
    proxies = Proxies(settings.get("trusted_proxies") or ())
    gateway = Gateway(loop, run_dir, str(settings.get("server_address") or ""), proxies=proxies)
    if "access" in fds:
        gateway.access = Access(loop, fds["access"], settings.get("access_form", "COMMON"))
    control = None
    if "control" in fds:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent speaks for the terminal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        control = Control(socket.socket(fileno=fds["control"]), gateway)
    for name in sorted(fds):
        if name.startswith("http-"):
            gateway.listen(socket.socket(fileno=fds[name]))
        elif name.startswith("metrics-"):
            gateway.listen(socket.socket(fileno=fds[name]), FiguresExchange)
    gateway.link.connect()
    gc.collect()
    gc.freeze()
    if control is not None:
        control.ready()
    log.info("gateway-ready", pid=os.getpid())
    loop.run()
    gateway.last_words()
    log.info("gateway-ended")
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    os._exit(status)  # descriptors close with the process; nothing is left to unwind
