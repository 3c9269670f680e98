"""Small programs for the tests of executors, as a shell or Python runs them.

Each says `ready` on standard output once it is as it should be. An executor that starts no
processes tells them by their names.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Program:
    """One program. language: "sh" or "python"; text: its source; argv: for what is neither."""

    name: str
    language: str = "sh"
    text: str = ""
    argv: tuple[str, ...] = ()

    def command(self, *, shell: str, python: str) -> tuple[str, ...]:
        """Give the argv, by the sandbox paths of the two interpreters."""
        if self.argv:
            return self.argv
        return (shell, "-c", self.text) if self.language == "sh" else (python, "-c", self.text)


SLEEPS = Program(name="sleeps", text="echo ready; exec sleep 600")

MISSING = Program(name="missing", argv=("/usr/bin/no-such-program",))

SERVES = Program(
    name="serves",
    language="python",
    text="""
import os, socket
server = socket.socket(socket.AF_UNIX)
server.bind(os.environ["SUPERVISOR_LISTEN"])
server.listen(100)
print("ready", flush=True)
while True:
    client, _ = server.accept()
    with client:
        if client.recv(65536):  # somebody may only look whether it listens
            client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
""",
)

SERVES_A_PORT = Program(
    name="serves a port",
    language="python",
    text="""
import os, socket
server = socket.create_server(("127.0.0.1", int(os.environ["SUPERVISOR_PORT"])))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    with client:
        if client.recv(65536):
            client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
""",
)

TELLS = Program(
    name="tells",
    language="python",
    text="""
import os, socket
text = os.environ["TINY_TEXT"]
if os.environ["TINY_FILE"]:
    with open(os.environ["TINY_FILE"]) as file:
        text = file.read()
body = f"{text} {os.urandom(6).hex()}".encode()
server = socket.socket(socket.AF_UNIX)
server.bind(os.environ["SUPERVISOR_LISTEN"])
server.listen(100)
print("ready", flush=True)
while True:
    client, _ = server.accept()
    with client:
        if client.recv(65536):
            head = f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
            client.sendall(head.encode() + body)
""",
)

STUBBORN = Program(
    name="stubborn",
    text="""
trap '' TERM INT
setsid sh -c 'trap "" TERM INT; sleep 600' &
nohup sh -c 'trap "" TERM INT; sleep 601' >/dev/null 2>&1 &
(sh -c '(trap "" TERM INT; setsid sleep 602 &)' &)
echo ready
while :; do sleep 1; done
""",
)

LEAVES_OTHERS = Program(
    name="leaves-others", text="setsid sleep 600 & nohup sleep 601 >/dev/null 2>&1 & exit 3"
)


def ends(status: int) -> Program:
    """End with a status."""
    return Program(name=f"ends-{status}", text=f"exit {status}")


def killed_by(signal: int) -> Program:
    """Be ended by a signal of its own."""
    return Program(name=f"killed-by-{signal}", text=f"kill -{signal} $$; sleep 600")


def tidies_up(signal: str, seconds: float) -> Program:
    """Take so long to end when asked by the signal, then end with status 7."""
    return Program(
        name=f"tidies-up-{signal}-{seconds}",
        text=f"trap 'sleep {seconds}; exit 7' {signal}; echo ready; while :; do sleep 0.1; done",
    )


LINES = 3000


def printed() -> dict[str, bytes]:
    """Give what PRINTS writes, by stream."""
    every = [f"line {number:06} {'x' * 80}\n" for number in range(LINES)]
    return {
        "stdout": "".join(every).encode(),
        "stderr": "".join(f"to stderr: {line}" for line in every[::10]).encode(),
    }


PRINTS = Program(
    name="prints",
    language="python",
    text=f"""
import sys
for number in range({LINES}):
    line = f"line {{number:06}} {{'x' * 80}}\\n"
    sys.stdout.write(line)
    if number % 10 == 0:
        sys.stdout.flush()
        sys.stderr.write("to stderr: " + line)
        sys.stderr.flush()
""",
)


def says(text: str, *, status: int = 0) -> Program:
    """Write one line and end."""
    return Program(name=f"says-{text}-{status}", text=f"echo {text}; exit {status}")


def beats(path: str) -> Program:
    """Write to a file all the time, from a process that does not want to end."""
    beat = f"while :; do echo beat >>{path}; sleep 0.05; done"
    return Program(
        name="beats",
        text=f"""setsid sh -c 'trap "" TERM; {beat}' & trap "" TERM; echo ready; {beat}""",
    )


def takes_memory(size: int) -> Program:
    """Use so many bytes, and stay."""
    text = f"import time\nx = bytearray({size})\nprint('got it', flush=True)\ntime.sleep(600)"
    return Program(name="takes-memory", language="python", text=text)


FORKS = Program(
    name="forks",
    language="python",
    text="""
import os, signal
count = 0
try:
    while os.fork():
        count += 1
    signal.pause()
except OSError:
    print(count, flush=True)
""",
)

OPENS_FILES = Program(name="opens-files", text="ulimit -n")


def fills(path: str, size: int) -> Program:
    """Write so many bytes to a file; status 0 where that is possible."""
    return Program(
        name="fills", language="python", text=f"open({path!r}, 'wb').write(bytes({size}))"
    )
