"""A child that does what its arguments say, and notes down what it was given.

fake.py JOURNAL NAME [--do WHAT]... --fd=NAME=NUMBER...; each note is one JSON line of JOURNAL.
"""

import argparse
import ctypes
import faulthandler
import json
import os
import platform
import selectors
import signal
import socket
import sys
import threading
import time

from supervisor import packets
from supervisor.settings import Settings


def keyring() -> int:
    """The session keyring's number, negative where the kernel has none."""
    number = {"x86_64": 250, "aarch64": 219}[platform.machine()]
    return int(ctypes.CDLL(None).syscall(number, 0, -3, 0))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("journal")
    parser.add_argument("name")
    parser.add_argument("--do", action="append", default=[])
    parser.add_argument("--fd", action="append", default=[])
    arguments = parser.parse_args()
    fds = {name: int(number) for name, _, number in (fd.partition("=") for fd in arguments.fd)}

    def note(event: str, **fields: object) -> None:
        line = json.dumps({"name": arguments.name, "pid": os.getpid(), "event": event, **fields})
        journal = os.open(arguments.journal, os.O_WRONLY | os.O_APPEND)  # never made anew
        os.write(journal, f"{line}\n".encode())
        os.close(journal)

    def first_generation() -> bool:
        with open(arguments.journal) as file:
            notes = [json.loads(line) for line in file]
        mine = [note for note in notes if note["name"] == arguments.name]
        return len([note for note in mine if note["event"] == "started"]) == 1

    settings = Settings.read(os.dup(fds["settings"]))
    note(
        "started",
        at=time.monotonic(),
        fds=sorted(fds),
        open=sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        numbers=sorted(fds.values()),
        ids=[os.getresuid(), os.getresgid(), sorted(os.getgroups())],
        environ=dict(os.environ),
        session=os.getsid(0) == os.getpid(),
        keyring=keyring(),
        data_dir=settings.data_dir,
        sections=sorted({entry.section for entry in settings.entries}),
        idle=settings.scheduler.idle,
    )
    for fd in fds.values():
        os.set_inheritable(fd, False)
    for what in arguments.do:
        verb, _, value = what.partition(":")
        if verb == "exit" or (verb == "exit-once" and first_generation()):
            raise SystemExit(int(value))
        if verb == "exit-next" and not first_generation():
            raise SystemExit(int(value))
        if verb == "orphans":
            make_orphans(int(value))
        if verb == "write-settings":
            try:
                os.pwrite(fds["settings"], b"x", 0)
            except OSError as error:
                note("settings-sealed", errno=error.errno)
    if "trace" in fds:
        faulthandler.register(signal.SIGUSR2, file=fds["trace"], all_threads=True)
    if "deaf" in arguments.do:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    control = socket.socket(fileno=fds["control"])
    # whoever holds a core can let it ask for a reload
    signal.signal(signal.SIGUSR1, lambda *_: packets.send(control, {"type": "reload"}))
    signal.signal(signal.SIGHUP, lambda *_: packets.send(control, {"type": "configure"}))
    if "nonsense-once" in arguments.do and first_generation():
        control.send(b"nonsense")
        time.sleep(60)
    packets.send(control, {"type": "hello", "v": 1})
    if "late" not in arguments.do:
        packets.send(control, {"type": "ready"})
        note("ready")
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    listeners = []
    for name, number in fds.items():
        if name not in ("control", "settings", "trace"):
            listening = socket.socket(fileno=number)
            listening.setblocking(False)
            selector.register(listening, selectors.EVENT_READ, name)
            listeners.append(listening)
    hangs = "hang" in arguments.do or ("hang-once" in arguments.do and first_generation())
    while True:
        if hangs and "trace" in fds:
            hold_the_loop()
        for key, _ in selector.select(0.05):
            if key.data is not None:
                assert isinstance(key.fileobj, socket.socket)
                try:
                    connection, _ = key.fileobj.accept()
                except BlockingIOError:
                    continue
                with connection:
                    connection.send(f"{key.data} {os.getpid()}\n".encode())
                continue
            received = packets.receive(control)
            if received is None:
                note("orphaned")
                if "deaf" in arguments.do:
                    time.sleep(60)
                raise SystemExit(0)
            message, given = received
            told = {}
            if message["type"] == "settings":
                fresh = Settings.read(given[0])
                told = {
                    "idle": fresh.scheduler.idle,
                    "uid_first": fresh.uid_first,
                    "listen": [str(address) for address in fresh.http.listen],
                }
            note(message["type"], at=time.monotonic(), message=message, told=told)
            if message["type"] == "renew" and "dies-renewing" in arguments.do:
                os.kill(os.getpid(), signal.SIGKILL)
            if message["type"] == "renew":
                if "declines" in arguments.do:
                    packets.send(control, {"type": "not-renewed", "reason": "it does not want to"})
                    continue
                renew(message["argv"], {**fds, "settings": given[0]})
            if message["type"] == "leave":
                if arguments.name == "core" or not message["seconds"]:
                    raise SystemExit(0)
                for listening in listeners:
                    selector.unregister(listening)
                listeners.clear()
            if message["type"] == "stop" and "deaf" not in arguments.do:
                raise SystemExit(0)
        if "trace" in fds:
            packets.send(control, {"type": "beat"})


def renew(argv: list[str], fds: dict[str, int]) -> None:
    for fd in fds.values():
        os.set_inheritable(fd, True)
    os.execv(argv[0], [*argv, *(f"--fd={name}={fd}" for name, fd in fds.items())])


def make_orphans(count: int) -> None:
    for _ in range(count):
        if (pid := os.fork()) == 0:
            if os.fork() == 0:
                time.sleep(0.1)  # outlives its parent, so that it becomes somebody else's
            os._exit(0)
        os.waitpid(pid, 0)


def hold_the_loop() -> None:
    for _ in range(60):  # whose stacks stand in the way of the one that matters
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(60)


if __name__ == "__main__":
    sys.stdout.flush()
    main()
