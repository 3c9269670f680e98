"""An executor plugin whose processes stand for another machine: TCP, a secret, a life of their own.

What it starts answers every request with `far` and its pid. It is away while RunDir/core/far/away
exists.
"""

from __future__ import annotations

PLUGIN = r'''
import json, os, signal, subprocess, sys
import trio
from supervisor import (
    Capabilities, Cause, Executor, Exit, Lifetime, Purpose, Receipt, Running, SupervisorError,
    TcpEndpoint, hookimpl,
)

AGENT = """
import os, signal, socket, sys, threading
place = sys.argv[1]
secret = open(place + ".secret").read()
listener = socket.create_server(("127.0.0.1", 0))
with open(place + ".new", "w") as file:
    file.write(f"{os.getpid()} {listener.getsockname()[1]}")
os.rename(place + ".new", place)

def one(sock):
    with sock, sock.makefile("rb") as lines:
        if lines.readline().decode() != f"supervisor {secret}\\n":
            return
        while True:
            head = b""
            while not head.endswith(b"\\r\\n\\r\\n"):
                line = lines.readline()
                if not line:
                    return
                head += line
            if b"pgrade: websocket" in head:
                sock.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n"
                             b"Connection: Upgrade\\r\\n\\r\\n")
                while data := lines.read1(65536):
                    sock.sendall(data)
                return
            body = f"far {os.getpid()}".encode()
            sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b"
                         % (len(body), body))

while True:
    sock, _ = listener.accept()
    threading.Thread(target=one, args=(sock,), daemon=True).start()
"""


class Far(Executor):
    name = "far"
    capabilities = Capabilities(
        lifetime=Lifetime.REMOTE, purposes=frozenset({Purpose.SERVE}), shared_files=False
    )

    def __init__(self, place):
        self.place = place
        self.started = {}

    async def serve(self, *, task_status):
        os.makedirs(self.place, exist_ok=True)
        if os.path.exists(self.place + "/away"):
            raise SupervisorError("unavailable", "nobody answers there")
        task_status.started()
        while not os.path.exists(self.place + "/away"):
            await trio.sleep(0.05)
            for process in self.started.values():
                process.poll()
        raise SupervisorError("unavailable", "nobody answers there")

    async def start(self, job):
        path = f"{self.place}/{job.run}"
        if not os.path.exists(path + ".secret"):
            with open(path + ".secret", "w") as file:
                file.write(os.urandom(16).hex())
            self.started[job.run] = subprocess.Popen(
                ["/usr/bin/python3", "-I", "-c", AGENT, path], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )
        return Receipt(run=job.run, executor=self.name, data={"path": path})

    def facts(self, run):
        path = f"{self.place}/{run}"
        with open(path) as file, open(path + ".secret") as secret:
            pid, port = map(int, file.read().split())
            return pid, port, secret.read()

    def lives(self, pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    async def watch(self, receipt):
        if not os.path.exists(f"{self.place}/{receipt.run}.secret"):
            yield Exit(cause=Cause.LOST)
            return
        while not os.path.exists(f"{self.place}/{receipt.run}"):
            await trio.sleep(0.01)
        pid, port, secret = self.facts(receipt.run)
        yield Running(endpoint=TcpEndpoint(host="127.0.0.1", port=port, secret=secret), pid=pid)
        while self.lives(pid):
            await trio.sleep(0.05)
        os.unlink(f"{self.place}/{receipt.run}.secret")
        yield Exit(signal=9, cause=Cause.STOPPED)

    async def stop(self, receipt, grace):
        try:
            pid, _, _ = self.facts(receipt.run)
            os.kill(pid, signal.SIGKILL)
        except OSError:
            return
        while self.lives(pid):
            await trio.sleep(0.01)

    async def list(self):
        runs = [name.removesuffix(".secret") for name in os.listdir(self.place)
                if name.endswith(".secret")]
        return [Receipt(run=run, executor=self.name, data={"path": f"{self.place}/{run}"})
                for run in runs]


@hookimpl
def supervisor_executors(context):
    return [Far(context.run_dir + "/core/far")]
'''
